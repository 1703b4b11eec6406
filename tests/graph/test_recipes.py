"""Recipes at their edges: values that change, chains that are long, slices, copies of the graph."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from striate.errors import StriateError
from striate.graph.recompute import recomputing

Function = Callable[[Tensor], Tensor]


def gradient(function: Function, chosen: dict[int, str]) -> Tensor:
    torch.manual_seed(0)
    x = torch.randn(6, 8, requires_grad=True)
    with recomputing(chosen):
        y = function(x)
    (found,) = torch.autograd.grad(y.square().sum(), x)
    return found


def test_a_long_chain_is_made_again() -> None:
    def chain(x: Tensor) -> Tensor:
        for _ in range(1500):
            x = torch.sin(x)
        return x

    chosen = dict.fromkeys(range(1499), "aten.sin.default")
    assert torch.equal(gradient(chain, {}), gradient(chain, chosen))


def test_a_slice_that_changes_leaves_the_rest_of_its_map_as_it_was() -> None:
    def halves(x: Tensor) -> Tensor:
        y = x * 2
        before = y.sin()
        z = y.clone()
        z[:, :4].mul_(3)
        z[:, 4:].add_(1)
        return z.sigmoid() * before

    names = [
        *("aten.mul.Tensor", "aten.sin.default", "aten.clone.default"),
        *("aten.mul_.Tensor", "aten.add_.Tensor", "aten.sigmoid.default"),
    ]
    assert torch.equal(gradient(halves, {}), gradient(halves, dict(enumerate(names))))


def test_a_slice_that_changes_while_its_map_is_still_wanted() -> None:
    def later(x: Tensor) -> Tensor:
        z = (x * 2).clone()
        before = z.exp()  # Its gradient comes last, and needs the map as it was.
        z[:, :4].mul_(3)
        return z.sin() + before

    names = ["aten.mul.Tensor", "aten.clone.default", "aten.exp.default", "aten.mul_.Tensor"]
    assert torch.equal(gradient(later, {}), gradient(later, dict(enumerate(names))))


@pytest.mark.parametrize("chosen", [{}, {1: "aten.relu.default"}], ids=["plain", "planned"])
def test_a_loss_may_not_change_what_a_gradient_reads(chosen: dict[int, str]) -> None:
    x = torch.randn(6, 8, requires_grad=True)
    with recomputing(chosen):
        y = x * x.detach()
        z = y.relu() + y.sin()
    loss = z.sum()
    y.detach().add_(1)
    with pytest.raises((StriateError, RuntimeError), match="in ?place"):
        torch.autograd.backward(loss)


def test_a_value_seen_as_another_type_is_kept() -> None:
    def bits(x: Tensor) -> Tensor:
        y = x * 2
        seen = y.detach().view(torch.int32).bitwise_and(3)
        return y * seen.float()

    names = {0: "aten.mul.Tensor", 1: "aten.bitwise_and.Scalar", 2: "aten._to_copy.default"}
    assert torch.equal(gradient(bits, {}), gradient(bits, names))


def test_a_graph_that_is_held_gives_its_gradients_again() -> None:
    x = torch.randn(6, 8, requires_grad=True)
    with recomputing({0: "aten.mul.Tensor", 1: "aten.sin.default"}):
        y = ((x * 2).sin()).exp().sum()
    first, second = (torch.autograd.grad(y, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
