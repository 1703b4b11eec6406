"""Runs within a budget, on real digits: what they take, and that they learn the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from planned import plan_with
from striate.errors import BudgetError, StriateError, UsageError
from striate.files import load_tensors
from striate.jobs import train_plan
from striate.jobs.plan import plan_of_model, step_maker
from striate.jobs.plan_search import make_search
from striate.jobs.programs import Settings, find_program
from striate.jobs.train import Finished, Started, train
from striate.jobs.train_plan import allowed_changes
from striate.planning.plan import read_plan
from striate.training.config import TrainConfig
from striate.training.folder import RunFolder
from striate.training.loop import Loop
from striate.training.records import PeakRecord


def run(folder: Path, **options: Any) -> list[Any]:
    values = {"data": "digits", "epochs": 1, "batch_size": 64, "output": str(folder), **options}
    return list(train(TrainConfig.model_validate(values)))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_tensors(RunFolder(folder).last / "model.safetensors"))


ALEXNET = {"model": "alexnet_28", "opt": "adam", "lr": 1e-3, "smoothing": 0.1}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], Any]:
    """The weights and the metrics of a run without a plan."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    metrics = run(folder, **ALEXNET)[-1].metrics
    return weights(folder), metrics


def test_a_run_within_less_memory_ends_with_the_same_bits(
    tmp_path: Path, plain: tuple[dict[str, torch.Tensor], Any]
) -> None:
    budget = 145_000_000
    started, *between, finished = run(tmp_path / "planned", memory=str(budget), lossless=True, **ALEXNET)
    assert isinstance(started, Started)
    assert started.plan is not None
    assert started.plan.plain_bytes > budget
    assert started.plan.recompute
    assert (started.plan.accumulate, started.plan.amp_dtype) == (1, None)
    ours, theirs = weights(tmp_path / "planned"), plain[0]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert isinstance(finished, Finished)
    assert finished.metrics == plain[1]
    peaks = {record.phase: record for record in between if isinstance(record, PeakRecord)}
    assert peaks.keys() == {"training", "validation"}
    # Labels as numbers and as targets are some kB more than what was planned for.
    assert peaks["training"].measured == pytest.approx(peaks["training"].predicted, rel=0.002)
    assert all(peak.measured <= peak.budget == budget for peak in peaks.values())
    page = RunFolder(tmp_path / "planned").report.read_text()
    assert f"{peaks['training'].measured:,}" in page


def test_a_plan_is_kept_with_its_run_and_taken_again(tmp_path: Path) -> None:
    started, *_ = run(tmp_path / "run", model="lenet5", memory="3MB", average="ema", mixup=0.2)
    saved = read_plan(tmp_path / "run" / "plan.json")
    assert started.plan == saved
    assert saved.peak_bytes < 3_000_000 < saved.plain_bytes
    again, *_ = train(resume=tmp_path / "run")
    assert isinstance(again, Started)
    assert again.plan == saved
    assert again.step == again.steps


def test_where_nothing_fits_the_smallest_budget_that_does_is_said(tmp_path: Path) -> None:
    with pytest.raises(StriateError, match=r"at the least. Grant --memory (\d+) \(bytes\)") as refused:
        run(tmp_path / "small", model="lenet5", memory="1MB")
    smallest = refused.value.remedy.split()[2]
    values = {"data": "digits", "batch_size": 64, "output": str(tmp_path / "enough")}
    started = next(train(TrainConfig.model_validate(values | {"model": "lenet5", "memory": smallest})))
    assert isinstance(started, Started)
    assert started.plan is not None
    assert started.plan.fits
    assert started.plan.peak_bytes <= int(smallest)


def test_another_network_is_trained_only_where_it_is_allowed(tmp_path: Path) -> None:
    options = {"model": "alexnet_28", "memory": "40MB", "lossless": True, "batch_size": 32}
    with pytest.raises(StriateError, match="a way to train alexnet_28"):
        run(tmp_path / "refused", **options)
    assert not (tmp_path / "refused").exists()
    started, *between, finished = run(tmp_path / "other", allow=["layers"], **options)
    assert (started.model, started.plan.variation) == ("mnist_cnn", "mnist_cnn in its place")
    assert all(peak.measured <= peak.budget == 40_000_000 for peak in between if isinstance(peak, PeakRecord))
    assert RunFolder(tmp_path / "other").config().model == "mnist_cnn"
    again, *_, tested = train(resume=tmp_path / "other")
    assert isinstance(again, Started)
    assert isinstance(tested, Finished)
    assert again.plan == started.plan
    assert tested.metrics == finished.metrics


