"""A class for each pixel: masks that move with their images, the loss that is asked for, and figures of a whole set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from scenes import LEVELS, write_scenes
from striate.data.frames import Frame
from striate.data.masked import MaskedFiles
from striate.data.masks import MaskClasses
from striate.data.names import MaskOptions
from striate.data.preprocessing import Preprocessing
from striate.data.reading import Reading
from striate.data.source import open_data
from striate.results import UNKNOWN
from striate.segmentation.losses import dice_loss
from striate.training.config import TrainConfig
from striate.training.task import Samples
from striate.training.tasks import LabelledImages, Segmentation

# As the images are stored: a level is its own number.
LOOK = Preprocessing(image_size=(40, 52), mean=(0.0,) * 3, std=(1 / 255,) * 3)
CLASSES = MaskClasses(("ground", "red", "blue"), (), {0: 0, 1: 1, 2: 2, 255: UNKNOWN})


def task(**options: Any) -> Segmentation:
    return Segmentation(TrainConfig.model_validate({"data": "d", "model": "m", **options}), LOOK, CLASSES)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> MaskedFiles:
    root = write_scenes(tmp_path_factory.mktemp("scenes"), {"train": 12, "val": 2}, unknown=2)
    images = open_data(str(root), 0, Reading(masks=MaskOptions())).train.prepared(3, LOOK.image_size, None)
    assert isinstance(images, MaskedFiles)
    return images


@pytest.mark.parametrize(
    "options",
    [
        {"hflip": 1.0},
        {"crop_scale": 0.4},
        {"shift": 6},
        {"rotate": 25.0, "zoom": 0.2},
        {"hflip": 0.5, "crop_scale": 0.6, "shift": 2, "rotate": 10.0, "color_jitter": 0.1},
    ],
)
def test_masks_move_with_their_images(scenes: MaskedFiles, options: dict[str, Any]) -> None:
    """Where all around a pixel is of one class, the image has that class's colour there."""
    indices = list(range(len(scenes)))
    made = task(seed=1, **options).augment(Samples(scenes, 0, indices))
    plain = task().collate(Samples(scenes, 0, indices))
    assert not torch.equal(made.labels, plain.labels)
    known = made.labels.long()
    around = F.unfold(F.pad(known.float().unsqueeze(1), (2, 2, 2, 2), value=-1), 5).view(
        len(known), 25, *known.shape[1:]
    )
    is_inside = (around == known.unsqueeze(1)).all(1) & (known != UNKNOWN)
    assert is_inside.float().mean() > 0.4
    colours = torch.from_numpy(LEVELS).float()[known.where(known != UNKNOWN, 0)].permute(0, 3, 1, 2)
    off = (made.images - colours).abs().amax(1)
    assert float(off[is_inside].max()) <= (26 if "color_jitter" not in options else 60)
    # All that is of a class is of one that was there, and the rest is not known.
    assert set(known.flatten().tolist()) == {0, 1, 2, UNKNOWN}
    again = task(seed=1, **options).augment(Samples(scenes.subset([5]), 0, [5]))
    assert torch.equal(again.labels[0], made.labels[5])


@pytest.mark.parametrize("options", [{"hflip": 1.0}, {"shift": 6}, {"hflip": 0.5, "shift": 3}], ids=str)
def test_masks_move_by_the_same_pixels_as_their_images(tmp_path: Path, options: dict[str, Any]) -> None:
    """Pictures whose levels are their masks' classes are still that when both were moved."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    drawn = np.random.default_rng(0).integers(1, 4, (8, 40, 52), np.uint8)
    for number, mask in enumerate(drawn):
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
        Image.fromarray(np.repeat(mask[..., None], 3, 2)).save(tmp_path / "images" / f"{number}.png")
    images = open_data(str(tmp_path), 0, Reading(masks=MaskOptions())).train.prepared(3, LOOK.image_size, None)
    made = task(seed=2, **options).augment(Samples(images, 0, list(range(len(images)))))
    known = made.labels != UNKNOWN
    # The classes are numbered from 0 where the levels are from 1, and what is black came in from outside.
    assert torch.equal(made.images[:, 0].round()[known], made.labels[known].float() + 1)
    assert torch.equal(made.images[:, 0] == 0, ~known)
    assert torch.equal(known.all(), torch.tensor("shift" not in options))


def test_a_part_of_a_mask_is_that_part_of_its_pixels(scenes: MaskedFiles) -> None:
    small = scenes.prepared(3, (16, 20), None)
    whole_masks = scenes.known()

    def frame(place: int, _size: tuple[int, int]) -> Frame:
        return Frame(float(place), 2.0 * place, 16.0, 20.0)

    for place, part in enumerate(small.known(frame)):
        assert torch.equal(part, whole_masks[place, place : place + 16, 2 * place : 2 * place + 20])


def test_what_comes_in_from_outside_is_not_known(scenes: MaskedFiles) -> None:
    made = task(shift=8).augment(Samples(scenes, 0, list(range(len(scenes)))))
    black = (made.images == 0).all(1)
    assert black.any()
    assert (made.labels[black] == UNKNOWN).all()


class Said(nn.Module):
    """Gives logits that say given classes, whatever it is shown."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[: len(x)]


