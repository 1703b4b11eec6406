import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from striate.data.keyed import Use, key, uniform


def splitmix64(state: int) -> int:
    """One output of the published generator, in Python's own integers."""
    mask = 2**64 - 1
    z = state & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_the_mixer_is_splitmix64() -> None:
    # The first outputs of the published generator seeded with 1234567.
    step = 0x9E3779B97F4A7C15
    assert [splitmix64(1234567 + n * step) for n in (1, 2, 3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]
    start = key(5, Use.AUGMENTATION, 2)
    image = splitmix64(start + 9 * step)
    expected = [(splitmix64(image + n * step) >> 11) / 2**53 for n in (1, 2)]
    assert uniform(5, 2, np.array([9]), 2).tolist() == [expected]


@given(
    indices=st.lists(st.integers(0, 10**9), min_size=1, max_size=20),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 10**4),
)
def test_a_number_depends_on_its_key_alone(indices: list[int], seed: int, epoch: int) -> None:
    together = uniform(seed, epoch, np.array(indices), 3)
    alone = np.concatenate([uniform(seed, epoch, np.array([index]), 3) for index in indices])
    np.testing.assert_array_equal(together, alone)
    assert ((together >= 0) & (together < 1)).all()


def test_numbers_are_even_and_unrelated() -> None:
    draws = uniform(0, 0, np.arange(100_000), 2)
    counts, _ = np.histogram(draws, bins=20, range=(0, 1))
    assert abs(counts / draws.size - 0.05).max() < 0.002
    other = uniform(0, 1, np.arange(100_000), 2)
    for a, b in ((draws[:, 0], draws[:, 1]), (draws[1:, 0], draws[:-1, 0]), (draws[:, 0], other[:, 0])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.015


def test_every_use_and_position_has_a_seed_of_its_own() -> None:
    seeds = {key(seed, use, position) for seed in range(3) for use in Use for position in range(50)}
    assert len(seeds) == 3 * len(Use) * 50
