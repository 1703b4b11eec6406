"""Several processes that train one network: who this one is, and what they tell each other.

``torchrun`` starts them and says so in the environment. Each learns from its part of every batch, and gradients are
added up; the first of them alone writes files.
"""

import atexit
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from striate.errors import StriateError, UsageError

# What gloo and NCCL say of a process that is gone.
_LOST = (
    "closed by peer",
    "reset by peer",
    "Broken pipe",
    "refused",
    "timed out",
    "Timed out",
    "NCCL",
    "remote process",
)


Value = TypeVar("Value")


def local_size() -> int:
    """Return how many of a run's processes are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of a run.

    Args:
        size: how many there are.
        rank: this one's number, counted from 0.
    """

    size: int = 1
    rank: int = 0

    @classmethod
    def here(cls) -> "Group":
        """Return what ``torchrun`` says; one process without it."""
        return cls(int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0)))

    @classmethod
    def join(cls, device: str) -> "Group":
        """Meet the other processes, and return all.

        Args:
            device: where the run computes. Figures are added up on the CPU wherever that is.
        """
        group = cls.here()
        if group.size > 1 and not distributed.is_initialized():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
            atexit.register(_part)
        return group

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Return which of ``count`` things are this process's: a part of nearly the same size for each, in order."""
        size, larger = divmod(count, self.size)
        start = self.rank * size + min(self.rank, larger)
        return range(start, start + size + (self.rank < larger))

    def add_up(self, *values: float) -> list[float]:
        """Return the sums over all processes, each known to all."""
        if self.size == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(sums)
        return sums.tolist()

    def gather(self, tensor: Tensor) -> Tensor:
        """Return all processes' tensors, on the CPU, one after the other along the first side."""
        if self.size == 1:
            return tensor
        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, tensor.cpu())
        return torch.cat(parts)

    def decide(self, make: Callable[[], Value]) -> Value:
        """Return what the first process makes, to all.

        Where making it fails, the first one raises that, and the others end.
        """
        if self.size == 1:
            return make()
        made: list[Any] = [None, False]
        if self.is_first:
            try:
                made = [make(), True]
            except Exception:  # Whatever it is, the others wait to be told.
                distributed.broadcast_object_list(made)
                raise
        distributed.broadcast_object_list(made)
        if not made[1]:
            sys.exit(1)  # The first one says why.
        value: Value = made[0]
        return value

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def align(self, network: nn.Module) -> None:
        """Give all processes the first one's buffers, such as batch norm's statistics of its own images."""
        if self.size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)

    def expect_enough(self, what: str, count: int) -> None:
        """Refuse fewer things than processes.

        Raises:
            UsageError: with both numbers.
        """
        if count < self.size:
            raise UsageError(
                expected=f"at least one of {what} for each of {self.size} processes",
                received=str(count),
                remedy="Start fewer processes.",
            )

    def command(self, words: str) -> str:
        """Return the command that does something with as many processes."""
        alone = f"striate {words}"
        return alone if self.size == 1 else f"torchrun --nproc-per-node {self.size} -m {alone}"

    @contextmanager
    def together(self) -> Iterator[None]:
        """Say it in plain words where another process is gone.

        Raises:
            StriateError: where a process cannot be reached.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(sign in str(error) for sign in _LOST):
                raise
            raise StriateError(
                expected=f"all {self.size} processes of this run",
                received="fewer: one has ended, or cannot be reached",
                remedy="Its own message says why. All up to the last checkpoint is saved; go on with: "
                f"{self.command('train --resume RUN')}",
            ) from error


def _part() -> None:
    """End this process's part of the group: threads of it that outlive Python abort the process, and so the job."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


ALONE = Group()
