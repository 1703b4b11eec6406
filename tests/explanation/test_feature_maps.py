"""Which maps are shown."""

from itertools import combinations

import torch

from striate.explanation.feature_maps import most_different, strongest


def test_the_strongest_have_the_largest_values() -> None:
    maps = torch.zeros(5, 3, 3)
    maps[3, 0, 0], maps[1, 2, 1], maps[4] = 9, 7, 1
    assert strongest(maps, 3) == [3, 1, 4]
    assert len(strongest(maps, 9)) == 5


def test_the_most_different_are_not_like_each_other() -> None:
    """Of five maps three say the same, up to a factor, a sign and a constant."""
    torch.manual_seed(0)
    one, two, three = torch.rand(3, 6, 6)
    maps = torch.stack([one, 2 * one + 1, two, -one, three, torch.full((6, 6), 5.0)])
    chosen = most_different(maps, 3)
    assert chosen[0] == 1  # The strongest of those that vary.
    assert set(chosen) == {1, 2, 4}
    assert 5 not in most_different(maps, 6)
    assert most_different(torch.ones(3, 2, 2), 2) == []


def test_each_choice_is_the_least_like_those_before() -> None:
    torch.manual_seed(0)
    maps = torch.randn(12, 5, 5)
    chosen = most_different(maps, 4)
    alike = torch.corrcoef(maps.flatten(1)).abs()
    assert chosen[0] == int(maps.amax((1, 2)).argmax())
    for count in range(1, 4):
        before = chosen[:count]
        best = min((c for c in range(12) if c not in before), key=lambda c: max(float(alike[c, b]) for b in before))
        assert chosen[count] == best
    assert all(a != b for a, b in combinations(chosen, 2))
