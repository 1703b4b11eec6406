"""What a data set's user should know before training on it."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

from striate.data.box_checks import find_box_problems
from striate.data.findings import Finding, Kind, some
from striate.data.inspection import Inspected
from striate.data.listing import Listing
from striate.errors import UsageError
from striate.files import spell

IMBALANCE = 10
SAID: tuple[Kind, ...] = ("imbalance", "missing class", "empty class", "unlabelled")  # By training too, in full.


def find_problems(listing: Listing, files: Sequence[Inspected]) -> list[Finding]:
    """Return what is to be said of a data set, severe things first.

    Args:
        listing: of its files.
        files: the same, looked at.
    """
    found = [
        *(
            Finding(
                "unreadable" if file.mask is None else "mask",
                f"{listing.name_of(file.item.path)}: {file.problem}",
                (file,),
            )
            for file in files
            if file.problem and not _is_told(file)
        ),
        *find_box_problems(listing, files),
        *_repeated(listing, files),
        *_of_classes(listing),
        *_of_masks(listing, files),
        *_of_channels(files),
        *(
            Finding("animated", f"{listing.name_of(file.item.path)}: the first of its frames is taken", (file,))
            for file in files
            if file.header is not None and file.header.animated
        ),
        *(Finding("hidden folder", f"{listing.name_of(path)} is passed over") for path in listing.hidden),
        *(Finding("other file", f"{listing.name_of(path)} is passed over") for path in listing.others),
    ]
    return sorted(found, key=lambda finding: not finding.severe)


def _is_told(file: Inspected) -> bool:
    """Tell whether what is wrong with a file is with its boxes, of which each fault is found by itself."""
    return file.annotation is not None and bool(file.annotation.problem)


def _known_of(file: Inspected) -> object:
    """Return what is the same for two files of which the same is known."""
    if file.annotation is not None:
        return frozenset((each.xyxy, each.label) for each in file.annotation.instances)
    return file.item.label if file.mask is None else file.mask.digest


def _repeated(listing: Listing, files: Sequence[Inspected]) -> Iterable[Finding]:
    """Find what is there twice: the same bytes, or the same pixels where all were decoded."""
    alike: dict[str, list[Inspected]] = defaultdict(list)
    for file in files:
        if not file.problem:
            alike[file.pixels_digest or file.digest].append(file)
    for group in alike.values():
        if len(group) == 1:
            continue
        parts = {file.item.part for file in group}
        labels = {_known_of(file) for file in group}
        names = " = ".join(listing.name_of(file.item.path) for file in group)
        kinds: list[Kind] = []
        if len(labels) > 1:
            kinds.append("two labels")
        if len(parts) > 1:
            kinds.append("two parts")
        for kind in kinds or ["duplicate"]:
            yield Finding(kind, names, tuple(group))


def _of_classes(listing: Listing) -> Iterable[Finding]:
    if listing.has_numbers or listing.has_masks:
        return
    known = set(listing.names)
    learned = listing.learned
    counts = Counter((item.part, item.label) for item in listing.items)
    for part, names in listing.classes.items():
        extra = sorted(set(names) - known)
        if extra:
            yield Finding("unknown class", f"{part} has {some(extra)}, which train has not")
        if listing.has_boxes:
            continue
        if part == learned:
            empty = [name for name in names if not counts[part, name]]
            yield from (Finding("empty class", f"{name!r} has no image{_in(part)}") for name in empty)
        else:
            missing = sorted(name for name in known if not counts[part, name])
            if missing:
                yield Finding("missing class", f"{part} has no image of {some(missing)}")
    if listing.has_boxes:
        return
    if len(known) < 2:
        yield Finding("one class", f"all images are of {some(sorted(known))}; there is nothing to tell apart")
    sizes = sorted((counts[learned, name], name) for name in known if counts[learned, name])
    if len(sizes) > 1 and sizes[-1][0] >= IMBALANCE * sizes[0][0]:
        (few, rare), (many, common) = sizes[0], sizes[-1]
        yield Finding("imbalance", f"{common} has {many:,} images{_in(learned)}, {rare} {few:,}")


def pixels_of_classes(listing: Listing, files: Iterable[Inspected]) -> Counter[tuple[str, str]]:
    """Return how many pixels of each part are of each class."""
    found: Counter[tuple[str, str]] = Counter()
    classes = listing.mask_classes
    for file in files:
        if classes is not None and file.mask is not None and not file.problem:
            for name, count in zip(classes.names, classes.counts(file.mask.held), strict=True):
                found[file.item.part, name] += count
    return found


def _of_masks(listing: Listing, files: Sequence[Inspected]) -> Iterable[Finding]:
    if listing.mask_classes is None:
        return
    counts = pixels_of_classes(listing, files)
    for part in listing.parts:
        missing = [name for name in listing.names if not counts[part, name]]
        if len(missing) == len(listing.names):
            yield Finding("empty class", f"{part or 'no mask'} has no pixel of a known class")
        elif missing:
            kind: Kind = "empty class" if part == listing.learned else "missing class"
            yield Finding(kind, f"{part or 'no mask'} has no pixel of {some(missing)}")


def expect_pixels(listing: Listing, files: Sequence[Inspected]) -> None:
    """Refuse parts of which nothing is known.

    Raises:
        UsageError: naming one.
    """
    counts = pixels_of_classes(listing, files)
    for part in listing.parts if listing.has_masks else ():
        if not any(counts[part, name] for name in listing.names):
            raise UsageError(
                expected=f"in {spell(listing.root)} masks with pixels of the classes {some(listing.names)}",
                received=f"none{_in(part)}",
                remedy="All that they hold is ignored: see --ignore.",
            )


def common_channels(counts: Collection[int]) -> int | None:
    """Return the channels with which images of these numbers of them can be read together; None where they cannot."""
    return 3 if set(counts) == {1, 3} else next(iter(counts)) if len(set(counts)) == 1 else None


def _of_channels(files: Sequence[Inspected]) -> Iterable[Finding]:
    """Find channels that do not go together: grey and colour do, since each becomes the other."""
    counts = Counter(file.header.channels for file in files if file.header is not None)
    if counts and common_channels(counts) is None:
        said = ", ".join(f"{number:,} of {count}" for count, number in sorted(counts.items()))
        yield Finding("channels", f"images of different numbers of channels: {said}")


def _in(part: str) -> str:
    return f" in {part}" if part else ""


def expect_classes(listing: Listing) -> None:
    """Refuse data whose classes cannot be learned.

    Raises:
        UsageError: for a class without images, one class alone, or classes of other parts that train has not.
    """
    for finding in _of_classes(listing):
        if finding.severe:
            raise UsageError(
                expected=f"in {spell(listing.root)} two classes or more, each with images to learn from, and no others "
                "to validate with",
                received=finding.text,
                remedy="Rename or remove folders, or add images: `striate check` tells all that is wrong.",
            )


def expect_all(listing: Listing) -> None:
    """Refuse data of which images are named that are not there.

    Raises:
        UsageError: naming the first few, and how to go on without.
    """
    if listing.missing:
        raise UsageError(
            expected=f"all images that {spell(listing.root)} names",
            received=f"{len(listing.missing):,} that are not there: {some(listing.missing)}",
            remedy="Add them, or go on without them by --skip-bad.",
        )


def expect_readable(listing: Listing, files: Iterable[Inspected]) -> None:
    """Refuse files that are no images.

    Raises:
        UsageError: naming the first few, and how to leave them out.
    """
    bad = [file for file in files if file.problem]
    if bad:
        said = "; ".join(f"{listing.name_of(file.item.path)}: {file.problem}" for file in bad[:3])
        raise UsageError(
            expected=f"images in all {len(listing.items):,} image files of {spell(listing.root)}",
            received=f"{len(bad):,} bad: {said}{' ...' if len(bad) > 3 else ''}",
            remedy="Mend or remove them, or leave them out with --skip-bad. `striate check` looks at every file.",
        )


def notes_of(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Return what training should say of a data set in a few lines: how often each thing was found."""
    found = list(findings)
    said: dict[Kind, str] = {
        "two labels": "images that are there under two labels",
        "two parts": "images that are there in two parts",
        "duplicate": "images that are there twice",
        "empty box": "boxes that hold nothing, left out",
        "clipped box": "boxes cut at the edges of their images",
        "duplicate box": "boxes that are there twice, once left out",
        "animated": "images of several frames, of which the first is taken",
        "hidden folder": "hidden folders, passed over",
        "other file": "files that are no images, passed over",
    }
    counts = Counter(finding.kind for finding in found)
    notes = [f"{text}: {counts[kind]:,}" for kind, text in said.items() if counts[kind]]
    return (*notes, *(finding.text for finding in found if finding.kind in SAID))
