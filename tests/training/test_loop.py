"""The loop alone, with networks and tasks of the test's own."""

import os
import signal
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seen import centred
from striate.data.sets import ImageTensors
from striate.data.transforms import normalise
from striate.errors import InterruptedRunError, NotFiniteError
from striate.files import load_tensors, save_tensors
from striate.training.checkpoint import load_generation
from striate.training.config import TrainConfig
from striate.training.folder import RunFolder
from striate.training.loading import EvenBatches
from striate.training.loop import Loop
from striate.training.records import EpochRecord, StepRecord
from striate.training.tasks import Classification


def image_set(count: int, seed: int) -> ImageTensors:
    """Bright or dark squares with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=generator)
    noise = torch.randint(0, 100, (count, 1, 6, 6), generator=generator)
    return ImageTensors((noise + 100 * labels.view(-1, 1, 1, 1)).to(torch.uint8), labels, ("dark", "bright"))


TRAIN, VAL = image_set(90, 0), image_set(40, 1)


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(64, 2)
    )


def make_loop(
    folder: Path, network: nn.Module | None = None, resume: bool = False, channels: int = 1, **options: Any
) -> Loop:
    values = {"data": "d", "model": "m", "epochs": 3, "batch_size": 32, "lr": 0.05, **options}
    config = TrainConfig.model_validate(values)
    task = Classification(config, centred(channels, 6), TRAIN.classes)
    train, val = (images.prepared(channels, images.image_size, None) for images in (TRAIN, VAL))
    task.prepare(train)

    def save(which: str, state: Mapping[str, Tensor]) -> None:
        save_tensors(folder / "weights" / which / "model.safetensors", state)

    loop = Loop(network or small_network(), task, train, val, config, RunFolder(folder), save)
    if resume:
        loop.restore(lambda circumstances: None)
    return loop


def weights(folder: Path, which: str = "last") -> dict[str, Tensor]:
    return load_tensors(folder / "weights" / which / "model.safetensors")


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_records_count_every_step_and_every_epoch(tmp_path: Path) -> None:
    records = list(make_loop(tmp_path).run())
    steps = [record for record in records if isinstance(record, StepRecord)]
    epochs = [record for record in records if isinstance(record, EpochRecord)]
    assert [record.step for record in steps] == list(range(1, 10))
    assert [record.epoch for record in steps] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [record.images for record in steps] == [30] * 9
    for epoch in epochs:
        losses = [step.loss for step in steps if step.epoch == epoch.epoch]
        assert epoch.train_loss == pytest.approx(sum(losses) / 3)
    assert epochs[-1].metrics["accuracy"] > 0.9
    assert epochs[0].best


def test_the_same_seed_gives_the_same_bits_and_another_one_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        list(make_loop(tmp_path / name, seed=seed, average="swa", average_start=0.4).run())
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_best_weights_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, sched="constant", lr=2.0, epochs=6)
    at_epoch, best = {}, 0
    for record in loop.run():
        if isinstance(record, EpochRecord):
            at_epoch[record.epoch] = {name: tensor.clone() for name, tensor in loop.network.state_dict().items()}
            best = record.epoch if record.best else best
    assert same(weights(tmp_path, "best"), at_epoch[best])
    assert same(weights(tmp_path, "last"), at_epoch[6])


def test_averaged_weights_are_judged_with_batch_statistics_of_their_own(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 2)), average="swa")
    list(loop.run())
    images: Any = normalise(TRAIN.images, loop.task.preprocessing).flatten(1)  # type: ignore[attr-defined]
    kept = weights(tmp_path)
    assert not torch.equal(kept["2.weight"], loop.network.state_dict()["2.weight"])
    # The statistics of the whole training set, up to the weighting of its three even batches, which are shuffled.
    torch.testing.assert_close(kept["1.running_mean"], images.mean(0), rtol=0, atol=1e-5)
    parts = [images[places] for _, places in EvenBatches(90, 32, seed=0)]
    variance = torch.stack([part.var(0) for part in parts]).mean(0)
    torch.testing.assert_close(kept["1.running_var"], variance, rtol=1e-4, atol=1e-5)


def test_averages_are_compared_with_averages_from_their_beginning_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classification, "better", lambda *_: False)
    loop = make_loop(tmp_path, average="swa", average_start=0.5, epochs=4)
    epochs = [record for record in loop.run() if isinstance(record, EpochRecord)]
    assert [record.best for record in epochs] == [True, False, True, False]


@pytest.mark.parametrize(("monitor", "best"), [("metric", [True, True, False]), ("loss", [True, False, True])])
def test_what_makes_an_epoch_better_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, monitor: str, best: list[bool]
) -> None:
    metrics = iter(
        [{"loss": 0.5, "accuracy": 0.8}, {"loss": 0.6, "accuracy": 0.9}, {"loss": 0.4, "accuracy": 0.85}] * 2
    )
    monkeypatch.setattr(Loop, "evaluate", lambda *_: next(metrics))
    loop = make_loop(tmp_path, monitor=monitor)
    assert [record.best for record in loop.run() if isinstance(record, EpochRecord)] == best
    stopped = make_loop(tmp_path / "stopped", monitor=monitor, patience=1)
    epochs = [record for record in stopped.run() if isinstance(record, EpochRecord)]
    assert len(epochs) == best.index(False) + 1


class FailsAt(nn.Module):
    """A network whose answer turns into something that is not a number."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.inner, self.step, self.calls = small_network(), step, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        logits: Tensor = self.inner(x)
        return logits * (float("nan") if self.calls == self.step else 1.0)


