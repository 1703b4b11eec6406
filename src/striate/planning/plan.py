"""A plan: the remedies chosen for a budget, with the peak and the time that they are predicted to take."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from striate.errors import UsageError
from striate.files import replace_file
from striate.units import format_bytes, format_number


@dataclass(frozen=True, slots=True)
class Recomputed:
    """An operator whose values are made again.

    Args:
        place: among the operators of the forward pass, as `striate.graph.recompute` counts them.
        operator: its name.
        layer: that it belongs to.
    """

    place: int
    operator: str
    layer: str


@dataclass(frozen=True, slots=True)
class Remedy:
    """What one remedy alone does, as far as it goes.

    Args:
        name: of the remedy.
        peak_bytes: with it.
        relative_time: of a step, to the plain one.
        changes_result: how, as a sentence; empty where gradients are equal bit for bit.
    """

    name: str
    peak_bytes: int
    relative_time: float
    changes_result: str


@dataclass(frozen=True, slots=True)
class Point:
    """A plan among those between the plain step and the smallest: its peak and its time.

    Args:
        peak_bytes: of a step.
        relative_time: to the plain one.
        micro_batch: images at once.
        recomputed: operators that run again.
    """

    peak_bytes: int
    relative_time: float
    micro_batch: int
    recomputed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How a training step is run within a budget.

    Args:
        fits: whether it does; else this is the plan that comes closest.
        budget_bytes: that the user grants.
        peak_bytes: predicted, with all remedies.
        plain_bytes: predicted without any.
        smallest_budget_bytes: the least for which there is a plan; None where one fits and no others were looked for.
        relative_time: of a step, to the plain one.
        is_measured: whether that time was measured; else it is estimated from products and bytes.
        batch_size: images of a step, on one device.
        micro_batch: images at once.
        accumulate: micro-batches whose gradients add up.
        evaluation_batch: images at once in validation.
        evaluation_bytes: predicted for that, between two steps.
        dtype: of weights.
        amp_dtype: of the operators that autocast deems safe in 16 bits; None without autocast.
        channels_last: memory layout of images and kernels.
        recompute: what is made again for the gradients.
        devices: that share the batch; the figures are of one.
        remedies: what each alone would do.
        frontier: peak against time, from the plain step on.
        variation: what was changed of the network or its images for it to fit; empty for nothing.
        optimizer_in_backward: whether each parameter is updated as soon as its gradient is there, which is then freed.
    """

    fits: bool
    budget_bytes: int
    peak_bytes: int
    plain_bytes: int
    smallest_budget_bytes: int | None
    relative_time: float
    is_measured: bool
    batch_size: int
    micro_batch: int
    accumulate: int
    evaluation_batch: int
    evaluation_bytes: int
    dtype: str
    amp_dtype: str | None
    channels_last: bool
    recompute: tuple[Recomputed, ...]
    devices: int = 1
    remedies: tuple[Remedy, ...] = ()
    frontier: tuple[Point, ...] = ()
    variation: str = ""
    optimizer_in_backward: bool = False

    @property
    def chosen(self) -> Mapping[int, str]:
        """The operators that run again, as `striate.graph.recompute.recomputing` takes them."""
        return {recomputed.place: recomputed.operator for recomputed in self.recompute}

    def parts(self, count: int) -> int:
        """Return in how many micro-batches so many images pass, none larger than the plan's."""
        return cut(count, self.batch_size, self.accumulate)

    def in_words(self) -> str:
        """Say the plan in a sentence."""
        batch = f"{self.batch_size} images"
        if self.devices > 1:
            batch += f" on each of {self.devices} devices"
        if self.accumulate > 1:
            batch += f" as {self.accumulate} x {self.micro_batch}"
        parts = [self.variation] if self.variation else []
        parts.append(batch)
        if self.amp_dtype:
            parts.append(f"{self.amp_dtype} where safe (autocast)")
        if self.optimizer_in_backward:
            parts.append("gradients freed early (optimizer in backward)")
        if self.recompute:
            parts.append(f"{format_number(len(self.recompute), 'operator')} run again")
        share = f"{format_bytes(self.peak_bytes)} predicted of {format_bytes(self.budget_bytes)}"
        time = f"about {self.relative_time:.2f} x the time ({'measured' if self.is_measured else 'estimated'})"
        return f"{', '.join(parts)}: {share}, {time}"

    def to_json(self) -> str:
        """Return the plan as one document."""
        return json.dumps(asdict(self), indent=2)

    def save(self, path: Path) -> None:
        """Write the plan to a file.

        Raises:
            StriateError: where the file system refuses.
        """
        text = self.to_json() + "\n"
        replace_file(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def cut(count: int, batch_size: int, accumulate: int) -> int:
    """Return in how many parts a batch passes, each no larger than those of a batch of another size.

    Args:
        count: images of the batch.
        batch_size: of the other.
        accumulate: its parts.
    """
    return max(1, -(-count * accumulate // batch_size))


def read_plan(path: str | Path) -> Plan:
    """Read a plan from a file.

    Raises:
        UsageError: where there is none.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        plan = TypeAdapter(Plan).validate_json(text)
        if min(plan.batch_size, plan.micro_batch, plan.accumulate, plan.evaluation_batch) < 1:
            raise ValueError("a batch or a part of it without images")
        if plan.optimizer_in_backward and plan.accumulate > 1:
            raise ValueError("optimizer_in_backward with micro-batches")
        if plan.amp_dtype not in (None, "bfloat16", "float16"):
            raise ValueError(f"amp_dtype {plan.amp_dtype}")
        return plan
    except (OSError, ValueError) as error:  # What pydantic and decoding raise are ValueErrors.
        raise UsageError(
            expected=f"a plan at {path}, as `striate plan --json` prints it",
            received=_short(error),
            remedy="Make one: striate plan MODEL --memory 4GiB -b 64 --json > plan.json",
        ) from error


def _short(error: Any) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return " ".join(str(error).split())[:200]
