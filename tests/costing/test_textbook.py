"""The lecture's bounds, by its own figures and by hand."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.costing.textbook import Textbook, textbook_bound
from striate.graph.programs import Inference, Training
from striate.graph.trace import trace


def bound(network: nn.Module, *shape: int, training: bool = False) -> Textbook:
    images = torch.empty(shape, device="meta")
    program = Training(network, [images], [], lambda out: out.mean()) if training else Inference(network, [images])
    return textbook_bound(trace(program), training)


def exercise() -> nn.Sequential:
    layers = nn.Sequential()
    for before, after in ((3, 100), (100, 200), (200, 400)):
        layers.append(nn.Conv2d(before, after, 3, stride=2, padding=1)).append(nn.ReLU())
    return layers


def test_the_exercises_figures() -> None:
    assert bound(exercise(), 1, 3, 200, 300) == Textbook(6_000_000 + 3_000_000, 720_000, 3_613_600, 12_613_600)
    assert bound(exercise(), 50, 3, 200, 300, training=True) == Textbook(
        50 * 10_520_000, 50 * 720_000, 3_613_600, 565_613_600
    )


def test_what_waits_for_an_addition_is_still_needed() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = (nn.Conv2d(1, 1, 1, bias=False) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            start = self.first(x)
            end: Tensor = self.third(self.second(start).relu()) + start
            return end

    one = 4 * 10 * 10
    # At the third: the shortcut, what it reads, what it makes; the sum is made when the second's is gone.
    assert bound(Block(), 1, 1, 10, 10).activation_bytes == 3 * one
    assert bound(Block(), 1, 1, 10, 10, training=True).activation_bytes == 4 * one


def test_activations_in_place_views_and_dropout_share_their_layers_output() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))
    dressed = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.GELU(), nn.ReLU(inplace=True), nn.Sigmoid(), nn.Dropout(), nn.Flatten(),
        nn.Linear(4 * 36, 5), nn.Softmax(1),
    )  # fmt: skip
    for training in (False, True):
        assert bound(dressed, 2, 3, 8, 8, training=training) == bound(plain, 2, 3, 8, 8, training=training)


def test_functions_share_as_modules_do() -> None:
    class Functions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.dense = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 5)

        def forward(self, x: Tensor) -> Tensor:
            maps = F.dropout(F.leaky_relu(self.conv(x)), training=self.training)
            logits: Tensor = self.dense(maps.flatten(1)).softmax(1)
            return logits

    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))
    modules = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softsign(), nn.RReLU(), nn.FeatureAlphaDropout(), *list(plain)[1:])
    for training in (False, True):
        expected = bound(plain, 2, 3, 8, 8, training=training)
        assert bound(Functions(), 2, 3, 8, 8, training=training) == expected
        assert bound(modules, 2, 3, 8, 8, training=training) == expected


def test_a_layout_changes_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    images = torch.empty(2, 3, 8, 8)
    bounds = {textbook_bound(trace(Inference(network, [images]), channels_last=last), False) for last in (True, False)}
    assert len(bounds) == 1
