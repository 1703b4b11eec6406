"""A box around each thing, and its pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from striate.data.box_targets import BoxTargets, reframe
from striate.data.boxed import Boxed, boxes_of
from striate.data.frames import Framing
from striate.data.preprocessing import Preprocessing
from striate.data.sets import ImageSet
from striate.data.transforms import normalise
from striate.detection.found import ROW, detections_of, packed
from striate.detection.proposals import ProposalSearch
from striate.detection.scores import Truth, coco_scores
from striate.errors import UsageError
from striate.training.config import TrainConfig
from striate.training.task import Samples, Step
from striate.training.tasks.images import FLIP, ImageTask, moved


@runtime_checkable
class Finder(Protocol):
    """A network that finds things, as far as it is trained: see `striate.detection.detector.Detector`."""

    search: ProposalSearch | None

    def losses(self, images: Tensor, *given: Tensor) -> Mapping[str, Tensor]:
        """Return by name what is to become small."""
        ...

    def fit_anchors(self, sides: Tensor) -> None:
        """Begin from boxes like those that are to be found."""
        ...


@dataclass(frozen=True, slots=True)
class BoxedImages:
    """Images as a network takes them, with the things in each."""

    images: Float[Tensor, "N C H W"]
    targets: BoxTargets

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device, layout: torch.memory_format, dtype: torch.dtype) -> "BoxedImages":
        """Return the batch on a device, its images in a memory layout and a type."""
        images = self.images.to(device, dtype, non_blocking=True, memory_format=layout)
        return BoxedImages(images, self.targets.to(device, non_blocking=True))

    @property
    def shown(self) -> tuple[Tensor, ...]:
        """What the network is shown: images and, where it makes none itself, proposals."""
        return self.images, *self.targets.shown

    def tensors(self) -> tuple[Tensor, ...]:
        """Return what the network is shown, and what it is to say."""
        return *self.shown, *self.targets.truths

    def split(self, parts: int) -> "list[BoxedImages]":
        """Return the batch in parts of as many images, or one more."""
        pairs = zip(self.images.tensor_split(parts), self.targets.tensor_split(parts), strict=True)
        return [BoxedImages(images, targets) for images, targets in pairs]


def boxed(preprocessing: Preprocessing, samples: Samples) -> BoxedImages:
    """Return images as a network takes them, nothing about them changed."""
    return BoxedImages(normalise(samples.images.pixels(), preprocessing), _known(samples))


def _known(samples: Samples, framing: Framing | None = None) -> BoxTargets:
    known = samples.images.known(framing)
    assert isinstance(known, BoxTargets), "only images with boxes are for detection"
    return known


class Detection(ImageTask):
    """A box around each thing and, where the network says them, its pixels.

    Args:
        config: what is done to images in training, and the seed.
        preprocessing: how images become the network's input.
        classes: of things, in the order of the labels.

    Raises:
        UsageError: for images without any thing to learn.
    """

    most: int
    mask_side: int | None
    sides: Float[Tensor, "K 2"]

    def __init__(self, config: TrainConfig, preprocessing: Preprocessing, classes: tuple[str, ...]) -> None:
        super().__init__(config, preprocessing)
        self.classes = classes

    @property
    def outputs(self) -> int:
        """Classes of things."""
        return len(self.classes)

    def describe(self) -> Mapping[str, Any]:
        """Return the classes."""
        return {"task": "detect", "classes": self.classes}

    def prepare(self, images: ImageSet) -> None:
        """Measure the training images' things, as large as the network sees them."""
        assert isinstance(images, Boxed)
        self.most, self.mask_side = images.most, images.mask_side
        seen = []
        for place, annotation in enumerate(images.annotations):
            _, frame = images.seen(place, None)
            wanted = [instance for instance in annotation.instances if not instance.ignored]
            moved_boxes = reframe(boxes_of(wanted), frame, images.image_size)
            seen.append(moved_boxes.xyxy[moved_boxes.is_kept])
        boxes = torch.cat(seen) if seen else torch.empty(0, 4)
        if not len(boxes):
            raise UsageError(
                expected="things in the images to learn from",
                received=f"{len(images):,} images without any",
                remedy="`striate check` with --task detect says what was read of each image.",
            )
        self.sides = boxes[:, 2:] - boxes[:, :2]

    def adapt(self, network: nn.Module) -> None:
        """Have it begin from boxes as large as the training images' things."""
        assert isinstance(network, Finder)
        network.fit_anchors(self.sides)

    def step(self, network: nn.Module, images: Float[Tensor, "N C H W"]) -> Step:
        """Return the network's losses, and their sum."""
        assert isinstance(network, Finder)
        return detector_step(network, images, self.most, self.mask_side)

    def collate(self, samples: Samples) -> BoxedImages:
        """Normalise."""
        return boxed(self.preprocessing, samples)

    def augment(self, samples: Samples) -> BoxedImages:
        """Cut, mirror and colour each image as (seed, epoch, image) decide, boxes and masks along with it."""
        draws, framing = self.drawn(samples)
        images, known = moved(samples.images.pixels(framing), self.config, draws), _known(samples, framing)
        if self.config.hflip:
            known = known.mirrored(torch.from_numpy(draws[:, FLIP] < self.config.hflip), images.shape[3])
        return BoxedImages(self.coloured(images, draws), known)

    def loss(self, network: Any, batch: BoxedImages) -> Float[Tensor, ""]:
        """Return the sum of the losses of a network, or of what stands for one in a run."""
        return total(network.losses(*batch.tensors()))

    def score(self) -> "DetectionScore":
        """Return a fresh metric."""
        return DetectionScore(self)

    def better(self, metrics: Mapping[str, float], than: Mapping[str, float]) -> bool:
        """Tell whether the average precision is larger."""
        return metrics["ap"] > than["ap"]


