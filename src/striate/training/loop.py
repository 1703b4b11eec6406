"""The loop: batches through a network, one optimizer step each, and after every epoch what it was worth.

It is a generator of records. What makes an interrupted run end with the same bits as one that was not: the order of
images, their augmentation and the random state of each step are functions of (seed, epoch, step), and everything else
that a step depends on is in the generation that ``striate.training.checkpoint`` writes.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from striate.data.keyed import Use, key
from striate.data.sets import ImageSet
from striate.errors import InterruptedRunError, NotFiniteError
from striate.planning.apply import apply_plan
from striate.planning.plan import Plan
from striate.training.averages import Average
from striate.training.checkpoint import Generation, Progress, load_generation, save_generation
from striate.training.config import TrainConfig
from striate.training.evaluation import outputs_of
from striate.training.failures import bad_tensor, interrupted, not_finite, too_little_memory
from striate.training.folder import RunFolder
from striate.training.loading import Loader
from striate.training.optimizers import optimizer_of
from striate.training.peaks import Peaks, Watch
from striate.training.probe import fit_head
from striate.training.records import EpochRecord, PeakRecord, ProbeRecord, StepRecord
from striate.training.schedules import rate_at
from striate.training.signals import stop_signals
from striate.training.task import Batch, Task
from striate.training.transfer import freeze_body, hold_statistics

SaveWeights = Callable[[Literal["best", "last"], Mapping[str, Tensor]], None]


class Loop:
    """One training run of one network.

    Args:
        network: to be trained, in place.
        task: what to learn; prepared.
        train: images to learn from.
        val: images to choose by.
        config: what was asked for.
        folder: where the run's state is kept.
        save_weights: keeps the weights of the best and of the last epoch.
        head: names of the network's layers behind what has learned already.
        plan: how a step is taken within a budget.
        watch: finds the peak of memory of what runs in its context, besides tensors that are there already.
        replan: makes another plan, for less memory, in place of one with which the device had too little.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        train: ImageSet,
        val: ImageSet,
        config: TrainConfig,
        folder: RunFolder,
        save_weights: SaveWeights,
        *,
        head: Sequence[str] = (),
        plan: Plan | None = None,
        watch: Watch | None = None,
        replan: Callable[[Plan], Plan] | None = None,
    ) -> None:
        from striate.training.machine import Machine  # Takes seconds, so what can be refused was refused before.

        self.task, self.config, self.folder, self.save_weights = task, config, folder, save_weights
        self.head, self.plan, self.replan, self.peaks, self.progress = head, plan, replan, Peaks(watch), Progress()
        self.machine = Machine(config)
        self.group = self.machine.group
        self.network = self.machine.place(network)
        sharing: dict[str, Any] = {"batch_size": config.batch_size, "workers": config.workers, "group": self.group}
        self.train = Loader(train, task.augment, seed=config.seed, chances=task.chances(train), **sharing)
        self.val = self.in_order(val)
        self.learner = optimizer_of(config, head, self.network)
        self.optimizer: Optimizer = self.machine.optimizer(self.learner)
        self.average = Average(self.network, config.average, decay=config.average_decay, start=config.average_start)
        self.model: nn.Module
        self.frozen: bool | None = None
        self._taken = 0  # Steps of this stage, in this process.

    def restore(self, check: Callable[[Mapping[str, Any]], None]) -> None:
        """Go on from the folder's current generation, if there is one.

        Args:
            check: raises where the circumstances that the generation was made in are no longer so.
        """
        generation = load_generation(self.folder.resume, clear=self.group.is_first)
        self.group.wait()  # None may write the next generation while others look for this one.
        if generation is None:
            return
        check(generation.progress.circumstances)
        self.network.load_state_dict(dict(generation.network))
        self.optimizer.load_state_dict(generation.optimizer["optimizer"])
        self.machine.load_state(generation.optimizer["precision"])
        self.average.load_state(generation.average)
        self.progress = generation.progress

    def run(self) -> Iterator[StepRecord | PeakRecord | ProbeRecord | EpochRecord]:
        """Train until the last epoch, or until nothing has become better for long enough.

        Raises:
            NotFiniteError: where the loss or a weight is infinite or not a number; the last good weights are kept.
            InterruptedRunError: after Ctrl-C or SIGTERM; the state is saved.
        """
        with stop_signals() as received:
            if self.progress.step == 0 and not self.progress.records:
                if self.group.is_first:
                    self.save_weights("last", self.network.state_dict())
                self._save()
                if self.config.probe:
                    yield from self._probe(received)
            while self.progress.epoch < self.config.epochs and not self._stale():
                try:
                    self._enter_stage()
                    yield from self._train_epoch(received)
                    record = self._end_epoch(self.progress.epoch + 1)
                except torch.OutOfMemoryError as error:
                    self._take_less(error)
                    continue
                yield from self.peaks.fresh()
                yield record
                if self.group.add_up(float(bool(received)))[0] > 0:
                    raise self._stopped(received)
            if self.group.is_first:
                self.folder.write_results(self.progress.records)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.train.steps * self.config.epochs

    @property
    def evaluation_batch(self) -> int:
        """Images at once, in each process, where nothing is learned."""
        size = -(-self.config.batch_size // self.group.size)
        return size if self.plan is None else min(size, self.plan.evaluation_batch)

    def in_order(self, images: ImageSet) -> Loader:
        """Return a loader of this process's share of some images, as they are."""
        collate, workers = self.task.collate, self.config.workers
        return Loader(images, collate, batch_size=self.evaluation_batch, workers=workers, group=self.group)

    def _enter_stage(self) -> None:
        """Let the head alone learn in the first epochs, if that is asked for, and all of the network after them."""
        frozen = self.progress.epoch < self.config.freeze_epochs
        if frozen == self.frozen:
            return
        self.frozen, self._taken = frozen, 0
        freeze_body(self.network, self.head, frozen)
        if self.plan is not None:
            # While the body is frozen nothing is kept for its gradients, and the step takes less than was planned.
            plan = replace(self.plan, recompute=(), optimizer_in_backward=False) if frozen else self.plan
            apply_plan(plan, self.network, self.learner)
        self.model = self.machine.learner(self.network)

    def _train_epoch(self, received: list[str]) -> Iterator[StepRecord]:
        progress, config = self.progress, self.config
        saved = started = asked = time.monotonic()
        self.model.train()
        if self.frozen:
            hold_statistics(self.network)
        for batch in self.train.epoch(progress.epoch, progress.step_in_epoch):
            progress.waited_seconds += time.monotonic() - asked
            batch = self.machine.move(batch)
            rate = rate_at(config, progress.step, self.train.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["scale"]
            count = self.train.size_of(progress.step_in_epoch)
            with self._watched("training", batch):
                value, stopping = self._take_step(batch, count, received)
            progress.loss_sum += value * count
            progress.images += count
            progress.step += 1
            progress.step_in_epoch += 1
            asked = time.monotonic()
            if stopping or asked - saved >= config.checkpoint_seconds:
                progress.epoch_seconds += asked - started
                saved = started = asked
                self._save()
            if stopping:
                raise self._stopped(received)
            yield StepRecord(progress.epoch + 1, progress.step, self.steps, value, rate, count)
            asked = time.monotonic()
        progress.epoch_seconds += time.monotonic() - started

    def _stopped(self, received: list[str]) -> InterruptedRunError:
        return interrupted(received, f"step {self.progress.step} of {self.steps}", self.folder, self.group)

    def _take_step(self, batch: Batch, count: int, received: list[str]) -> tuple[float, bool]:
        """Learn from a batch, in parts as planned; return its loss, and whether any process was told to stop.

        Args:
            batch: this process's part of it.
            count: images of all processes' parts.
            received: signals.
        """
        progress, group, value = self.progress, self.group, 0.0
        self.machine.seed(key(self.config.seed, Use.STEP, progress.step * group.size + group.rank))
        parts = 1 if self.plan is None else self.plan.parts(len(batch))
        pieces = batch.split(parts) if parts > 1 else (batch,)
        for place, part in enumerate(pieces):
            share = len(part) / count
            with self.machine.part(self.model, place == parts - 1):
                with self.machine.autocast():  # Around the task, since not all that it calls goes through `forward`.
                    loss = self.task.loss(self.model, part)
                value += share * float(loss.detach())
                if group.size == 1:
                    self._expect_finite(value)
                # Gradients are the mean over processes, each of which may have another number of images.
                self.machine.backward(loss if share == 1 else share * group.size * loss)
            del loss
        value, stop = group.add_up(value, float(bool(received)))
        self._expect_finite(value)
        if self.config.clip_grad is not None:
            self.machine.clip(self.model, self.optimizer, self.config.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=group.size == 1)
        self._taken += 1
        self.average.update(progress.step / self.steps)
        return value, stop > 0

    def _watched(self, phase: str, batch: Batch) -> AbstractContextManager[None]:
        """Measure a phase of a planned run once; a step as soon as the optimizer's state is there."""
        late = 2 if self.group.size > 1 else int(self.config.opt != "sgd")  # Buckets and state are there then.
        settled = phase != "training" or (not self.frozen and self._taken >= late)
        if self.plan is None or not settled or not self.peaks.wants(phase):
            return nullcontext()
        state = [value for of in self.optimizer.state.values() for value in of.values() if isinstance(value, Tensor)]
        held = [*self.network.parameters(), *self.network.buffers(), *self.average.tensors()]
        gradients = [tensor.grad for tensor in self.network.parameters() if tensor.grad is not None]
        predicted = self.plan.peak_bytes if phase == "training" else self.plan.evaluation_bytes
        given = [*held, *gradients, *state, *batch.tensors()]
        return self.peaks.measure(phase, predicted, self.plan.budget_bytes, given, self.machine.device.type)

    def _probe(self, received: list[str]) -> Iterator[ProbeRecord | PeakRecord | EpochRecord]:
        """Fit the last layer to the features of all images; it counts as epoch 0."""
        progress, started = self.progress, time.monotonic()
        progress.images = len(self.train.images)
        loaders = {"train": self.in_order(self.train.images), "val": self.val}
        loss = yield from fit_head(self.network, self.head, self.task, loaders, self.machine, self.folder, received)
        progress.loss_sum = loss * progress.images
        progress.epoch_seconds = time.monotonic() - started
        ended = self._end_epoch(0)
        if self.group.is_first:
            self.folder.forget_probe()
        yield from self.peaks.fresh()
        yield ended

    def _end_epoch(self, epoch: int) -> EpochRecord:
        progress, started, training_seconds = self.progress, time.monotonic(), self.progress.epoch_seconds
        self._check_weights()
        if self.average.has_begun and not progress.averaging:
            progress.averaging = True  # Averages are compared with averages, or the fit of the last layer.
            progress.best = progress.best if self.config.probe and len(progress.records) == 1 else None
        network = self._judged()
        metrics = self.evaluate(network, self.val)
        best = progress.best is None or self.task.better(metrics, progress.best)
        record = EpochRecord(
            epoch=epoch,
            epochs=self.config.epochs,
            step=progress.step,
            lr=rate_at(self.config, progress.step - 1, self.train.steps) if epoch else 0.0,
            train_loss=progress.loss_sum / progress.images,
            metrics=dict(metrics),
            best=best,
            seconds=training_seconds + time.monotonic() - started,
            images_per_second=progress.images / max(training_seconds, 1e-9),
            waited=progress.waited_seconds / max(training_seconds, 1e-9),
        )
        progress.end_epoch(record)
        # Weights before the generation that counts on them: killed in between, the epoch is trained again to the
        # same bits, and they are written again.
        if self.group.is_first:
            for which in ("best", "last") if best else ("last",):
                self.save_weights(which, network.state_dict())
        self._save()
        if self.group.is_first:
            self.folder.write_results(progress.records)
        return record

    def evaluate(self, network: nn.Module, loader: Loader) -> Mapping[str, float]:
        """Return the task's metrics of a loader's images, with the network as it is at prediction."""
        score = self.task.score()
        for _ in outputs_of(network, loader, score, self.machine, partial(self._watched, "validation")):
            pass
        return score.compute()

    def _judged(self) -> nn.Module:
        """Return the network whose worth counts."""
        self.machine.seed(key(self.config.seed, Use.STATISTICS, self.progress.step))
        with self.machine.autocast():
            return self.average.network(self._all_images)

    def _all_images(self) -> Iterator[Tensor]:
        size, workers, seed = self.config.batch_size, self.config.workers, self.config.seed
        # Shuffled: in a folder's order, one class comes after the other.
        loader = Loader(self.train.images, self.task.collate, batch_size=size, workers=workers, seed=seed)
        yield from (self.machine.move(batch).images for batch in loader.epoch())

    def _take_less(self, error: torch.OutOfMemoryError) -> None:
        """Plan the rest of the run for less memory, and go back to its last saved state."""
        if self.plan is None or self.replan is None or self.group.size > 1:
            raise too_little_memory(error, self.folder, self.plan is not None) from error
        # The frames of what failed hold its tensors.
        error.__traceback__ = None
        self.optimizer.zero_grad()
        gc.collect()
        torch.cuda.empty_cache()
        freeze_body(self.network, self.head, False)
        self.plan = self.replan(self.plan)
        self.frozen, self.val = None, self.in_order(self.val.images)
        self.machine.forget_step()
        self.plan.save(self.folder.plan)
        self.peaks.forget()
        self.restore(lambda _circumstances: None)

    def _stale(self) -> bool:
        patience = self.config.patience
        return patience is not None and not self.average.is_awaited and self.progress.stale_epochs >= patience

    def _save(self) -> None:
        self._check_weights()
        if self.group.is_first:
            optimizer = {"optimizer": self.optimizer.state_dict(), "precision": self.machine.state()}
            generation = Generation(self.network.state_dict(), self.average.state(), optimizer, self.progress)
            save_generation(self.folder.resume, generation)

    def _expect_finite(self, value: float) -> None:
        if not math.isfinite(value):
            raise self._not_finite(f"a loss of {value}", self.progress.step + 1)

    def _check_weights(self) -> None:
        if bad := bad_tensor(self.network.state_dict()):
            raise self._not_finite(f"{bad} with a value that is infinite or not a number", self.progress.step)

    def _not_finite(self, received: str, step: int) -> NotFiniteError:
        return not_finite(received, f"step {step} of {self.steps}", self.progress, self.config, self.folder)
