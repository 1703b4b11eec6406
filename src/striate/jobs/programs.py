"""From what a user asks for to the program that is traced or measured."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from striate.detection.detector import Detector
from striate.errors import StriateError, UsageError, nearest
from striate.graph.programs import Inference, Program, Training
from striate.jobs.networks import InputSpec, build_network, natural_input
from striate.planning.plan import Plan
from striate.segmentation.segmenter import Segmenter
from striate.training.config import OptimizerName
from striate.training.optimizers import build_optimizer
from striate.training.tasks.detection import detector_step
from striate.training.tasks.images import AUXILIARY_WEIGHT
from striate.units import format_bytes
from striate.zoo import ZOO

THINGS = 32  # That there is room for in each image, where no data says how many.
SHARE = 0.9  # Of the free memory, that a measurement may take.

Mode = Literal["inference", "training"]
DType = Literal["float32", "bfloat16"]
AmpDType = Literal["bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a network is run.

    Args:
        batch_size: images at once.
        mode: prediction, or one step of training: forward, loss, backward, optimizer.
        optimizer: for training; None for a step that ends with the gradients.
        dtype: of weights and images.
        amp_dtype: of the operators that autocast deems safe in 16 bits; None without autocast.
        channels_last: memory layout of images and kernels.
        micro_batches: parts of the batch that pass through one after the other, for training.
        master_weights: whether the optimizer keeps 32-bit copies of 16-bit weights.

    Raises:
        UsageError: for a name that is not known or a number that cannot be.
    """

    batch_size: int = 1
    mode: Mode = "inference"
    optimizer: OptimizerName | None = "momentum"
    dtype: DType = "float32"
    amp_dtype: AmpDType | None = None
    channels_last: bool = True
    micro_batches: int = 1
    master_weights: bool = False

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise UsageError(
                    expected=f"{name} as one of {', '.join(map(str, known))}",
                    received=repr(getattr(self, name)),
                    remedy=nearest(str(getattr(self, name)), map(str, known)),
                )
        trains = self.mode == "training" and self.optimizer is not None
        if self.master_weights and (self.dtype == "float32" or not trains):
            raise UsageError(
                expected="master weights with a step of training, an optimizer and 16-bit weights",
                received=f"them with {self.mode}, optimizer {self.optimizer} and dtype {self.dtype}",
                remedy="They are the optimizer's copies of weights in --dtype bfloat16; or leave --master-weights out.",
            )
        if self.batch_size < 1:
            raise UsageError(
                expected="a batch of 1 image or more", received=str(self.batch_size), remedy="Give a positive number."
            )
        if not 1 <= self.micro_batches <= self.batch_size:
            raise UsageError(
                expected=f"1 to {self.batch_size} micro-batches of a batch of {self.batch_size}",
                received=str(self.micro_batches),
                remedy="Each has to hold an image.",
            )

    def __str__(self) -> str:
        step = "prediction"
        if self.mode == "training":
            with_what = f" with {self.optimizer}" if self.optimizer else ", without an optimizer"
            step = f"one step of training{with_what}"
        parts = f" in {self.micro_batches} micro-batches" if self.micro_batches > 1 else ""
        amp = "" if self.amp_dtype is None else f", {self.amp_dtype} where safe (autocast)"
        layout = "channels_last" if self.channels_last else "contiguous"
        masters = " with 32-bit master weights" if self.master_weights else ""
        return f"{step}, batch of {self.batch_size}{parts}, {self.dtype}{masters}{amp}, {layout}"


_CHOICES: dict[str, tuple[str | None, ...]] = {
    "mode": get_args(Mode),
    "optimizer": (*get_args(OptimizerName), None),
    "dtype": get_args(DType),
    "amp_dtype": (*get_args(AmpDType), None),
}


