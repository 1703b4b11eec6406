import numpy as np
import pytest
from numpy.typing import NDArray

from striate.detection.grouping import Measure, group, similarity
from striate.detection.proposals import SearchMode
from striate.detection.recall import best_overlaps
from striate.detection.segments import (
    COLOUR_BINS,
    DIRECTIONS,
    TEXTURE_BINS,
    ColourSpace,
    Segments,
    colour_bins,
    describe,
    neighbours,
    segment,
    texture_bins,
    to_colour_space,
)
from striate.detection.selective_search import STRATEGIES, selective_search

SPACES: tuple[ColourSpace, ...] = ("hsv", "lab", "rgi", "h", "i")
MEASURES: tuple[Measure, ...] = ("colour", "texture", "size", "fill")
Image = NDArray[np.uint8]
Pixels = frozenset[tuple[int, int]]


def noise(seed: int, height: int, width: int) -> Image:
    """An image of a few coarse patches under noise."""
    random = np.random.default_rng(seed)
    patches = random.integers(0, 256, (-(-height // 5), -(-width // 6), 3)).repeat(5, 0).repeat(6, 1)[:height, :width]
    return (patches + random.integers(-9, 10, patches.shape)).clip(0, 255).astype(np.uint8)


def scene() -> tuple[Image, NDArray[np.float32]]:
    """Rectangles of plain colour on uneven ground, and their boxes."""
    random = np.random.default_rng(1)
    image = (np.full((120, 160, 3), 100) + random.integers(-4, 5, (120, 160, 3))).astype(np.uint8)
    boxes = ((10, 12, 50, 40), (70, 20, 140, 60), (30, 70, 60, 110), (90, 75, 150, 105))
    colours = ((200, 40, 40), (40, 160, 60), (50, 60, 210), (230, 220, 40))
    for (left, top, right, bottom), colour in zip(boxes, colours, strict=True):
        image[top:bottom, left:right] = colour
    return image, np.array(boxes, np.float32)


def areas(numbers: NDArray[np.int64]) -> list[Pixels]:
    every = range(int(numbers.max()) + 1)
    return [frozenset((y, x) for y, x in np.argwhere(numbers == each).tolist()) for each in every]


def box_around(area: Pixels) -> tuple[int, int, int, int]:
    rows, columns = [y for y, _ in area], [x for _, x in area]
    return min(columns), min(rows), max(columns) + 1, max(rows) + 1


def histogram(area: Pixels, planes: NDArray[np.int64], bins: int) -> list[float]:
    counts = [0] * (bins * len(planes))
    for plane, values in enumerate(planes):
        for y, x in area:
            counts[plane * bins + int(values[y, x])] += 1
    return [count / sum(counts) for count in counts]


class Twin:
    """The paper's equations as they stand, one pair of sets of pixels at a time."""

    def __init__(self, numbers: NDArray[np.int64], colours: NDArray[np.int64], textures: NDArray[np.int64]) -> None:
        self.first, self.colours, self.textures, self.pixels = areas(numbers), colours, textures, numbers.size

    def alike(self, one: Pixels, other: Pixels, measure: Measure) -> float:
        if measure in ("colour", "texture"):
            planes, bins = (self.colours, COLOUR_BINS) if measure == "colour" else (self.textures, TEXTURE_BINS)
            # A histogram of both is that of all their pixels: no mean of two has to be taken.
            pairs = zip(histogram(one, planes, bins), histogram(other, planes, bins), strict=True)
            return sum(min(pair) for pair in pairs)
        if measure == "size":
            return 1 - (len(one) + len(other)) / self.pixels
        left, top, right, bottom = box_around(one | other)
        return 1 - ((right - left) * (bottom - top) - len(one) - len(other)) / self.pixels

    @staticmethod
    def touch(one: Pixels, other: Pixels) -> bool:
        return any((y + dy, x + dx) in other for y, x in one for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)))

    def hierarchy(self, measures: frozenset[Measure]) -> list[tuple[int, int, int, int]]:
        alive, boxes = list(self.first), [box_around(area) for area in self.first]
        known: dict[frozenset[Pixels], float] = {}
        while len(alive) > 1:
            for place, one in enumerate(alive):
                for other in alive[:place]:
                    pair = frozenset((one, other))
                    if pair not in known:
                        told = sum(self.alike(one, other, each) for each in measures)
                        known[pair] = told if self.touch(one, other) else -np.inf
            best = max((frozenset((a, b)) for n, a in enumerate(alive) for b in alive[:n]), key=known.__getitem__)
            one, other = best
            alive = [*(area for area in alive if area not in best), one | other]
            boxes.append(box_around(one | other))
        return boxes


def parts(seed: int, space: ColourSpace, height: int = 24, width: int = 30) -> tuple[NDArray[np.int64], ...]:
    channels = to_colour_space(noise(seed, height, width), space)
    return segment(channels, 8), colour_bins(channels), texture_bins(channels)


@pytest.mark.parametrize("measure", MEASURES)
def test_measures_are_those_of_loops_over_pixels(measure: Measure) -> None:
    numbers, colours, textures = parts(4, "lab")
    regions, pairs, twin = describe(numbers, colours, textures), neighbours(numbers), Twin(numbers, colours, textures)
    assert len(pairs) > 20
    told = similarity(regions, pairs[:, 0], pairs[:, 1], frozenset((measure,)), numbers.size)
    for value, (one, other) in zip(told.tolist(), pairs.tolist(), strict=True):
        assert value == pytest.approx(twin.alike(twin.first[one], twin.first[other], measure), abs=1e-12)
    touching = {
        (one, other)
        for other in range(len(twin.first))
        for one in range(other)
        if twin.touch(twin.first[one], twin.first[other])
    }
    assert set(map(tuple, pairs.tolist())) == touching
    assert [tuple(box) for box in regions.boxes_xyxy.tolist()] == [box_around(area) for area in twin.first]
    assert regions.sizes.tolist() == [len(area) for area in twin.first]


@pytest.mark.parametrize(
    "measures", [MEASURES, ("texture", "size", "fill"), ("colour",), ("texture",), ("colour", "fill")], ids="+".join
)
def test_regions_merge_as_sets_of_pixels_do(measures: tuple[Measure, ...]) -> None:
    numbers, colours, textures = parts(7, "hsv", 20, 26)
    found = group(describe(numbers, colours, textures), neighbours(numbers), frozenset(measures))
    twin = Twin(numbers, colours, textures)
    assert len(twin.first) > 12
    assert [tuple(box) for box in found.tolist()] == twin.hierarchy(frozenset(measures))


def test_of_equally_alike_pairs_the_first_is_merged() -> None:
    square = np.arange(9).reshape(3, 3).repeat(4, 0).repeat(4, 1)
    nothing = np.zeros((1, 12, 12), np.int64)
    found = group(describe(square, nothing, nothing), neighbours(square), frozenset(("size",)))
    assert found[9].tolist() == [0, 0, 8, 4]
    assert found[-1].tolist() == [0, 0, 12, 12]
    assert len(found) == 17


def test_colour_spaces_are_those_of_closed_forms() -> None:
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 0], [255, 255, 255], [60, 30, 90]]], np.uint8)
    hsv = to_colour_space(image, "hsv")[0]
    known = [[0.0, 1.0, 1.0], [1 / 3, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.75, 2 / 3, 90 / 255]]
    np.testing.assert_allclose(hsv, known, atol=1e-9)
    assert to_colour_space(image, "h")[0].tolist() == hsv[:, :1].tolist()
    grey = to_colour_space(image, "i")[0, :, 0]
    np.testing.assert_allclose(grey, image[0] @ [0.2125, 0.7154, 0.0721] / 255, atol=1e-9)
    rgi = to_colour_space(image, "rgi")[0]
    np.testing.assert_allclose(rgi[:, 0], [1, 0, 1 / 3, 1 / 3, 1 / 3], atol=1e-9)
    np.testing.assert_allclose(rgi[:, 1], [0, 1, 1 / 3, 1 / 3, 1 / 6], atol=1e-9)
    assert rgi[:, 2].tolist() == grey.tolist()
    # CIE 1976, of the sRGB primaries in white of D65.
    lab = to_colour_space(image, "lab")[0] * [100, 255, 255] - [0, 128, 128]
    primaries = [[53.24, 80.09, 67.2], [87.73, -86.18, 83.18], [0.0, 0.0, 0.0], [100.0, 0.0, 0.0]]
    np.testing.assert_allclose(lab[:4], primaries, atol=0.1)


