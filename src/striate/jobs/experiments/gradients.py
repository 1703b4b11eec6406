"""Closed forms of gradients against finite differences, and against torch's.

What a gradient is by definition, (f(x + h) - f(x - h)) / 2h for one number after the other, is right for every f that
is smooth there, whatever one thinks its formula is; in 64-bit floats and with a small h it is right to some ten digits.
Formulas are of a sum of what comes out, each weighed by a number of its own, so that none hides behind another; those
of losses are of the loss itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn import functional as F

from striate.jobs.experiments.fitting import read_small
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying

SIDE, IMAGES = 8, 16
STEP = 1e-5  # Of finite differences.
PLACES = 160  # At which activations are looked at, from minus `FAR` to `FAR`; none is where they have a corner.
FAR = 8.0
LARGE = 1000.0  # Added to logits: its exponential is more than any float holds.

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Closed:
    """A gradient in closed form.

    Args:
        name: of the function.
        formula: of its gradient, for people.
        function: whose gradient it is; of any shape.
        gradient: of the sum of what comes out, each multiplied by ``weights``.
        at: what goes in.
        weights: of what comes out; 1 for a loss.
    """

    name: str
    formula: str
    function: Function
    gradient: Function
    at: Float64[Tensor, "..."]
    weights: Float64[Tensor, "..."]

    def differences(self) -> tuple[float, float]:
        """Return how far the formula is, at most, from finite differences and from torch's gradient."""
        closed = self.gradient(self.at)
        x = self.at.clone().requires_grad_()
        (automatic,) = torch.autograd.grad((self.function(x) * self.weights).sum(), x)
        numeric = finite_differences(lambda x: float((self.function(x) * self.weights).sum()), self.at)
        return float((closed - numeric).abs().max()), float((closed - automatic).abs().max())


@torch.no_grad()
def finite_differences(function: Callable[[Tensor], float], at: Float64[Tensor, "..."]) -> Float64[Tensor, "..."]:
    """Return how much a number changes with each of those that it is made of: central differences with `STEP`."""
    x = at.clone()
    numbers, found = x.view(-1), torch.empty(x.numel(), dtype=x.dtype)
    for place in range(len(numbers)):
        middle = float(numbers[place])
        ends = []
        for moved in (middle + STEP, middle - STEP):
            numbers[place] = moved
            ends.append(function(x))
        numbers[place] = middle
        found[place] = (ends[0] - ends[1]) / (2 * STEP)
    return found.view(at.shape)


def softmax(x: Float64[Tensor, "N K"]) -> Float64[Tensor, "N K"]:
    """Return shares as the definition has them."""
    return x.exp() / x.exp().sum(1, keepdim=True)


def shifted_softmax(x: Float64[Tensor, "N K"]) -> Float64[Tensor, "N K"]:
    """Return the same shares: what is taken from all logits goes out of the fraction."""
    return softmax(x - x.max(1, keepdim=True).values)


# Each function with its derivative.
ACTIVATIONS: dict[str, tuple[str, Function, Function]] = {
    "sigmoid": ("y (1 - y)", torch.sigmoid, lambda x: torch.sigmoid(x) * (1 - torch.sigmoid(x))),
    "tanh": ("1 - y²", torch.tanh, lambda x: 1 - torch.tanh(x) ** 2),
    "ReLU": ("1 where x > 0, else 0", torch.relu, lambda x: (x > 0).to(x)),
    "ReLU6": ("1 where 0 < x < 6, else 0", F.relu6, lambda x: ((x > 0) & (x < 6)).to(x)),
    "leaky ReLU": (
        "1 where x > 0, else 0.1",
        lambda x: F.leaky_relu(x, 0.1),
        lambda x: 0.1 + 0.9 * (x > 0).to(x),
    ),
}


