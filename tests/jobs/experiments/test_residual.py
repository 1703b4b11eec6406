"""Residual networks taken apart, against sums over all paths and networks put together by hand."""

from itertools import combinations
from math import sqrt

import pytest
import torch
from torch import nn

from striate.jobs.experiments import blocks, residual
from striate.jobs.experiments.blocks import Blocks
from striate.jobs.experiments.fitting import fit, read_small
from striate.jobs.experiments.outcome import Outcome


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


def test_pairs_of_blocks_that_are_alike_change_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "STAGES", ((4, 3), (6, 3)))
    chain, draws = blocks.Chain(10), torch.Generator().manual_seed(0)
    assert residual.exchanged(chain, 0, draws) == list(range(6))
    # Each stage's first stays, and of the other two of each there is one pair.
    found = {tuple(residual.exchanged(chain, 1, draws)) for _ in range(30)}
    assert found == {(0, 2, 1, 3, 4, 5), (0, 1, 2, 3, 5, 4)}
    network = Blocks(5, 10, shortcuts=True)
    found = {tuple(residual.exchanged(network, 1, draws)) for _ in range(200)}
    assert len(found) == 10
    assert all(sum(place != block for place, block in enumerate(order)) == 2 for order in found)
    # Of five blocks two pairs can change places, and one stays.
    for order in (residual.exchanged(network, 2, draws) for _ in range(20)):
        assert sorted(order) == list(range(5))
        assert sum(place == block for place, block in enumerate(order)) == 1
        assert all(order[block] == place for place, block in enumerate(order))


def test_likeness_to_the_order_learned_is_kendalls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of n (n - 1) / 2 pairs of blocks those in the order that was learned, less the others, as a share of all."""
    monkeypatch.setattr(residual, "ORDERS", 1)
    monkeypatch.setattr(residual, "exchanged", lambda *_: [3, 1, 2, 0])
    given = read_small("digits", 8, 0, 16)
    torch.manual_seed(0)
    network = Blocks(4, 10, shortcuts=True).eval()
    expected = float((network(given.unseen, [3, 1, 2, 0]).argmax(1) == given.truth).double().mean())
    like, share = residual._mean_exchanged(network, given, 1, torch.Generator())
    assert like == pytest.approx((1 - 5) / 6)
    assert share == pytest.approx(expected)


def test_residual_networks_are_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual, "EPOCHS", 1)
    monkeypatch.setattr(residual, "DEEP", 4)
    monkeypatch.setattr(residual, "SHALLOW", 2)
    for module in (residual, blocks):
        monkeypatch.setattr(module, "STAGES", ((4, 2), (6, 3)))
    monkeypatch.setattr(residual, "MOST", 320)
    monkeypatch.setattr(residual, "ORDERS", 3)
    *steps, found = residual.compare_residual()
    assert len(steps) == 5 * 10
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
    # Four blocks have two pairs, two have one; of the chain's two and three, without the first, one can be exchanged.
    assert [[cell != "" for cell in row[7:]] for row in found.rows] == [
        [number < pairs for number in range(4)] for pairs in (2, 1, 2, 1, 1)
    ]
    alone, removed, moved, shares, single, losses = found.charts
    assert [[block for block, _ in points] for points in alone.curves.values()] == [
        *([1, 2, 3, 4], [1, 2]),
        *([1, 2, 3, 4], [1, 2]),
        [2, 4, 5],
    ]
    for (name, _, _, _, whole, mean, worst, *orders), points, places in zip(
        found.rows, alone.curves.values(), moved.curves.values(), strict=True
    ):
        assert [f"{share:.1%}" for _, share in places] == [whole, *(order for order in orders if order)], name
        assert places[0][0] == 1 > places[1][0], name
        each = [share for _, share in points]
        assert (mean, worst) == (f"{sum(each) / len(each):.1%}", f"{min(each):.1%}"), name
    assert [len(points) for points in removed.curves.values()] == [4, 2, 4, 2, 3]
    assert [share for _, share in shares.curves["of all paths"]] == [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]
    assert sum(share for _, share in shares.curves["of all gradient"]) == pytest.approx(1)
    assert len(single.curves["a path"]) == 5
    assert all(len(points) == 10 for points in losses.curves.values())
