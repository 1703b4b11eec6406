"""What a plan does not keep is made again: the same gradients, bit for bit, and the memory that was predicted."""

import copy
import gc
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import odd_networks
from measured import measured
from odd_networks import ODD
from striate.errors import StriateError
from striate.graph.operators import Operator
from striate.graph.programs import Training
from striate.graph.recompute import is_made_again, recomputing
from striate.graph.trace import trace
from striate.jobs.cost import cost_of_model
from striate.jobs.networks import InputSpec
from striate.jobs.programs import ModelProgram, Settings
from striate.jobs.usage import parse_input
from striate.planning.values import Step, choose
from striate.zoo import create_model

Rule = Callable[[Operator], bool]


def everything(_operator: Operator) -> bool:
    return True


def no_products(operator: Operator) -> bool:
    return operator.kind not in {"convolution", "addmm", "mm", "bmm"}


def squares(output: Any) -> Tensor:
    means = [part.float().square().mean() for part in tree_leaves(output)]
    return torch.stack(means).sum()


@dataclass(frozen=True)
class Case:
    """A network, what it is given, and what is called of it."""

    network: nn.Module
    inputs: Sequence[Tensor]
    forward: Callable[..., Any] | None = None
    amp_dtype: torch.dtype | None = None

    def chosen(self, allowed: Rule = everything) -> dict[int, str]:
        """Return all operators that can run again."""
        return chosen_of(Training(self.network, self.inputs, (), squares, None, self.forward, self.amp_dtype), allowed)

    def twin(self) -> nn.Module:
        return copy.deepcopy(self.network).train()

    def loss(self, twin: nn.Module, chosen: Mapping[int, str]) -> Tensor:
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.amp_dtype is not None):
            with recomputing(chosen):
                output = twin(*self.inputs) if self.forward is None else self.forward(twin, *self.inputs)
            return squares(output)

    def learned(self, chosen: Mapping[int, str]) -> dict[str, Tensor]:
        """Return gradients and buffers after one step."""
        twin = self.twin()
        torch.autograd.backward(self.loss(twin, chosen))
        gradients = {name: p.grad for name, p in twin.named_parameters() if p.grad is not None}
        return gradients | dict(twin.named_buffers())


def chosen_of(program: Training, allowed: Rule) -> dict[int, str]:
    step = Step.of(trace(program))
    makers = choose(step, step.forward, [i for i in step.forward if allowed(step.graph.operators[i])]).made_by
    return {place: step.graph.operators[i].name for place, i in enumerate(step.forward) if i in makers}


def zoo(name: str, side: int = 64, **options: Any) -> Case:
    torch.manual_seed(0)
    network = create_model(name, num_classes=10, image_size=(side, side), **options)
    forward = getattr(type(network), "forward_all", None) if options.get("aux_heads") else None
    return Case(network, [torch.randn(3, 3, side, side)], forward)


def odd(name: str, amp_dtype: torch.dtype | None = None) -> Case:
    torch.manual_seed(0)
    build, shapes = ODD[name]
    specs = [parse_input(shape) for shape in shapes]
    inputs = [torch.randint(0, 1000, (3, *s.shape)) if s.dtype else torch.randn(3, *s.shape) for s in specs]
    return Case(build(), inputs, None, amp_dtype)


def in_place_chain() -> Case:
    """Norms, each activation in place, pooling, and a response that its neighbours normalize."""
    torch.manual_seed(0)
    layers = nn.Sequential()
    for before, after in ((3, 8), (8, 8), (8, 16)):
        layers.append(nn.Conv2d(before, after, 3, padding=1)).append(nn.BatchNorm2d(after))
        layers.append(nn.ReLU(inplace=True)).append(nn.LocalResponseNorm(5)).append(nn.MaxPool2d(2))
    layers.append(nn.Dropout2d(0.5)).append(nn.Hardtanh(inplace=True)).append(nn.Flatten()).append(nn.LazyLinear(7))
    images = torch.randn(4, 3, 24, 24)
    layers(images)
    return Case(layers, [images])


CASES: dict[str, Callable[[], Case]] = {
    "in_place_chain": in_place_chain,
    "resnet18": lambda: zoo("resnet18"),
    "googlenet": lambda: zoo("googlenet"),
    "googlenet, all heads": lambda: zoo("googlenet", 80, aux_heads=True),
    "mobilenet_v2": lambda: zoo("mobilenet_v2"),
    "seresnet18": lambda: zoo("seresnet18"),
    **{name: partial(odd, name) for name in ("Attention", "Dense", "UNet", "Words", "Recurrent", "Recomputed")},
    "UNet, 16 bits": lambda: odd("UNet", torch.bfloat16),
    "Attention, 16 bits": lambda: odd("Attention", torch.bfloat16),
}


