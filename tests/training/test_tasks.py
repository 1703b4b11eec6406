from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seen import centred
from striate.blocks.contract import AuxiliaryLogits
from striate.data.embedded import load_digits
from striate.data.sets import ImageTensors
from striate.training.config import TrainConfig
from striate.training.loading import EvenBatches
from striate.training.task import Samples
from striate.training.tasks import Classification, LabelledImages

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]])
LABELS = torch.tensor([0, 1])


class Constant(nn.Module):
    """Answers with given logits, and remembers what it was shown."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits
        self.seen = torch.empty(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x
        return self.logits


def task(side: int = 8, **options: Any) -> Classification:
    return Classification(
        TrainConfig.model_validate({"data": "d", "model": "m", **options}), centred(side=side), ("a", "b", "c")
    )


def loss_of(**options: Any) -> float:
    return float(task(**options).loss(Constant(LOGITS), LabelledImages(torch.zeros(2, 1, 1, 1), LABELS)))


def test_cross_entropy_is_minus_the_log_of_the_truths_share() -> None:
    shares = LOGITS.exp() / LOGITS.exp().sum(1, keepdim=True)
    assert loss_of() == pytest.approx(float(-(shares[0, 0].log() + shares[1, 1].log()) / 2))


def test_mse_is_the_textbooks_half_sum_of_squares_times_two_over_the_classes() -> None:
    shares = LOGITS.exp() / LOGITS.exp().sum(1, keepdim=True)
    half_sums = ((shares - torch.eye(3)[LABELS]) ** 2).sum(1) / 2
    assert loss_of(loss="mse") == pytest.approx(float(half_sums.mean()) * 2 / 3)


def test_smoothing_is_torchs() -> None:
    assert loss_of(smoothing=0.1) == pytest.approx(float(F.cross_entropy(LOGITS, LABELS, label_smoothing=0.1)))


def test_losses_of_auxiliary_heads_are_added_with_the_papers_weight() -> None:
    """0.3 of each (Szegedy et al. 2015, section 5)."""

    class Heads(Constant):
        def forward_all(self, x: torch.Tensor) -> AuxiliaryLogits:
            return AuxiliaryLogits(self.logits, 2 * self.logits, -self.logits)

    batch = LabelledImages(torch.zeros(2, 1, 1, 1), LABELS)
    one, two, three = (float(F.cross_entropy(factor * LOGITS, LABELS)) for factor in (1, 2, -1))
    assert float(task().loss(Heads(LOGITS), batch)) == pytest.approx(one + 0.3 * (two + three))
    score = task().score()
    score.update(Heads(LOGITS), batch)
    assert score.compute()["loss"] == pytest.approx(one)


def test_mixup_mixes_images_and_targets_by_the_same_share() -> None:
    learner, network = task(mixup=0.4), Constant(torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3]])))
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    shares = set()
    for seed in range(20):
        torch.manual_seed(seed)
        loss = float(learner.loss(network, LabelledImages(images, LABELS)))
        mixed = network.seen.flatten().tolist()  # each image's own share of image 1
        targets = torch.tensor([[1 - mixed[0], mixed[0], 0.0], [1 - mixed[1], mixed[1], 0.0]])
        expected = float(-(targets * network.logits).sum(1).mean())
        assert loss == pytest.approx(expected, rel=1e-5)
        shares.add(round(mixed[0], 6))
    assert len(shares) > 5
    assert all(0 <= share <= 1 for share in shares)


def test_augmentation_depends_on_seed_epoch_and_image_alone() -> None:
    digits = load_digits()
    learner = Classification(TrainConfig(data="digits", model="lenet5", shift=2, seed=3), centred(), digits.classes)

    def augmented(epoch: int, indices: list[int]) -> torch.Tensor:
        chosen = digits.subset(indices)
        return learner.augment(Samples(chosen, epoch, indices)).images

    together = augmented(1, [5, 6, 7, 8])
    assert torch.equal(together[[2, 0]], augmented(1, [7, 5]))
    assert not torch.equal(together, augmented(2, [5, 6, 7, 8]))
    plain = learner.collate(Samples(digits.subset(range(5, 9)), 1, [5, 6, 7, 8])).images
    background = plain.min()
    for before, after in zip(plain, together, strict=True):  # within the image, a shift moves and adds nothing
        assert after.gt(background + 1).sum() <= before.gt(background + 1).sum()


def test_crops_mirrors_and_colours_depend_on_seed_epoch_and_image_alone() -> None:
    pixels = torch.randint(0, 256, (6, 3, 12, 12), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images = ImageTensors(pixels, torch.tensor([0, 1, 2] * 2), ("a", "b", "c"))
    options = {"crop_scale": 0.3, "hflip": 0.5, "color_jitter": 0.4}
    learner = Classification(
        TrainConfig.model_validate({"data": "d", "model": "m", **options}), centred(3, 12), images.classes
    )

    def augmented(epoch: int, indices: list[int]) -> torch.Tensor:
        return learner.augment(Samples(images.subset(indices), epoch, indices)).images

    together = augmented(0, [0, 1, 2, 3, 4, 5])
    for place in range(6):
        assert torch.equal(augmented(0, [place])[0], together[place])
        assert not torch.equal(augmented(1, [place])[0], together[place])


def test_mirroring_turns_left_and_right_of_as_many_images_as_asked_for() -> None:
    ramp = torch.arange(8, dtype=torch.uint8).expand(4000, 1, 8, 8)
    images = ImageTensors(ramp, torch.zeros(4000, dtype=torch.int64), ("a", "b", "c"))
    learner = task(hflip=0.3)
    seen = learner.augment(Samples(images, 0, list(range(4000)))).images
    rising = seen[:, 0, 0, 0] < seen[:, 0, 0, 7]
    assert torch.equal(seen[~rising].flip(3), seen[rising][:1].expand(int((~rising).sum()), -1, -1, -1))
    assert abs(float((~rising).double().mean()) - 0.3) < 0.03


def test_every_shift_happens_about_equally_often() -> None:
    dot = torch.zeros(9, 9, dtype=torch.uint8)
    dot[4, 4] = 255
    images = ImageTensors(dot.expand(5000, 1, 9, 9), torch.zeros(5000, dtype=torch.int64), ("a", "b", "c"))
    learner = task(side=9, shift=1)
    batch = learner.augment(Samples(images, 0, list(range(5000))))
    places = batch.images.flatten(1).argmax(1).bincount(minlength=81).view(9, 9)[3:6, 3:6]
    assert places.sum() == 5000
    assert ((places - 5000 / 9).abs() < 80).all()


def test_the_score_adds_up_over_batches_of_any_size() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 3), torch.randint(0, 3, (50,))
    score = task().score()
    for part in (slice(0, 1), slice(1, 20), slice(20, 50)):
        score.update(Constant(logits[part]), LabelledImages(torch.zeros(len(labels[part]), 1, 1, 1), labels[part]))
    metrics = score.compute()
    assert metrics["loss"] == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-6)
    assert metrics["accuracy"] == pytest.approx(
        sum(int(r.argmax()) == int(t) for r, t in zip(logits, labels, strict=True)) / 50
    )


def test_more_right_is_better_and_then_the_lower_loss() -> None:
    better = task().better
    assert better({"accuracy": 0.9, "loss": 2.0}, {"accuracy": 0.8, "loss": 1.0})
    assert better({"accuracy": 0.9, "loss": 0.9}, {"accuracy": 0.9, "loss": 1.0})
    assert not better({"accuracy": 0.9, "loss": 1.0}, {"accuracy": 0.9, "loss": 1.0})
    assert not better({"accuracy": 0.8, "loss": 0.1}, {"accuracy": 0.9, "loss": 1.0})


def test_balanced_losses_give_every_class_the_same_weight() -> None:
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    images = ImageTensors(torch.zeros(10, 1, 8, 8, dtype=torch.uint8), labels, ("a", "b", "c"))
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    for options in ({}, {"smoothing": 0.1}, {"loss": "mse"}):
        learner = task(balance="loss", **options)
        learner.prepare(images)
        ours = learner.loss(Constant(logits), LabelledImages(torch.zeros(10, 1, 8, 8), labels))
        plain = task(**options)
        each = [
            float(plain.loss(Constant(logits[[n]]), LabelledImages(torch.zeros(1, 1, 8, 8), labels[[n]])))
            for n in range(10)
        ]
        of_classes = [sum(each[:6]) / 6, sum(each[6:9]) / 3, each[9]]
        assert float(ours) == pytest.approx(sum(of_classes) / 3, rel=1e-5)
        score = learner.score()  # What an image is worth at validation, its class does not say.
        score.update(Constant(logits), LabelledImages(torch.zeros(10, 1, 8, 8), labels))
        if not options:
            assert score.compute()["loss"] == pytest.approx(sum(each) / 10, rel=1e-5)


def test_balanced_sampling_shows_every_class_as_often() -> None:
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    images = ImageTensors(torch.zeros(1000, 1, 8, 8, dtype=torch.uint8), labels, ("a", "b", "c"))
    chances = task(balance="sampling").chances(images)
    assert chances is not None
    assert task().chances(images) is None
    batches = EvenBatches(1000, 100, seed=1, chances=chances)
    drawn = torch.tensor([place for _ in range(3) for _, places in batches for place in places])
    assert len(set(drawn[:1000].tolist())) == 1000  # Each time that an image comes back, it is changed otherwise.
    counts = labels[drawn % 1000].bincount()
    assert len(drawn) == 3000
    assert ((counts - 1000).abs() < 4 * (1000 * 2 / 3) ** 0.5).all()  # Four standard deviations of a draw.
    first = [places for _, places in batches]
    batches.move_to(1)
    assert first != [places for _, places in batches]
