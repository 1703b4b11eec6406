"""Images with proposals, for a network that is shown some."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from striate.data.boxed import Boxed
from striate.data.images import Picture
from striate.data.sets import ImageSet, Splits
from striate.detection.detector import Detector
from striate.detection.proposals import ProposalSearch
from striate.jobs.proposing import Searching, search_images, search_picture
from striate.training.group import ALONE, Group


def search_of(network: nn.Module) -> ProposalSearch | None:
    """Return where a network's proposals come from; None for one that is shown none."""
    return network.search if isinstance(network, Detector) else None


def searched(images: ImageSet, search: ProposalSearch | None, workers: int = 0) -> Generator[Searching, None, ImageSet]:
    """Return images with proposals, where they are asked for; each image is searched once.

    Raises:
        ImageFileError: naming an image that cannot be read.
        StriateError: where the file system refuses to keep what was found.
    """
    if search is None or not isinstance(images, Boxed):
        return images
    found = yield from search_images(images, search.mode, search.room, workers)
    return images.with_proposals(_filled(torch.from_numpy(each.proposals), search.room) for each in found)


def searched_splits(
    splits: Splits, search: ProposalSearch | None, workers: int = 0, group: Group = ALONE
) -> Generator[Searching, None, Splits]:
    """Return the parts of a data set with proposals; several processes share the search."""
    if search is None:
        return splits
    parts: dict[str, Any] = {}
    for name, images in splits.parts.items():
        if group.size > 1:
            own = images.subset(list(range(group.rank, len(images), group.size)))
            yield from search_images(own, search.mode, search.room, workers)
            group.wait()  # What the others found is on the disk then.
        parts[name] = yield from searched(images, search, workers)
    return replace(splits, **parts)


def proposals_of(picture: Picture, search: ProposalSearch, image_size: tuple[int, int]) -> Tensor:
    """Return the proposals of one picture, 1 x P x 4, in pixels of the image as a network takes all of it."""
    found = torch.from_numpy(search_picture(picture, search.mode, search.room).proposals)
    (height, width), (rows, columns) = picture.size, image_size
    scale = torch.tensor([columns / width, rows / height] * 2)
    return _filled(found * scale, search.room).unsqueeze(0)


def _filled(boxes: Tensor, room: int) -> Tensor:
    return torch.cat([boxes, boxes.new_zeros(room - len(boxes), 4)])