@pytest.mark.parametrize("space", SPACES)
def test_levels_lie_within_their_bins(space: ColourSpace) -> None:
    channels = to_colour_space(noise(0, 20, 20), space)
    assert 0 <= channels.min() <= channels.max() <= 1
    assert colour_bins(channels).max() < COLOUR_BINS
    textures = texture_bins(channels)
    assert len(textures) == DIRECTIONS * channels.shape[2]
    assert textures.max() == TEXTURE_BINS - 1
    assert textures.min() == 0


def test_texture_tells_the_direction_of_an_edge() -> None:
    image = np.zeros((20, 20, 1))
    image[:, 10:] = 1.0  # It grows to the right: direction 0.
    largest = texture_bins(image).reshape(DIRECTIONS, -1).max(1)
    # Bins of the cosine of the angle to the right, as a share of the largest.
    assert largest.tolist() == [9, 7, 0, 0, 0, 0, 0, 7]
    assert texture_bins(image.transpose(1, 0, 2)).reshape(DIRECTIONS, -1).max(1).tolist() == [0, 7, 9, 7, 0, 0, 0, 0]


def test_modes_are_the_papers() -> None:
    assert {name: np.prod([len(each) for each in of]) for name, of in STRATEGIES.items()} == {"fast": 8, "quality": 80}


