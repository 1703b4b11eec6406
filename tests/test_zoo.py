"""One contract for every network: to be listed is to be tested."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from striate.blocks.classifier import ImageClassifier
from striate.blocks.excitation import SqueezeExcitation
from striate.costing.layers import layer_costs
from striate.errors import StriateError, UsageError
from striate.files import save_tensors
from striate.zoo import ZOO, Entry, create_model, list_models

PARTS = {
    "rcnn": {"PostProcess"},
    "fast_rcnn": {"Regions", "PostProcess"},
    "faster_rcnn": {"Proposing", "Regions", "PostProcess"},
    "mask_rcnn": {"Proposing", "Regions", "PostProcess"},
}
SMALL = 64  # The side of a test's image, where the network's own is larger.


def ids(entry: Entry) -> str:
    return entry.name


CLASSIFIERS = [entry for entry in ZOO.values() if entry.task == "classify"]
entries = pytest.mark.parametrize("entry", CLASSIFIERS, ids=ids)
segmenters = pytest.mark.parametrize("entry", [entry for entry in ZOO.values() if entry.task == "segment"], ids=ids)
detectors = pytest.mark.parametrize("entry", [entry for entry in ZOO.values() if entry.task == "detect"], ids=ids)
on_backbones = pytest.mark.parametrize("entry", [e for e in ZOO.values() if e.task != "classify"], ids=ids)
# Of what is the same blocks over and over, the deepest are left to the slow tests.
DEEPEST = ("resnet101", "resnet152", "seresnet152", "senet154", "vgg13", "vgg19")


def marked(entry: Entry) -> object:
    return pytest.param(entry, marks=pytest.mark.slow) if entry.name in DEEPEST else entry


with_the_deepest_slow = pytest.mark.parametrize("entry", list(map(marked, CLASSIFIERS)), ids=ids)
backbones = pytest.mark.parametrize("entry", [entry for entry in CLASSIFIERS if entry.backbone], ids=ids)
DILATED = [entry for entry in CLASSIFIERS if "output_stride" in inspect.signature(entry.build).parameters]
dilated = pytest.mark.parametrize("entry", DILATED, ids=ids)
dilated_with_the_deepest_slow = pytest.mark.parametrize("entry", list(map(marked, DILATED)), ids=ids)
with_heads = pytest.mark.parametrize("entry", [entry for entry in CLASSIFIERS if entry.with_aux_heads], ids=ids)


def side(entry: Entry) -> int:
    return min(SMALL, entry.image_size[0])


def build(entry: Entry, **options: Any) -> Any:
    torch.manual_seed(0)
    return create_model(entry.name, **{"image_size": side(entry), **options})


def proposals(network: Any, count: int) -> list[Tensor]:
    """Return what a network is shown besides so many images, on torch's meta device."""
    search = getattr(network, "search", None)
    return [] if search is None else [torch.empty(count, search.room, 4, device="meta")]


def build_meta(entry: Entry, **options: Any) -> Any:
    with torch.device("meta"):
        return create_model(entry.name, **options)


@pytest.fixture(scope="module", params=CLASSIFIERS, ids=ids)
def network(request: pytest.FixtureRequest) -> Any:
    """A small form of each network, in evaluation mode; no test changes it."""
    made = build(request.param).eval()
    made.entry = request.param
    return made


def images(entry: Entry, count: int = 2, size: int | None = None) -> Tensor:
    size = size or side(entry)
    return torch.randn(count, entry.in_chans, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "entry",
    [pytest.param(each, marks=pytest.mark.slow) if each.name == "rcnn" else each for each in ZOO.values()],
    ids=ids,  # It looks at 2,000 proposals.
)
def test_has_the_published_number_of_parameters_and_multiply_adds(entry: Entry) -> None:
    network = build_meta(entry, image_size=entry.image_size)
    assert sum(p.numel() for p in network.parameters()) == entry.parameters
    assert all(p.is_meta for p in network.parameters())
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(1, entry.in_chans, *entry.image_size, device="meta"), *proposals(network, 1))
    assert counter.get_total_flops() == 2 * entry.macs


@with_heads
def test_has_the_published_number_of_parameters_with_auxiliary_heads(entry: Entry) -> None:
    network = build_meta(entry, aux_heads=True)
    assert sum(p.numel() for p in network.parameters()) == entry.with_aux_heads


