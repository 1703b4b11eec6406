"""What matrix products, LSTMs and attention take inside themselves on a CPU.

Products of 32-bit floats go to a library that keeps its scratch to itself. Those of 16-bit floats go to oneDNN, from a
few thousand multiplications on: each thread copies a strip of columns of the second factor into the order of the CPU's
units, and one of rows of the first if it lies transposed. Without units for 16-bit floats, the whole result is first
summed in 32 bits.

An LSTM copies its kernels for its direction of time, for the gradients once more, and holds the gates of all steps; at
prediction, where these need not be kept, its states and gates of all steps.

Attention is computed in blocks of queries and keys: for each thread their scores, with the greatest and the sum of each
row, and what they weigh; for the gradients the scores and their gradients.

At prediction a whole layer of a transformer's encoder is one operator. Beside what it returns, it holds the normalised
input if that comes first, and at once: queries, keys and values, twice while they are put in order; or these and all
scores, since here they are not computed in blocks; or the sum with the input and the hidden layer.
"""

from math import prod
from typing import cast

import torch

from striate.costing.devices.cpu_blocks import PAGE, padded, units_for_16_bits
from striate.graph.operators import Layout, Operator, OperatorGraph, TensorIndex

FEWEST = 16**3  # Multiplications from which on a product of 16-bit floats goes to oneDNN.
LISTS = 10_240  # Of a product, whatever its size.
DEPTH = 1024  # Of a strip of columns, for the CPU's vector units.
WIDE, NARROW = 160, 32  # Columns of a strip for matrix units; narrow for few rows, if the factor lies transposed.
COLUMNS = 64  # For vector units.
GATES = 4
LSTM_SCRATCH, LSTM_LISTS = 24_576, 568
LINE = 64
QUERIES = ((768, 256), (192, 64), (0, 32))  # In a block, by how many there are.
KEYS = 512  # In a block.


def product_bytes(operator: Operator, graph: OperatorGraph) -> int:
    """Return the bytes that a product of two matrices takes inside itself."""
    first, second = (graph.tensors[index] for index in operator.inputs[-2:])
    turned = first.layout is Layout.STRIDED, second.layout is Layout.STRIDED
    return _product((*first.shape, second.shape[1]), first.itemsize, turned)


def _product(sides: tuple[int, ...], itemsize: int, turned: tuple[bool, bool]) -> int:
    """Return the scratch of a product of rows x depth and depth x columns, each of which may lie transposed."""
    rows, depth, columns = sides
    if itemsize != 2 or rows * depth * columns <= FEWEST:
        return 0
    units, threads = units_for_16_bits(), torch.get_num_threads()
    if units == "none":
        return 4 * rows * columns
    if units == "vector":
        return threads * min(depth, DEPTH) * COLUMNS * 2
    is_narrow = rows < NARROW and turned[1]
    strips = min(padded(columns, NARROW), threads * (NARROW if is_narrow else WIDE))
    other = min(padded(rows, NARROW), threads * WIDE) if turned[0] else 0
    return depth * (strips + other) * 2 + LISTS


def lstm_bytes(operator: Operator, graph: OperatorGraph) -> int:
    """Return the bytes that a layer of an LSTM, or its gradients, take inside themselves."""
    sequence = graph.tensors[operator.inputs[0]]
    kernels = [graph.tensors[index] for index in operator.inputs[1:3]]
    steps, batch, width = sequence.shape
    hidden, size = kernels[1].shape[1], sequence.itemsize
    is_backwards = operator.name.endswith("_backward.default")
    copies = sum(kernel.size for kernel in kernels)
    gates = GATES * hidden * 4
    if not is_backwards and not operator.arguments.get("train"):
        states = (steps + 1) * batch * 2 * (max(width, hidden) + hidden) * size
        return copies + states + LSTM_SCRATCH + (steps * gates if batch == 1 else 0)  # Those of all steps at once.
    if size == 4:
        row = _row(GATES * hidden, size) * size
        taken = (width + hidden) * row + gates + padded(steps * batch * row, PAGE) + LSTM_SCRATCH // 2 + LSTM_LISTS
        if is_backwards:  # The gradients of the last states, the bias once more, and what comes in another order.
            grad = operator.arguments.get("grad_output")  # None where only the last state is used: then it is made.
            is_there = isinstance(grad, TensorIndex) and graph.tensors[grad.index].layout is Layout.CONTIGUOUS
            taken += 2 * batch * hidden * 4 + gates + (0 if is_there else steps * batch * hidden * 4)
        return taken
    # In 16 bits, the kernels are turned too, and the gradient of what comes out is converted.
    grads = sum(prod(kernel.shape) * 4 for kernel in kernels)
    back = grads + steps * batch * hidden * 4 + LSTM_SCRATCH if is_backwards else 0
    return copies + LSTM_SCRATCH + back


