"""L-BFGS against the formula that it stands for, and on functions whose minimum is known."""

import torch
from torch import Tensor, nn

from striate.style.lbfgs import FIRST, LBFGS


def gradient_of(matrix: Tensor, x: Tensor) -> Tensor:
    found: Tensor = matrix @ x
    return found


def bowl(size: int, seed: int = 0) -> Tensor:
    """A symmetric matrix with eigenvalues from 1 to 4."""
    generator = torch.Generator().manual_seed(seed)
    turned, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    found: Tensor = turned @ torch.diag(torch.linspace(1, 4, size, dtype=torch.float64)) @ turned.T
    return found


def stepped(matrix: Tensor, x: nn.Parameter, optimizer: LBFGS, steps: int) -> None:
    for _ in range(steps):
        x.grad = gradient_of(matrix, x.detach())
        optimizer.step()


def test_it_reaches_the_bottom_of_a_bowl() -> None:
    x = nn.Parameter(torch.ones(12, dtype=torch.float64))
    stepped(bowl(12), x, LBFGS([x], largest=10.0), 60)
    assert float(x.detach().abs().max()) < 1e-8


def test_a_direction_is_that_of_the_matrix_that_the_pairs_make() -> None:
    """BFGS writes the matrix out: H <- (I - ρ s yᵀ) H (I - ρ y sᵀ) + ρ s sᵀ (Nocedal and Wright, equation 6.17)."""
    size, matrix = 6, bowl(6)
    x = nn.Parameter(torch.linspace(-1, 1, size, dtype=torch.float64))
    optimizer = LBFGS([x], pairs=4, largest=1e9)
    seen = []
    for _ in range(8):
        seen.append((x.detach().clone(), gradient_of(matrix, x.detach())))
        stepped(matrix, x, optimizer, 1)
    pairs = [(after[0] - before[0], after[1] - before[1]) for before, after in zip(seen[-5:-1], seen[-4:], strict=True)]
    s, y = pairs[-1]
    inverse = (s @ y) / (y @ y) * torch.eye(size, dtype=torch.float64)
    for s, y in pairs:
        left = torch.eye(size, dtype=torch.float64) - torch.outer(s, y) / (y @ s)
        inverse = left @ inverse @ left.T + torch.outer(s, s) / (y @ s)
    assert torch.allclose(x.detach() - seen[-1][0], -inverse @ seen[-1][1], rtol=1e-6, atol=1e-12)


def test_steps_are_held_to_a_length_and_the_first_to_another() -> None:
    x = nn.Parameter(torch.full((4,), 100.0, dtype=torch.float64))
    optimizer = LBFGS([x], largest=0.5)
    before = x.detach().clone()
    stepped(bowl(4), x, optimizer, 1)
    assert torch.allclose((x.detach() - before).square().mean().sqrt(), torch.tensor(FIRST, dtype=torch.float64))
    before = x.detach().clone()
    stepped(bowl(4), x, optimizer, 1)
    assert torch.allclose((x.detach() - before).square().mean().sqrt(), torch.tensor(0.5, dtype=torch.float64))


def test_what_curves_down_is_passed_over() -> None:
    x = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimizer = LBFGS([x])
    stepped(-bowl(2), x, optimizer, 3)
    state = optimizer.state[x]
    assert state["inverse"].tolist() == [0.0] * 10
    assert float(x.detach().abs().max()) < 3


def test_at_rest_it_rests() -> None:
    x = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    stepped(bowl(3), x, LBFGS([x]), 3)
    assert x.tolist() == [0.0] * 3