def test_forward_gives_logits_in_training_and_evaluation(network: Any) -> None:
    entry = network.entry
    x = images(entry)
    logits = network(x)
    assert logits.shape == (2, entry.num_classes)
    assert logits.isfinite().all()
    with torch.no_grad():
        assert build(entry).train()(x).shape == (2, entry.num_classes)
    torch.testing.assert_close(network(x), logits, rtol=0, atol=0)  # It drops nothing in evaluation.


@with_the_deepest_slow
def test_every_parameter_learns_and_one_training_step_lowers_the_loss_as_its_gradient_says(entry: Entry) -> None:
    # In 64 bits: the gradients of a deep network at its start are steep, and 32 bits lose the step.
    network, x = build(entry, num_classes=5).train().double(), images(entry, 4).double()
    labels = torch.tensor([0, 1, 2, 1])

    def loss_with_the_same_dropout() -> Tensor:
        torch.manual_seed(2)
        return F.cross_entropy(network(x), labels)

    loss = loss_with_the_same_dropout()
    torch.autograd.backward(loss)
    gradients = {name: p.grad for name, p in network.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.any()] == []
    steepness = sum(float(gradient.square().sum()) for gradient in gradients.values() if gradient is not None)
    share = 1e-5  # Of the loss, to first order, that a step of this size takes off.
    torch.optim.SGD(network.parameters(), share * loss.item() / steepness).step()
    assert loss_with_the_same_dropout().item() == pytest.approx((1 - share) * loss.item(), rel=share / 10)


@entries
def test_takes_other_channels_classes_and_image_sizes(entry: Entry) -> None:
    size = (side(entry) + 8, side(entry) + 4)
    network = build(entry, num_classes=7, in_chans=5, image_size=size).eval()
    with torch.no_grad():
        assert network(torch.randn(2, 5, *size)).shape == (2, 7)


@entries
def test_images_of_another_size_are_taken_or_refused_with_both_sizes(entry: Entry) -> None:
    network, own = build_meta(entry, image_size=side(entry)), side(entry)
    other = torch.empty(2, entry.in_chans, own + 3, own + 5, device="meta")
    if network.image_size is None:
        assert network(other).shape == (2, entry.num_classes)
    else:
        with pytest.raises(StriateError, match=f"{own}x{own} pixels.*received {own + 3}x{own + 5}"):
            network(other)


@with_the_deepest_slow
def test_images_that_are_too_small_are_refused_with_the_smallest_that_are_not(entry: Entry) -> None:
    try:
        network = build_meta(entry, image_size=1)
    except UsageError as error:
        (smallest,) = re.findall(r"at least (\d+)x\1", error.expected)
        said = re.findall(r"(\d+)x\1 is the smallest", inspect.getdoc(getattr(entry.build, "func", entry.build)) or "")
        assert said in ([], [smallest])
    else:
        assert network(torch.empty(2, entry.in_chans, 1, 1, device="meta")).shape[0] == 2
        return
    image = torch.empty(1, entry.in_chans, int(smallest), int(smallest), device="meta")
    assert build_meta(entry, image_size=int(smallest), num_classes=3).eval()(image).shape == (1, 3)
    with pytest.raises(UsageError, match=f"at least {smallest}x"):
        build_meta(entry, image_size=(int(smallest) - 1, 200))


@with_the_deepest_slow
def test_reset_classifier_changes_what_gives_logits_alone(entry: Entry) -> None:
    network = build(entry).double()
    before = network.state_dict()
    network.reset_classifier(3)
    after = network.state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    (layer,) = network.output_layers()
    assert changed == {f"{layer}.weight", f"{layer}.bias"}
    assert network.num_classes == 3
    with torch.no_grad():
        assert network.eval()(images(entry).double()).shape == (2, 3)
    with pytest.raises(UsageError, match="num_classes of 1 or more; received 0"):
        network.reset_classifier(0)
    assert network.num_classes == 3
    on_meta = build_meta(entry)
    on_meta.reset_classifier(3)
    assert all(p.is_meta for p in on_meta.parameters())


@entries
def test_drop_rate_is_that_of_the_dropout_before_the_output(entry: Entry) -> None:
    rates = [m.p for m in build_meta(entry, drop_rate=0.9).classifier.modules() if isinstance(m, nn.Dropout)]
    assert rates[-1] == 0.9