def lstm_workspace(operator: Operator, graph: OperatorGraph) -> int:
    """Return the bytes that a layer of an LSTM keeps for its gradients, which fake tensors show as none.

    They are, for each step, the gates and what came out; and for the layer before and this one the states that go up
    (as wide as what comes in, if that is wider), the states that go on, the cells, and the gradients of the first two.
    Each begins a page. Rows are whole cache lines, but those of states that go on and of cells; a row of a multiple of
    256 numbers gets a line more.
    """
    sequence = graph.tensors[operator.inputs[0]]
    steps, batch, width = sequence.shape
    hidden, size = graph.tensors[operator.inputs[2]].shape[1], sequence.itemsize
    each, around = steps * batch, 2 * (steps + 1) * batch
    wide = max(width, hidden)
    kept = (
        each * _row(GATES * hidden, size) * size,
        each * _row(hidden, size) * size,
        around * _row(wide, size) * size,
        around * hidden * size,
        around * hidden * 4,
        around * _row(wide, 4) * 4,
        around * _row(wide, 4) * 4,
    )
    return sum(padded(size, PAGE) for size in kept)


def _row(numbers: int, size: int) -> int:
    line = LINE // size
    whole = padded(numbers, line)
    return whole + line if whole % 256 == 0 else whole


def attention_bytes(operator: Operator, graph: OperatorGraph) -> int:
    """Return the bytes that attention, or its gradients, take inside themselves."""
    query, key = graph.tensor(operator, "query"), graph.tensor(operator, "key")
    length, depth = query.shape[-2:]
    queries = min(length, next(block for least, block in QUERIES if length >= least))
    scores = queries * min(key.shape[-2], KEYS)
    if operator.name.endswith("_backward.default"):
        block = 2 * scores * 4
    else:
        block = (scores + 2 * queries + queries * depth) * 4 + (scores * 2 if query.itemsize == 2 else 0)
    return torch.get_num_threads() * block


def heads_bytes(operator: Operator, graph: OperatorGraph) -> int:
    """Return the bytes that attention of several heads, with its dense layers, takes inside itself."""
    taken = graph.tensor(operator, "query")
    batch, length, _ = taken.shape
    scores = batch * cast(int, operator.arguments["num_head"]) * length * graph.tensor(operator, "key").shape[1]
    return max(5 * taken.size, 2 * taken.size + scores * taken.itemsize)


def encoder_bytes(operator: Operator, graph: OperatorGraph) -> int:
    """Return the bytes that a whole layer of a transformer's encoder takes inside itself."""
    taken = graph.tensor(operator, "src")
    batch, length, width = taken.shape
    heads, is_norm_first = (cast(int, operator.arguments[name]) for name in ("num_heads", "norm_first"))
    hidden = graph.tensor(operator, "ffn_weight_1").shape[0]
    scores = batch * heads * length * length * taken.itemsize
    kept = taken.size if is_norm_first else 0
    last = _product((batch * length, hidden, width), taken.itemsize, (False, True))
    return kept + max(
        5 * taken.size,
        2 * taken.size + scores,
        taken.size + taken.size // width * hidden + last,
    )