def closed_forms(images: Float64[Tensor, "N D"], truth: Float64[Tensor, "N K"], draws: torch.Generator) -> list[Closed]:
    """Return all that is checked.

    Args:
        images: X, of a dense layer.
        truth: t: 1 for the class of each, 0 for the others.
        draws: of weights and of what is asked of outputs.
    """

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draws, dtype=torch.float64)

    count, classes = truth.shape
    x = torch.linspace(-FAR, FAR, PLACES, dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    each = torch.ones_like(x)
    weights, biases = drawn(images.shape[1], classes) / images.shape[1] ** 0.5, drawn(classes)
    logits = images @ weights + biases
    asked = drawn(count, classes)

    def through_softmax(function: Function) -> Function:
        return lambda x: function(x) * (asked - (function(x) * asked).sum(1, keepdim=True))

    forms = [
        Closed(f"y = {name} of x", formula, function, derivative, x, each)
        for name, (formula, function, derivative) in ACTIVATIONS.items()
    ]
    ways = {"softmax, exp x / Σ exp x": softmax, "softmax, of x - max x": shifted_softmax}
    for name, function in ways.items():
        for far, added in (("", 0.0), (f", {LARGE:g} added to all x", LARGE)):
            jacobian = through_softmax(function)
            forms.append(Closed(name + far, "y (dY - Σ y dY)", function, jacobian, logits + added, asked))
    return [
        *forms,
        Closed(
            "softmax and cross-entropy, mean over N images",
            "(y - t) / N",
            lambda x: -(truth * shifted_softmax(x).log()).sum() / count,
            lambda x: (shifted_softmax(x) - truth) / count,
            logits,
            one,
        ),
        Closed(
            "identity and half the sum of squares",
            "y - t",
            lambda y: (y - truth).square().sum() / 2,
            lambda y: y - truth,
            logits,
            one,
        ),
        Closed(
            "identity and torch's mean of n squares",
            "2 (y - t) / n",
            lambda y: F.mse_loss(y, truth),
            lambda y: 2 * (y - truth) / truth.numel(),
            logits,
            one,
        ),
        Closed(
            "dense layer Y = X W + b, by X",
            "dY Wᵀ",
            lambda x: x @ weights + biases,
            lambda _: asked @ weights.T,
            images,
            asked,
        ),
        Closed("the same, by W", "Xᵀ dY", lambda w: images @ w + biases, lambda _: images.T @ asked, weights, asked),
        Closed("the same, by b", "Σ dY", lambda b: images @ weights + b, lambda _: asked.sum(0), biases, asked),
    ]


def compare_gradients(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Set each formula beside finite differences and torch's gradient; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of which images, and of the dense layer's weights.
    """
    given = read_small(data, SIDE, seed, IMAGES)
    truth = F.one_hot(given.labels, given.classes).double()
    forms = closed_forms(given.images.double().flatten(1), truth, torch.Generator().manual_seed(seed))
    rows: list[tuple[Cell, ...]] = []
    for done, form in enumerate(forms, 1):
        rows.append((form.name, form.formula, *(f"{far:.1g}" for far in form.differences())))
        yield Trying(done, len(forms))
    x = torch.linspace(-FAR, FAR, PLACES, dtype=torch.float64)
    values, slopes = (
        {name: list(zip(x.tolist(), way[place](x).tolist(), strict=True)) for name, way in _functions()}
        for place in range(2)
    )
    yield Outcome(
        "Are the formulas for gradients right?",
        f"In 64-bit floats. By definition: each number x that goes in is moved by h = {STEP:g} up and down, and "
        "(f(x + h) - f(x - h)) / 2h is what the formula should give. The third column has the largest difference of "
        "any one number, the last the same beside torch's own gradient. Rounding leaves some 1e-9 of the former; nan "
        "is what comes of infinity over infinity. dY is the gradient that comes back from the layers behind, t the "
        "truth: 1 for the class of an image, 0 for the others. Softmax, losses and the dense layer see "
        f"{len(given.images)} images of {given.name} through random weights, seed {seed}.",
        ("function", "its gradient", "from finite differences", "from torch's"),
        tuple(rows),
        (
            Chart("Activations", "x", "y", values),
            Chart("Derivatives of activations", "x", "dy / dx", slopes),
        ),
    )


def _functions() -> list[tuple[str, tuple[Function, Function]]]:
    return [(name, (function, derivative)) for name, (_, function, derivative) in ACTIVATIONS.items()]
