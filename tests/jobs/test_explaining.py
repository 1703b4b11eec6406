"""What is said of a network and one image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from striate.cli.explain import document
from striate.costing.layers import layer_costs
from striate.data.images import read_header
from striate.errors import UsageError
from striate.jobs.explained_page import in_words, write_explained_page, write_pictures
from striate.jobs.explaining import Explained, Explaining, explain
from striate.jobs.subjects import open_subject
from striate.zoo import create_model

ODD = str(Path(__file__).resolve().parents[1] / "odd_networks.py")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draws = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("photo") / "noise.png"
    Image.fromarray(draws.integers(0, 255, (80, 60, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def explained(photo: Path) -> Explained:
    *progress, found = explain("lenet5", photo)
    counts = [(each.done, each.total) for each in progress if isinstance(each, Explaining)]
    assert counts[-1] == (225, 225)
    assert [done for done, _ in counts] == sorted({done for done, _ in counts})
    assert isinstance(found, Explained)
    return found


def test_of_a_network_with_fresh_weights_all_is_there_and_it_says_that_they_are(
    explained: Explained, tmp_path: Path
) -> None:
    assert explained.result is not None
    assert explained.label == explained.result.name == f"class {explained.result.best}"
    assert explained.pixels.shape == (32, 32, 1)
    assert [(each.name, each.shape) for each in explained.layers] == [
        ("features.c1", (6, 28, 28)),
        ("features.c3.pool", (6, 14, 14)),
        ("features.c3", (16, 10, 10)),
        ("features", (16, 5, 5)),
    ]
    # 5, then a pooling of 2: 6, then 5 x 5 at every second place: 6 + 4 · 2 = 14, then a pooling: 14 + 2 = 16.
    assert [each.rows.size for each in explained.layers] == [5, 6, 14, 16]
    assert all(0 < each.effective <= each.rows.size for each in explained.layers)
    assert [each.way for each in explained.why] == ["Grad-CAM of features.c3", "occlusion by squares of 4 pixels"]
    for each in explained.why:
        assert each.saliency.shape == (32, 32)
        assert each.curve[0] == pytest.approx(explained.result.probability, abs=1e-6)
        assert each.curve[-1] == pytest.approx(explained.chance[0][-1], abs=1e-6)  # Nothing is left, in whatever order.
        assert len(each.curve) == len(explained.chance[0]) == 21
    assert any("fresh" in line for line in in_words(explained))
    write_explained_page(tmp_path / "page.html", explained)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<img") == 1 + 2 + 4 + sum(len(e.strongest) + len(e.different) for e in explained.layers) + 6
    assert "fresh" in page
    count = write_pictures(tmp_path / "pictures", explained)
    files = list((tmp_path / "pictures").iterdir())
    assert len(files) == count == 2 + 4 + 6 + sum(len(each.maps) for each in explained.layers)
    assert all(max(read_header(file).size) >= 100 for file in files)


def test_a_network_that_tells_no_classes_has_maps_and_fields(photo: Path) -> None:
    (found,) = explain("fcn32s", photo, image_size=(64, 64))
    assert isinstance(found, Explained)
    assert found.result is None
    assert not found.why
    assert "features.13" in [each.name for each in found.layers]
    assert found.layers[-1].shape == (21, 64, 64)


def test_modules_of_ones_own_are_explained(photo: Path) -> None:
    *_, found = explain(f"{ODD}:Dense", photo, image_size=(32, 32), layers=["enter", "layers.0"], label="class 3")
    assert isinstance(found, Explained)
    assert found.label == "class 3"
    assert [(each.name, each.rows.size) for each in found.layers] == [("enter", 3), ("layers.0", 5)]
    assert found.filters is not None
    assert found.filters.shape == (24, 3, 3, 3)


def test_a_class_has_a_name_and_a_number(photo: Path) -> None:
    for label in ("class 2", "2"):
        *_, found = explain(f"{ODD}:Dense", photo, image_size=(32, 32), layers=["enter"], label=label)
        assert isinstance(found, Explained)
        assert found.label == "class 2"
    with pytest.raises(UsageError, match="one of the network's classes"):
        list(explain(f"{ODD}:Dense", photo, image_size=(32, 32), layers=["enter"], label="99"))


def test_parts_that_return_tuples_are_passed_over(photo: Path) -> None:
    *_, found = explain(f"{ODD}:Halves", photo, image_size=(32, 32))
    assert isinstance(found, Explained)
    assert [each.name for each in found.layers] == ["alone.mix"]
    assert found.why[0].way == "Grad-CAM of alone.mix"


OWN = """
from torch import nn

def flat():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 3))

def silent():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    nn.init.zeros_(network[4].weight)
    return network

def alone():
    return nn.Conv2d(1, 2, 3)

class HeadFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.stem = nn.Conv2d(8, 5, 1), nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return self.head(self.stem(x).relu()).mean((2, 3))

class Both(nn.Module):
    def forward(self, x, y):
        return x + y
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(OWN, encoding="utf-8")
    return str(path)


def test_of_code_of_ones_own_it_is_not_said_that_weights_were_learned(own: str, photo: Path) -> None:
    *_, found = explain(f"{own}:silent", photo, image_size=(24, 24))
    assert isinstance(found, Explained)
    assert found.is_trained is None
    assert any("does not know whether its weights were learned" in line for line in in_words(found))


def test_the_first_convolution_is_the_one_that_runs_first(own: str, photo: Path) -> None:
    *_, found = explain(f"{own}:HeadFirst", photo, image_size=(24, 24))
    assert isinstance(found, Explained)
    assert found.pixels.shape == (24, 24, 3)
    assert found.filters is not None
    assert found.filters.shape == (8, 3, 3, 3)