def test_feature_maps_are_as_announced(network: Any) -> None:
    if not network.entry.backbone:
        assert network.feature_info == ()
        return
    x = images(network.entry)
    with torch.no_grad():
        maps, last = network.feature_maps(x), network.features(x)
        assert list(maps) == [info.name for info in network.feature_info]
        for info in network.feature_info:
            assert maps[info.name].shape[:2] == (2, info.channels)
            # What comes later has not written into it.
            names = [name for name, _ in network.features.named_children()]
            alone = network.features[: names.index(info.module or info.name) + 1](x)
            assert torch.equal(maps[info.name], alone)
    assert torch.equal(last, maps[network.feature_info[-1].name])
    assert len({info.stride for info in network.feature_info}) == len(network.feature_info)


def map_sizes(network: ImageClassifier, entry: Entry, size: int) -> list[int]:
    maps = network.feature_maps(torch.empty(2, entry.in_chans, size, size, device="meta"))
    return [maps[info.name].shape[-1] for info in network.feature_info]


def expect_strides_as_announced(network: ImageClassifier, entry: Entry) -> None:
    """An image that is larger by some pixels has maps that are larger by as many, divided by their strides."""
    small, large = map_sizes(network, entry, 160), map_sizes(network, entry, 160 + 4 * 32)
    grown = [(b - a) * info.stride for a, b, info in zip(small, large, network.feature_info, strict=True)]
    assert grown == [4 * 32] * len(grown)


@backbones
def test_strides_are_as_announced(entry: Entry) -> None:
    expect_strides_as_announced(build_meta(entry), entry)


@with_the_deepest_slow
def test_a_larger_first_stride_makes_all_maps_smaller(entry: Entry) -> None:
    plain = build_meta(entry)
    if plain.image_size is not None:
        with pytest.raises(UsageError, match=f"any size; received it with {entry.name}"):
            build_meta(entry, stem_stride=2)
        return
    own = plain.feature_info[0].stride
    stretched = build_meta(entry, stem_stride=2 * own)
    assert [info.stride for info in stretched.feature_info] == [2 * info.stride for info in plain.feature_info]
    size = 4 * plain.feature_info[-1].stride
    images = torch.empty(2, entry.in_chans, size, size, device="meta")
    for info in stretched.feature_info:
        height = stretched.feature_maps(images)[info.name].shape[-1]
        assert abs(height - size / info.stride) <= 2  # Some convolutions have no padding.
    with pytest.raises(UsageError, match=f"a multiple of {own}"):
        build_meta(entry, stem_stride=2 * own + 1)


@dilated
@pytest.mark.parametrize("output_stride", [8, 16])
def test_smaller_output_strides_are_kept(entry: Entry, output_stride: int) -> None:
    network = build_meta(entry, output_stride=output_stride)
    expect_strides_as_announced(network, entry)
    assert network.feature_info[-1].stride == output_stride
    assert [info[:2] for info in network.feature_info] == [info[:2] for info in build_meta(entry).feature_info]


def test_same_padding_keeps_its_windows_where_strides_are_lost() -> None:
    for size in (64, 65, 72):
        expect_new_values_between_the_old_ones(ZOO["mobilenet_v2"], 8, size, padding="same")


@dilated_with_the_deepest_slow
@pytest.mark.parametrize("output_stride", [8, 16])
def test_a_smaller_output_stride_puts_new_values_between_the_old_ones(entry: Entry, output_stride: int) -> None:
    size = 71 if entry.name == "squeezenet1_0" else SMALL  # Maps with an even number of places where strides are lost.
    expect_new_values_between_the_old_ones(entry, output_stride, size)