def test_balanced_losses_weigh_classes_by_the_median_of_their_shares(scenes: MaskedFiles) -> None:
    pixels = np.zeros(3)
    for mask in scenes.known():
        for number in range(3):
            pixels[number] += int((mask == number).sum())
    shares = pixels / pixels.sum()
    weights = np.median(shares) / shares
    weights /= (weights * shares).sum()
    logits = torch.randn(2, 3, 40, 52, generator=torch.Generator().manual_seed(0))
    batch = task().collate(Samples(scenes.subset([0, 1]), 0, [0, 1]))
    truth, logs = batch.labels, logits.log_softmax(1)
    expected = 0.0
    for number in range(3):
        expected -= weights[number] * float(logs[:, number][truth == number].sum()) / truth.numel()
    learner = task(balance="loss")
    learner.prepare(scenes)
    assert float(learner.loss(Said(logits), batch)) == pytest.approx(expected, rel=1e-5)
    plain, dice = (float(task(loss=name).loss(Said(logits), batch)) for name in ("cross_entropy", "dice"))
    assert dice == pytest.approx(float(dice_loss(logits, truth.long())))
    assert float(task(loss="cross_entropy+dice").loss(Said(logits), batch)) == pytest.approx(plain + dice, rel=1e-6)


def test_figures_are_those_of_all_pixels_together(scenes: MaskedFiles) -> None:
    logits = torch.randn(5, 3, 40, 52, generator=torch.Generator().manual_seed(1))
    batch = task().collate(Samples(scenes.subset(range(5)), 0, list(range(5))))
    score = task().score()
    for part in (slice(0, 2), slice(2, 5)):  # As two batches.
        score.update(Said(logits[part]), LabelledImages(batch.images[part], batch.labels[part]))
    found = score.compute()
    said, truth = logits.argmax(1).numpy(), batch.labels.numpy()
    known = truth != UNKNOWN
    ious = []
    for number in range(3):
        both = ((said == number) & (truth == number)).sum()
        ious.append(both / (((said == number) | (truth == number)) & known).sum())
    assert found["mean_iou"] == pytest.approx(float(np.mean(ious)))
    assert found["pixel_accuracy"] == pytest.approx(float((said == truth)[known].mean()))
    losses = F.cross_entropy(logits, batch.labels.long(), ignore_index=UNKNOWN, reduction="none")
    assert found["loss"] == pytest.approx(float(losses.mean()), rel=1e-5)


def test_figures_near_borders_are_better_where_only_what_is_far_from_them_is_wrong(scenes: MaskedFiles) -> None:
    batch = task().collate(Samples(scenes.subset([3]), 0, [3]))
    truth = batch.labels.long()
    truth[truth == UNKNOWN] = 0
    right = F.one_hot(truth, 3).permute(0, 3, 1, 2).float()
    far = F.max_pool2d(right[:, 1:].amax(1), 9, 1, 4) == 0  # Ground that is 4 pixels away from all boxes, or more.
    assert far.any()
    wrong = right.clone()
    wrong[:, 1][far] = 2.0
    for logits, near in ((right, 1.0), (wrong, 1.0)):
        score = task().score()
        score.update(Said(logits), batch)
        assert score.compute()["trimap_iou"] == near
    assert score.compute()["mean_iou"] < 0.9
    assert task().better({"mean_iou": 0.5, "loss": 2.0}, {"mean_iou": 0.4, "loss": 1.0})
    assert not task(monitor="loss").better({"mean_iou": 0.5, "loss": 2.0}, {"mean_iou": 0.4, "loss": 1.0})