def build_program(
    network: nn.Module,
    inputs: Sequence[Tensor],
    settings: Settings,
    loss: Callable[..., Tensor] | None = None,
    targets: Sequence[Tensor] | None = None,
    *,
    foreach: bool = False,
) -> Program:
    """Return a network at prediction or at training.

    Args:
        network: any module.
        inputs: its arguments, with the batch.
        settings: how it is run.
        loss: of the network's output and ``targets``, a scalar. By default cross-entropy for logits, N x classes or,
            of a network for each pixel, N x classes x H x W, and the mean of anything else; for a network with
            auxiliary heads, and one that finds things, the sum that it is trained with, with room for 32 things in each
            image.
        targets: what a loss of one's own takes besides the output.
        foreach: whether the optimizer treats all parameters at once, as torch does on a card and not on a CPU.
    """
    amp_dtype = None if settings.amp_dtype is None else getattr(torch, settings.amp_dtype)
    step = detector_step(network, inputs[0], THINGS, network.mask_side) if isinstance(network, Detector) else None
    if settings.mode == "inference":
        return Inference(network, inputs if step is None else step.inputs[: step.shown], amp_dtype)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UsageError(
            expected="a network with parameters that want a gradient, to train it",
            received=f"{type(network).__name__}, which has none",
            remedy="Ask for prediction, or unfreeze some of it.",
        )
    name = settings.optimizer
    masters = settings.master_weights
    optimizer = None if name is None else partial(build_optimizer, name=name, master_weights=masters, foreach=foreach)
    forward, shown = None, None
    if loss is None and step is not None:
        inputs, targets, loss, forward, shown = step
    if loss is None:
        forward = getattr(type(network), "forward_all", None)
        loss = _usual_loss if forward is None else _auxiliary_loss
        sides = inputs[0].shape[2:] if isinstance(network, Segmenter) else ()
        targets = [torch.zeros(settings.batch_size, *sides, dtype=torch.int64)]
    parts = settings.micro_batches
    return Training(network, inputs, targets or (), loss, optimizer, forward, amp_dtype, parts, shown=shown)


def _usual_loss(output: Any, targets: Tensor) -> Tensor:
    if isinstance(output, Tensor) and output.ndim > 1 and (len(output), *output.shape[2:]) == targets.shape:
        return F.cross_entropy(output, targets)
    means = [part.mean() for part in tree_leaves(output) if isinstance(part, Tensor) and part.requires_grad]
    if not means:
        raise UsageError(
            expected="a network whose output depends on its parameters, to train it",
            received=type(output).__name__,
            remedy="Wrap it in a module that returns the tensor to learn from; from Python, give a loss.",
        )
    return torch.stack(means).sum() if len(means) > 1 else means[0]


def _auxiliary_loss(outputs: Sequence[Tensor], targets: Tensor) -> Tensor:
    loss, *auxiliary = (F.cross_entropy(logits, targets) for logits in outputs)
    return loss + AUXILIARY_WEIGHT * sum(auxiliary)