def test_a_network_without_a_name_for_its_maps_is_called_the_network(own: str, photo: Path, tmp_path: Path) -> None:
    *_, found = explain(f"{own}:alone", photo, image_size=(24, 24))
    assert isinstance(found, Explained)
    write_pictures(tmp_path / "pictures", found)
    write_explained_page(tmp_path / "page.html", found)
    names = {file.name for file in (tmp_path / "pictures").iterdir()}
    assert {"field-the_network.png", "map-the_network-0.png"} <= names
    assert "the network: sees 3 x 3" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert found.pixels.shape == (24, 24, 1)


def test_layers_have_the_names_that_their_costs_have(photo: Path) -> None:
    names = {layer.name for layer in layer_costs(create_model("unet"), (3, 64, 64))}
    *_, found = explain("unet", photo, image_size=(64, 64), layers=["features.1", "head"])
    assert isinstance(found, Explained)
    assert not found.is_backbone
    assert [each.name for each in found.layers] == ["features.1", "head"]
    assert {"features.0.conv", "head"} <= names
    with pytest.raises(UsageError) as refused:
        list(explain("unet", photo, image_size=(64, 64), layers=["xyz"]))
    assert refused.value.remedy.count(",") < 12


def test_of_a_network_that_is_shown_proposals_too_the_backbone_is_explained(photo: Path) -> None:
    *_, found = explain("fast_rcnn", photo, image_size=(64, 64), layers=["features.0", "features"])
    assert isinstance(found, Explained)
    assert found.is_backbone
    assert document(found)["backbone"]
    assert [each.name for each in found.layers] == ["features.0", "features"]
    assert any("of its backbone" in line for line in in_words(found))


def test_where_nothing_speaks_for_a_class_no_curve_is_drawn(own: str, photo: Path, tmp_path: Path) -> None:
    *_, found = explain(f"{own}:silent", photo, image_size=(24, 24))
    assert isinstance(found, Explained)
    assert [(each.curve, each.area) for each in found.why] == [((), None)] * 2
    assert found.chance == ()
    assert document(found)["chance"] is None
    assert next(line for line in in_words(found) if "nothing speaks for it" in line).startswith("Grad-CAM of 1")
    write_explained_page(tmp_path / "page.html", found)
    assert "nothing speaks for it" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("lenet5", {"label": "cat"}, "one of the network's classes"),
        ("lenet5", {"layers": ["features.c2"]}, "features.c1|features.c3"),
        ("fcn32s", {"label": "cat", "image_size": (64, 64)}, "classes of whole images"),
        ("lenet6", {}, "lenet5"),
        (f"{ODD}:Dense", {"pretrained": "weights"}, "brings its own"),
        ("lenet5", {"image_size": (8, 8)}, "at least 16x16"),
        ("lenet5", {"mean": 300.0}, "--mean from 0 to 1"),
        ("lenet5", {"std": 0.0}, "--std above 0"),
        ("OWN:Both", {}, "TypeError from .*one image|one image.*TypeError from"),
        ("OWN:flat", {}, "one image.*of 3x224x224.*mat1 and mat2.*--image-size"),
    ],
)
def test_refuses_what_it_cannot_explain(photo: Path, own: str, model: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        list(explain(model.replace("OWN", own), photo, **options))


def test_a_network_of_grey_images_of_one_size_is_explained_at_that(own: str, photo: Path) -> None:
    *_, found = explain(f"{own}:flat", photo, image_size=(28, 28))
    assert isinstance(found, Explained)
    assert found.pixels.shape == (28, 28, 1)
    assert not found.layers
    *_, found = explain("mlp", photo)
    assert isinstance(found, Explained)
    assert not found.layers  # Its feature layers are none, and what they return is the image.


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("words", encoding="utf-8")
    with pytest.raises(UsageError, match=r"text\.png"):
        list(explain("lenet5", tmp_path / "text.png"))


@pytest.mark.slow
def test_with_learned_weights_what_speaks_for_a_cat_is_the_cat(shared_data: Callable[[str], Path]) -> None:
    """The cat is on the right: what is covered there makes it less probable, and its picture beats chance."""
    weights = next(shared_data("imagenet-pretrained").glob("squeezenet*.safetensors"))
    *_, found = explain("squeezenet1_0", shared_data("photos") / "chelsea.png", pretrained=weights)
    assert isinstance(found, Explained)
    assert found.result is not None
    assert found.result.best in (281, 282, 285)  # Tabby, tiger cat, Egyptian cat.
    assert len(found.chance_areas) == 8
    least, mean = found.chance_areas[0], sum(found.chance_areas) / 8
    assert all(each.area is not None and each.area < min(least, 0.5 * mean) for each in found.why)
    assert sum("less than by each of 8 orders of chance" in line for line in in_words(found)) == len(found.why)


def test_fresh_weights_are_those_of_the_seed() -> None:
    first, again, other = (open_subject("lenet5", seed=seed).network.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_each_layer_has_its_own_field_in_the_order_in_which_layers_were_asked_for(photo: Path) -> None:
    *_, found = explain("lenet5", photo, layers=["features.c3", "features.c1", "features.c3"])
    assert isinstance(found, Explained)
    told = [(each["layer"], each["shape"], each["rows"][1] - each["rows"][0]) for each in document(found)["layers"]]
    assert told == [("features.c3", (16, 10, 10), 14), ("features.c1", (6, 28, 28), 5)]
