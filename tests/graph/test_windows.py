"""Windows as torch's operators use them: their sizes by running them."""

import pytest
import torch
from torch import nn

from striate.graph.programs import Inference
from striate.graph.trace import trace
from striate.graph.windows import find_windows
from striate.shapes import Window


@pytest.mark.parametrize(
    ("module", "windows"),
    [
        (nn.Conv2d(2, 3, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
         (Window(3, 2, 1, 1, 1), Window(5, 1, 2, 2, 2))),
        (nn.Conv2d(2, 3, 3, padding="same", dilation=2), (Window(3, 1, 2, 2, 2), Window(3, 1, 2, 2, 2))),
        (nn.MaxPool2d(3, 2, 1), (Window(3, 2, 1, 1), Window(3, 2, 1, 1))),
        (nn.MaxPool2d(2), (Window(2, 2), Window(2, 2))),
        (nn.AvgPool2d(3, 1, 1), (Window(3, 1, 1, 1), Window(3, 1, 1, 1))),
        (nn.AdaptiveAvgPool2d((4, 5)), (Window(3, 3), Window(4, 2))),
        (nn.ZeroPad2d((1, 2, 3, 4)), (Window(1, before=3, after=4), Window(1, before=1, after=2))),
        (nn.ReflectionPad2d(2), (Window(1, before=2, after=2), Window(1, before=2, after=2))),
    ],
    ids=str,
)  # fmt: skip
def test_windows_are_those_of_the_module_and_give_its_sizes(module: nn.Module, windows: tuple[Window, ...]) -> None:
    graph = trace(Inference(module, [torch.empty(1, 2, 12, 13, device="meta")]))
    found = [found for operator in graph.operators if (found := find_windows(operator, graph)) is not None]
    assert found == [windows]
    out = graph.tensors[graph.calls[0].outputs[0]].shape[2:]
    if not isinstance(module, nn.AdaptiveAvgPool2d):
        assert tuple(window.out(size) for window, size in zip(windows, (12, 13), strict=True)) == out


def test_a_slice_is_a_window_with_less_than_no_padding() -> None:
    class Crop(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, 2:-1, ::3] + 0

    graph = trace(Inference(Crop(), [torch.empty(1, 2, 12, 13, device="meta")]))
    slices = [windows for operator in graph.operators if (windows := find_windows(operator, graph)) is not None]
    assert slices == [
        (Window(1, 1, -2, -1), Window(1)),
        (Window(1), Window(1, 3, 0, 0)),
    ]
    assert (slices[0][0].out(12), slices[1][1].out(13)) == (9, 5)


def test_others_slide_no_window() -> None:
    graph = trace(Inference(nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)), [torch.empty(1, 2, 3, 4)]))
    assert all(find_windows(operator, graph) is None for operator in graph.operators)