def expect_new_values_between_the_old_ones(entry: Entry, output_stride: int, size: int, **options: Any) -> None:
    strided = build(entry, num_classes=3, **options).eval()
    dense = build(entry, num_classes=3, output_stride=output_stride, **options).eval()
    for module in strided.modules():
        if isinstance(module, SqueezeExcitation):  # Its means are over other places: let it weigh by its bias alone.
            nn.init.zeros_(module.fc2.weight)
    dense.load_state_dict(strided.state_dict())
    ratio = strided.feature_info[-1].stride // output_stride
    with torch.no_grad():
        old, new = strided.features(images(entry, 1, size)), dense.features(images(entry, 1, size))
    assert -(-new.shape[-1] // ratio) == old.shape[-1]
    torch.testing.assert_close(new[:, :, ::ratio, ::ratio], old, rtol=1e-4, atol=1e-4 * float(old.abs().max()))


@with_heads
def test_forward_all_gives_the_logits_of_every_head(entry: Entry) -> None:
    network: Any = build(entry, aux_heads=True, image_size=96)
    x = images(entry, 2, 96)
    network.eval()
    with torch.no_grad():
        outputs = network.forward_all(x)
        assert outputs._fields == ("logits", "aux1", "aux2")
        assert torch.equal(outputs.logits, network(x))
        children = [name for name, _ in network.features.named_children()]
        for name, behind in (("aux1", "inception4a"), ("aux2", "inception4d")):
            maps = network.features[: children.index(behind) + 1](x)
            assert torch.equal(getattr(outputs, name), network.get_submodule(name)(maps))
    network.reset_classifier(4)
    assert [logits.shape for logits in network.forward_all(x)] == [(2, 4)] * 3
    assert not hasattr(build_meta(entry), "forward_all")


def shapes_of(entry: Entry) -> Iterator[tuple[int, ...]]:
    """Yield what comes out of every module, in the order of the run."""
    network, shapes = build_meta(entry).eval(), []
    for module in network.modules():
        module.register_forward_hook(lambda _module, _args, output: shapes.append(tuple(output.shape[1:])))
    network(torch.empty(1, entry.in_chans, *entry.image_size, device="meta"))
    return iter(shapes)


@pytest.mark.parametrize("module", sorted({entry.module for entry in CLASSIFIERS}))
def test_shapes_in_comments_and_docstrings_are_those_of_the_first_network_of_the_file(module: str) -> None:
    entry = next(entry for entry in ZOO.values() if entry.module == module)
    file = importlib.import_module(f"striate.models.{module}")
    comments = re.findall(r"# (\d+(?: x \d+)*)$", inspect.getsource(file), re.MULTILINE)
    tables = re.findall(r"\b\d+ x \d+ x \d+\b", file.__doc__ or "")
    places = re.findall(r"\b\d+ x \d+\b(?! x)", re.sub(r"\d+ x \d+ x \d+", "", file.__doc__ or ""))
    sizes = [shape[1:] for shape in shapes_of(entry)]
    assert all(tuple(int(side) for side in place.split(" x ")) in sizes for place in places)
    assert len(comments) > 2 or module == "mlp", "a network's file says the shape after every stage"
    for written in (comments, tables):
        made = shapes_of(entry)
        for shape in written:
            sides = tuple(int(number) for number in shape.split(" x "))
            assert sides in made, f"nothing gives {shape} there"


@segmenters
def test_a_network_for_each_pixel_takes_options_of_its_backbone_and_any_size(entry: Entry) -> None:
    network = build_meta(entry, num_classes=5, in_chans=4, backbone="resnet18", stem_stride=2)
    assert network(torch.empty(2, 4, 50, 41, device="meta")).shape == (2, 5, 50, 41)
    assert (network.num_classes, network.image_size) == (5, None)
    network.reset_classifier(19)
    assert network(torch.empty(2, 4, 50, 41, device="meta")).shape == (2, 19, 50, 41)
    changed = {name.rpartition(".")[0] for name, p in network.named_parameters() if 19 in p.shape}
    assert changed == set(network.output_layers())
    with pytest.raises(UsageError, match=f"a network for whole images as backbone of {entry.name}; received unet"):
        build_meta(entry, backbone="unet")
    with pytest.raises(UsageError, match="of its backbone resnet18; received 'rates'"):
        build_meta(entry, backbone="resnet18", rates=3)
    with pytest.raises(UsageError, match="num_classes of 1 or more"):
        build_meta(entry, num_classes=0)


@detectors
def test_a_network_that_finds_things_takes_options_of_its_backbone_and_its_size(entry: Entry) -> None:
    known = inspect.signature(entry.build).parameters
    sizes = {"hidden": 32, "proposals": 150, "side": 48}
    small = {name: size for name, size in sizes.items() if name in known}
    network = build_meta(
        entry, num_classes=5, in_chans=4, image_size=(150, 141), backbone="resnet18", stem_stride=2, **small
    )
    shown = proposals(network, 2)
    found = network.eval()(torch.empty(2, 4, 150, 141, device="meta"), *shown)
    assert found.boxes_xyxy.shape == (2, 100, 4)
    assert (network.num_classes, network.image_size) == (5, (150, 141) if "image_size" in known else None)
    if network.image_size is None:
        assert network(torch.empty(2, 4, 90, 97, device="meta"), *shown).scores.shape == (2, 100)
    else:
        with pytest.raises(StriateError, match="150x141 pixels.*received 90x97"):
            network(torch.empty(2, 4, 90, 97, device="meta"))
    with pytest.raises(UsageError, match=f"a network for whole images as backbone of {entry.name}; received unet"):
        build_meta(entry, backbone="unet")
    with pytest.raises(UsageError, match="of its backbone resnet18; received 'rates'"):
        build_meta(entry, backbone="resnet18", rates=3)
    made = build_meta(entry, image_size=64, **small)
    layers = layer_costs(made, (3, 64, 64), *(tensor.shape[1:] for tensor in proposals(made, 1)))
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in made.parameters())
    assert {layer.kind for layer in layers} >= PARTS.get(entry.name, {"PostProcessBoxes"})
    if made.search is not None:
        with pytest.raises(UsageError, match="a shape for each input .* received 1: missing .*'proposals'"):
            layer_costs(made, (3, 64, 64))


