"""The scratch of oneDNN's convolutions: what each thread, or all of them, need beside the copies.

What it is for is told in `striate.costing.devices.cpu_convolution`. Its sizes are oneDNN's choice, by what it finds of
cache; the figures here were fitted to what it chose on a CPU with 2 MiB of it for each core.
"""

from math import prod

from striate.costing.devices.cpu_blocks import BLOCK, PAGE, PAIRED, Convolution, blocked, padded
from striate.costing.devices.cpu_sums import ALIGNMENT, PAIRED_BARRIER, paired_sum_bytes, sum_bytes
from striate.graph.operators import TensorSpec

TILES = 8 * PAGE  # Of a thread's matrix unit, with the list of what it multiplies.
DEPTHWISE = 3  # Side of a window of one channel, up to which its gradient is summed in place,
DEPTHWISE_SUMS = 257  # and in how many copies of the kernel where it is larger, or larger than the image.
DEPTHWISE_PAIRS = 256  # The same for 16-bit floats in channels_last.
STRIDED_ROW = 3 * 2**10  # Of a thread's part of the way back of a strided one in 16 bits, for each place of a row.
SUMS = 11 * PAGE // 2  # Of a thread's part of a strided convolution's way back.
STEPS = 128  # Of a strided row that a thread takes at once.
MANY = 128  # Channels from which on a thread's rows are cut by size, not by number.
ROWS = 12
ROW_BYTES = 3 * 2**18
FACTORS = {False: 3 * 2**18, True: 2**20}  # Bytes that factors of a kernel's gradient are cut to; by whether it is 1x1.
HEAVY = {True: 4.4, False: 50}  # Sum over factor, from which on threads share it; by whether channels deal out evenly.
LIGHT = 1 / 32  # Sum over maps, up to which each thread has one of its own, in 32 bits.