@dataclass(frozen=True, slots=True)
class ModelProgram:
    """A network that a user names, at prediction or at training; it can be built again in another process.

    Args:
        model: as `build_network` takes it.
        inputs: its arguments.
        settings: how it is run.
        num_classes: of a network of the zoo; its own by default.
        recompute: operators of the forward pass that run again for the gradients, as `Plan.chosen` has them.
        optimizer_in_backward: whether each parameter is updated as soon as its gradient is there.
        options: of a network of the zoo, besides.
        keeps_gradients: whether gradients stay from step to step, as they do where several devices share a batch.
    """

    model: str
    inputs: tuple[InputSpec, ...]
    settings: Settings = field(default_factory=Settings)
    num_classes: int | None = None
    recompute: Mapping[int, str] = field(default_factory=dict)
    optimizer_in_backward: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    keeps_gradients: bool = False

    def __str__(self) -> str:
        options = "".join(f" {name}={value}" for name, value in self.options.items())
        return f"{self.model}{options}, {' + '.join(map(str, self.inputs))}, {self.settings}"

    def build(self, *, foreach: bool = False) -> Program:
        """Build it, on torch's default device; ``foreach`` as for `build_program`."""
        settings = self.settings
        options: dict[str, Any] = {}
        if self.model in ZOO:
            channels, *size = self.inputs[0].shape
            options = {"in_chans": channels, "image_size": size, "num_classes": self.num_classes, **self.options}
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        dtype: torch.dtype = getattr(torch, settings.dtype)
        network = build_network(self.model, options)
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point() and tensor.dtype != dtype:
                tensor.data = tensor.data.to(dtype)
            if tensor.ndim == 4:  # `Module.to` refuses kernels of other dimensions.
                tensor.data = tensor.data.contiguous(memory_format=layout)
        inputs = [
            torch.zeros(settings.batch_size, *spec.shape, dtype=dtype if spec.dtype is None else _dtype(spec.dtype))
            for spec in self.inputs
        ]
        laid = [x.contiguous(memory_format=layout) if x.ndim == 4 else x for x in inputs]
        program = build_program(network, laid, settings, foreach=foreach)
        if isinstance(program, Training):
            program.recompute, program.optimizer_in_backward = self.recompute, self.optimizer_in_backward
            program.keeps_gradients = self.keeps_gradients
        return program

    def shared(self, devices: int) -> "ModelProgram":
        """Return the step of one of several devices that share the batch: the one that gets most of it."""
        settings = replace(self.settings, batch_size=-(-self.settings.batch_size // devices))
        return replace(self, settings=settings, keeps_gradients=True)

    def planned(self, plan: Plan) -> "ModelProgram":
        """Return the same step as a plan has it run."""
        amp_dtype: Any = plan.amp_dtype
        settings = replace(self.settings, mode="training", micro_batches=plan.accumulate, amp_dtype=amp_dtype)
        early = plan.optimizer_in_backward
        return replace(self, settings=settings, recompute=plan.chosen, optimizer_in_backward=early)

    def measure(self, predicted: int, gpu: str | None = None) -> int:
        """Run it for real, in a process of its own, and return the most bytes that it took.

        Args:
            predicted: bytes of its peak.
            gpu: a card that it was planned for; then it runs on this machine's CUDA device, and on the CPU otherwise.

        Raises:
            StriateError: where this machine has too little memory for it, or the process failed.
        """
        free = _free_memory() if gpu is None else _free_cuda_memory()
        if predicted > SHARE * free:
            raise StriateError(
                expected=f"{format_bytes(predicted)} to run {self} for real",
                received=f"{format_bytes(free)} of free memory",
                remedy="The prediction stands; leave --verify out, or take a smaller --batch-size.",
            )
        device = "cpu" if gpu is None else "cuda"
        command = [sys.executable, "-m", "striate.jobs.measure", json.dumps(asdict(self)), device]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StriateError(
                expected=f"to run {self}",
                received=(done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1],
                remedy="The prediction stands; the program ended before its peak was known.",
            )
        return int(done.stdout.splitlines()[-1])


def _free_memory() -> int:
    """Return the bytes that a new process can have; cached files count as free where that is known."""
    known = Path("/proc/meminfo")
    if not known.exists():
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fields = dict(line.split(":") for line in known.read_text().splitlines())
    free = 1024 * int(fields["MemAvailable"].split()[0])
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.exists() and limit.read_text().strip() != "max":  # A container may have less than the machine.
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


def _free_cuda_memory() -> int:
    if not torch.cuda.is_available():
        raise StriateError(
            expected="a CUDA device, to measure what was planned for a card",
            received="none",
            remedy="The prediction stands; without --gpu, --verify measures on the CPU.",
        )
    return torch.cuda.mem_get_info()[0]


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise UsageError(
            expected="a type of torch, as in --input 128:int64", received=name, remedy="Such as float32, int64 or bool."
        )
    return found


def find_program(
    model: str,
    settings: Settings,
    *,
    inputs: Sequence[InputSpec] = (),
    image_size: tuple[int, int] | None = None,
    in_chans: int | None = None,
    num_classes: int | None = None,
) -> ModelProgram:
    """Return a network's program; what is None or empty is the network's own.

    Raises:
        UsageError: where neither the user nor the network says what its input is, or the user says what is not theirs
            to say.
    """
    if num_classes is not None and model not in ZOO:
        raise UsageError(
            expected="--num-classes with a network of the zoo",
            received=f"it with {model}",
            remedy="How many classes this network has, its code or its folder says.",
        )
    if inputs:
        if model in ZOO and (len(inputs) != 1 or len(inputs[0].shape) != 3 or inputs[0].dtype):
            raise UsageError(
                expected=f"--input CxHxW for {model}",
                received=" and ".join(map(str, inputs)),
                remedy="A network of the zoo takes images alone, such as 3x224x224.",
            )
        return ModelProgram(model, tuple(inputs), settings, num_classes)
    natural = natural_input(model)
    if natural is None and image_size is None:
        raise UsageError(
            expected=f"--input CxHxW for {model}", received="none", remedy="Its code does not say what it takes."
        )
    channels, *size = natural or (3, *(image_size or ()))
    shape = (in_chans or channels, *(image_size or size))
    return ModelProgram(model, (InputSpec(shape),), settings, num_classes)
