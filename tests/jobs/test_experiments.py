"""Experiments on small images, where what must come of them is known."""

from collections.abc import Generator, Iterator
from itertools import combinations
from math import sqrt
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from striate.errors import UsageError
from striate.jobs.experiments import blocks, im2col, pooling, ravine, residual, translation
from striate.jobs.experiments.blocks import Blocks
from striate.jobs.experiments.fitting import SmallSet, accuracy, fit, read_small
from striate.jobs.experiments.initialisation import DEPTH, compare_initialisation, deep_network, signals
from striate.jobs.experiments.outcome import Chart, Outcome, Trying
from striate.jobs.experiments.page import write_charts, write_outcome_page
from striate.jobs.experiments.table import EXPERIMENTS


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little that it takes seconds."""
    monkeypatch.setattr(pooling, "MOST", 64)
    monkeypatch.setattr(pooling, "EPOCHS", 1)


def test_pooling_against_strides(few: None) -> None:
    """Parameters and fields are those of the arithmetic: 3 x 3 convolutions of 32, 64 and 64 maps on 28 x 28."""
    *steps, found = pooling.compare_pooling()
    assert [(each.done, each.total) for each in steps if isinstance(each, Trying)] == [(n, 8) for n in range(1, 9)]
    assert isinstance(found, Outcome)
    rows = {str(row[0]): row[1:] for row in found.rows}
    assert list(rows) == list(pooling.WAYS)
    convolutions = 9 * 32 + 32 + 9 * 32 * 64 + 64 + 9 * 64 * 64 + 64
    head = 512 + 512 * 10 + 10
    # 28, 26, 13, 11, 5, 3; or 28, 26, 24, 22.
    pooled, whole = 3 * 3 * 64, 22 * 22 * 64
    strides = 4 * 32 * 32 + 32 + 4 * 64 * 64 + 64
    assert whole == 30_976
    assert [row[1] for row in rows.values()] == [
        convolutions + pooled * 512 + head,
        convolutions + pooled * 512 + head,
        convolutions + strides + pooled * 512 + head,
        convolutions + 15_860_224 - 512 + head,
    ]
    assert [row[3] for row in rows.values()] == ["18 x 18", "18 x 18", "18 x 18", "7 x 7"]
    assert [row[4] for row in rows.values()] == [pooled, pooled, pooled, whole]
    peaks = {name: int(row[5]) for name, row in rows.items()}
    assert peaks["none"] > 5 * peaks["max pooling"]
    assert all(len(curve) == 2 for curve in found.charts[0].curves.values())


def test_signals_keep_their_size_where_the_papers_say_so() -> None:
    *_, found = compare_initialisation()
    assert isinstance(found, Outcome)
    activations = found.charts[0].curves
    gradients = found.charts[1].curves
    assert len(activations["ReLU, He"]) == len(gradients["ReLU, He"]) == DEPTH
    last = {name: points[-1][1] / points[0][1] for name, points in activations.items()}
    first = {name: points[0][1] / points[-1][1] for name, points in gradients.items()}
    for kept in (last, first):
        assert kept["ReLU, naive"] < 1e-15
        assert kept["tanh, naive"] < 1e-15
        assert 0.1 < kept["ReLU, He"] < 10
        assert kept["ReLU, Xavier"] < 0.01 * kept["ReLU, He"]
        assert 0.1 < kept["tanh, Xavier"] < 10
        # Half of the variance is lost at each ReLU (He et al., equation 10): 2 to the 19th at 19 layers, roughly.
        assert kept["ReLU, Xavier"] / kept["ReLU, He"] == pytest.approx(sqrt(0.5) ** (DEPTH - 1), rel=0.5)
    assert all(0.9 < last[f"ReLU, {way}, batch norm"] < 1.1 for way in ("naive", "Xavier", "He"))
    without, within = found.charts[2:]
    assert [name.removesuffix(", batch norm") for name in within.curves] == list(without.curves)
    assert all(sum(share for _, share in curve) == pytest.approx(1) for curve in within.curves.values())
    for curve in (within.curves[f"ReLU, {way}, batch norm"] for way in ("naive", "Xavier", "He")):
        # What batch norm gives lies about 0, with a deviation of 1; ReLU cuts off the lower half.
        assert 0.4 < sum(share for value, share in curve if value < 0.05) < 0.6
        assert sum(value**2 * share for value, share in curve) == pytest.approx(0.5, abs=0.1)


def test_signals_are_those_of_all_layers() -> None:
    torch.manual_seed(0)
    given = read_small("digits", 8, 0, 16)
    network = deep_network("He", "tanh", 10, norm=False)
    found, gradients = signals(network, given)
    expected = network[2](network[1](network[0](given.images)))
    torch.testing.assert_close(found[0], expected.detach())
    assert len(found) == len(gradients) == DEPTH
    assert not any(layer._forward_hooks for layer in network)


def test_columns_of_vgg16_take_what_the_arithmetic_says() -> None:
    """The second convolution sees 64 maps of 224 x 224: its columns are nine times as large."""
    *_, found = im2col.compare_im2col()
    assert isinstance(found, Outcome)
    curves = found.charts[0].curves
    assert [len(points) for points in curves.values()] == [13, 13, 13]
    second = {name: points[1][1] for name, points in curves.items()}
    assert second["maps that come in"] == pytest.approx(64 * 224 * 224 * 4 / 1e6)
    assert second["columns"] == pytest.approx(9 * second["maps that come in"])
    assert second["maps that come out"] == pytest.approx(second["maps that come in"])
    table = [[float(cell) for cell in row[2:]] for row in found.rows]
    kernel = [float(row[1]) for row in found.rows[:-1]]
    for place in range(4):
        assert table[-1][place] == sum(weight * table[row][place] for row, weight in enumerate(kernel))


def test_gradients_of_all_paths_add_up_to_the_gradient() -> None:
    torch.manual_seed(0)
    given = read_small("digits", 8, 0, 16)
    network = Blocks(3, 10, shortcuts=True)
    sets = [chosen for length in range(4) for chosen in combinations(range(3), length)]
    found = torch.stack([residual.gradient_through(network, given, chosen) for chosen in sets]).sum(0)
    torch.testing.assert_close(found, residual.gradient_through(network, given, None), rtol=1e-4, atol=1e-5)


def test_a_block_that_is_taken_out_is_not_there() -> None:
    torch.manual_seed(0)
    network, images = Blocks(3, 10, shortcuts=True).eval(), torch.randn(2, 1, 8, 8)
    x = network.stem(images)
    x = x + network.blocks[0](x)
    x = x + network.blocks[2](x)
    expected = network.head(network.norm(x).relu().mean((2, 3)))
    torch.testing.assert_close(network(images, [0, 2]), expected)


def test_layers_of_a_chain_are_taken_out_and_exchanged_where_their_widths_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blocks, "STAGES", ((4, 3), (6, 3)))
    torch.manual_seed(0)
    network, images = blocks.Chain(10).eval(), torch.randn(2, 1, 8, 8)
    # The first of a stage takes 1 or 4 maps and makes 4 or 6.
    assert network.alike == [[1, 2], [4, 5]]
    kernels = [parameter for parameter in network.parameters() if parameter.dim() == 4]

    def layer(x: torch.Tensor, place: int) -> torch.Tensor:
        # Before any step batch norm, as it judges, changes nothing but the scale, by its epsilon.
        return nn.functional.conv2d(x, kernels[place], padding=1).relu() / sqrt(1 + 1e-5)

    x = layer(layer(images, 0), 2)
    x = layer(layer(layer(nn.functional.max_pool2d(x, 2), 3), 5), 4)
    expected = network.head(x.mean((2, 3)))
    torch.testing.assert_close(network(images, [0, 2, 3, 5, 4]), expected)
    for gone in (0, 3):
        with pytest.raises(RuntimeError, match="channels"):
            network(images, [place for place in range(6) if place != gone])


def test_without_any_one_of_its_layers_a_chain_is_left_to_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Veit et al., figure 3: VGG by its layers, and a residual network that hardly notices."""
    monkeypatch.setattr(blocks, "STAGES", ((16, 3), (32, 3)))
    given = read_small("digits", 8, 0)
    shares = {}
    for build in (lambda: blocks.Chain(10), lambda: Blocks(8, 10, shortcuts=True)):
        torch.manual_seed(0)
        network = build()
        for _ in fit(network, given, torch.optim.Adam(network.parameters(), residual.RATE), 3, 32, 0):
            pass
        loose = [place for group in network.alike for place in group]
        assert residual.without(network, given, ()) > 0.9
        shares[type(network)] = [residual.without(network, given, {place}) for place in loose]
    assert len(shares[blocks.Chain]) == 4
    assert max(shares[blocks.Chain]) < 0.35
    assert sum(shares[Blocks]) / 8 > max(shares[blocks.Chain]) + 0.1


