"""What a network costs before it runs."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from striate.costing.devices.cpu import cpu
from striate.costing.devices.cuda import card_bytes, cuda_card
from striate.costing.devices.device import Device
from striate.costing.layers import LayerCost, fold, layer_table, recomputed_macs
from striate.costing.memory import Moment, evaluation_peak, find_peak, timeline
from striate.costing.textbook import Textbook, textbook_bound
from striate.errors import StriateError, UsageError
from striate.graph.operators import OperatorGraph
from striate.graph.programs import Program, Training
from striate.jobs.programs import AmpDType, Mode, ModelProgram, Settings, build_program
from striate.training.config import OptimizerName
from striate.zoo import ZOO


@dataclass(frozen=True, slots=True)
class Cost:
    """What a program takes.

    Args:
        parameters: numbers of the network that can be trained, those that are frozen among them.
        macs: multiply-adds forward, of the whole batch.
        backward_macs: multiply-adds backward, of the whole batch; 0 at prediction.
        recomputed_macs: multiply-adds of what runs once more for the backward pass, where the network says so.
        layers: of the network, in the order in which they run; of a training step, as they run there.
        textbook: the idealised memory.
        peak: the most bytes alive at one moment of the real program in its steady state: inputs, parameters, buffers,
            gradients and the optimizer's state included.
        timeline: what is alive during each operator.
        evaluation: the most bytes that validation of such a batch takes between two steps of training, the optimizer's
            state included; None for a program that does not train.
        device: whose memory it is.
        capacity: bytes that a card has; None on a CPU.
        notes: what is not known of it, as sentences.
        graph: what all this was read off.
    """

    parameters: int
    macs: int
    backward_macs: int
    recomputed_macs: int
    layers: Sequence[LayerCost]
    textbook: Textbook
    peak: Moment
    timeline: Sequence[Moment] = field(repr=False)
    evaluation: int | None
    device: str
    capacity: int | None
    notes: Sequence[str]
    graph: OperatorGraph = field(repr=False)

    @property
    def trains(self) -> bool:
        """Whether it is a step of training that costs this."""
        return self.evaluation is not None

    def folded(self, depth: int) -> list[LayerCost]:
        """Return the layers with modules more than ``depth`` deep added up in the one that holds them."""
        return fold(self.layers, depth, {call.layer: call.kind for call in reversed(self.graph.calls)})


def cost(
    network: nn.Module,
    input_shape: Sequence[int] | Sequence[Tensor] | Tensor,
    *,
    batch_size: int = 1,
    mode: Mode = "inference",
    optimizer: OptimizerName | None = "momentum",
    amp_dtype: AmpDType | None = None,
    channels_last: bool = True,
    micro_batches: int = 1,
    loss: Callable[..., Tensor] | None = None,
    targets: Sequence[Tensor] | Tensor = (),
    gpu: str | None = None,
) -> Cost:
    """Return what a network costs, without running it or allocating its memory.

    Args:
        network: any module; on any device, ``meta`` too. It is not changed.
        input_shape: of one image, channels x height x width; or the network's arguments themselves, tensors (those of
            the ``meta`` device will do) whose first side is the batch.
        batch_size: images at once, where a shape is given.
        mode: prediction, or one step of training: forward, loss, backward, optimizer.
        optimizer: for training; None for a step that ends with the gradients.
        amp_dtype: of the operators that autocast deems safe in 16 bits; None without autocast.
        channels_last: memory layout of images and kernels.
        micro_batches: parts of the batch that pass through one after the other, for training.
        loss: of the network's output and ``targets``, a scalar; by default cross-entropy for logits, N x classes, the
            sum that a network with auxiliary heads is trained with, and the mean of anything else.
        targets: what ``loss`` takes besides the output.
        gpu: a card that it is planned for, by name or memory such as ``"12GiB"``; the CPU by default.

    Raises:
        UsageError: for a batch or a shape that cannot be.
        StriateError: where what runs depends on values, with the operator.
    """
    given: list[Any] = [input_shape] if isinstance(input_shape, Tensor) else list(input_shape)
    inputs = [side for side in given if isinstance(side, Tensor)]
    sides: list[int] = [side for side in given if not isinstance(side, Tensor)]
    if bool(inputs) == bool(sides) or any(side < 1 for side in sides) or any(x.ndim == 0 for x in inputs):
        raise UsageError(
            expected="an input shape of positive numbers, or tensors with a batch",
            received=str(tuple(input_shape)) if sides else f"{len(inputs)} tensors",
            remedy="Give the shape of one image, such as (3, 224, 224), or the network's arguments in a list.",
        )
    batch_size = len(inputs[0]) if inputs else batch_size
    settings = Settings(batch_size, mode, optimizer, "float32", amp_dtype, channels_last, micro_batches)
    if sides:
        dtype = next((parameter.dtype for parameter in network.parameters()), None)
        inputs = [torch.empty(batch_size, *sides, dtype=dtype, device="meta")]
    wanted = [targets] if isinstance(targets, Tensor) else targets
    with torch.device("meta"):
        program = build_program(network, inputs, settings, loss, wanted, foreach=gpu is not None)
    return cost_of(program, find_device(gpu), channels_last=channels_last)


def cost_of_model(program: ModelProgram, gpu: str | None = None) -> Cost:
    """Return what a network that a user names costs.

    Raises:
        StriateError: where it does not run on these inputs, and as for `cost`.
    """

    def found(place: torch.device | None) -> Cost:
        with nullcontext() if place is None else place:
            built = program.build(foreach=gpu is not None)
        return cost_of(built, find_device(gpu))

    try:
        try:
            return found(torch.device("meta"))
        except Exception:
            if program.model in ZOO:
                raise
            return found(None)  # Code that reads values while it builds, or keeps tensors of its own, needs real ones.
    except StriateError:
        raise
    except Exception as error:
        where = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
        raise StriateError(
            expected=f"{program.model} to run on {' and '.join(map(str, program.inputs))}",
            received=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}{where}",
            remedy="Check --input, its shapes, their number and types (such as 20:int64), and --batch-size; "
            "`striate --debug cost ...` shows where it happened.",
        ) from error


def check_card(gpu: str) -> None:
    """Refuse a card that nobody knows.

    Raises:
        UsageError: for a name that is not in the table and no number of bytes.
    """
    card_bytes(gpu)


def find_device(gpu: str | None) -> Device:
    """Return the CPU, or a card by its name or memory."""
    return cpu() if gpu is None else cuda_card(gpu)


def cost_of(program: Program, device: Device, channels_last: bool | None = None) -> Cost:
    """Return what a program costs on a device; ``channels_last`` as for `trace`."""
    network = program.network
    graph = device.traced(program, channels_last=channels_last)
    moments = timeline(graph, device)
    training, evaluation, whole = isinstance(program, Training), None, graph
    if isinstance(program, Training):
        evaluation = evaluation_peak(program, graph, device, channels_last=channels_last)
        if program.parts > 1:  # The table and the textbook are of the whole batch.
            whole = device.traced(replace(program, parts=1), channels_last=channels_last)
    layers = layer_table(network, whole)
    return Cost(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs=sum(layer.macs for layer in layers),
        backward_macs=sum(layer.backward_macs for layer in layers),
        recomputed_macs=recomputed_macs(whole),
        layers=layers,
        textbook=textbook_bound(whole, training),
        peak=find_peak(moments),
        timeline=moments,
        evaluation=evaluation,
        device=device.name,
        capacity=device.capacity,
        notes=device.notes(graph),
        graph=graph,
    )