@on_backbones
def test_a_network_on_a_backbone_begins_with_weights_of_that(entry: Entry, tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = create_model("mobilenet_v2", output_stride=16 if entry.name == "deeplabv3" else 32)
    save_tensors(tmp_path / "backbone.safetensors", backbone.state_dict())
    network = create_model(entry.name, num_classes=3, pretrained=tmp_path / "backbone.safetensors")
    found, expected = network.features.state_dict(), backbone.features.state_dict()
    used = {name.partition(".")[0] for name in found}  # The layers behind the last map may not be there.
    assert found.keys() == {name for name in expected if name.partition(".")[0] in used}
    assert all(torch.equal(found[name], expected[name]) for name in found)
    with pytest.raises(StriateError, match="tensors of resnet18"):
        create_model(entry.name, backbone="resnet18", pretrained=tmp_path / "backbone.safetensors")


def test_the_layers_account_for_every_parameter(network: Any) -> None:
    entry = network.entry
    layers = layer_costs(network, (entry.in_chans, side(entry), side(entry)))
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in network.parameters())


def test_the_table_is_in_order() -> None:
    for name, entry in ZOO.items():
        assert name == entry.name
        assert entry.smaller is None or ZOO[entry.smaller].parameters < entry.parameters
    assert list_models() == sorted(ZOO)
    assert list_models("lenet*") == ["lenet5", "lenet5_28"]


def test_unknown_names_and_options_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="received 'lenet6'. Did you mean lenet5"):
        create_model("lenet6")
    with pytest.raises(UsageError, match="received 'drop_rat'. Did you mean drop_rate"):
        create_model("lenet5", drop_rat=0.5)
    with pytest.raises(UsageError, match="num_classes of 1 or more; received 0"):
        create_model("lenet5", num_classes=0)
    with pytest.raises(UsageError, match="at least 16x16 for LeNet-5; received 15x40"):
        create_model("lenet5", image_size=(15, 40))
    assert create_model("resnet18", image_size=[32, 48]).image_size is None
    with pytest.raises(UsageError, match="hidden_sizes"):
        create_model("mlp", hidden_sizes=(10, 0))
    with pytest.raises(UsageError, match="an option of vgg16; received 'output_stride'"):
        create_model("vgg16", output_stride=8)
    internals = {"vgg11": "batch_norm", "resnet18": "skip", "senet154": "deep_stem", "googlenet": "excite"}
    for name, internal in internals.items():
        options: dict[str, Any] = {internal: False}
        with pytest.raises(UsageError, match=f"an option of {name}; received '{internal}'"):
            create_model(name, **options)
    with pytest.raises(UsageError, match="aux_heads of googlenet as true or false; received 'true,output_stride=8'"):
        create_model("googlenet", aux_heads="true,output_stride=8")
    with pytest.raises(UsageError, match="padding symmetric or same; received 'valid'"):
        create_model("mobilenet_v2", padding="valid")
