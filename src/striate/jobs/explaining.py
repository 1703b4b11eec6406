"""What a network makes of one image: its maps, what its units see, and what speaks for the class that it says."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from striate.counted import Counted
from striate.data.images import visible
from striate.errors import UsageError, nearest
from striate.explanation.deletion import area_below, deletion_curve
from striate.explanation.feature_maps import most_different, strongest
from striate.explanation.points import (
    Point,
    find_points,
    first_filters,
    last_convolved,
    layer_title,
    maps_at,
    one_of_each_size,
)
from striate.explanation.receptive import effective_field, effective_side
from striate.explanation.saliency import grad_cam, occlude, occlusion_places, spread
from striate.inference.predict import to_classes
from striate.jobs.answers import Answering, Answers, find_answers
from striate.jobs.subjects import Subject, open_subject
from striate.results import Classes
from striate.shapes import Span

SHOWN = 8  # Maps of each kind.
COVERED = 8  # Of an image's shorter side: what a square covers.
CHANCES = 8  # Orders of chance.


class Explaining(Counted):
    """Parts of an image are covered."""

    what = "occlusion"


@dataclass(frozen=True, slots=True)
class Layer:
    """Some of a layer's maps, and what their middle unit sees of the image.

    Args:
        name: the layer's; empty for the network itself.
        kind: its class.
        shape: channels x height x width of all maps.
        strongest: channels with the largest values.
        different: channels that are least like each other.
        maps: of all of these, by channel.
        unit: row and column of the middle one.
        rows: of the image that it sees, in theory; some may lie beyond it.
        columns: likewise.
        effective: side of the square around the middle of these that holds 95 % of the squared gradient.
        energy: share of the squared gradient, of each pixel.
    """

    name: str
    kind: str
    shape: tuple[int, int, int]
    strongest: tuple[int, ...]
    different: tuple[int, ...]
    maps: dict[int, Float32[np.ndarray, "h w"]]
    unit: tuple[int, int]
    rows: Span
    columns: Span
    effective: int
    energy: Float32[np.ndarray, "H W"]


@dataclass(frozen=True, slots=True)
class Why:
    """What speaks for a class.

    Args:
        way: how it was found.
        saliency: how much each pixel speaks for it, 0 or more.
        curve: how probable the class is with more and more of the image gone, what speaks for it most first; empty
            where nothing does.
    """

    way: str
    saliency: Float32[np.ndarray, "H W"]
    curve: tuple[float, ...]

    @property
    def area(self) -> float | None:
        """Below the curve; None where there is none."""
        return area_below(self.curve) if self.curve else None


@dataclass(frozen=True, slots=True)
class Explained:
    """What a network makes of one image.

    Args:
        model: as it was named.
        source: of the image.
        pixels: as the network sees them, grey or of colour.
        result: how probable each class is; None for a network that tells none.
        label: the class that is explained; None where none is.
        filters: of the first convolution: out x in x height x width.
        layers: that were asked for, in that order, or some from the image on.
        why: what speaks for the class, by several ways.
        chance: curves of orders of chance; none where there is nothing to compare with them.
        is_trained: whether the network has weights that were learned; None where only the code that builds it knows.
        is_backbone: whether it is a larger one's feature layers alone that were looked into.
        answers: what a filter answers to most; None where none was asked for.
    """

    model: str
    source: str
    pixels: UInt8[np.ndarray, "H W c"]
    result: Classes | None
    label: str | None
    filters: Float32[np.ndarray, "O I kh kw"] | None
    layers: tuple[Layer, ...]
    why: tuple[Why, ...]
    chance: tuple[tuple[float, ...], ...]
    is_trained: bool | None
    is_backbone: bool
    answers: Answers | None

    @property
    def chance_areas(self) -> list[float]:
        """Below each curve of chance, the smallest first."""
        return sorted(map(area_below, self.chance))


def explain(
    model: str | Path,
    image: str | Path,
    *,
    label: str | None = None,
    layers: Sequence[str] = (),
    channel: tuple[str, int] | None = None,
    images: str | Path | None = None,
    pretrained: str | Path | None = None,
    image_size: tuple[int, int] | None = None,
    mean: float | None = None,
    std: float | None = None,
    seed: int = 0,
) -> Iterator[Explaining | Answering | Explained]:
    """Look into a network with one image; the last record is what was seen, those before it say how far this is.

    Args:
        model: as `striate.jobs.subjects.open_subject` takes it.
        image: a file.
        label: the class to explain, by its name, or by its number from 0; the most probable by default.
        layers: names of modules with maps, to look at; by default one for each size of maps.
        channel: a layer's name and a filter of it, whose strongest answers are looked for.
        images: a folder of images to show it.
        pretrained: as for `open_subject`.
        image_size: likewise.
        mean: likewise.
        std: likewise.
        seed: of fresh weights, of signs and of chance.

    Raises:
        UsageError: for a network, an image, a layer or a class that is not there, or a filter without images.
    """
    if (channel is None) != (images is None):
        raise UsageError(
            expected="a filter and a folder of images to show it",
            received="the one without the other",
            remedy="Give both, or none: --filter LAYER:NUMBER --images FOLDER.",
        )
    subject = open_subject(str(model), pretrained=pretrained, image_size=image_size, mean=mean, std=std, seed=seed)
    pixels, given = subject.read(Path(image))
    points = find_points(subject.network, given)
    chosen = choose_points(points, layers)
    result, place = _classified(subject, given, label)
    answers: Answers | None = None
    if channel is not None and images is not None:
        (point,) = choose_points(points, [channel[0]])
        for record in find_answers(subject, point, channel[1], Path(images)):
            if isinstance(record, Answers):
                answers = record
            else:
                yield record
    why: list[Why] = []
    chance: list[tuple[float, ...]] = []
    if place is not None:
        last = last_convolved(points)
        if last is not None:
            why.append(
                _weighed(
                    subject, given, place, f"Grad-CAM of {layer_title(last.name)}", _cam(subject, given, last, place)
                )
            )
        why.append((yield from _occluded(subject, given, place)))
        if any(each.curve for each in why):
            chance = [tuple(_by_chance(subject, given, place, seed + draw)) for draw in range(CHANCES)]
    maps = maps_at(subject.network, given, chosen)
    filters = first_filters(subject.network, given)
    yield Explained(
        model=str(model),
        source=str(image),
        pixels=visible(pixels[0]),
        result=result,
        label=None if place is None else subject.classes[place],
        filters=None if filters is None else filters.float().numpy(),
        layers=tuple(_looked_into(subject, given, point, maps[point][0], seed) for point in chosen),
        why=tuple(why),
        chance=tuple(chance),
        is_trained=subject.is_trained,
        is_backbone=subject.is_backbone,
        answers=answers,
    )


def choose_points(points: Sequence[Point], names: Sequence[str]) -> list[Point]:
    """Return the points of some names, each once, or one for each size of maps.

    Raises:
        UsageError: for a name that is none, with the nearest that is one.
    """
    known = {point.name: point for point in points}
    for name in names:
        if name not in known:
            raise UsageError(
                expected="a layer of several places, by its name",
                received=repr(name),
                remedy=nearest(name, map(layer_title, known)),
            )
    return [known[name] for name in dict.fromkeys(names)] or one_of_each_size(points)


def _classified(subject: Subject, given: Tensor, label: str | None) -> tuple[Classes | None, int | None]:
    """Return how probable each class is, and which is to be explained."""
    if not subject.is_classifier:
        if label is not None:
            raise UsageError(
                expected="a class to explain of a network that tells classes of whole images",
                received=repr(label),
                remedy="Leave it out: maps and fields are shown of any network.",
            )
        return None, None
    with torch.no_grad():
        (result,) = to_classes(subject.network(given), subject.classes)
    if label is None:
        return result, result.best
    if label not in subject.classes and label.isdecimal() and int(label) < len(subject.classes):
        return result, int(label)
    if label not in subject.classes:
        raise UsageError(
            expected="one of the network's classes", received=repr(label), remedy=nearest(label, subject.classes)
        )
    return result, subject.classes.index(label)


def _cam(subject: Subject, given: Tensor, point: Point, place: int) -> Tensor:
    """Return Grad-CAM of the image's pixels: each place's is that of the pixel in the middle of what its unit sees."""
    values = grad_cam(subject.network, given, point, place)
    down, across = ((float(field.start + field.size / 2), float(field.stride)) for field in point.fields)
    return spread(values, (down[0], across[0]), (down[1], across[1]), (given.shape[2], given.shape[3]))


def _occluded(subject: Subject, given: Tensor, place: int) -> Generator[Explaining, None, Why]:
    """Cover the image square by square, and return what came of it."""
    height, width = given.shape[2:]
    side = _square(given)
    step = max(side // 2, 1)
    rows, columns = occlusion_places((height, width), side, step)
    found: list[Tensor] = []
    for part in occlude(subject.network, given, place, side, step):
        found.append(part)
        yield Explaining(sum(map(len, found)), len(rows) * len(columns))
    drops = torch.cat(found).view(len(rows), len(columns)).clamp_min(0)
    # The last squares lie at the edge, less than a step from the others: nearly where they are painted.
    saliency = spread(drops, (side / 2, side / 2), (float(step), float(step)), (height, width))
    return _weighed(subject, given, place, f"occlusion by squares of {side} pixels", saliency)


def _square(given: Tensor) -> int:
    """Return the side of the squares that an image is covered with."""
    return max(min(given.shape[2:]) // COVERED, 1)


def _weighed(subject: Subject, given: Tensor, place: int, way: str, saliency: Tensor) -> Why:
    curve = deletion_curve(subject.network, given, saliency, place) if saliency.max() > 0 else ()
    return Why(way, saliency.numpy(), tuple(curve))


def _by_chance(subject: Subject, given: Tensor, place: int, seed: int) -> list[float]:
    """Return the curve of an order of chance, in blots about as large as those of occlusion."""
    height, width = given.shape[2:]
    side = _square(given)
    draws = torch.Generator().manual_seed(seed)
    values = torch.rand(-(-height // side), -(-width // side), generator=draws)
    saliency = spread(values, (side / 2, side / 2), (float(side), float(side)), (height, width))
    return deletion_curve(subject.network, given, saliency, place)


def _looked_into(subject: Subject, given: Tensor, point: Point, maps: Tensor, seed: int) -> Layer:
    strong, different = strongest(maps, SHOWN), most_different(maps, SHOWN)
    unit = (point.sides[0] // 2, point.sides[1] // 2)
    energy = effective_field(subject.network, given, point, unit, seed)
    rows, columns = point.seen(*unit)
    middle = ((rows.start + rows.end - 1) / 2, (columns.start + columns.end - 1) / 2)
    return Layer(
        name=point.name,
        kind=point.kind,
        shape=point.shape,
        strongest=tuple(strong),
        different=tuple(different),
        maps={channel: maps[channel].float().numpy() for channel in dict.fromkeys((*strong, *different))},
        unit=unit,
        rows=rows,
        columns=columns,
        effective=effective_side(energy, middle),
        energy=energy.numpy(),
    )
