"""The images that a run was begun with, read again for what the run has not seen of them."""

from collections.abc import Generator

from striate.data.masks import MaskClasses
from striate.data.names import BoxOptions
from striate.data.reading import Reading
from striate.data.sets import ImageFiles, ImageSet, Splits
from striate.data.source import Opening, read_data
from striate.errors import UsageError
from striate.jobs.usage import mask_options
from striate.training.config import TrainConfig
from striate.training.folder import DataRecord, RunFolder
from striate.weights import WeightsConfig, read_weights_config
from striate.zoo import find_model

DIGITS = 16  # Of a digest: enough to tell any files apart that one has.


def reading_of(config: TrainConfig, workers: int = 0) -> Reading:
    """Return how a run reads its files."""
    masks = mask_options(find_model(config.model).task, config.classes, config.ignore)
    return Reading(config.skip_bad, config.max_pixels, workers, masks, box_options(config.model))


def box_options(model: str) -> BoxOptions | None:
    """Return how boxes are read for a network of the zoo; None for one that does not find things."""
    entry = find_model(model)
    return BoxOptions(entry.mask_side) if entry.task == "detect" else None


def record_of(splits: Splits) -> DataRecord:
    """Return what tells a data set's images from others."""
    files = [part for part in (splits.train, splits.val) if isinstance(part, ImageFiles)]
    return DataRecord(
        fingerprint=splits.fingerprint(), seen=tuple(_short(digest) for part in files for digest in part.digests)
    )


def begun_reading(folder: RunFolder, workers: int = 0) -> Reading:
    """Return how a run that has begun reads its files: masks as it took them then, wherever the file of classes is."""
    config = folder.config()
    weights = read_weights_config(folder.last)
    if weights.task != "segment":
        return reading_of(config, workers)
    return Reading(config.skip_bad, config.max_pixels, workers, classes_of(weights))


def classes_of(config: WeightsConfig) -> MaskClasses | None:
    """Return how masks held the classes that weights were trained on; None where they do not say."""
    return MaskClasses(config.classes, config.colours, config.numbers) if config.numbers else None


def own_splits(folder: RunFolder, workers: int = 0) -> Generator[Opening, None, Splits]:
    """Read a run's own images as it did.

    Raises:
        UsageError: where they are no longer those that it was begun with: what it has seen of them, nobody knows.
    """
    config = folder.config()
    record = folder.data_record()
    splits = yield from read_data(config.data, config.seed, begun_reading(folder, workers))
    if splits.fingerprint() != record.fingerprint:
        raise UsageError(
            expected=f"in {config.data} the images and labels that this run was begun with",
            received="others: some were added, removed, changed or renamed",
            remedy="Put them back, or judge by a folder of images of their own: striate val RUN FOLDER.",
        )
    return splits


def count_seen(folder: RunFolder, images: ImageSet) -> int:
    """Return how many images a run has learned from, or was chosen by, as far as they are files."""
    if not folder.args.is_file() or not isinstance(images, ImageFiles):
        return 0
    seen = set(folder.data_record().seen)
    return sum(_short(digest) in seen for digest in images.digests)


def _short(digest: str) -> str:
    return digest[:DIGITS]
