import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.detection.sampling import sample_balanced


@given(st.integers(0, 1000), st.floats(0, 1), st.floats(0, 1), st.integers(1, 20))
def test_a_sample_is_what_a_loop_draws(seed: int, shares: float, others: float, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    numbers, foreground, background = (torch.rand(2, 20, generator=generator) for _ in range(3))
    front, back, most = foreground < shares / 2, background < others, count // 2
    found = sample_balanced(front, back & ~front, numbers, count, most)
    assert found.indices.shape == found.foreground.shape == found.valid.shape == (2, count)
    for image in range(2):
        order = numbers[image].argsort(descending=True).tolist()
        wanted = [place for place in order if front[image, place]][:most]
        rest = [place for place in order if back[image, place] and not front[image, place]][: count - len(wanted)]
        valid = found.valid[image]
        assert found.indices[image, valid].tolist() == wanted + rest
        assert found.foreground[image].tolist() == [True] * len(wanted) + [False] * (count - len(wanted))
        assert int(valid.sum()) == len(wanted) + len(rest)


def test_every_candidate_is_as_likely_as_another_and_the_same_numbers_draw_the_same() -> None:
    numbers = torch.rand(4000, 12, generator=torch.Generator().manual_seed(0))
    front = (torch.arange(12) < 6).expand(4000, 12)
    found = sample_balanced(front, ~front, numbers, 5, 2)
    assert found.valid.all()
    shares = found.indices.flatten().bincount(minlength=12) / 4000
    assert ((shares[:6] - 2 / 6).abs() < 0.04).all()
    assert ((shares[6:] - 3 / 6).abs() < 0.04).all()
    assert sample_balanced(front, ~front, numbers, 5, 2).indices.equal(found.indices)
