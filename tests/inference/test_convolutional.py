"""Classifiers without dense layers, against the same classifiers slid over the image."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.errors import StriateError, UsageError
from striate.inference.convolutional import fully_convolutional, slide
from striate.zoo import ZOO, create_model


class Written(nn.Module):
    """A network whose forward pass is code: view, functions, batch norm between dense layers, nested modules."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3))
        self.first = nn.Linear(8 * 3 * 5, 12)
        self.norm = nn.BatchNorm1d(12)
        self.rest = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Linear(12, 7), nn.Tanh()))
        self.last = nn.Linear(7, 5, bias=False)
        assert self.norm.running_mean is not None
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        count = x.size(0)
        x = self.body(x)
        x = F.dropout(F.relu(x.view(count, -1)), training=self.training)
        x = self.norm(self.first(x))
        logits: Tensor = self.last(self.rest(x))
        return logits.softmax(1)


def pooled(pool: nn.Module, places: int = 1) -> nn.Module:
    body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
    return nn.Sequential(body, pool, nn.Dropout(), nn.Flatten(), nn.Linear(6 * places, 4), nn.LogSoftmax(-1))


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
        self.last = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.body(x).mean([2, 3]))
        return logits


UNPADDED = {
    "written": (Written(), (3, 12, 16)),
    "adaptive": (pooled(nn.AdaptiveAvgPool2d(1)), (3, 10, 12)),
    "to as many places": (pooled(nn.AdaptiveAvgPool2d((4, 5)), 20), (3, 6, 7)),
    "to fewer places": (pooled(nn.AdaptiveMaxPool2d((4, 5)), 20), (3, 10, 12)),
    "fixed": (pooled(nn.AvgPool2d((8, 10))), (3, 10, 12)),
    "mean": (Mean(), (3, 10, 12)),
    "flattened twice": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Flatten(), nn.Linear(16, 3)), (3, 4, 4)),
}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", UNPADDED)
def test_without_padding_it_is_the_classifier_slid_over_the_image(kind: str, stride: int) -> None:
    torch.manual_seed(0)
    network, shape = UNPADDED[kind]
    converted = fully_convolutional(network, shape, stride=stride)
    assert converted.window == shape[1:]
    height, width = (side + 3 * step for side, step in zip(shape[1:], converted.stride, strict=True))
    image = torch.randn(1, 3, height, width)
    expected = torch.cat(list(slide(network.eval(), image, converted.window, converted.stride, 5)))
    with torch.inference_mode():
        found = converted(image)
    assert found.shape[2:] == (4, 4)
    torch.testing.assert_close(found[0].flatten(1).T, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


SMALL = [name for name, entry in ZOO.items() if entry.parameters < 7e6 and entry.task == "classify"]


@pytest.mark.parametrize("name", [*SMALL, "resnet18", "xception"])
def test_on_its_own_size_it_is_the_classifier(name: str) -> None:
    torch.manual_seed(0)
    network, entry = create_model(name).eval(), ZOO[name]
    shape = (entry.in_chans, *entry.image_size)
    converted = fully_convolutional(frame(network), shape)
    assert not [module for module in converted.modules() if isinstance(module, nn.Flatten)]
    image = torch.randn(2, *shape)
    with torch.inference_mode():
        expected, found = network(image), converted(image)
    assert found.shape == (*expected.shape, 1, 1)
    torch.testing.assert_close(found.flatten(1), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["lenet5", "lenet5_28", "mlp"])
def test_networks_without_padding_equal_themselves_slid(name: str) -> None:
    torch.manual_seed(0)
    network, entry = create_model(name).eval(), ZOO[name]
    converted = fully_convolutional(frame(network), (1, *entry.image_size))
    image = torch.randn(1, 1, 45, 50)
    expected = torch.cat(list(slide(network, image, converted.window, converted.stride, 64)))
    with torch.inference_mode():
        found = converted(image)[0].flatten(1).T
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def frame(network: nn.Module) -> nn.Module:
    parts = {name: module for name, module in network.named_children() if name in ("features", "classifier")}
    return nn.Sequential(OrderedDict(parts))


def test_weights_are_shared_and_keep_their_names() -> None:
    network = create_model("lenet5")
    converted = fully_convolutional(frame(network), (1, 32, 32))
    assert sorted(converted.network.state_dict()) == sorted(network.state_dict())
    dense = network.get_parameter("classifier.c5.weight")
    assert converted.network.get_parameter("classifier.c5.weight").shape == (120, 16, 5, 5)
    assert converted.network.get_parameter("classifier.c5.weight").data_ptr() == dense.data_ptr()


def test_tells_what_it_changed() -> None:
    changes = fully_convolutional(frame(create_model("lenet5")), (1, 32, 32), stride=2).changes
    assert [(change.layer, change.after) for change in changes] == [
        ("classifier.flatten", ""),
        ("classifier.c5", "Conv2d(16, 120, kernel_size=(5, 5), stride=(2, 2))"),
        ("classifier.f6", "Conv2d(120, 84, kernel_size=(1, 1), stride=(1, 1))"),
        ("classifier.output", "Conv2d(84, 10, kernel_size=(1, 1), stride=(1, 1))"),
    ]


@pytest.mark.parametrize(("name", "side"), [("lenet5", 30), ("strided_cnn_28", 28), ("mnist_cnn", 30)])
def test_answers_for_the_windows_that_lie_in_the_image_and_no_more(name: str, side: int) -> None:
    network = create_model(name, image_size=side)
    converted = fully_convolutional(frame(network), (1, side, side))
    for height, width in ((side, side), (61, 70), (64, 47)):
        rows, columns = ((s - side) // step + 1 for s, step in zip((height, width), converted.stride, strict=True))
        with torch.no_grad():
            assert converted(torch.randn(1, 1, height, width)).shape == (1, 10, rows, columns)
        assert converted.places((height, width)) == (rows, columns)


def test_a_pooling_to_more_places_than_there_are_is_refused() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(108, 3))
    with pytest.raises(StriateError):
        fully_convolutional(network, (3, 4, 4))


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class Turned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3 * 4 * 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(x.transpose(1, 2).flatten(1))
        return logits


def headed(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 6), *layers)


SHARED = nn.Linear(16, 16)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (headed(nn.LayerNorm(6)), "3, which does not do the same at each place"),
        (nn.Conv2d(3, 4, 3), "its output is a tensor of shape"),
        (Deciding(), "asks for values"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), SHARED, nn.ReLU(), SHARED), "used 2 times"),
        (
            nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)),
            "makes it of a fixed size",
        ),
        (Turned(), "on an image of"),
        (nn.Conv2d(4, 4, 3), "of 3x4x4: Given groups=1"),
    ],
)
def test_refuses_with_the_layer_and_the_reason(network: nn.Module, said: str) -> None:
    with pytest.raises(StriateError, match=said):
        fully_convolutional(network, (3, 4, 4))


def test_refuses_what_is_no_stride_and_too_small_an_image() -> None:
    network = create_model("lenet5")
    with pytest.raises(UsageError, match="stride of 1 or more"):
        fully_convolutional(frame(network), (1, 32, 32), stride=0)
    with pytest.raises(StriateError, match="at least 32x32 pixels, the classifier's window; received 31x40"):
        fully_convolutional(frame(network), (1, 32, 32))(torch.zeros(1, 1, 31, 40))