@pytest.mark.parametrize("mode", ["fast", "quality"])
def test_planted_rectangles_are_found(mode: SearchMode) -> None:
    image, boxes = scene()
    found = selective_search(image, mode)
    assert best_overlaps(found, boxes, [len(found)]).min() > 0.95
    assert len(np.unique(found, axis=0)) == len(found)
    assert (found >= 0).all()
    assert (found[:, 2:] <= [160, 120]).all()
    assert (found[:, 2:] - found[:, :2] >= 1).all()
    assert [0, 0, 160, 120] in found.tolist()


def test_the_last_regions_of_a_hierarchy_come_first_on_average() -> None:
    found = selective_search(noise(2, 60, 80))
    assert len(found) > 200
    # Of each of 8 hierarchies it is the last region, worth less than 1, of which the least counts.
    assert found.tolist().index([0, 0, 80, 60]) < 20
    areas = (found[:, 2:] - found[:, :2]).prod(1)
    tenth = len(found) // 10
    assert areas[:tenth].mean() > 2 * areas[-tenth:].mean()
    assert areas[:tenth].min() < np.median(areas)  # Chance has small ones there, too.


def test_the_same_image_has_the_same_boxes() -> None:
    image = noise(2, 40, 50)
    first = selective_search(image)
    np.random.seed(5)
    assert np.array_equal(selective_search(image.copy()), first)
    assert np.array_equal(selective_search(np.asfortranarray(image)), first)


def test_large_images_are_searched_at_five_hundred_pixels() -> None:
    image, boxes = scene()
    large = image.repeat(8, 0).repeat(8, 1)  # 960 x 1280.
    found = selective_search(large)
    assert best_overlaps(found, boxes * 8, [len(found)]).min() > 0.95
    steps = found / 1280 * 500
    np.testing.assert_allclose(steps, steps.round(), atol=1e-3)
    assert [0, 0, 1280, 960] in found.tolist()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (40, 60), (1, 1200)])
def test_an_image_without_anything_is_one_box(size: tuple[int, int]) -> None:
    assert selective_search(np.full((*size, 3), 77, np.uint8)).tolist() == [[0, 0, size[1], size[0]]]


@pytest.mark.parametrize("mode", ["fast", "quality"])
def test_images_of_few_pixels_hold_the_whole_at_least(mode: SearchMode) -> None:
    random = np.random.default_rng(0)
    for size in ((1, 2), (2, 2), (3, 1), (7, 5)):
        found = selective_search(random.integers(0, 256, (*size, 3)).astype(np.uint8), mode)
        assert [0, 0, size[1], size[0]] in found.tolist()


def test_grey_images_are_searched() -> None:
    image = np.full((60, 80), 60, np.uint8)
    image[20:45, 30:70] = 180
    found = selective_search(np.stack([image] * 3, 2))
    assert best_overlaps(found, np.array([[30, 20, 70, 45]], np.float32), [len(found)]).min() > 0.95


def test_merging_does_not_change_what_it_is_given() -> None:
    numbers, colours, textures = parts(1, "i")
    regions = describe(numbers, colours, textures)
    before = Segments(*(each.copy() for each in regions))
    group(regions, neighbours(numbers), frozenset(MEASURES))
    assert all(np.array_equal(*both) for both in zip(regions, before, strict=True))
