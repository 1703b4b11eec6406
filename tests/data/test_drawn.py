"""The embedded set of drawn things: always the same, no two parts alike, and its boxes where its things are."""

import numpy as np
import torch

from striate.data.box_targets import BoxTargets
from striate.data.boxed import BoxedTensors
from striate.data.drawn import FEWEST_PIXELS, SHAPES, SIDE
from striate.data.names import BoxOptions
from striate.data.outlines import draw
from striate.data.reading import Reading
from striate.data.source import finish, open_data, read_part

READING = Reading(boxes=BoxOptions(mask_side=16))


def test_the_set_is_the_same_each_time_and_for_every_seed() -> None:
    splits = open_data("shapes", 0, READING)
    assert {name: len(part) for name, part in splits.parts.items()} == {"train": 320, "val": 64, "test": 96}
    assert splits.fingerprint() == open_data("shapes", 1, READING).fingerprint()
    pictures = torch.cat([part.pixels() for part in splits.parts.values()])
    assert len({picture.numpy().tobytes() for picture in pictures}) == len(pictures) == 480
    name, test = finish(read_part("shapes", None, ("star", *SHAPES), READING))
    assert name == "test"
    known, own = test.known(), splits.parts["test"].known()
    assert isinstance(known, BoxTargets)
    assert isinstance(own, BoxTargets)
    assert torch.equal(known.labels[known.valid], own.labels[own.valid] + 1)


def test_boxes_are_the_bounds_of_what_is_seen_and_things_stand_out() -> None:
    for part in open_data("shapes", 0, READING).parts.values():
        assert isinstance(part, BoxedTensors)
        assert part.classes == tuple(SHAPES)
        counts = np.zeros(len(SHAPES))
        for image, annotation in zip(part.pixels().double(), part.annotations, strict=True):
            outlines = [each.outline for each in annotation.instances if each.outline is not None]
            assert 2 <= len(outlines) == len(annotation.instances) <= 6
            masks = np.stack([*draw(outlines, (SIDE, SIDE))])
            assert masks.sum(0).max() == 1  # Whatever lies behind is not seen.
            ground = image[:, torch.from_numpy(masks.sum(0) == 0)].mean(1)
            for instance, mask in zip(annotation.instances, masks, strict=True):
                rows, columns = mask.nonzero()
                assert instance.xyxy == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                assert len(rows) >= FEWEST_PIXELS
                colour = image[:, torch.from_numpy(mask == 1)].mean(1)
                assert float((colour - ground).abs().max()) > 30
                counts[part.classes.index(instance.label)] += 1
        assert counts.min() > 0.7 * counts.mean()