def test_residual_networks_are_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual, "EPOCHS", 1)
    monkeypatch.setattr(residual, "DEEP", 4)
    monkeypatch.setattr(residual, "SHALLOW", 2)
    for module in (residual, blocks):
        monkeypatch.setattr(module, "STAGES", ((4, 2), (6, 3)))
    *steps, found = residual.compare_residual()
    assert len(steps) == 5 * 41
    assert isinstance(found, Outcome)
    # A block: two norms of 16 and 16, two convolutions of 9 · 16 · 16; stem, last norm and dense layer around them.
    *rows, chain = found.rows
    assert [row[:3] for row in rows] == [
        (f"{count} {kind} blocks", 2 * count + 2, count * 2 * (32 + 2304) + 160 + 32 + 170)
        for kind in ("residual", "plain")
        for count in (4, 2)
    ]
    # Convolutions from 1 map to 4, from 4 to 4, to 6, and twice from 6 to 6; norms of these, and a dense layer.
    assert chain[:3] == ("5 layers like VGG", 6, 9 * (4 + 16 + 24 + 36 + 36) + 2 * (4 + 4 + 3 * 6) + 70)
    alone, removed, shares, single, losses = found.charts
    assert [[block for block, _ in points] for points in alone.curves.values()] == [
        *([1, 2, 3, 4], [1, 2]),
        *([1, 2, 3, 4], [1, 2]),
        [2, 4, 5],
    ]
    for (name, *_, mean, worst, _), points in zip(found.rows, alone.curves.values(), strict=True):
        each = [share for _, share in points]
        assert (mean, worst) == (f"{sum(each) / len(each):.1%}", f"{min(each):.1%}"), name
    assert [len(points) for points in removed.curves.values()] == [4, 2, 4, 2, 3]
    assert [share for _, share in shares.curves["of all paths"]] == [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]
    assert sum(share for _, share in shares.curves["of all gradient"]) == pytest.approx(1)
    assert len(single.curves["a path"]) == 5
    assert all(len(points) == 41 for points in losses.curves.values())


