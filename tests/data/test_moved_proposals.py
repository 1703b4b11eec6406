"""Proposals that move along with their images: what are things' own boxes stay these, and what is none stays none."""

from pathlib import Path

import pytest
import torch

from boxed_scenes import write_voc
from striate.data.box_targets import BoxTargets
from striate.data.boxed import Boxed, boxes_of
from striate.data.frames import Frame, random_crop
from striate.data.names import BoxOptions
from striate.data.preprocessing import Preprocessing
from striate.data.reading import Reading
from striate.data.source import open_data
from striate.training.config import load_config
from striate.training.task import Samples
from striate.training.tasks import Detection

PADDING = 2


def proposed(images: Boxed) -> Boxed:
    """Propose in each image its things' own boxes, in their order, and leave places for more."""
    room = images.most + PADDING
    own = [boxes_of(each.instances) for each in images.annotations]
    return images.with_proposals(torch.cat([boxes, boxes.new_zeros(room - len(boxes), 4)]) for boxes in own)


@pytest.fixture
def images(tmp_path: Path) -> Boxed:
    data = write_voc(tmp_path / "data", {"train": 6, "val": 2})
    read = open_data(str(data), 0, Reading(boxes=BoxOptions())).train
    assert isinstance(read, Boxed)
    return proposed(read)


def expect_the_things(known: BoxTargets) -> int:
    """Expect each thing's proposal at its box, and nothing elsewhere; return how many things are seen."""
    assert known.proposals is not None
    most = known.xyxy.shape[1]
    there = known.valid | known.ignored
    torch.testing.assert_close(known.proposals[:, :most][there], known.xyxy[there])
    others = torch.cat([known.proposals[:, :most][~there], known.proposals[:, most:].flatten(0, 1)])
    assert not ((others[:, 2:] > others[:, :2]).all(1)).any()
    return int(there.sum())


def test_they_are_cut_and_scaled_with_their_images(images: Boxed) -> None:
    def framing(place: int, size: tuple[int, int]) -> Frame:
        return random_crop(size, (30, 44), 0.3, [0.2, 0.3, 0.1 * place, 0.9 - 0.1 * place])

    shown = images.prepared(3, (30, 44), None)
    whole, cut = expect_the_things(shown.known()), expect_the_things(shown.known(framing))
    assert 0 < cut < whole
    part = shown.subset([4, 1])
    assert expect_the_things(part.known()) == sum(len(each.instances) for each in part.annotations)
    assert part.proposed == images.proposed == images.most + PADDING


def test_they_are_mirrored_divided_and_handed_on(images: Boxed) -> None:
    known = images.prepared(3, (30, 44), None).known()
    which = torch.tensor([True, False, True, True, False, False])
    mirrored = known.mirrored(which, 44)
    expect_the_things(mirrored)
    assert known.proposals is not None
    assert mirrored.proposals is not None
    left, top, right, bottom = known.proposals[0, 0].tolist()
    assert mirrored.proposals[0, 0].tolist() == pytest.approx([44 - right, top, 44 - left, bottom])
    assert torch.equal(mirrored.proposals[1], known.proposals[1])
    for part in mirrored.tensor_split(4):
        expect_the_things(part.to(torch.device("cpu")))
        assert len(part.shown) == 1


def test_a_task_shows_them_to_its_network(images: Boxed) -> None:
    preprocessing = Preprocessing(image_size=(30, 44), mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=None)
    settings = {"task": "detect", "model": "fast_rcnn", "data": "any", "crop_scale": 0.5, "hflip": 0.5}
    task = Detection(load_config(settings), preprocessing, images.classes)
    samples = Samples(images.prepared(3, (30, 44), None), 3, list(range(6)))
    plain, changed = task.collate(samples), task.augment(samples)
    for batch in (plain, changed):
        expect_the_things(batch.targets)
        assert [tensor.shape for tensor in batch.shown] == [(6, 3, 30, 44), (6, images.most + PADDING, 4)]
    assert not torch.equal(plain.shown[1], changed.shown[1])
