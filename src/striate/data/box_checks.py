"""What the user of a data set with boxes should know before training on it."""

from collections import Counter
from collections.abc import Iterable, Sequence

from striate.data.findings import Finding, some
from striate.data.inspection import Inspected
from striate.data.listing import Listing


def boxes_of_classes(files: Iterable[Inspected]) -> Counter[tuple[str, str]]:
    """Return how many boxes of each part are of each class; crowds are not counted."""
    counts: Counter[tuple[str, str]] = Counter()
    for file in files:
        if file.annotation is not None and not file.problem:
            counts.update((file.item.part, each.label) for each in file.annotation.instances if not each.crowd)
    return counts


def sides_of_boxes(files: Iterable[Inspected]) -> tuple[list[float], list[float]]:
    """Return the heights and the widths of all boxes, in pixels; crowds are left out."""
    heights, widths = list[float](), list[float]()
    for file in files:
        if file.annotation is not None and not file.problem:
            for left, top, right, bottom in (each.xyxy for each in file.annotation.instances if not each.crowd):
                heights.append(bottom - top)
                widths.append(right - left)
    return heights, widths


def find_box_problems(listing: Listing, files: Sequence[Inspected]) -> Iterable[Finding]:
    """Find what is wrong with the boxes of a data set, and what is worth knowing of them."""
    if listing.missing:
        yield Finding("missing image", f"{len(listing.missing):,} named and not there: {some(listing.missing)}")
    if not listing.has_boxes:
        return
    for file in files:
        for fault in () if file.annotation is None else file.annotation.faults:
            yield Finding(fault.kind, f"{listing.name_of(file.item.path)}: {fault.text}", (file,))
    counts = boxes_of_classes(files)
    for part in listing.parts:
        missing = [name for name in listing.names if not counts[part, name]]
        if missing:
            yield Finding("missing class", f"{part or 'no image'} has no box of {some(missing)}")
        bare = [file for file in files if file.item.part == part and is_bare(file)]
        if bare:
            where = f"{len(bare):,} images of {part}" if part else f"{len(bare):,} images"
            names = some([listing.name_of(file.item.path) for file in bare])
            yield Finding("unlabelled", f"{where} without a box: {names}", tuple(bare))


def is_bare(file: Inspected) -> bool:
    """Tell whether an image has no box at all, and nothing wrong with it."""
    return not file.problem and file.annotation is not None and not file.annotation.instances
