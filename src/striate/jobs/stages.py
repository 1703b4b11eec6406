"""What R-CNN learns once its network has: SVMs that tell classes apart, and where a box is exactly.

Girshick et al., "Rich feature hierarchies", 2014, sections 2.3 and 3.5, appendices B and C. Two sweeps over the
features of all proposals: in the first the things themselves are gathered, and the sums that boxes are regressed from;
in the second each class's SVM is shown what is not of its class.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from striate.boxes import encode_boxes, has_extent, pairwise_iou
from striate.counted import Counted
from striate.data.box_targets import BoxTargets
from striate.detection.box_regression import OVERLAP, BoxRegression
from striate.detection.hard_negatives import HardNegatives
from striate.detection.matching import lies_in_ignored
from striate.detection.rcnn import RCNN
from striate.detection.region_detector import WEIGHTS
from striate.errors import StriateError
from striate.files import replace_file
from striate.training.failures import interrupted
from striate.training.features import KeptFeatures
from striate.training.loading import Loader
from striate.training.loop import Loop, SaveWeights
from striate.training.signals import stop_signals
from striate.training.tasks.detection import BoxedImages, Detection
from striate.units import parse_bytes

NORM = 20.0  # Mean length of features, for which the SVMs' penalty was found (the authors' program).
BACKGROUND = 0.3  # IoU with things of a class, below which a proposal is none of it (section 2.3).

Rows = Float32[np.ndarray, "rows F"]


class Featuring(Counted):
    """Proposals become features."""

    what = "features of proposals"


class Mining(Counted):
    """SVMs are shown what is not of their class."""

    what = "hard negatives"


@dataclass(frozen=True, slots=True)
class LearnedClass:
    """What the last stages learned a class from.

    Args:
        name: of the class.
        things: of it.
        proposals: that overlap one of these by 0.6 or more, from which its boxes are regressed.
        negatives: that its SVM was shown; 0 where classes are told apart by the network's own softmax.
        hard: of these, those that lie within the margin or beyond it in the end.
    """

    name: str
    things: int
    proposals: int
    negatives: int
    hard: int


@dataclass(frozen=True, slots=True)
class Stages:
    """What came of the last stages.

    Args:
        classes: of things.
        kept: bytes of features that were on the disk.
        seconds: that they took, since they were last begun.
    """

    classes: tuple[LearnedClass, ...]
    kept: int
    seconds: float

    @classmethod
    def read(cls, path: Path) -> "Stages | None":
        """Return what was written down; None for a run without such stages.

        Raises:
            StriateError: where it is damaged.
        """
        if not path.is_file():
            return None
        try:
            return TypeAdapter(Stages).validate_json(path.read_bytes())
        except ValidationError as error:
            raise StriateError(
                expected=f"what a run's last stages write to {path}",
                received=f"{error.error_count()} errors in it",
                remedy="Train it again, into another folder.",
            ) from error

    def save(self, path: Path) -> None:
        """Write it down."""
        text = TypeAdapter(Stages).dump_json(self, indent=2)
        replace_file(path, lambda beside: beside.write_bytes(text))


def learn_stages(loop: Loop, network: RCNN, save: SaveWeights) -> Iterator[Featuring | Mining]:
    """Take the last stages of a run whose network has learned, and keep the weights.

    Killed in between, it goes on with the features that are there, and comes to the same.

    Args:
        loop: of the run.
        network: with its best weights, on the run's device.
        save: keeps weights.

    Raises:
        InterruptedRunError: after Ctrl-C or SIGTERM.
    """
    task, machine, folder = loop.task, loop.machine, loop.folder
    assert isinstance(task, Detection)

    def look(batch: BoxedImages) -> Tensor:
        moved = machine.move(batch)
        assert isinstance(moved, BoxedImages)
        with torch.inference_mode(), machine.autocast():
            return network.look_in_parts(moved.images, looked_at(moved.targets))

    network.eval()
    limit = parse_bytes(loop.config.features)
    fitting = fit_stages(
        network, loop.in_order(loop.train.images), look, task.classes, folder.features, limit, task.most
    )
    with stop_signals() as received:
        for record in fitting:
            if isinstance(record, Stages):
                record.save(folder.stages)
                continue
            yield record
            if received:
                done = f"the {record.what} of {record.done} of {record.total} images"
                raise interrupted(received, done, folder, loop.group)
    save("best", network.state_dict())


def fit_stages(
    network: RCNN,
    loader: Loader,
    look: Callable[[BoxedImages], Tensor],
    classes: Sequence[str],
    path: Path,
    limit: int,
    most: int,
) -> Iterator[Featuring | Mining | Stages]:
    """Fit what tells classes apart and what moves boxes, in place, telling how far it is, and at last what came of it.

    Args:
        network: whose other layers have learned.
        loader: of the images to learn from, in order.
        look: returns the features of the boxes that `looked_at` lists.
        classes: of things.
        path: of a file for features; where it is there already, they are gone on with.
        limit: bytes that it may take.
        most: things that there is room for in each image.
    """
    assert network.search is not None
    began = time.monotonic()
    room, features = network.search.room, network.score.in_features
    kept = KeptFeatures(loader, look, (room + most, features), path, limit)
    total = len(loader.images)
    positives: list[list[Rows]] = [[] for _ in classes]
    regressions = [BoxRegression(features) for _ in classes]
    lengths, count = 0.0, 0
    for done, (known, rows) in enumerate(kept.sweep(), 1):
        scene = _Scene(known)
        proposed = scene.proposed.numpy()
        lengths += float(np.linalg.norm(rows[:room][proposed], axis=1).sum())
        count += int(proposed.sum())
        chosen, kinds, offsets = scene.near()
        for label, regression in enumerate(regressions):
            positives[label].append(rows[room:][(scene.valid & (scene.labels == label)).numpy()])
            own = kinds == label
            regression.show(rows[:room][chosen[own].numpy()], offsets[own].numpy())
        yield Featuring(done, total)
    scale = NORM / max(lengths / max(count, 1), 1e-6)
    svms = [HardNegatives(np.concatenate(each) * np.float32(scale)) for each in positives]
    if network.head == "svm":
        for done, (known, rows) in enumerate(kept.sweep(), 1):
            scene = _Scene(known)
            for label, svm in enumerate(svms):
                svm.show(rows[:room][scene.far(label).numpy()] * np.float32(scale))
            yield Mining(done, total)
        for svm in svms:
            svm.fit()
        _put(network.score, 0, np.zeros((1, features)), np.zeros(1))
        for label, svm in enumerate(svms):
            _put(network.score, label + 1, svm.weight[None] * scale, np.array([svm.bias]))
    for label, regression in enumerate(regressions):
        _put(network.offset, 4 * label, *regression.solve(scale))
    learned = tuple(
        LearnedClass(name, len(svm.positives), regression.count, svm.shown, svm.hard)
        for name, svm, regression in zip(classes, svms, regressions, strict=True)
    )
    yield Stages(learned, kept.size, time.monotonic() - began)


def looked_at(known: BoxTargets) -> Tensor:
    """Return what features are made of, N x (P + M) x 4: proposals, then the things themselves."""
    assert known.proposals is not None
    return torch.cat([known.proposals, known.xyxy], 1)


class _Scene:
    """What is known of one image, and of its proposals.

    Args:
        known: of this image alone.
    """

    def __init__(self, known: BoxTargets) -> None:
        assert known.proposals is not None
        self.proposals, self.valid, self.labels = known.proposals[0], known.valid[0], known.labels[0]
        self.proposed = has_extent(self.proposals)
        self.things, self.kinds = known.xyxy[0][self.valid], self.labels[self.valid]
        self.overlaps = pairwise_iou(self.proposals, self.things)
        self.hidden = lies_in_ignored(self.proposals, known.xyxy[0], known.ignored[0])

    def near(self) -> tuple[Int64[Tensor, " near"], Int64[Tensor, " near"], Float32[Tensor, "near 4"]]:
        """Return the proposals that overlap a thing, the class of the one that they overlap most, and offsets to it."""
        if not len(self.things):
            return self.kinds, self.kinds, self.things
        best, which = self.overlaps.max(1)
        chosen = (best >= OVERLAP).nonzero().squeeze(1)
        thing = which[chosen]
        return chosen, self.kinds[thing], encode_boxes(self.things[thing], self.proposals[chosen], WEIGHTS)

    def far(self, label: int) -> Bool[Tensor, " P"]:
        """Return the proposals that are none of a class: they overlap its things little, and lie in no ignored one."""
        near = (self.overlaps[:, self.kinds == label] >= BACKGROUND).any(1)
        return self.proposed & ~self.hidden & ~near


@torch.no_grad()
def _put(layer: nn.Linear, first: int, weight: np.ndarray, bias: np.ndarray) -> None:
    """Set some of a layer's outputs."""
    rows = slice(first, first + len(bias))
    layer.weight[rows] = torch.from_numpy(weight).to(layer.weight)
    layer.bias[rows] = torch.from_numpy(bias).to(layer.bias)
