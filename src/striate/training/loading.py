"""Batches in an order that depends on (seed, epoch) alone, wherever in the epoch one starts and whoever loads them."""

import os
from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from striate.data.keyed import Use, key
from striate.data.sets import ImageSet
from striate.errors import StriateError
from striate.training.task import Batch, Samples

Request = tuple[int, list[int]]


class EvenBatches(Sampler[Request]):
    """The batches of one epoch after another: (epoch, indices) each.

    An epoch is cut into the fewest parts of at most ``batch_size``, as even as can be: no image is left out, and there
    is no last batch of a few images, of which batch normalisation would make little.
    """

    def __init__(self, count: int, batch_size: int, seed: int | None) -> None:
        """Cut ``count`` images; ``seed`` shuffles them anew each epoch, and None keeps their order."""
        self.count, self.seed = count, seed
        self.steps = -(-count // batch_size)
        self.epoch = self.start = 0

    def move_to(self, epoch: int, start: int = 0) -> None:
        """Let the next pass be this epoch's, without its first ``start`` batches."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[Request]:
        order = np.arange(self.count)
        if self.seed is not None:
            order = np.random.default_rng(key(self.seed, Use.ORDER, self.epoch)).permutation(self.count)
        for indices in np.array_split(order, self.steps)[self.start :]:
            yield self.epoch, indices.tolist()


class _Batches(Dataset[Batch | StriateError]):
    """Whole batches by request, collated where they are loaded."""

    def __init__(self, images: ImageSet, collate: Callable[[Samples], Batch]) -> None:
        self.images, self.collate = images, collate

    def __getitem__(self, request: Request) -> Batch | StriateError:
        epoch, indices = request
        try:
            return self.collate(Samples(self.images.subset(indices), epoch, indices))
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
    """

    def __init__(
        self,
        images: ImageSet,
        collate: Callable[[Samples], Batch],
        *,
        batch_size: int,
        seed: int | None = None,
        workers: int = 0,
    ) -> None:
        self.images = images
        self._batches = EvenBatches(len(images), batch_size, seed)
        self._loader: DataLoader[Batch | StriateError] = DataLoader(
            _Batches(images, collate),
            batch_size=None,
            sampler=self._batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_the_group,
        )

    @property
    def steps(self) -> int:
        """Batches in a whole epoch."""
        return self._batches.steps

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
