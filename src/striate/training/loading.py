"""Batches in an order that depends on (seed, epoch) alone, wherever in the epoch one starts and whoever loads them."""

import gc
import os
import sys
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from striate.data.keyed import Use, key
from striate.data.sets import ImageSet
from striate.errors import StriateError
from striate.training.group import ALONE, Group
from striate.training.task import Batch, Samples

Request = tuple[int, list[int]]


class EvenBatches(Sampler[Request]):
    """The batches of one epoch after another: (epoch, indices) each.

    An epoch is cut into the fewest parts of at most ``batch_size``, as even as can be: no image is left out, and there
    is no last batch of a few images, of which batch normalisation would make little.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int | None,
        group: Group = ALONE,
        chances: NDArray[np.float64] | None = None,
    ) -> None:
        """Cut ``count`` images; arguments as for `Loader`."""
        self.seed, self.group, self.chances = seed, group, chances
        # Shuffled, every process learns from its part of each batch; in order, it has a part of the set to itself.
        self.order = np.arange(count)
        if seed is None:
            self.order = self.order[group.share(count)]
        self.steps = -(-len(self.order) // batch_size)
        self.epoch = self.start = 0

    def move_to(self, epoch: int, start: int = 0) -> None:
        """Let the next pass be this epoch's, without its first ``start`` batches."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[Request]:
        order, count = self.order, len(self.order)
        if self.seed is not None:
            drawn = np.random.default_rng(key(self.seed, Use.ORDER, self.epoch))
            order = drawn.permutation(count) if self.chances is None else self._drawn(drawn)
        for indices in np.array_split(order, self.steps)[self.start :]:
            own = indices if self.seed is None else indices[self.group.share(len(indices))]
            yield self.epoch, own.tolist()

    def _drawn(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Draw images by chance; the k-th time in an epoch, counted from 0, an index is larger by k times their count.

        So an image that is shown several times is changed in another way each time.
        """
        count = len(self.order)
        drawn = generator.choice(count, count, p=self.chances)
        places = np.argsort(drawn, kind="stable")
        times = np.empty(count, np.int64)
        times[places] = np.arange(count) - np.searchsorted(drawn[places], drawn[places])
        return drawn + count * times

    def size_of(self, step: int) -> int:
        """Return the images in one batch of an epoch, all processes' together where they share it."""
        size, larger = divmod(len(self.order), self.steps)
        return size + (step < larger)


class _Batches(Dataset[Batch | StriateError]):
    """Whole batches by request, collated where they are loaded."""

    def __init__(self, images: ImageSet, collate: Callable[[Samples], Batch]) -> None:
        self.images, self.collate = images, collate

    def __getitem__(self, request: Request) -> Batch | StriateError:
        epoch, indices = request
        try:
            images = self.images.subset([index % len(self.images) for index in indices])
            return self.collate(Samples(images, epoch, indices))
        except StriateError as error:  # Raised where it can be told from others.
            return error


def _leave_the_group(_worker: int) -> None:
    """Be spared a Ctrl-C or a SIGTERM to the run's process group, so that the run can end its step and save."""
    os.setpgid(0, 0)


class Loader:
    """An image set as batches ready for the network.

    Args:
        images: what to load.
        collate: the task's, from samples to a batch; runs in the workers.
        batch_size: images a batch, at most.
        seed: shuffles each epoch anew; None keeps the order.
        workers: processes; 0 loads in this one.
        group: with which batches are shared or, where the order is kept, the images.
        chances: of each image, as many of which are drawn as there are; None to show each of them once an epoch.
    """

    def __init__(
        self,
        images: ImageSet,
        collate: Callable[[Samples], Batch],
        *,
        batch_size: int,
        seed: int | None = None,
        workers: int = 0,
        group: Group = ALONE,
        chances: NDArray[np.float64] | None = None,
    ) -> None:
        if workers:
            gc.collect()  # A process that is forked must not be the one that clears an earlier loader away.
        self.images = images
        self._batches = EvenBatches(len(images), batch_size, seed, group, chances)
        self._loader: DataLoader[Batch | StriateError] = DataLoader(
            _Batches(images, collate),
            batch_size=None,
            sampler=self._batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_the_group,
            # What is kept of decoded images is in memory that forked processes share.
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        )

    @property
    def steps(self) -> int:
        """Batches in a whole epoch."""
        return self._batches.steps

    def size_of(self, step: int) -> int:
        """Return the images in one batch of an epoch, all processes' together where they share it."""
        return self._batches.size_of(step)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, without its first ``start``.

        Raises:
            StriateError: as collating does, in whichever process.
        """
        self._batches.move_to(epoch, start)
        for batch in self._loader:
            if isinstance(batch, StriateError):
                raise batch
            yield batch
