"""Weights from elsewhere, weights at hand, and what travels with weights."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from striate.blocks.normalisation import FrozenBatchNorm2d
from striate.data.images import read_image
from striate.data.preprocessing import Preprocessing
from striate.data.transforms import to_input
from striate.errors import StriateError, UsageError
from striate.files import load_tensors, save_tensors
from striate.jobs.models import find_models
from striate.jobs.predict import Prediction, predict
from striate.results import Classes
from striate.weights import WeightsConfig, save_weights
from striate.zoo import create_model, load_network

SQUEEZENET = Preprocessing(
    image_size=(227, 227), crop_pct=227 / 256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
MOBILENET = Preprocessing(image_size=(224, 224), crop_pct=0.875, mean=(0.5,) * 3, std=(0.5,) * 3)


def write(path: Path, tensors: dict[str, Tensor]) -> Path:
    save_tensors(path, tensors)
    return path


def small(name: str = "resnet18", **options: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model(name, num_classes=5, **options)


def test_our_own_names_come_back_bit_for_bit(tmp_path: Path) -> None:
    state = small().state_dict()
    file = write(tmp_path / "w.safetensors", state)
    torch.manual_seed(1)
    again = create_model("resnet18", num_classes=5, pretrained=file).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in state.items())


def test_another_number_of_classes_keeps_all_but_the_head_and_says_so(tmp_path: Path) -> None:
    state = small().state_dict()
    file = write(tmp_path / "w.safetensors", state)
    with pytest.warns(UserWarning, match=r"another number of classes than 3: .*classifier\.output") as warned:
        network = create_model("resnet18", num_classes=3, pretrained=file)
    assert [warning.filename for warning in warned] == [__file__]
    other = network.state_dict()
    differ = {name for name in state if not torch.equal(state[name], other[name])}
    assert differ == {"classifier.output.weight", "classifier.output.bias"}


def test_a_squeezenets_head_is_a_convolution(tmp_path: Path) -> None:
    file = write(tmp_path / "w.safetensors", small("squeezenet1_0").state_dict())
    with pytest.warns(UserWarning, match=r"classifier\.1, which begins afresh"):
        assert create_model("squeezenet1_0", num_classes=3, pretrained=file).num_classes == 3


def test_auxiliary_heads_in_a_file_are_used_or_dropped(tmp_path: Path) -> None:
    state = small("googlenet_bn", aux_heads=True).state_dict()
    file = write(tmp_path / "w.safetensors", state)
    for heads in (False, True):
        taken = create_model("googlenet_bn", num_classes=5, pretrained=file, aux_heads=heads).state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in taken.items())
        assert ("aux1.fc1.weight" in taken) is heads
    headless = write(tmp_path / "h.safetensors", {name: t for name, t in state.items() if not name.startswith("aux")})
    with pytest.raises(StriateError, match="18 missing: aux1.conv.conv.weight"):
        create_model("googlenet_bn", num_classes=5, pretrained=headless, aux_heads=True)


def test_what_is_missing_left_over_or_misshapen_is_listed(tmp_path: Path) -> None:
    state = small().state_dict()
    del state["features.stem.conv.weight"]
    state["elsewhere.weight"] = torch.zeros(2)
    state["aux1.fc1.weight"] = torch.zeros(2)  # A residual network has no heads to drop.
    state["fc.bias"] = torch.zeros(5)  # Under another name it is there already.
    state["features.stage4.1.path.conv2.norm.bias"] = torch.zeros(3)
    with pytest.raises(StriateError, match="tensors of resnet18") as caught:
        create_model("resnet18", num_classes=5, pretrained=write(tmp_path / "w.safetensors", state))
    for part in (
        "1 missing: features.stem.conv.weight",
        "3 left over: aux1.fc1.weight, elsewhere.weight, fc.bias",
        "1 of another shape: features.stage4.1.path.conv2.norm.bias (3,), not (512,)",
    ):
        assert part in caught.value.received
    with pytest.raises(StriateError, match="tensors of resnet34"):
        create_model("resnet34", num_classes=5, pretrained=write(tmp_path / "w.safetensors", small().state_dict()))


@pytest.mark.parametrize(
    ("weight", "bias"), [((9, 100), (9,)), ((9, 512), (5,)), ((), (5,)), ((9, 512), None)], ids=str
)
def test_a_head_of_another_kind_is_not_taken_for_one_of_other_classes(
    tmp_path: Path, weight: tuple[int, ...], bias: tuple[int, ...] | None
) -> None:
    state = small().state_dict()
    state["classifier.output.weight"] = torch.zeros(weight)
    del state["classifier.output.bias"]
    if bias is not None:
        state["classifier.output.bias"] = torch.zeros(bias)
    with pytest.raises(StriateError, match=r"classifier\.output"):
        create_model("resnet18", num_classes=5, pretrained=write(tmp_path / "w.safetensors", state))


def test_what_cannot_be_pretrained_is_refused(tmp_path: Path) -> None:
    wrong: Any
    for wrong in (True, False, {}):
        with pytest.raises(
            UsageError, match="a safetensors file, a folder of weights, a run or hub as pretrained; received"
        ):
            create_model("resnet18", pretrained=wrong)
    file = write(tmp_path / "w.safetensors", small().state_dict())
    with torch.device("meta"), pytest.raises(UsageError, match="a device with memory"):
        create_model("resnet18", num_classes=5, pretrained=file)


def test_counters_that_old_files_lack_are_not_missed(tmp_path: Path) -> None:
    state = {name: t for name, t in small().state_dict().items() if not name.endswith("num_batches_tracked")}
    create_model("resnet18", num_classes=5, pretrained=write(tmp_path / "w.safetensors", state))


def test_what_is_not_a_safetensors_file_is_refused(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "w.pth")
    for name in ("w.pth", "nothing.safetensors"):
        with pytest.raises(StriateError, match="expected a safetensors file at"):
            create_model("resnet18", num_classes=5, pretrained=tmp_path / name)


def config_of(model: str, **fields: object) -> WeightsConfig:
    classes = tuple("abcde")
    values = {"model": model, "classes": classes, "preprocessing": SQUEEZENET, **fields}
    return WeightsConfig.model_validate(values)


def test_a_folder_of_weights_says_whose_they_are_and_whether_norms_are_frozen(tmp_path: Path) -> None:
    save_weights(tmp_path, small().state_dict(), config_of("resnet18", frozen_norm=True))
    frozen = create_model("resnet18", num_classes=5, pretrained=tmp_path)
    assert any(isinstance(module, FrozenBatchNorm2d) for module in frozen.modules())
    again, config = load_network(tmp_path)
    assert config.preprocessing == SQUEEZENET
    assert any(isinstance(module, FrozenBatchNorm2d) for module in again.modules())
    free = create_model("resnet18", pretrained=tmp_path, frozen_norm=False)
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in free.modules())
    assert (again.num_classes, free.num_classes) == (5, 5)
    with pytest.raises(UsageError, match="weights of resnet34; received those of resnet18"):
        create_model("resnet34", pretrained=tmp_path)


def test_a_folders_options_are_the_networks_unless_others_are_asked_for(tmp_path: Path) -> None:
    network = small("mobilenet_v2", padding="same").eval()
    save_weights(tmp_path, network.state_dict(), config_of("mobilenet_v2", model_options={"padding": "same"}))
    x = torch.randn(1, 3, 64, 64)
    again = create_model("mobilenet_v2", pretrained=tmp_path).eval()
    torch.testing.assert_close(again(x), network(x), rtol=0, atol=0)
    other = create_model("mobilenet_v2", pretrained=tmp_path, padding="symmetric").eval()
    assert not torch.allclose(other(x), network(x), rtol=1e-3)


def test_weights_at_hand_are_told_by_their_parameters_or_their_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIATE_WEIGHTS", str(tmp_path))
    write(tmp_path / "any-name.safetensors", create_model("resnet18").state_dict())
    write(tmp_path / "with-heads.safetensors", create_model("googlenet_bn", aux_heads=True).state_dict())
    write(tmp_path / "resnet34.safetensors", small("resnet34").state_dict())  # For five classes.
    for name, content in (
        ("cut", b"\x10"),
        ("empty", b""),
        ("text", b"not a header at all"),
        ("list", b"\x02" + bytes(7) + b"[]"),
    ):
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    save_weights(tmp_path / "mine", {}, config_of("lenet5"))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")

    def names() -> dict[str, list[str]]:
        return {
            listed.entry.name: [p.name for p in listed.weights] for listed in find_models("*").models if listed.weights
        }

    expected = {"googlenet_bn": ["with-heads.safetensors"], "lenet5": ["mine"], "resnet18": ["any-name.safetensors"]}
    assert names() == expected
    monkeypatch.delenv("STRIATE_WEIGHTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert names() == {}
    (tmp_path / "cache" / "striate").mkdir(parents=True)
    (tmp_path / "cache" / "striate" / "weights").symlink_to(tmp_path)
    assert names() == expected


# With the real weights and photographs.


@pytest.fixture(scope="module")
def published() -> dict[str, Path]:
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "imagenet-pretrained"
    if not folder.is_dir():
        pytest.skip("the published weights are not on this machine")
    return {name: next(folder.glob(f"{name}*.safetensors")) for name in ("squeezenet1_0", "mobilenet_v2")}


@pytest.mark.parametrize(
    ("name", "preprocessing", "options"),
    [("squeezenet1_0", SQUEEZENET, {}), ("mobilenet_v2", MOBILENET, {"padding": "same"})],
)
def test_published_weights_and_their_preprocessing_name_what_nine_photographs_show(
    name: str,
    preprocessing: Preprocessing,
    options: dict[str, Any],
    published: dict[str, Path],
    shared_data: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """The expected classes and probabilities were computed with PIL and the plain networks of a peer."""
    lines = (published[name].parent / "imagenet_classes.tsv").read_text(encoding="utf-8").splitlines()[1:]
    classes = tuple(line.split("\t")[2] for line in lines)
    network = create_model(name, pretrained=published[name], **options)
    config = WeightsConfig(model=name, classes=classes, preprocessing=preprocessing, model_options=options)
    save_weights(tmp_path, network.state_dict(), config)
    for made in (network, create_model(name, pretrained=tmp_path), load_network(tmp_path)[0]):
        frozen = any(isinstance(module, FrozenBatchNorm2d) for module in made.modules())
        assert frozen is (name == "mobilenet_v2")
    photos = shared_data("photos")
    expected = json.loads((photos / "expected_top3.json").read_text(encoding="utf-8"))
    assert len(expected) == 9
    for prediction in predict(tmp_path, [photos / photo for photo in expected]):
        assert isinstance(prediction, Prediction)
        assert isinstance(prediction.result, Classes)
        three = expected[Path(prediction.source).name][name]
        top = prediction.result.top(3)
        assert [classes.index(label) for label, _ in top] == [index for index, _, _ in three]
        assert [share for _, share in top] == pytest.approx([share for *_, share in three], abs=1e-3)


def test_folded_batch_norm_stays_frozen_and_training_mode_harmless(
    published: dict[str, Path], shared_data: Callable[[str], Path]
) -> None:
    daisies = sorted((shared_data("flowers5") / "val" / "daisy").glob("*.jpg"))[:24]
    assert len(daisies) == 24
    images = torch.cat([to_input(read_image(path, 3), MOBILENET) for path in daisies])

    def daisies_found(frozen_norm: bool | None) -> int:
        options: dict[str, Any] = {"padding": "same", "drop_rate": 0.0, "frozen_norm": frozen_norm}
        network = create_model("mobilenet_v2", pretrained=published["mobilenet_v2"], **options).train()
        with torch.no_grad():
            return int(network(images).argmax(1).eq(985).sum())

    assert daisies_found(frozen_norm=None) >= 12
    assert daisies_found(frozen_norm=False) <= 2


def test_sixteen_bit_weights_become_the_networks_type(published: dict[str, Path]) -> None:
    stored = load_tensors(published["mobilenet_v2"])
    assert stored["classifier.1.weight"].dtype == torch.float16
    with warnings.catch_warnings(action="error"):
        network = create_model("mobilenet_v2", pretrained=published["mobilenet_v2"])
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert torch.equal(network.state_dict()["classifier.output.weight"], stored["classifier.1.weight"].float())
