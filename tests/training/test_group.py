import pytest

from striate.errors import UsageError
from striate.training.group import Group


def test_each_process_has_its_share() -> None:
    shares = [Group(3, rank).share(8) for rank in range(3)]
    assert [list(share) for share in shares] == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_fewer_things_than_processes_are_refused() -> None:
    Group(3, 0).expect_enough("the images of val", 3)
    with pytest.raises(UsageError, match="at least one of the images of val for each of 3 processes; received 2"):
        Group(3, 0).expect_enough("the images of val", 2)
