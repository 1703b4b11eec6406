import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.data.embedded import load_digits
from striate.data.names import find_data
from striate.data.sets import ImageTensors, split_by_class
from striate.data.source import open_data
from striate.errors import UsageError


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=200), share=st.floats(0.05, 0.95), seed=st.integers(0, 1000)
)
def test_a_split_takes_the_share_of_every_class_and_loses_nothing(labels: list[int], share: float, seed: int) -> None:
    rest, part = split_by_class(torch.tensor(labels), share, seed)
    assert sorted([*rest.tolist(), *part.tolist()]) == list(range(len(labels)))
    for label in set(labels):
        count, taken = labels.count(label), sum(labels[index] == label for index in part)
        assert abs(taken - share * count) <= 1
        if count > 1:
            assert 0 < taken < count


@given(groups=st.lists(st.integers(0, 30), min_size=1, max_size=100), share=st.floats(0.05, 0.95))
def test_what_is_there_twice_stays_on_one_side(groups: list[int], share: float) -> None:
    labels = torch.tensor([group % 3 for group in groups])
    rest, part = split_by_class(labels, share, 0, [str(group) for group in groups])
    assert sorted([*rest.tolist(), *part.tolist()]) == list(range(len(groups)))
    held, kept = {groups[place] for place in part}, {groups[place] for place in rest}
    assert not held & kept
    for label in range(3):
        of_label = {group for group in groups if group % 3 == label}
        assert abs(len(held & of_label) - share * len(of_label)) <= 1


def test_digits_are_the_real_ones_and_are_split_by_seed() -> None:
    digits = load_digits()
    assert (len(digits), tuple(digits.images.shape[1:]), digits.classes) == (1797, (1, 8, 8), tuple("0123456789"))
    assert digits.images[0, 0, 0].tolist() == [round(level * 255 / 16) for level in (0, 0, 5, 13, 9, 1, 0, 0)]
    splits = open_data("digits", 0)
    assert {name: len(part) for name, part in splits.parts.items()} == {"train": 1295, "val": 143, "test": 359}
    pool = torch.cat([part.pixels() for part in splits.parts.values()]).flatten(1)
    assert sorted(map(tuple, pool.tolist())) == sorted(map(tuple, digits.images.flatten(1).tolist()))
    assert splits.fingerprint() == open_data("digits", 0).fingerprint()
    assert splits.fingerprint() != open_data("digits", 1).fingerprint()


def test_one_changed_pixel_or_label_changes_the_fingerprint() -> None:
    splits = open_data("digits", 0)
    before = splits.fingerprint()
    pixels = splits.train.pixels()
    pixels[3, 0, 2, 2] ^= 1
    changed = splits.fingerprint()
    pixels[3, 0, 2, 2] ^= 1
    assert changed != before == splits.fingerprint()
    labels = splits.judged[1].labels
    labels[0] = (labels[0] + 1) % 10
    assert splits.fingerprint() != before


def test_grey_images_fill_any_number_of_channels_and_colour_does_not_shrink() -> None:
    grey = ImageTensors(torch.tensor([[[[7]]]], dtype=torch.uint8), torch.tensor([0]), ("a",))
    colour = grey.prepared(3, (1, 1), None)
    assert colour.pixels().flatten().tolist() == [7, 7, 7]
    with pytest.raises(UsageError, match="images of 1 channels, or grey ones; received 3 channels"):
        colour.prepared(1, (1, 1), None)


def test_data_that_is_nowhere_is_refused_with_the_nearest_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(UsageError, match="Did you mean digits"):
        find_data("digitz")
    folder = tmp_path_factory.mktemp("empty")
    with pytest.raises(UsageError, match="received an empty folder"):
        open_data(str(folder), 0)
    (folder / "note.txt").write_text("hello")
    with pytest.raises(UsageError, match=r"received a folder with note\.txt"):
        open_data(str(folder), 0)
    with pytest.raises(UsageError, match="a CSV table .* received columns 'hello'"):
        open_data(str(folder / "note.txt"), 0)