@pytest.mark.slow
def test_changes_come_in_the_order_of_what_they_take() -> None:
    values = {"data": "digits", "model": "resnet34", "image_size": 64, "in_chans": 1, "memory": "1GB"}
    config = TrainConfig.model_validate(values | {"allow": ["layers", "image-size", "stride"]})
    found = dict(allowed_changes(config, 10, config.model_kwargs))
    assert next(iter(found)) == "images of 56x56"
    assert found.keys() >= {"first stride of 4", "resnet18 in its place", "images of 32x32"}
    assert found["first stride of 4"].model_kwargs == {"stem_stride": 4}
    assert found["first stride of 4"].image_size == (64, 64)
    assert (found["images of 32x32"].model, found["images of 32x32"].image_size) == ("resnet34", (32, 32))
    assert found["resnet18 in its place"].model == "resnet18"
    one = TrainConfig.model_validate(values | {"allow": "stride"})
    assert [name for name, _ in allowed_changes(one, 10, one.model_kwargs)] == ["first stride of 4"]
    with pytest.raises(UsageError, match="--allow with --memory"):
        TrainConfig.model_validate({"data": "digits", "model": "lenet5", "allow": ["stride"]})


@pytest.mark.slow
def test_a_run_that_gets_less_than_planned_goes_on_with_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: tuple[dict[str, torch.Tensor], Any]
) -> None:
    """In place of a card that runs out of memory in the middle of a step, when some of the weights have changed."""
    take, left = Loop._take_step, [3]

    def runs_out(loop: Loop, *step: Any) -> tuple[float, bool]:
        left[0] -= 1
        if left[0] == 0:
            next(loop.network.parameters()).data.zero_()
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return take(loop, *step)

    monkeypatch.setattr(Loop, "_take_step", runs_out)
    started, *between, finished = run(tmp_path / "run", memory="170MB", lossless=True, **ALEXNET)
    assert left[0] < 0
    after = read_plan(tmp_path / "run" / "plan.json")
    assert after.budget_bytes < started.plan.peak_bytes <= 170_000_000
    ours, theirs = weights(tmp_path / "run"), plain[0]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert finished.metrics == plain[1]
    peaks = {record.phase: record for record in between if isinstance(record, PeakRecord)}
    assert peaks["training"].predicted == after.peak_bytes
    page = RunFolder(tmp_path / "run").report.read_text()
    assert after.in_words() in page
    assert started.plan.in_words() not in page
    assert peaks["training"].measured <= after.budget_bytes
    left[0] = 3
    with pytest.raises(StriateError, match="Give --memory 80%"):
        run(tmp_path / "without", model="lenet5")


def test_a_step_cut_short_while_weights_change_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"model": "lenet5", "dtype": "bfloat16", "master_weights": True, "opt": "adam"}
    plain = run(tmp_path / "plain", **options)
    take, calls = Loop._take_step, [0]

    def runs_out(optimizer: torch.optim.Optimizer, *_arguments: Any) -> None:
        assert optimizer.param_groups[0]["params"][0].dtype is torch.float32  # The masters are in place.
        optimizer.param_groups[0]["params"][0].data.mul_(2)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    def taken(loop: Loop, *step: Any) -> tuple[float, bool]:
        calls[0] += 1
        if calls[0] != 4:
            return take(loop, *step)
        handle = loop.learner.register_step_pre_hook(runs_out)
        try:
            return take(loop, *step)
        finally:
            handle.remove()

    monkeypatch.setattr(Loop, "_take_step", taken)
    monkeypatch.setattr(train_plan, "LESS", 1.1)  # The same plan will do: what counts is what is restored.
    *_, finished = run(tmp_path / "run", memory="20MB", lossless=True, **options)
    assert calls[0] > 4
    ours, theirs = weights(tmp_path / "run"), weights(tmp_path / "plain")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert finished.metrics == plain[-1].metrics


def test_where_even_less_does_not_fit_the_run_can_go_on_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def runs_out(*_: Any) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_take_step", runs_out)
        with pytest.raises(BudgetError, match="striate train --resume"):
            run(tmp_path / "run", model="lenet5", memory="4.4MB", lossless=True)
    *_, finished = train(resume=tmp_path / "run")
    assert isinstance(finished, Finished)