def detector_step(network: Finder, images: Float[Tensor, "N C H W"], most: int, mask_side: int | None) -> Step:
    """Return what a step of training runs.

    Args:
        network: whose losses they are.
        images: of a batch.
        most: things that there is room for in each.
        mask_side: of their masks; None without.
    """
    proposals = None if network.search is None else network.search.room
    batch = BoxedImages(images, BoxTargets.blank(len(images), most, mask_side, proposals, str(images.device)))
    return Step(batch.tensors(), [], total, type(network).losses, shown=len(batch.shown))


def total(losses: Mapping[str, Tensor]) -> Float[Tensor, ""]:
    """Return the sum of several losses."""
    return torch.stack(list(losses.values())).sum()


class DetectionScore:
    """What was found and what is there, gathered over batches."""

    def __init__(self, task: Detection) -> None:
        from torchmetrics import Metric

        class Rows(Metric):
            """Rows one below the other."""

            rows: list[Tensor] | Tensor

            def __init__(self) -> None:
                super().__init__()
                self.add_state("rows", [], dist_reduce_fx="cat")

            def update(self, values: Tensor) -> None:
                assert isinstance(self.rows, list)
                self.rows.append(values)

            def compute(self) -> Tensor:
                return torch.cat(self.rows) if isinstance(self.rows, list) else self.rows

        self._task = task
        self._said, self._true = Rows(), Rows()

    def update(self, network: nn.Module, batch: BoxedImages) -> Float[Tensor, "N D numbers"]:
        """Run the network, in evaluation mode, on one batch; take what it finds in; return it, on the CPU."""
        said = packed(network(*batch.shown))
        self._said.update(said[..., :ROW].clone())
        known = batch.targets
        columns = (known.xyxy, *(each.unsqueeze(2) for each in (known.labels, known.valid, known.ignored)))
        self._true.update(torch.cat([column.float().cpu() for column in columns], 2))
        return said

    def compute(self) -> Mapping[str, float]:
        """Return ``ap``, ``ap50`` and ``ap75``: the average precision of boxes as COCO takes it."""
        image_size = self._task.preprocessing.image_size
        found = [detections_of(image, self._task.classes, image_size, image_size) for image in self._said.compute()]
        truths = []
        for image in self._true.compute():
            there = image[(image[:, 5] + image[:, 6]) > 0]
            truths.append(Truth(there[:, :4], there[:, 4].long(), there[:, 6] > 0))
        scores = coco_scores(found, truths, len(self._task.classes))
        return {"ap": scores.ap, "ap50": scores.ap50, "ap75": scores.ap75}
