"""The loop: batches through a network, one optimizer step each, and after every epoch what it was worth.

It is a generator of records over Lightning Fabric, which brings the device and the precision. What makes an interrupted
run end with the same bits as one that was not: the order of images, their augmentation and the random state of each
step are functions of (seed, epoch, step), and everything else that a step depends on is in the generation that
``striate.training.checkpoint`` writes.
"""

import gc
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import update_bn

from striate.data.keyed import Use, key
from striate.data.sets import ImageSet
from striate.errors import InterruptedRunError, NotFiniteError, StriateError
from striate.planning.apply import apply_plan
from striate.planning.plan import Plan
from striate.training.checkpoint import Generation, Progress, load_generation, save_generation
from striate.training.config import TrainConfig
from striate.training.folder import RunFolder
from striate.training.loading import Loader
from striate.training.optimizers import build_average, optimizer_of
from striate.training.records import EpochRecord, PeakRecord, StepRecord
from striate.training.schedules import rate_at
from striate.training.signals import stop_signals
from striate.training.task import Batch, Score, Task


class _Peak(Protocol):
    @property
    def size(self) -> int: ...


Watch = Callable[[Iterable[Tensor], str], AbstractContextManager[_Peak]]
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
        plan: Plan | None = None,
        watch: Watch | None = None,
        replan: Callable[[Plan], Plan] | None = None,
    ) -> None:
        from striate.training.precision import make_fabric  # Takes seconds, so what can be refused was refused before.

        self.task, self.config, self.folder, self.save_weights = task, config, folder, save_weights
        self.watch, self.replan = watch, replan
        self.peaks: dict[str, PeakRecord] = {}
        self.fabric = make_fabric(config)
        self.dtype: torch.dtype = getattr(torch, config.dtype)
        self.network: nn.Module = network.to(memory_format=self._layout)  # type: ignore[call-overload]
        if config.dtype != "float32":
            self.network.to(self.dtype)
        loading = {"batch_size": config.batch_size, "workers": config.workers}
        self.train = Loader(train, task.augment, seed=config.seed, **loading)
        self.plain_train = Loader(train, task.collate, **loading)
        self.model: nn.Module
        self.optimizer: Optimizer
        self.learner = optimizer_of(config, self.network)
        self._follow(plan, val)
        self.model, self.optimizer = self.fabric.setup(self.network, self.learner)
        self.average = build_average(self.network, config)
        self.progress = Progress()

    def restore(self, check: Callable[[Mapping[str, Any]], None]) -> None:
        """Go on from the folder's current generation, if there is one.

        Args:
            check: raises where the circumstances that the generation was made in are no longer so.
        """
        generation = load_generation(self.folder.resume)
        if generation is None:
            return
        check(generation.progress.circumstances)
        self.network.load_state_dict(dict(generation.network))
        self.optimizer.load_state_dict(generation.optimizer["optimizer"])
        self.fabric.strategy.precision.load_state_dict(generation.optimizer["precision"])
        if self.average is not None and generation.average is not None:
            self.average.load_state_dict(dict(generation.average))
        self.progress = generation.progress

    def run(self) -> Iterator[StepRecord | PeakRecord | EpochRecord]:
        """Train until the last epoch, or until nothing has become better for long enough.

        Raises:
            NotFiniteError: where the loss or a weight is infinite or not a number; the last good weights are kept.
            InterruptedRunError: after Ctrl-C or SIGTERM; the state is saved.
        """
        with stop_signals() as received:
            if self.progress.step == 0:
                self.save_weights("last", self.network.state_dict())
                self._save()
            while self.progress.epoch < self.config.epochs and not self._stale():
                known = set(self.peaks)
                try:
                    yield from self._train_epoch(received)
                    record = self._end_epoch()
                except torch.OutOfMemoryError as error:
                    self._take_less(error)
                    continue
                yield from (peak for phase, peak in self.peaks.items() if phase not in known)
                yield record
            self.folder.write_results(self.progress.records)

    def _follow(self, plan: Plan | None, val: ImageSet) -> None:
        self.plan = plan
        if plan is not None:
            apply_plan(plan, self.network, self.learner)
        self.val = Loader(val, self.task.collate, batch_size=self.evaluation_batch, workers=self.config.workers)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.train.steps * self.config.epochs

    @property
    def evaluation_batch(self) -> int:
        """Images at once where nothing is learned."""
        return self.config.batch_size if self.plan is None else min(self.config.batch_size, self.plan.evaluation_batch)

    @property
    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.config.channels_last else torch.contiguous_format

    def _train_epoch(self, received: list[str]) -> Iterator[StepRecord]:
        progress, config = self.progress, self.config
        saved = started = time.monotonic()
        self.model.train()
        for batch in self.train.epoch(progress.epoch, progress.step_in_epoch):
            batch = self._to_device(batch)
            rate = rate_at(config, progress.step, self.train.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with self._watched("training", batch):
                value = self._take_step(batch)
            count = len(batch)
            progress.loss_sum += value * count
            progress.images += count
            progress.step += 1
            progress.step_in_epoch += 1
            now = time.monotonic()
            if received or now - saved >= config.checkpoint_seconds:
                progress.epoch_seconds += now - started
                saved = started = now
                self._save()
            if received:
                raise self._interrupted(received[0])
            yield StepRecord(progress.epoch + 1, progress.step, self.steps, value, rate, count)
        progress.epoch_seconds += time.monotonic() - started

    def _take_step(self, batch: Batch) -> float:
        """Learn from a batch, in as many parts as the plan says; return its loss."""
        progress, value = self.progress, 0.0
        torch.manual_seed(key(self.config.seed, Use.STEP, progress.step))
        parts = 1 if self.plan is None else self.plan.parts(len(batch))
        for part in batch.split(parts) if parts > 1 else (batch,):
            share = len(part) / len(batch)
            with self.fabric.autocast():  # Around the task, since not all that it calls goes through `forward`.
                loss = self.task.loss(self.model, part)
            value += share * float(loss.detach())
            if not math.isfinite(value):
                raise self._not_finite(f"a loss of {value}", progress.step + 1)
            self.fabric.backward(loss if parts == 1 else share * loss)
            del loss
        if self.config.clip_grad is not None:
            limit = self.config.clip_grad
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None and self._average_due():
            self.average.update_parameters(self.network)
        return value

    @contextmanager
    def _watched(self, phase: str, batch: Batch) -> Iterator[None]:
        """Measure a phase of a planned run once; a step as soon as the optimizer's state is there."""
        state = [value for of in self.optimizer.state.values() for value in of.values() if isinstance(value, Tensor)]
        is_settled = phase != "training" or bool(self.optimizer.state) or self.config.opt == "sgd"
        if self.plan is None or self.watch is None or phase in self.peaks or not is_settled:
            yield
            return
        modules = [self.network, *([] if self.average is None else [self.average])]
        held = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        with self.watch([*held, *state, *batch.tensors()], self.fabric.device.type) as peak:
            yield
        predicted = self.plan.peak_bytes if phase == "training" else self.plan.evaluation_bytes
        self.peaks[phase] = PeakRecord(phase, predicted, peak.size, self.plan.budget_bytes)

    def _end_epoch(self) -> EpochRecord:
        progress, started, training_seconds = self.progress, time.monotonic(), self.progress.epoch_seconds
        self._check_weights()
        averaging = self._average_begun()
        if averaging and not progress.averaging:
            progress.averaging, progress.best = True, None  # Averages are compared with averages.
        network = self._judged()
        metrics = self.evaluate(network, self.val)
        best = progress.best is None or self.task.better(metrics, progress.best)
        record = EpochRecord(
            epoch=progress.epoch + 1,
            epochs=self.config.epochs,
            step=progress.step,
            lr=rate_at(self.config, progress.step - 1, self.train.steps),
            train_loss=progress.loss_sum / progress.images,
            metrics=dict(metrics),
            best=best,
            seconds=training_seconds + time.monotonic() - started,
            images_per_second=progress.images / max(training_seconds, 1e-9),
        )
        progress.records.append(record)
        progress.best = dict(metrics) if best else progress.best
        progress.stale_epochs = 0 if best else progress.stale_epochs + 1
        progress.epoch += 1
        progress.step_in_epoch, progress.images = 0, 0
        progress.loss_sum = progress.epoch_seconds = 0.0
        # Weights before the generation that counts on them: killed in between, the epoch is trained again to the
        # same bits, and they are written again.
        if best:
            self.save_weights("best", network.state_dict())
        self.save_weights("last", network.state_dict())
        self._save()
        self.folder.write_results(progress.records)
        return record

    def evaluate(self, network: nn.Module, loader: Loader) -> Mapping[str, float]:
        """Return the task's metrics of a loader's images, with the network as it is at prediction."""
        score = self.task.score()
        for _ in self.outputs(network, loader, score):
            pass
        return score.compute()

    def outputs(self, network: nn.Module, loader: Loader, score: Score) -> Iterator[Tensor]:
        """Yield the network's outputs batch by batch, on the run's device and in its precision; ``score`` adds up."""
        was_training = network.training
        network.eval()
        for batch in loader.epoch():
            batch = self._to_device(batch)
            with self._watched("validation", batch), torch.inference_mode(), self.fabric.autocast():
                outputs = score.update(network, batch)
            yield outputs
        network.train(was_training)

    def _judged(self) -> nn.Module:
        """Return the network whose worth counts: the average where there is one, its batch-norm statistics its own."""
        if self.average is None or not self._average_begun():
            return self.network
        averaged: nn.Module = self.average.module
        torch.manual_seed(key(self.config.seed, Use.STATISTICS, self.progress.step))
        with self.fabric.autocast():
            update_bn((self._to_device(batch).images for batch in self.plain_train.epoch()), averaged)
        return averaged

    def _average_begun(self) -> bool:
        return self.average is not None and int(self.average.n_averaged) > 0

    def _average_due(self) -> bool:
        return self.config.average == "ema" or self.progress.step >= self.config.average_start * self.steps

    def _take_less(self, error: torch.OutOfMemoryError) -> None:
        """Plan the rest of the run for less memory, and go back to its last saved state."""
        if self.plan is None or self.replan is None:
            raise StriateError(
                expected="enough memory for a step of this run",
                received=str(error).partition(". ")[0],
                remedy="Give --memory 80%, and the run is planned so that it fits; what it has learned so far is in "
                f"{self.folder.path}.",
            ) from error
        # The frames of what failed hold its tensors.
        error.__traceback__ = None
        self.optimizer.zero_grad()
        gc.collect()
        torch.cuda.empty_cache()
        from striate.training.precision import forget_step

        plan = self.replan(self.plan)
        forget_step(self.fabric)
        plan.save(self.folder.plan)
        self._follow(plan, self.val.images)
        self.peaks.clear()
        self.restore(lambda _circumstances: None)

    def _stale(self) -> bool:
        patience = self.config.patience
        waiting = self.average is not None and not self._average_begun()
        return patience is not None and not waiting and self.progress.stale_epochs >= patience

    def _to_device(self, batch: Batch) -> Batch:
        return batch.to(self.fabric.device, self._layout, self.dtype)

    def _save(self) -> None:
        self._check_weights()
        optimizer = {"optimizer": self.optimizer.state_dict(), "precision": self.fabric.strategy.precision.state_dict()}
        average = None if self.average is None else self.average.state_dict()
        save_generation(self.folder.resume, Generation(self.network.state_dict(), average, optimizer, self.progress))

    def _check_weights(self) -> None:
        for name, tensor in self.network.state_dict().items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise self._not_finite(f"{name} with a value that is infinite or not a number", self.progress.step)

    def _not_finite(self, received: str, step: int) -> NotFiniteError:
        kept = "of the last good epoch" if self.progress.epoch else "that it began with, for no epoch had ended,"
        return NotFiniteError(
            expected="finite numbers",
            received=f"{received} at step {step} of {self.steps} (epoch {self.progress.epoch + 1})",
            remedy=f"Try a lower --lr (it was {self.config.lr:g}), --warmup-epochs 1"
            f"{', no --amp' if self.config.amp else ''}; the weights {kept} are in {self.folder.last}.",
        )

    def _interrupted(self, name: str) -> InterruptedRunError:
        return InterruptedRunError(
            expected=f"{self.steps} steps",
            received=f"{name} after step {self.progress.step} of {self.steps}; everything is saved",
            remedy=f"Go on with: striate train --resume {self.folder.path}",
        )