@pytest.mark.parametrize("allowed", [everything, no_products], ids=lambda rule: str(rule.__name__))
@pytest.mark.parametrize("name", CASES)
def test_gradients_and_statistics_are_those_of_the_plain_step(name: str, allowed: Rule) -> None:
    case = CASES[name]()
    chosen = case.chosen(allowed)
    # All that one of the networks keeps, it keeps with `checkpoint`, but for products.
    assert chosen or (name, allowed) == ("Recomputed", no_products)
    plain, again = case.learned({}), case.learned(chosen)
    assert plain.keys() == again.keys()
    different = [part for part, value in plain.items() if not torch.equal(value, again[part])]
    assert different == []


class Births(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Knows which operators ran again, and every block of memory that any made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.blocks: list[weakref.ref[Any]] = []
        self.again: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.again += [str(func)] * is_made_again()
        self.blocks += [weakref.ref(part.untyped_storage()) for part in tree_leaves(out) if isinstance(part, Tensor)]
        return out

    def alive(self) -> dict[int, int]:
        """Return the bytes of the blocks that are still there."""
        there = (reference() for reference in self.blocks)
        return {block.data_ptr(): block.nbytes() for block in there if block is not None}


def small_chain() -> Case:
    torch.manual_seed(0)
    layers = nn.Sequential()
    for before, after in ((3, 8), (8, 8), (8, 8)):
        layers.append(nn.Conv2d(before, after, 3, padding=1)).append(nn.BatchNorm2d(after))
        layers.append(nn.ReLU(inplace=True))
    return Case(layers, [torch.randn(2, 3, 16, 16)])


def test_what_is_dropped_is_gone_after_the_forward_pass_and_all_is_after_the_backward_pass() -> None:
    case = small_chain()
    one = 4 * 2 * 8 * 16 * 16
    maps = []
    gc.collect()
    gc.disable()  # What waits for the collector waits too long.
    try:
        for chosen in ({}, case.chosen(no_products), case.chosen()):
            twin = case.twin()
            with Births() as births:
                loss = case.loss(twin, chosen)
                maps.append(sum(size == one for size in births.alive().values()))
                torch.autograd.backward(loss)
            del loss
            gradients = [parameter.grad for parameter in twin.parameters()]
            held = (*case.inputs, *twin.parameters(), *twin.buffers(), *gradients)
            assert births.alive().keys() <= {t.untyped_storage().data_ptr() for t in held if t is not None}
    finally:
        gc.enable()
    # Three that convolutions made and three that activations made; the loss keeps the last, whatever is chosen.
    assert maps == [6, 4, 1]


def test_each_operator_runs_again_once_and_changes_no_statistics() -> None:
    case = small_chain()
    chosen = case.chosen()
    with Births() as births:
        torch.autograd.backward(case.loss(case.twin(), chosen))
    assert sorted(births.again) == sorted(chosen.values())
    assert "aten.native_batch_norm.default" in births.again


class ReadThenChanged(nn.Module):
    """A map that one operator reads before another changes it in place; what the change made is asked for first."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        y = x * self.weight
        z = y + 1
        y.relu_()
        return z * self.weight + y * self.weight


@pytest.mark.parametrize("places", [range(3), [0, 1], [0]])
def test_a_map_is_what_it_was_when_it_was_read(places: Sequence[int]) -> None:
    torch.manual_seed(0)
    case = Case(ReadThenChanged(), [torch.randn(4, 8)])
    operators = ["aten.mul.Tensor", "aten.add.Tensor", "aten.relu_.default"]
    chosen = {place: operators[place] for place in places}
    assert torch.equal(case.learned({})["weight"], case.learned(chosen)["weight"])


def test_backward_twice() -> None:
    case = in_place_chain()
    found = []
    for chosen in ({}, case.chosen()):
        twin = case.twin()
        loss = case.loss(twin, chosen)
        torch.autograd.backward(loss, retain_graph=True)
        torch.autograd.backward(loss)
        found.append([parameter.grad for parameter in twin.parameters() if parameter.grad is not None])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_what_was_made_again_is_not_held_although_the_graph_is() -> None:
    case = small_chain()
    with Births() as births:
        loss = case.loss(case.twin(), case.chosen())
        torch.autograd.backward(loss, retain_graph=True)
    assert sum(size == 4 * 2 * 8 * 16 * 16 for size in births.alive().values()) == 1


def test_a_part_of_the_gradients_is_enough() -> None:
    case = small_chain()
    found = []
    for chosen in ({}, case.chosen()):
        twin = case.twin()
        first, *_, last = twin.parameters()
        loss = case.loss(twin, chosen)
        found.append([*torch.autograd.grad(loss, [last], retain_graph=True), *torch.autograd.grad(loss, [first])])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_without_gradients_nothing_happens() -> None:
    case = small_chain()
    twin = case.twin().eval()
    plain = twin(*case.inputs)
    wrong = dict.fromkeys(range(20), "aten.no_such_operator.default")
    with torch.no_grad(), recomputing(wrong), Births() as births:
        assert torch.equal(twin(*case.inputs), plain)
    assert births.again == []


def test_a_plan_for_another_network_is_refused_with_its_operator() -> None:
    case = small_chain()
    chosen = case.chosen()
    place = min(chosen)
    other = Case(nn.Sequential(nn.Tanh(), nn.Conv2d(3, 8, 3)), case.inputs)
    with pytest.raises(StriateError, match=f"expected {chosen[place]} as operator {place} of the network") as refused:
        other.loss(other.twin(), chosen)
    assert refused.value.received == "aten.tanh.default"
    with pytest.raises(StriateError, match="Make a new plan"):  # The same network in another mode.
        case.loss(case.twin().eval(), chosen)


class ChangedAfterwards(nn.Module):
    """A map that an activation reads, and that changes after it."""

    def __init__(self, changes: bool) -> None:
        super().__init__()
        self.weight, self.changes = nn.Parameter(torch.ones(8)), changes

    def forward(self, x: Tensor) -> Tensor:
        y = x * self.weight
        z = y.relu()
        if self.changes:
            y.add_(1)
        return z * self.weight + y.sin()


def test_what_a_recipe_reads_must_not_change() -> None:
    x = torch.randn(4, 8)
    chosen = {1: "aten.relu.default"}  # It reads what the product made, which is kept.
    kept, changed = (Case(ChangedAfterwards(changes), [x]) for changes in (False, True))
    plain, again = kept.learned({}), kept.learned(chosen)
    assert torch.equal(plain["weight"], again["weight"])
    assert changed.learned({})
    with pytest.raises(StriateError, match="changed in place before its gradient"):
        changed.learned(chosen)


def test_an_operator_that_changes_what_is_kept_is_not_run_again() -> None:
    case = small_chain()
    places = {name: place for place, name in case.chosen().items()}
    chosen = {places["aten.relu_.default"]: "aten.relu_.default"}  # Without the norm, which makes what it changes.
    with pytest.raises(StriateError, match="received aten.relu_.default"):
        case.learned(chosen)


def test_a_forward_pass_that_is_cut_short_holds_no_tensor() -> None:
    """Such as one that runs out of memory: what a node keeps must not hold that node."""

    class CutShort(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(weakref.ref(x.untyped_storage()))
            raise MemoryError

    convolution, seen = nn.Conv2d(3, 8, 3), list[weakref.ref[Any]]()
    network = nn.Sequential(convolution, nn.Softplus(), nn.Sigmoid(), CutShort())
    with pytest.raises(MemoryError), recomputing({2: "aten.softplus.default"}):
        network(torch.rand(2, 3, 16, 16))
    gc.collect()
    assert seen[0]() is None


def test_an_error_in_the_forward_pass_leaves_nothing_behind() -> None:
    case = small_chain()
    twin = case.twin()
    with pytest.raises(ZeroDivisionError), recomputing(case.chosen()):
        _ = twin(*case.inputs), 1 / 0
    x = torch.ones(3, requires_grad=True)
    with Births() as births:
        torch.autograd.backward((x * 2).relu().sum())
    assert births.again == []
    plain, after = case.learned({}), case.learned(case.chosen())
    assert all(torch.equal(value, after[name]) for name, value in plain.items())


IMAGE = (InputSpec((3, 64, 64)),)
PEAKS: dict[str, tuple[ModelProgram, Rule]] = {
    "resnet18, 3 parts": (
        ModelProgram("resnet18", IMAGE, Settings(32, "training", "adam", micro_batches=3), 10),
        no_products,
    ),
    "mobilenet_v2": (
        ModelProgram("mobilenet_v2", IMAGE, Settings(8, "training", channels_last=False), 10),
        no_products,
    ),
    "UNet, 16 bits, 3 parts": (
        ModelProgram(
            f"{odd_networks.__file__}:UNet", IMAGE, Settings(12, "training", amp_dtype="bfloat16", micro_batches=3)
        ),
        no_products,
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "resnet18, 3 parts" else ()) for name in PEAKS]
)
def test_the_predicted_peak_is_the_measured_one(name: str) -> None:
    program, allowed = PEAKS[name]
    with torch.device("meta"):
        built = program.build()
    assert isinstance(built, Training)
    planned = replace(program, recompute=chosen_of(built, allowed))
    predicted = cost_of_model(planned).peak.size
    assert predicted != cost_of_model(program).peak.size
    assert predicted == pytest.approx(measured(planned), rel=0.005, abs=4096)
