import pytest
import torch
from sklearn.metrics import r2_score
from torch import nn

from seen import centred
from striate.data.sets import ImageTensors
from striate.errors import UsageError
from striate.training.config import TrainConfig
from striate.training.tasks import LabelledImages, Regression


class Levels(nn.Module):
    """Says an image's mean level."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2, 3), keepdim=True).flatten(1)


def prepared() -> tuple[Regression, ImageTensors]:
    pixels = torch.randint(0, 256, (50, 1, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    numbers = 1000 + 7 * pixels.double().mean((1, 2, 3))
    images = ImageTensors(pixels, numbers, ())
    task = Regression(TrainConfig(data="d", model="m"), centred(side=4))
    task.prepare(images)
    return task, images


def test_targets_have_no_mean_and_a_deviation_of_one_and_come_back() -> None:
    task, images = prepared()
    targets = task.targets(images.labels)
    assert targets.shape == (50, 1)
    assert abs(float(targets.mean())) < 1e-5
    assert float(targets.std(correction=0)) == pytest.approx(1, abs=1e-5)
    std, mean = task.describe()["scale"]
    torch.testing.assert_close(targets[:, 0].double() * std + mean, images.labels)


def test_numbers_far_from_zero_keep_their_differences() -> None:
    task, images = prepared()
    seconds = torch.arange(50, dtype=torch.float64) + 1_700_000_000
    task.prepare(ImageTensors(images.pixels(), seconds, ()))
    assert float(task.targets(seconds).std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_the_loss_is_the_mean_square_and_the_score_its_own_unit() -> None:
    task, images = prepared()
    network = Levels()
    batch = LabelledImages(images.pixels().float() / 255, images.labels)
    outputs, targets = network(batch.images), task.targets(images.labels)
    assert float(task.loss(network, batch)) == pytest.approx(float(((outputs - targets) ** 2).mean()))
    score = task.score()
    for part in batch.split(3):
        score.update(network, part)
    metrics = score.compute()
    said = outputs[:, 0].double() * task.std + task.mean
    assert metrics["loss"] == pytest.approx(float(((outputs - targets) ** 2).mean()), rel=1e-5)
    assert metrics["rmse"] == pytest.approx(float((said - images.labels).square().mean().sqrt()), rel=1e-5)
    assert metrics["mae"] == pytest.approx(float((said - images.labels).abs().mean()), rel=1e-5)
    assert metrics["r2"] == pytest.approx(r2_score(images.labels.numpy(), said.numpy()), rel=1e-4)
    assert task.better({"loss": 0.1}, {"loss": 0.2})


def test_smoothing_is_for_classes() -> None:
    with pytest.raises(UsageError, match="Smoothing is for classes"):
        Regression(TrainConfig(data="d", model="m", smoothing=0.1), centred())
