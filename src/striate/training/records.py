"""What a training run tells while it runs: small frozen records, the same for a progress bar, a report and a test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from striate.counted import Counted

LARGE = 1000  # Numbers from here on need no four decimals.

# Metrics that are shares, and what they are called.
SHARES = {
    "accuracy": "accuracy",
    "top5": "among the first five",
    "calibration_error": "calibration error",
    "mean_iou": "mean IoU",
    "pixel_accuracy": "pixel accuracy",
    "trimap_iou": "mean IoU near borders",
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "voc_ap50": "AP50 as Pascal VOC takes it",
    "mask_ap": "AP of masks",
    "mask_ap50": "AP50 of masks",
}
# What runs are compared by, where they have it: more is better. Else it is the loss.
HEADLINES = ("accuracy", "mean_iou", "ap")


def metric_in_words(name: str, value: float) -> str:
    """Say one metric.

    >>> metric_in_words("mean_iou", 0.53166), metric_in_words("cross_entropy", 0.27)
    ('mean IoU 53.17%', 'cross entropy 0.2700')
    """
    if name in SHARES:
        return f"{SHARES[name]} {value:.2%}"
    return f"{name.replace('_', ' ')} {value:.4f}" if abs(value) < LARGE else f"{name} {value:.6g}"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One optimizer step.

    Args:
        epoch: counted from 1.
        step: of the whole run, counted from 1.
        steps: in the whole run.
        loss: of this batch, before the step.
        lr: the learning rate of this step.
        images: in this batch.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    lr: float
    images: int


class ProbeRecord(Counted):
    """Images' features for the last layer are being computed."""

    what = "features for the last layer"


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One pass over the training images, and what the network was worth after it.

    Args:
        epoch: counted from 1; 0 for the fit of the last layer before the first.
        epochs: in the whole run.
        step: the run's steps so far.
        lr: the learning rate of the last step.
        train_loss: mean over the epoch's images, each at the weights of its own step.
        metrics: of the validation images: the task's own, ``loss`` among them where it takes one.
        best: whether these weights are the best so far.
        seconds: that the epoch took, validation included.
        images_per_second: of the training part.
        waited: share of the training part in which the network waited for images.
    """

    epoch: int
    epochs: int
    step: int
    lr: float
    train_loss: float
    metrics: Mapping[str, float]
    best: bool
    seconds: float
    images_per_second: float
    waited: float = 0.0

    def row(self) -> dict[str, Any]:
        """Return the record as one row of ``results.csv``."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "lr": self.lr,
            "train_loss": self.train_loss,
            **{f"val_{name}": value for name, value in self.metrics.items()},
            "best": int(self.best),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 1),
            "waited": round(self.waited, 3),
        }


@dataclass(frozen=True, slots=True)
class PeakRecord:
    """What a phase of a planned run took, measured once.

    Args:
        phase: ``training`` for a step, or ``validation`` of a batch.
        predicted: bytes of its peak, by the plan.
        measured: bytes of its peak.
        budget: bytes granted.
    """

    phase: str
    predicted: int
    measured: int
    budget: int


def name_epoch(epoch: int, epochs: int) -> str:
    """Return an epoch in words."""
    return f"epoch {epoch} of {epochs}" if epoch else "the fit of the last layer"


def best_epoch(records: Sequence[EpochRecord]) -> EpochRecord:
    """Return the epoch whose weights are kept as the best; there is one as soon as an epoch has ended."""
    return next(record for record in reversed(records) if record.best)