def test_things_move_in_their_frame() -> None:
    thing = torch.rand(2, 1, 16, 16)
    left, middle = translation.framed(thing, -6), translation.framed(thing, 0)
    assert left.shape == middle.shape == (2, 1, 28, 28)
    assert torch.equal(middle[:, :, 6:22, 6:22], thing)
    assert torch.equal(left[:, :, 6:22, :16], thing)
    assert (left[:, :, :, 16:] == thing.min()).all()


def test_a_mean_over_maps_forgets_where_things_are() -> None:
    """Moved by as many pixels as the maps' stride, in a frame of zeros, things give the same maps, moved.

    Without biases, that is, whose maps end at the padding, and as long as no unit that sees them lies beyond the map.
    """
    torch.manual_seed(0)
    network = translation.small_network("convolutions, their mean", 10).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    images = torch.zeros(1, 1, 28, 28)
    images[:, :, 12:16, 10:14] = torch.rand(4, 4)
    torch.testing.assert_close(network(images), network(images.roll(4, 3)))
    flat = translation.small_network("convolutions, flattened", 10).eval()
    assert (flat(images) - flat(images.roll(4, 3))).abs().max() > 0.01


def test_answers_are_followed_as_things_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation, "EPOCHS", 2)
    *_, found = translation.compare_translation()
    assert isinstance(found, Outcome)
    sure, same = found.charts
    assert [row[0] for row in found.rows] == list(translation.NETWORKS)
    for kind in translation.NETWORKS:
        assert [by for by, _ in same.curves[kind]] == [float(by) for by in range(-6, 7)]
        assert dict(same.curves[kind])[0.0] == 1.0
    mean = {str(row[0]): float(str(row[-1]).removesuffix("%")) for row in found.rows}
    assert mean["convolutions, their mean"] > mean["convolutions, flattened"]
    assert mean["convolutions, their mean"] > mean["dense"] + 10
    assert len(sure.curves) == 3


