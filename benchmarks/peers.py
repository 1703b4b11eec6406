"""What other tools say of a program's peak; each in the way its documentation shows."""

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from striate.jobs.programs import ModelProgram


def torchinfo(program: ModelProgram) -> int:
    """Return its input, its forward and backward pass, and its parameters, as its summary adds them up."""
    from torchinfo import summary

    built = program.build()
    mode = "train" if program.settings.mode == "training" else "eval"
    said: Any = summary(built.network, input_data=list(built.inputs), verbose=0, mode=mode)
    return int(said.total_input + said.total_output_bytes + said.total_param_bytes)


class LiveBytes(TorchDispatchMode):
    """Adds up the storages alive, from nothing but what the dispatcher shows."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def hold(self, tensor: Any) -> None:
        """Count a tensor's storage until it dies."""
        block = tensor.untyped_storage()
        known = self._known.get(block._cdata)
        if known is None or known() is not block:
            size = block.nbytes()
            self.now += size
            self.most = max(self.most, self.now)
            self._known[block._cdata] = weakref.ref(block, lambda _reference: self._free(size))

    def _free(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, tuple | list) else [out]:
            if isinstance(made, torch.Tensor):
                self.hold(made)
        return out


def fake_tensors(program: ModelProgram) -> int:
    """Return the most bytes of fake tensors alive in one first step."""
    with FakeTensorMode():
        built = program.build()
        built.begin()
        with LiveBytes() as live:
            for tensor in (*built.network.parameters(), *built.network.buffers(), *built.given):
                live.hold(tensor)
            built.run(lambda _phase: nullcontext())
    most: int = live.most
    return most


def mem_tracker(program: ModelProgram) -> int:
    """Return the total at the peak of the second step, by torch.distributed._tools.mem_tracker."""
    from torch.distributed._tools.mem_tracker import MemTracker

    with FakeTensorMode():
        built = program.build()
        built.begin()
        tracker = MemTracker()
        tracker.track_external(built.network, *built.given)
        with tracker:
            for _ in range(2):
                tracker.reset_mod_stats()
                built.run(lambda _phase: nullcontext())
    totals: Any = tracker.get_tracker_snapshot("peak")
    return sum(int(sizes["Total"]) for sizes in totals.values())


PEERS: dict[str, Callable[[ModelProgram], int]] = {
    "torchinfo": torchinfo,
    "fake tensors": fake_tensors,
    "MemTracker": mem_tracker,
}