def test_validation_counts_where_a_plan_was_made_for_another_optimizer(tmp_path: Path) -> None:
    plan_of_model(find_program("lenet5", Settings(64, "training", "sgd")), "4MB", frontier=False).save(
        tmp_path / "plan.json"
    )
    told = {}
    for opt in ("sgd", "adam"):
        started, *between, _ = run(tmp_path / opt, model="lenet5", plan=str(tmp_path / "plan.json"), opt=opt)
        told[opt] = started.plan.evaluation_bytes
        measured = [peak.measured for peak in between if isinstance(peak, PeakRecord) and peak.phase == "validation"]
        assert measured[0] <= told[opt]
    assert told["adam"] == told["sgd"] + 8 * 61_706 + 4 * 10  # Two means of each weight, and the steps taken.


def test_clipped_gradients_are_planned_for(tmp_path: Path) -> None:
    started, *between, _ = run(tmp_path / "run", model="lenet5", memory="20MB", clip_grad=1.0)
    assert not started.plan.optimizer_in_backward
    peaks = {record.phase: record for record in between if isinstance(record, PeakRecord)}
    assert peaks["training"].measured == pytest.approx(peaks["training"].predicted, rel=0.002)
    early = plan_of_model(find_program("lenet5", Settings(64, "training")), "2MB", lossless=True, frontier=False)
    replace(early, fits=True, optimizer_in_backward=True).save(tmp_path / "plan.json")
    with pytest.raises(UsageError, match="keeps all gradients until the step ends"):
        run(tmp_path / "both", model="lenet5", plan=str(tmp_path / "plan.json"), clip_grad=1.0)


def test_a_plan_that_was_printed_is_taken(tmp_path: Path) -> None:
    program = find_program("lenet5", Settings(64, "training"))
    plan = plan_of_model(program, "3MB", frontier=False)
    plan.save(tmp_path / "plan.json")
    started, *between, _ = run(tmp_path / "run", model="lenet5", plan=str(tmp_path / "plan.json"))
    assert started.plan == read_plan(tmp_path / "run" / "plan.json")
    told = {"peak_bytes": started.plan.peak_bytes, "evaluation_bytes": started.plan.evaluation_bytes}
    assert started.plan == replace(plan, **told)
    (peak,) = (record for record in between if isinstance(record, PeakRecord) and record.phase == "training")
    assert peak.measured == pytest.approx(peak.predicted, rel=0.005)
    assert peak.predicted == started.plan.peak_bytes <= plan.budget_bytes == peak.budget


@pytest.mark.slow
def test_recomputation_and_16_bit_floats_go_together_in_a_run(tmp_path: Path) -> None:
    program = find_program("alexnet_28", Settings(64, "training"))
    ways = make_search(step_maker(program, foreach=False), 64, None, None).variant(1, "bfloat16")
    found, path = ways.smallest(), tmp_path / "plan.json"
    assert found.recompute
    fields = {"channels_last": True, "amp_dtype": "bfloat16", "budget_bytes": ways.plain.peak, "peak_bytes": found.peak}
    plan_with(batch_size=64, micro_batch=64, evaluation_batch=64, recompute=found.recompute, **fields).save(path)
    started, *between, _ = run(tmp_path / "run", model="alexnet_28", plan=str(path))
    (peak,) = (record for record in between if isinstance(record, PeakRecord) and record.phase == "training")
    assert peak.measured == pytest.approx(peak.predicted, rel=0.005)
    assert peak.predicted == started.plan.peak_bytes < ways.plain.peak


def test_plans_for_other_runs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan_of_model(find_program("lenet5", Settings(8, "training")), "3MB", frontier=False).save(path)
    with pytest.raises(UsageError, match="batches of 62 or more"):
        run(tmp_path / "larger", model="lenet5", plan=str(path))
    with pytest.raises(UsageError, match="either --plan or --memory"):
        run(tmp_path / "both", model="lenet5", plan=str(path), memory="3MB")
    recomputed = plan_of_model(
        find_program("alexnet_28", Settings(64, "training")), "130MB", lossless=True, frontier=False
    )
    assert recomputed.recompute
    recomputed.save(path)
    with pytest.raises(UsageError, match="one with which it takes"):
        run(tmp_path / "averaged", model="alexnet_28", plan=str(path), average="ema")
    with pytest.raises(StriateError, match="as when the plan was made"):
        run(tmp_path / "other", model="lenet5", plan=str(path))
