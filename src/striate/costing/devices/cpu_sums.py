"""The scratch of a kernel's gradient: what its sum is collected in, and what is arranged for it.

A kernel's gradient is a sum over all places of all images. oneDNN's threads share it in one of two ways: each takes
some of the kernel's channels, or each takes some of the images and has a sum of its own, which are added up at the end.
Which, is decided by what a thread has to read and write, in the form that oneDNN's sources have (``balance`` of its
convolutions, ``reduce_balancer_t`` of its reductions). The weights that are not told there were fitted on a CPU with
AVX-512 and its 16-bit units and two threads: of 375 convolutions in 32 bits one is told wrong, of 362 in 16 bits 17.

In 16-bit floats each sum is in 32 bits, and image and result are arranged in pairs, since the units multiply pairs.
Threads wait for each other at barriers, which take some kB.
"""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from striate.costing.devices.cpu_blocks import BLOCK, Convolution, padded

ALIGNMENT = 128
BARRIER = 65 * ALIGNMENT  # Where threads add up their sums.
REDUCTION = 3 * 4096  # Where they add up a block that they share.
PAIRED_BARRIER = 67 * ALIGNMENT  # Where they arrange maps in pairs for each other.
CHANNELS_BARRIER = 64 * ALIGNMENT  # On top, where they share channels.
FLAT_ROWS = 10  # Of a result, from which on those of images with few channels are dealt out to threads.
KERNEL, KERNEL_1X1, KERNEL_1X1_PAIRED = 8, 12, 6  # How much a value of the kernel weighs beside one of a map.
MAPS_PER_VALUE = 4  # Values of maps to each of the kernel, from which on it weighs more.
FEW_PLACES = 200
FEW_IMAGES, FEW_RESULTS = (5, 9), (16, 31)  # Blocks of channels arranged at once by 1x1 windows: at least, and at most.


class Split(NamedTuple):
    """How threads share a sum: in how many parts the batch, the results' and the images' channels are cut."""

    batch: int
    out: int
    into: int