def test_not_a_number_stops_the_run_at_its_step_and_keeps_the_last_good_weights(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, FailsAt(5))
    steps: list[StepRecord] = []
    with pytest.raises(NotFiniteError, match=r"a loss of nan at step 5 of 9 \(epoch 2\). Try a lower --lr"):
        steps.extend(record for record in loop.run() if isinstance(record, StepRecord))
    assert len(steps) == 4
    kept = weights(tmp_path)
    assert all(tensor.isfinite().all() for tensor in kept.values())
    first = make_loop(tmp_path / "one", FailsAt(99), epochs=3)
    for record in first.run():
        if isinstance(record, EpochRecord):
            break
    assert same(kept, weights(tmp_path / "one"))


def test_infinite_weights_are_never_saved(tmp_path: Path) -> None:
    network, spare = small_network(), torch.zeros(1)
    network.register_buffer("spare", spare)  # No loss shows it.
    with pytest.raises(NotFiniteError, match=r"spare with a value that is infinite"):
        for record in make_loop(tmp_path, network, checkpoint_seconds=0).run():
            if isinstance(record, StepRecord) and record.step == 2:
                spare.fill_(float("inf"))
    generation = load_generation(tmp_path / "resume")
    assert generation is not None
    assert generation.progress.step == 2
    assert generation.network["spare"].equal(torch.zeros(1))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SIGINT", {}),
        ("SIGTERM", {"average": "swa", "average_start": 0.3, "workers": 1}),
        ("SIGTERM", {"average": "ema", "amp": True, "opt": "adamw", "mixup": 0.2, "patience": 5}),
    ],
)
def test_a_signal_saves_and_stops_and_the_run_goes_on_as_if_nothing_had_been(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    before = signal.getsignal(signal.Signals[name])
    said = "Ctrl-C" if name == "SIGINT" else name
    with pytest.raises(InterruptedRunError, match=f"received {said} after step 5 of 9; everything is saved"):
        for record in make_loop(tmp_path / "a", **options).run():
            if isinstance(record, StepRecord) and record.step == 4:
                os.kill(os.getpid(), signal.Signals[name])
    assert signal.getsignal(signal.Signals[name]) == before
    rest = [
        record.step
        for record in make_loop(tmp_path / "a", resume=True, **options).run()
        if isinstance(record, StepRecord)
    ]
    assert rest == [6, 7, 8, 9]
    list(make_loop(tmp_path / "b", **options).run())
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert same(weights(tmp_path / "a", "best"), weights(tmp_path / "b", "best"))


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_signal_while_images_are_judged_stops_the_run_behind_its_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    loop, judged, seen = make_loop(tmp_path / "a"), 0, list[int]()
    evaluate = loop.evaluate

    def interrupted(*given: Any) -> Mapping[str, float]:
        nonlocal judged
        judged += 1
        if judged == epoch:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*given)

    monkeypatch.setattr(loop, "evaluate", interrupted)
    with pytest.raises(InterruptedRunError, match=f"received SIGTERM after step {3 * epoch} of 9; everything is saved"):
        for record in loop.run():
            if isinstance(record, EpochRecord):
                seen.append(record.epoch)
    assert seen == list(range(1, epoch + 1))
    list(make_loop(tmp_path / "a", resume=True).run())
    list(make_loop(tmp_path / "b").run())
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_a_second_signal_acts_at_once(tmp_path: Path) -> None:
    # Shells have what they start in the background ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        for _ in make_loop(tmp_path).run():
            signal.raise_signal(signal.SIGINT)  # At once and in this thread, so that two are two.
            signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_patience_ends_the_run_and_survives_a_resume(tmp_path: Path) -> None:
    options: dict[str, Any] = {"lr": 1e-12, "epochs": 9, "patience": 2, "sched": "constant"}
    dense = nn.Linear(36, 2)
    network = nn.Sequential(nn.Flatten(), dense)
    nn.init.zeros_(dense.weight)  # Nothing becomes better at this rate: accuracy stays, and the loss too.
    nn.init.zeros_(dense.bias)
    epochs = [r for r in make_loop(tmp_path, network, **options).run() if isinstance(r, EpochRecord)]
    best = max(record.epoch for record in epochs if record.best)
    assert [record.epoch for record in epochs][-1] == best + 2 < 9
    assert list(make_loop(tmp_path, network, resume=True, **options).run()) == []