def working_scratch(it: Convolution, *, is_backwards: bool) -> int:
    """Return the scratch of a convolution, or of its way back from the result to the image."""
    taken, made = (it.result, it.image) if is_backwards else (it.image, it.result)
    if it.is_depthwise:
        is_strided = is_backwards and it.kernel.itemsize == 2 and it.stride > 1 and it.is_strided_back
        return _strided_depthwise(it) if is_strided else 0
    if it.units == "none" or (it.is_in_blocks and not (is_backwards and it.is_strided_back)):
        if it.units == "none" and is_backwards and it.is_transposed:
            return 2 * made.size  # The result, in 32 bits.
        stored = blocked(made) + ALIGNMENT if it.kernel.itemsize == 2 and it.window == 1 else 0
        return stored + (0 if is_backwards else _gathered(it))
    if is_backwards and it.stride > 1 and it.units == "matrix":
        return it.threads * (TILES - PAGE + PAGE // 4 * min(made.shape[-1], STEPS))
    if is_backwards and it.stride > 1:  # For each thread a result, with an edge where windows overlap, and its sums.
        edge = 1 if it.kernel.shape[-1] > it.stride else 0
        places = prod(side + edge for side in taken.shape[2:])
        return it.threads * (places * it.channels[0] * taken.itemsize + SUMS)
    if it.units == "matrix":
        own = TILES // 2 if it.window == 1 else TILES + _rows(it, taken, 1 if is_backwards else it.stride)
        return it.threads * own + (0 if is_backwards else _gathered(it))
    return 0 if it.is_ragged else PAGE * (it.threads + 1)


def summing_scratch(it: Convolution, *, has_bias: bool) -> int:
    """Return what a kernel's gradient is summed in, where that is not the kernel's copy."""
    if it.is_ragged and not it.is_channels_last:
        return 0 if it.sums_in_blocks else it.columns(it.result)
    if it.is_depthwise:
        return _depthwise_sums(it)
    if it.kernel.itemsize > 2:
        return sum_bytes(it, has_bias=has_bias)
    if it.units == "vector":
        return paired_sum_bytes(it) + _gathered(it)
    is_light = it.dkernel_copy < LIGHT * (it.image.size + it.result.size)
    out, into = map(padded, it.channels)
    own = it.groups * out * into * it.window * 4
    if it.units == "none" and it.window == 1 and not (is_light and it.is_channels_last):
        return own * (2 if is_light else 1)
    image = it.groups * into * prod(it.image.shape[2:-1]) * _paired_width(it) * 2
    result = it.groups * out * prod(it.result.shape[2:]) * 2
    if it.units == "none" and it.takes_few:
        return own * it.kernel.shape[1] // into + (image if it.is_channels_last else 0) + result + TILES // 2
    is_even = into % (2 * PAIRED) == 0
    is_heavy = own * into > HEAVY[is_even] * result * out
    is_dealt = into % PAIRED == 0 and (is_heavy or (is_even and into >= out))
    sums = min(max(1, it.threads // 2) if is_dealt else it.threads, it.image.shape[0])
    most = FACTORS[True] if it.window == 1 else FACTORS[False] // sums
    parts = -(-(image + result) // most)
    return sums * (own + (image + result) // parts) + TILES


def _strided_depthwise(it: Convolution) -> int:
    rows = max(STRIDED_ROW * it.image.shape[-1], 4 * PAGE)
    return 4 * PAGE + it.threads * (rows + 2 * PAIRED * it.result.shape[-1])


def _depthwise_sums(it: Convolution) -> int:
    sides = zip(it.kernel.shape[2:], it.image.shape[2:], strict=True)
    is_large = any(window > DEPTHWISE or window > side for window, side in sides)
    own = it.kernel_copy()
    if it.kernel.itemsize > 2:
        return DEPTHWISE_SUMS * own if is_large and it.is_channels_last else own + ALIGNMENT
    if not it.is_channels_last:
        return 2 * own + ALIGNMENT
    if not is_large:  # A sum in 32 bits for each thread.
        return 2 * it.threads * own + ALIGNMENT
    if max(it.image.shape[2:]) == 1:
        return 4 * (1 + it.threads) * own
    # Sums in 32 bits and kernels in 16, and both factors of one image, arranged in pairs with the image's rows widened.
    edge = 2 * (it.kernel.shape[-1] // 4 + 1)
    places = prod(it.result.shape[2:]) + prod(it.image.shape[2:-1]) * (it.image.shape[-1] + edge)
    return (3 * DEPTHWISE_PAIRS - 1) * own + PAIRED * it.groups * places + PAIRED_BARRIER


def _gathered(it: Convolution) -> int:
    """Return the size of what each thread gathers of an image that a window of one place strides over."""
    divides = all(side % it.stride == 0 for side in it.image.shape[2:])
    if it.window > 1 or it.stride == 1 or not (divides or it.units == "matrix"):
        return 0
    return it.threads * it.image.shape[1] * prod(it.result.shape[2:]) * it.result.itemsize


def _rows(it: Convolution, taken: TensorSpec, stride: int) -> int:
    """Return the size of the rows that a thread's windows slide over; they are held once more for each step."""
    around = [(side - 1) * it.dilation for side in it.kernel.shape[2:]]
    *sides, width = (side + more for side, more in zip(taken.shape[2:], around, strict=True))
    steps = stride if sides else 1
    channels = taken.shape[1] // it.groups
    if it.groups > 1 or channels >= BLOCK:
        channels = it.groups * padded(channels, PAIRED)
    row = channels * width * taken.itemsize
    most = ROW_BYTES if taken.shape[1] >= MANY else ROWS * row
    return min((1 + steps) * prod(sides) * row, (2 * steps - 1) * most)


def _paired_width(it: Convolution) -> int:
    """Return the width of the image's rows for the kernel's gradient, in pairs for each step of the stride."""
    width = it.image.shape[-1] + it.kernel.shape[-1] - 1
    return padded(-(-width // it.stride), PAIRED) * it.stride if it.units == "matrix" else width