class Work(NamedTuple):
    """What a sum reads and writes, weighed.

    Args:
        image: its maps.
        result: the maps of its gradient.
        kernel: its own values.
        blocks: of the results' and of the images' channels.
        pieces: that the batch can be cut into.
    """

    image: float
    result: float
    kernel: float
    blocks: tuple[int, int]
    pieces: int

    def splits(self, threads: int) -> Iterator[Split]:
        """Yield the ways to share it."""
        for batch in range(1, min(threads, self.pieces) + 1):
            for out in range(1, min(threads // batch, self.blocks[0]) + 1):
                yield Split(batch, out, min(threads // batch // out, self.blocks[1]))

    def moved(self, split: Split) -> float:
        """Return what the thread with the most to do reads and writes."""
        batch, out, into = self._shares(split)
        return batch * (self.image * into + self.result * out) + self.kernel * out * into

    def computed(self, split: Split) -> float:
        """Return the share of the products of the thread with the most to do."""
        return prod(self._shares(split))

    def _shares(self, split: Split) -> tuple[float, float, float]:
        batch, out, into = (
            -(-whole // parts) / whole for whole, parts in zip((self.pieces, *self.blocks), split, strict=True)
        )
        return batch, out, into


def parts_of_batch(it: Convolution) -> int:
    """Return in how many parts threads share a batch, each with a sum of its own."""
    threads = it.threads // it.groups
    if threads < 1:
        return 1
    work = _work(it)
    best = Split(1, 1, 1)
    for split in work.splits(threads):
        if work.moved(split) <= work.moved(best):
            best = split
    if it.kernel.itemsize > 2 and it.window > 1:  # Little more to move is taken for fewer products.
        least = work.moved(best)
        for split in work.splits(threads):
            is_near = work.moved(split) < 1.1 * least and work.computed(split) <= work.computed(best)
            if is_near or 4 * work.computed(split) <= 3 * work.computed(best):
                best = split
    return best.batch


def sum_bytes(it: Convolution, *, has_bias: bool) -> int:
    """Return the scratch in 32-bit floats."""
    block = BLOCK // 2 if it.is_in_half_blocks else BLOCK
    out, into = (padded(side, block) // block for side in it.channels)
    images, size, bias = it.image.shape[0], it.dkernel_copy, it.groups * out * block * it.kernel.itemsize
    scratch = 0
    if has_bias:
        scratch += bias + ALIGNMENT if it.channels[0] % block else 0
        scratch += _reduction(it.groups * out, images, it.threads, bias)
    if it.is_in_half_blocks:
        return scratch + _reduction(out * into, images, it.threads, size)
    parts = parts_of_batch(it)
    return scratch + ((parts - 1) * (size + (bias if it.window > 1 else 0)) + BARRIER if parts > 1 else 0)


def paired_sum_bytes(it: Convolution) -> int:
    """Return the scratch in 16-bit floats, on a CPU whose vector units multiply them."""
    parts = parts_of_batch(it)
    places = prod(it.result.shape[2:])
    if it.window == 1 and not it.is_channels_last and places > FEW_PLACES:  # Blocks are taken as they are.
        arranged, waits = 0, ALIGNMENT if parts == 1 else BARRIER
    elif it.window == 1:
        out, into = it.blocks
        channels = BLOCK * it.groups * (_blocks_at_once(into, *FEW_IMAGES) + _blocks_at_once(out, *FEW_RESULTS))
        arranged = it.threads * channels * padded(places, 2) * 2
        waits = 3 * ALIGNMENT if parts == 1 else PAIRED_BARRIER
    else:
        image = 0 if it.takes_few and not it.is_channels_last else _image(it)
        arranged = parts * 2 * (image + _result(it))
        waits = PAIRED_BARRIER + (CHANNELS_BARRIER if parts == 1 else 0)
    return parts * 4 * _kernel(it) + arranged + waits


def _work(it: Convolution) -> Work:
    out, into = it.blocks
    images, kernel = it.image.shape[0], _kernel(it) / it.groups
    image, result = _maps(it)
    if it.window == 1:
        weight = KERNEL_1X1 if it.kernel.itemsize > 2 else KERNEL_1X1_PAIRED
        places = images * prod(it.result.shape[2:])
        return Work(image, result, weight * kernel, (out, into), places)
    rows = it.result.shape[2]
    if it.kernel.itemsize > 2:
        is_flat = it.takes_few and not it.is_channels_last and rows >= FLAT_ROWS
        return Work(image, result, KERNEL * kernel, (out, into), images * (rows if is_flat else 1))
    crowd = (image + result) / (MAPS_PER_VALUE * kernel)
    ratio = out / into
    heavy = 4 if crowd < 1 else 1
    return Work(
        image * max(1 / ratio, 1) * heavy, result * max(ratio, 1), kernel * max(crowd, 1), (out, into), images * rows
    )


def _maps(it: Convolution) -> tuple[float, float]:
    """Return the values of a group's image that count, and of its result."""
    images, strides = it.image.shape[0], it.stride ** (len(it.image.shape) - 2)
    if it.kernel.itemsize > 2 or it.window == 1:
        out, into = it.blocks
        channels = it.kernel.shape[1] if it.takes_few else into * BLOCK
        image = images * channels * prod(it.image.shape[2:]) / (strides if it.window > 1 else 1)
        return image, float(images * out * BLOCK * prod(it.result.shape[2:]))
    return images * _image(it) / it.groups / strides, images * _result(it) / it.groups


def _image(it: Convolution) -> int:
    """Return the values of one image, its rows arranged in pairs for each step of the stride."""
    channels = it.kernel.shape[1] if it.takes_few else it.blocks[1] * BLOCK
    *sides, width = it.image.shape[2:]
    made, window = it.result.shape[-1], (it.kernel.shape[-1] - 1) * it.dilation + 1
    around = max((made - 1) * it.stride + window - width, 0)
    before = -(-around // 2)
    paired = padded(max(before, around - before + 1), 2)
    return it.groups * channels * prod(sides) * padded(-(-width // it.stride) + paired, 2) * it.stride


def _result(it: Convolution) -> int:
    """Return the values of one image's result, its rows in pairs."""
    *sides, width = it.result.shape[2:]
    return it.groups * it.blocks[0] * BLOCK * prod(sides) * padded(width, 2)


def _kernel(it: Convolution) -> int:
    out, into = it.blocks
    return it.groups * out * BLOCK * (it.kernel.shape[1] if it.takes_few else into * BLOCK) * it.window


def _blocks_at_once(blocks: int, least: int, most: int) -> int:
    return blocks if blocks <= most else next(part for part in range(least, blocks + 1) if blocks % part == 0)


def _reduction(jobs: int, images: int, threads: int, size: int) -> int:
    """Return the scratch of threads that add up blocks, if several share one; they do where jobs do not deal out."""
    fewest = max(1, jobs // threads)
    groups = min(jobs // fewest, threads)
    shared, least = min(threads // groups, images), jobs * images
    for each in range(fewest, jobs):
        groups = min(jobs // each, threads)
        sharing = min(threads // groups, images)
        work = -(-jobs // groups) * (-(-images // sharing) + (sharing > 1))
        if work < least:
            shared, least = sharing, work
    return REDUCTION + (shared - 1) * size if shared > 1 else 0
