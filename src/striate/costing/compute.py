"""Multiply-adds of each operator, forward and backward, with their arithmetic.

A multiply-add is one product of two numbers that the operator's definition adds up, or keeps. An operator's count is a
sum of products, here kept as such: ``((5, 5, 3, 200, 100, 150),)`` for a 5x5 convolution of 3 maps to 200 of 100x150.

| operator | multiply-adds |
|---|---|
| convolution | window · channels of a group · maps out · places out, or in where it is transposed; padding counts |
| its backward pass | as many for the images' gradient, as many for the kernels', none for the biases': they are sums |
| matrix products | rows · inner side · columns |
| attention, fused | two matrix products; its backward pass five, since it makes the first one again |
| norms | with fixed statistics 1 for each value; with the batch's 2: its square, and its scale |
| their backward pass | 2 for each value (1 with fixed statistics), and 1 for the scale's gradient |
| average pooling | a convolution with equal weights: 1 for each place of each window, forward and backward |
| mean | 1 for each value, forward and backward: the average pooling of everything |
| interpolation | bilinear 4 for each value (2 neighbours on a side), bicubic 16, linear 2, nearest none |
| bags of rows, with weights | 1 for each value of each row, forward and backward: as regions of a map are sampled |
| product of two tensors, square | 1 for each value |

Additions, maxima, activation functions, moving data, the loss and the optimizer have none. (torch's own counter knows
products of matrices and convolutions alone, and takes the kernels' gradient of a grouped convolution for that of an
ungrouped one, as many times too much as there are groups.)
"""

import re
from collections.abc import Callable, Sequence
from math import prod
from typing import cast

from striate.graph.operators import Operator, OperatorGraph
from striate.graph.windows import is_transposed

Products = tuple[tuple[int, ...], ...]
Rule = Callable[[Operator, OperatorGraph], Products]

NEIGHBOURS = {"nearest": 0, "linear": 2, "bilinear": 4, "trilinear": 8, "bicubic": 16}


def multiply_adds(operator: Operator, graph: OperatorGraph) -> Products:
    """Return an operator's multiply-adds as a sum of products; empty for one that has none."""
    for pattern, rule in _RULES:
        if pattern.fullmatch(operator.kind):
            return rule(operator, graph)
    return ()


def count(products: Products) -> int:
    """Return the number that a sum of products is.

    >>> count(((5, 5, 3, 200, 100, 150),))
    225000000
    """
    return sum(map(prod, products))


def written(products: Sequence[Sequence[int]]) -> str:
    """Write a sum of products out.

    >>> written([(5, 5, 3, 200), (4,)])
    '5·5·3·200 + 4'
    """
    return " + ".join("·".join(map(str, factors)) for factors in products)


def _shape(operator: Operator, graph: OperatorGraph, name: str) -> tuple[int, ...]:
    return graph.tensor(operator, name).shape


def _out(operator: Operator, graph: OperatorGraph) -> tuple[int, ...]:
    return graph.tensors[operator.outputs[0]].shape


def _batch_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], *shape[:1])


def _convolution(operator: Operator, graph: OperatorGraph) -> Products:
    return (_windows_times_places(operator, graph, _out(operator, graph)),)


def _windows_times_places(operator: Operator, graph: OperatorGraph, out: tuple[int, ...]) -> tuple[int, ...]:
    kernel, images = _shape(operator, graph, "weight"), _shape(operator, graph, "input")
    places = images if is_transposed(operator) else out
    # Of a transposed convolution the kernel's first side is what comes in.
    return (*kernel[2:], kernel[1], kernel[0], *places[2:], images[0])


def _convolution_backward(operator: Operator, graph: OperatorGraph) -> Products:
    one = _windows_times_places(operator, graph, _shape(operator, graph, "grad_output"))
    images, kernels, _ = cast(tuple[bool, bool, bool], operator.arguments["output_mask"])
    return (one,) * (images + kernels)


def _matrices(operator: Operator, graph: OperatorGraph) -> Products:
    left, right = (graph.tensors[index].shape for index in operator.inputs[-2:])
    return ((*left[1:], *right[len(left) - 1 :], left[0]),)


def _attention(operator: Operator, graph: OperatorGraph) -> Products:
    query, key, value = (_shape(operator, graph, name) for name in ("query", "key", "value"))
    scores = (key[-2], *query[1:-1], query[0])
    return ((query[-1], *scores), (value[-1], *scores))


def _attention_backward(operator: Operator, graph: OperatorGraph) -> Products:
    keys, values = _attention(operator, graph)
    return (keys,) * 3 + (values,) * 2


