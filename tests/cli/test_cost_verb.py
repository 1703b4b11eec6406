"""``striate cost`` as a user meets it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Done
from striate.cli.main import app
from striate.data.preprocessing import Preprocessing
from striate.errors import StriateError
from striate.weights import WeightsConfig, save_weights
from striate.zoo import create_model

Run = Callable[..., Done]
EXAMPLES = str(Path(__file__).resolve().parents[2] / "examples" / "networks.py")


def document(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_exercise_is_answered_with_its_arithmetic(program: Run) -> None:
    done = program("cost", f"{EXAMPLES}:three_convolutions", "--input", "3x200x300")
    assert done.returncode == 0, done.stderr
    for part in (
        "(3·3·3 + 1)·100 = 2,800",
        "⌈300/8⌉ = 38",
        "903,400 parameters",
        "activations 9,000,000 + parameters 3,613,600 = 12,613,600 bytes",
        "inside the operator",
        "peak on the CPU",
    ):
        assert part in done.stdout
    (row,) = (line.split() for line in done.stdout.splitlines() if line.startswith("4      Conv2d"))
    assert row == ["4", "Conv2d", "400x25x38", "720,400", "684.00", "M", "1.52", "MB", "15", "8", "-7"]


def test_training_the_exercise_is_measured_as_predicted(program: Run) -> None:
    told = document(
        program(
            "cost", f"{EXAMPLES}:three_convolutions", "--input", "3x50x75", "--train", "-b", "50", "--opt", "none",
            "--verify", "--json",
        )
    )  # fmt: skip
    assert told["settings"]["optimizer"] is None
    assert told["error"] == pytest.approx(told["peak_bytes"] / told["measured_bytes"] - 1)
    assert abs(told["error"]) < 0.005
    # The images want no gradient, and the first convolution's is the only one that is not there twice.
    first = 50 * 3 * 3 * 3 * 100 * 25 * 38
    assert told["backward_macs"] == 2 * told["macs"] - first
    assert told["textbook"] == {
        "activation_bytes": 50 * 4 * (100 * 25 * 38 + 200 * 13 * 19 + 400 * 7 * 10),
        "input_bytes": 50 * 4 * 3 * 50 * 75,
        "parameter_bytes": 4 * 903_400,
        "total_bytes": sum(told["textbook"][part] for part in ("activation_bytes", "input_bytes", "parameter_bytes")),
    }
    assert sum(told["peak_by"].values()) == told["peak_bytes"]
    assert told["peak_at"]["phase"] == "backward"


def test_the_document_holds_every_layer(program: Run) -> None:
    told = document(program("cost", "lenet5", "-b", "2", "--json"))
    assert (told["model"], told["parameters"], told["inputs"]) == ("lenet5", 61_706, ["1x32x32"])
    first = told["layers"][0]
    assert first["arithmetic"].startswith("(5·5·1 + 1)·6 = 156 parameters; 32 - 5 + 1 = 28; 5·5·1·6·28·28·2 = 235,200")
    assert first["output_shape"] == [6, 28, 28]
    assert first["receptive_field"] == [5, 5]
    assert sum(layer["macs"] for layer in told["layers"]) == told["macs"]
    assert told["backward_macs"] == 0
    assert "measured_bytes" not in told
    folded = document(program("cost", "lenet5", "-b", "2", "--depth", "1", "--json"))
    assert [layer["name"] for layer in folded["layers"]] == ["features", "classifier"]
    assert sum(layer["macs"] for layer in folded["layers"]) == told["macs"]


def test_several_are_shown_side_by_side(program: Run) -> None:
    names = [f"{EXAMPLES}:{name}" for name in ("inception", "inception_without_reductions")]
    done = program("cost", *names, "--input", "192x28x28", "--no-channels-last")
    assert done.returncode == 0, done.stderr
    lines = {line.split("  ")[0].strip(): line.split() for line in done.stdout.splitlines()}
    assert lines["parameters"][1:] == ["163,696", "393,472"]
    assert "contiguous" in done.stdout
    told = document(program("cost", "lenet5", "mlp", "--json"))
    assert [row["model"] for row in told["networks"]] == ["lenet5", "mlp"]


def test_16_bit_floats_and_cards(program: Run) -> None:
    def peak(*flags: str) -> Any:
        return document(program("cost", "resnet18", "--image-size", "64", "--train", "-b", "8", "--json", *flags))

    plain, half, mixed = peak(), peak("--dtype", "bfloat16"), peak("--amp")
    assert half["peak_bytes"] < 0.6 * plain["peak_bytes"]
    assert half["peak_bytes"] < mixed["peak_bytes"] < plain["peak_bytes"]
    card = peak("--gpu", "12GiB")
    assert card["device_bytes"] == 12 * 2**30
    assert any("bounded by what they were on an H200" in note for note in card["notes"])
    assert all(size % 512 == 0 for what, size in card["peak_by"].items())
    text = program("cost", "resnet18", "--train", "-b", "4096", "--gpu", "rtx3060", "--depth", "1").stdout
    assert "it does not fit" in text


def test_other_networks_and_inputs(program: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Pair(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.words, self.image = nn.Embedding(100, 8), nn.Conv2d(3, 8, 3)\n"
        "    def forward(self, words, image):\n"
        "        return self.words(words).mean(1) + self.image(image).mean((2, 3))\n"
    )
    told = document(program("cost", "mine.py:Pair", "--input", "7:int64", "--input", "3x9x9", "--verify", "--json"))
    assert told["parameters"] == 100 * 8 + 3 * 3 * 3 * 8 + 8
    assert abs(told["peak_bytes"] - told["measured_bytes"]) < 4096
    told = document(program("cost", "torch.nn:Flatten", "--input", "3x9x9", "--json"))
    assert told["parameters"] == 0


def test_a_trained_network_is_taken_by_its_folder(program: Run, tmp_path: Path) -> None:
    network = create_model("lenet5", num_classes=4, in_chans=3)
    shape = Preprocessing(image_size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    config = WeightsConfig(model="lenet5", classes=tuple("abcd"), preprocessing=shape)
    save_weights(tmp_path / "mine", network.state_dict(), config)
    told = document(program("cost", "mine", "--json"))
    assert (told["inputs"], told["layers"][-1]["output_shape"]) == (["3x32x32"], [4])
    assert told["parameters"] == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lenet6",), "Did you mean lenet5"),
        (("nowhere.py:net", "--input", "3x9x9"), "'nowhere.py', which is not there"),
        (("runs/classify/nowhere",), "'runs/classify/nowhere', where there is no folder"),
        ((f"{EXAMPLES}:max_pool", "--input", "3x9x9"), "Did you mean max_pooling?"),
        (("math:sqrt", "--input", "3x9x9"), "expected math:sqrt to return a network"),
        (("torch:get_num_threads", "--input", "3x9x9"), "to return a torch.nn.Module\n  received int"),
        ((f"{EXAMPLES}:max_pooling",), "expected --input CxHxW"),
        (("lenet5", "--input", "1x32x32", "--input", "3"), "takes images alone"),
        (("lenet5", "--input", "1x32x"), "received '1x32x'"),
        (("lenet5", "--input", "1x32x32", "--image-size", "32"), "either --input or --image-size"),
        (("lenet5", "--gpu", "gtx"), "rtx3060"),
        (("lenet5", "--opt", "adam"), "expected --opt with --train"),
        (("lenet5", "--amp-dtype", "float16"), "expected --amp-dtype with --amp"),
        (("torch.nn:Flatten", "--input", "3", "--num-classes", "4"), "--num-classes with a network of the zoo"),
        (("torch.nn:Flatten", "--input", "3", "--train"), "parameters that want a gradient"),
        ((f"{EXAMPLES}:inception", "--input", "3x9x9"), "inception to run on 3x9x9"),
        ((f"{EXAMPLES}:inception", "--input", "3x9x9"), "in branch1.conv, Conv2d"),
        ((EXAMPLES,), "the file alone"),
        (("lenet5", "--gpu", "12"), "such as rtx3060 or 12GiB"),
        (("lenet5", "--html", "."), "., a folder"),
        (("no.such.package:net", "--input", "3"), "No module named"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(StriateError) as refused:
        app(["cost", *arguments], standalone_mode=False)
    error = refused.value
    assert said in f"expected {error.expected}\n  received {error.received}\n  {error.remedy}"


def test_what_depends_on_values_is_refused_with_its_operator(program: Run, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "from torch import nn\nclass Odd(nn.Module):\n    def forward(self, x):\n        return x[x > 0].sum()\n"
    )
    done = program("cost", "odd.py:Odd", "--input", "3x9x9")
    assert done.returncode == 1
    assert "received aten." in done.stderr
    assert "depends on values" in done.stderr