@pytest.mark.parametrize("options", [{"amp": True}, {"channels_last": False}, {"workers": 1}])
def test_learns_in_every_setting_of_the_machine(tmp_path: Path, options: dict[str, Any]) -> None:
    *_, last = make_loop(tmp_path, **options).run()
    assert isinstance(last, EpochRecord)
    assert last.metrics["accuracy"] > 0.9


def test_a_layer_learns_at_its_own_rate(tmp_path: Path) -> None:
    """Of plain gradient descent, one step is the gradient times the rate."""
    moved = []
    for decay in (1.0, 0.5):
        torch.manual_seed(0)
        body, head = (
            nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3)),
            nn.Sequential(nn.Flatten(), nn.Linear(16, 2)),
        )
        network = nn.Sequential(OrderedDict(body=body, head=head))
        before = [parameter.detach().clone() for parameter in network.parameters()]
        options: dict[str, Any] = {
            "layer_decay": decay,
            "opt": "sgd",
            "sched": "constant",
            "epochs": 1,
            "batch_size": 90,
        }
        for _ in make_loop(tmp_path / str(decay), network, **options).run():
            pass
        moved.append([now.detach() - then for now, then in zip(network.parameters(), before, strict=True)])
    for scale, slow, plain in zip((0.25, 0.25, 0.5, 0.5, 1, 1), moved[1], moved[0], strict=True):
        torch.testing.assert_close(slow, scale * plain, rtol=1e-4, atol=1e-7)
        assert plain.abs().max() > 1e-5


def test_channels_last_reaches_the_network_and_16_bit_its_products(tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen["layout"] = inputs[0].is_contiguous(memory_format=torch.channels_last)
        seen["dtype"] = output.dtype

    convolution = nn.Conv2d(3, 2, 6)
    convolution.register_forward_hook(note)
    next(iter(make_loop(tmp_path, nn.Sequential(convolution, nn.Flatten()), channels=3, amp=True).run()))
    assert seen == {"layout": True, "dtype": torch.bfloat16}
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