def test_plain_descent_on_the_ravine_is_what_the_closed_form_says() -> None:
    """x shrinks by 1 - rate / 10 a step, and y by 1 - 2 · rate: with a rate of .95 it crosses the bottom each time."""
    path = ravine.walk("SGD")
    assert len(path) == ravine.STEPS + 1
    for step, (x, y) in enumerate(path):
        assert x == pytest.approx(-7 * (1 - 0.95 / 10) ** step)
        assert y == pytest.approx(2 * (1 - 2 * 0.95) ** step)


def test_momentum_on_the_ravine_is_the_update_rule() -> None:
    """v ← 0.9 v + g, W ← W - rate · v, as torch has it."""
    x, y, u, v = -7.0, 2.0, 0.0, 0.0
    for place in ravine.walk("momentum"):
        assert place == pytest.approx((x, y))
        u, v = 0.9 * u + x / 10, 0.9 * v + 2 * y
        x, y = x - 0.1 * u, y - 0.1 * v


def test_what_is_learned_is_learned_alike_each_time() -> None:
    given = read_small("digits", 8, 0, 200)
    accuracies, losses = [], []

    def keep(fitting: Generator[Trying, None, list[tuple[float, float]]]) -> Iterator[Trying]:
        losses.append((yield from fitting))

    for place in range(2):
        torch.manual_seed(0)
        network = ravine.small_network(10)
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        told = [(each.done, each.total) for each in keep(fit(network, given, optimizer, 3, 32, 0, (place, 2)))]
        assert told == [(21 * place + step, 42) for step in range(1, 22)]
        accuracies.append(accuracy(network, given.unseen, given.truth))
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == [float(step) for step in range(21)]
    assert accuracies[0] == accuracies[1] > 0.7
    pairs = zip(given.unseen, given.truth, strict=True)
    right = [int(network(image[None]).argmax()) == int(label) for image, label in pairs]
    assert accuracies[0] == sum(right) / len(right)


def test_data_that_is_not_small_is_refused(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for place in range(10):
            pixels = np.full((8, 8, 3), 10 * place + len(name), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{name}{place}.png")
    with pytest.raises(UsageError, match="grey images in memory"):
        read_small(str(tmp_path), 8, 0)


def test_each_experiment_has_a_question_and_a_page(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert all(each.question.endswith(".") for each in EXPERIMENTS.values())
    *_, found = EXPERIMENTS["initialisation"].run("digits", 1)
    assert isinstance(found, Outcome)
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_outcome_page(path, found)
    page = path.read_text(encoding="utf-8")
    assert page.count("<svg") == len(found.charts) == 4
    assert "ReLU, Xavier, batch norm" in page
    assert isinstance(read_small("digits", 8, 0), SmallSet)


def test_charts_are_files_of_their_own(tmp_path: Path) -> None:
    points = {"one": [(0.0, 1.0), (1.0, 2.0)], "two": [(0.0, 2.0), (1.0, 1.0)]}
    charts = (Chart("Loss of each step", "step", "loss", points), Chart("Loss of each step", "step", "loss", points))
    write_charts(tmp_path / "charts", Outcome("Title?", "Setting.", ("way",), (("one",),), charts))
    files = sorted(path.name for path in (tmp_path / "charts").iterdir())
    assert files == ["Loss_of_each_step-2.svg", "Loss_of_each_step.svg"]
    root = ElementTree.fromstring((tmp_path / "charts" / files[0]).read_bytes())
    assert {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")} >= {"one", "two", "step", "loss"}