def _heads(operator: Operator, graph: OperatorGraph) -> Products:
    """Count attention of several heads with its four dense layers, which runs as one operator at prediction."""
    batch, length, width = _shape(operator, graph, "query")
    heads, keys = cast(int, operator.arguments["num_head"]), _shape(operator, graph, "key")[1]
    inputs, outputs = 2 * length, 2 * keys  # Queries and what is made of them; keys and values.
    return ((width, width, inputs + outputs, batch), (2, heads, width // heads, length, keys, batch))


def _encoder_layer(operator: Operator, graph: OperatorGraph) -> Products:
    """Count a whole layer of a transformer's encoder, which runs as one operator at prediction."""
    batch, length, width = _shape(operator, graph, "src")
    heads = cast(int, operator.arguments["num_heads"])
    hidden = _shape(operator, graph, "ffn_weight_1")[0]
    return (
        (4, width, width, length, batch),
        (2, heads, width // heads, length, length, batch),
        (2, width, hidden, length, batch),
    )


def _recurrent(operator: Operator, graph: OperatorGraph) -> Products:
    """Count one layer: at each step, the gates' weights times the input and times the state."""
    gates = [_shape(operator, graph, name) for name in ("weight0", "weight1")]
    return tuple((*sides, *_shape(operator, graph, "input")[:2]) for sides in gates)


def _recurrent_backward(operator: Operator, graph: OperatorGraph) -> Products:
    gates = [_shape(operator, graph, name) for name in ("weight1", "weight2")]
    return tuple((2, *sides, *_shape(operator, graph, "input")[:2]) for sides in gates)


def _norm(operator: Operator, graph: OperatorGraph) -> Products:
    fixed = operator.kind.endswith("no_training") or operator.arguments.get("training") is False
    each = () if fixed else (2,)
    return ((*each, *_batch_last(_out(operator, graph))),)


def _norm_backward(operator: Operator, graph: OperatorGraph) -> Products:
    images, scale, _ = cast(tuple[bool, bool, bool], operator.arguments["output_mask"])
    fixed = operator.arguments.get("train") is False
    each = images * (1 if fixed else 2) + scale
    return ((each, *_batch_last(_shape(operator, graph, "input"))),) if each else ()


def _average_pool(operator: Operator, graph: OperatorGraph) -> Products:
    kernel = operator.arguments["kernel_size"]
    sides = (kernel,) if isinstance(kernel, int) else cast(tuple[int, ...], kernel)
    pooled = graph.tensors[operator.inputs[0] if "backward" in operator.kind else operator.outputs[0]].shape
    return ((*sides, *_batch_last(pooled)),)


def _adaptive_average_pool(operator: Operator, graph: OperatorGraph) -> Products:
    backward = "backward" in operator.kind
    whole = _shape(operator, graph, "self")
    pooled = graph.tensors[operator.inputs[0] if backward else operator.outputs[0]].shape
    sides = int(operator.kind.split("pool")[1][0])
    seen = [
        sum(-(-(place + 1) * size // out) - place * size // out for place in range(out))
        for size, out in zip(whole[-sides:], pooled[-sides:], strict=True)
    ]
    return ((*seen, *_batch_last(whole[:-sides])),)


def _mean(operator: Operator, graph: OperatorGraph) -> Products:
    return (_batch_last(_shape(operator, graph, "self")),)


def _share(operator: Operator, graph: OperatorGraph) -> Products:
    """Count a division where it hands out the gradient of a mean."""
    if operator.forward is None or graph.operators[operator.forward].kind != "mean":
        return ()
    return (_batch_last(_out(operator, graph)),)


def _interpolation(operator: Operator, graph: OperatorGraph) -> Products:
    mode = re.search(r"upsample_([a-z]+?)(?:_exact)?\d", operator.kind)
    assert mode is not None
    taps = NEIGHBOURS[mode[1]]
    values = graph.tensors[operator.inputs[0] if "backward" in operator.kind else operator.outputs[0]].shape
    return ((taps, *_batch_last(values)),) if taps else ()


def _bags(operator: Operator, graph: OperatorGraph) -> Products:
    """Count rows that are added up with weights, which want no gradient here."""
    if operator.arguments.get("per_sample_weights") is None:
        return ()
    bags, channels = graph.tensors[operator.inputs[0] if "backward" in operator.kind else operator.outputs[0]].shape
    (rows,) = _shape(operator, graph, "indices")
    return ((rows // max(bags, 1), channels, bags),)


def _product(operator: Operator, graph: OperatorGraph) -> Products:
    return (_batch_last(_out(operator, graph)),) if len(operator.inputs) > 1 else ()


def _square(operator: Operator, graph: OperatorGraph) -> Products:
    return (_batch_last(_out(operator, graph)),) if operator.arguments.get("exponent") == 2 else ()


_RULES: list[tuple[re.Pattern[str], Rule]] = [
    (re.compile(pattern), rule)
    for pattern, rule in (
        ("convolution", _convolution),
        ("convolution_backward", _convolution_backward),
        ("mm|bmm|addmm|baddbmm|mv|addmv", _matrices),
        (r"_scaled_dot_product_\w+(?<!backward)", _attention),
        (r"_scaled_dot_product_\w+_backward", _attention_backward),
        ("_native_multi_head_attention", _heads),
        ("_transformer_encoder_layer_fwd", _encoder_layer),
        ("mkldnn_rnn_layer", _recurrent),
        ("mkldnn_rnn_layer_backward", _recurrent_backward),
        (r"native_(batch|layer|group)_norm|_native_batch_norm_legit(_no_training)?", _norm),
        (r"native_(batch|layer|group)_norm_backward", _norm_backward),
        (r"avg_pool\dd(_backward)?", _average_pool),
        (r"_adaptive_avg_pool\dd(_backward)?", _adaptive_average_pool),
        ("mean", _mean),
        ("div", _share),
        (r"_?upsample_\w+(?<!_aa)(?<!_aa_backward)", _interpolation),
        ("_embedding_bag(_backward)?", _bags),
        ("(mul|addcmul)_?", _product),
        ("pow_?", _square),
    )
]
