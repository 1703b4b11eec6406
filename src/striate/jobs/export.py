"""A trained network as one ONNX file, checked on real images before it is written."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from striate.data.transforms import to_input
from striate.errors import StriateError
from striate.files import replace_file
from striate.jobs.predict import find_sources, prepare
from striate.jobs.usage import check_export
from striate.reporting.masks import usual_colours
from striate.training.folder import RunFolder
from striate.weights import WeightsConfig
from striate.zoo import load_network

CHECKED = 16
TOLERANCE = 1e-3  # Of the largest output: other kernels add in another order.
INPUT = "images"


@dataclass(frozen=True, slots=True)
class Exported:
    """A network that was written.

    Args:
        path: of the file.
        size_bytes: of it.
        opset: the version of ONNX's operators.
        images: by which it was checked.
        difference: the largest between its outputs and the network's own, as a share of the largest output.
    """

    path: Path
    size_bytes: int
    opset: int
    images: int
    difference: float


class _Scaled(nn.Module):
    """A network whose one output is a number in its own unit."""

    def __init__(self, network: nn.Module, scale: tuple[float, float]) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N 1"]:
        """Return a number for each image."""
        outputs: Tensor = self.network(images)
        return outputs * self.scale[0] + self.scale[1]


def export(run: str | Path, images: Sequence[str | Path] = (), *, output: str | Path | None = None) -> Exported:
    """Write a trained network as ONNX, for any number of images at once.

    Its input, ``images``, is N x C x H x W, preprocessed, of the size that the network was trained on; its output
    ``logits``, N x classes, or N x classes x H x W for a class for each pixel, or ``numbers``, N x 1. Metadata holds
    ``task``, ``classes`` (a JSON list, in the order of the logits), ``preprocessing`` (JSON: see
    `striate.Preprocessing`), and for pixels ``colours`` (JSON: red, green and blue of each class).

    Args:
        run: the folder of a run, or of weights with their config.
        images: files, or folders of them, to compare its outputs with the network's own on; those that the run has not
            seen by default.
        output: the file; ``model.onnx`` in ``run`` by default.

    Raises:
        UsageError: where there is no trained network or no image, it finds things, or ONNX is not installed.
        StriateError: where ONNX Runtime comes to other outputs; nothing is written then.
    """
    check_export(run, images)
    network, config = load_network(run)
    given: Sequence[str | Path] = images or [RunFolder.find(run).config().data]
    pictures = (prepare(source, config) for source in islice(find_sources(run, given, config), CHECKED))
    batch = torch.cat([to_input(picture, config.preprocessing) for picture in pictures])
    whole = network if config.scale is None else _Scaled(network, config.scale).eval()
    path = Path(output or Path(run) / "model.onnx")
    name = "numbers" if config.scale else "logits"
    data, opset = _to_onnx(whole, batch, name, config)
    difference = _compare(data, whole, batch, config.scale or (1.0, 0.0))
    if not difference <= TOLERANCE:
        raise StriateError(
            expected=f"outputs of ONNX Runtime within {TOLERANCE:.1%} of the network's own",
            received=f"{difference:.2%} of the largest, on {len(batch)} images",
            remedy="Nothing was written. Please report this network.",
        )
    replace_file(path, lambda beside: beside.write_bytes(data))
    return Exported(path, len(data), opset, len(batch), difference)


def _to_onnx(network: nn.Module, batch: Tensor, name: str, config: WeightsConfig) -> tuple[bytes, int]:
    # The exporter tells on standard output what it does, and warns of what it changes itself.
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()), _silent_logs():
        program: Any = torch.onnx.export(
            network,
            (batch[:2] if len(batch) > 1 else batch.expand(2, -1, -1, -1).contiguous(),),
            dynamo=True,
            input_names=[INPUT],
            output_names=[name],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            external_data=False,
            verbose=False,
        )
        model = program.model_proto
    metadata = {
        "task": config.task,
        "model": config.model,
        "classes": json.dumps(config.classes),
        "preprocessing": config.preprocessing.model_dump_json(),
    }
    if config.task == "segment":
        metadata["colours"] = json.dumps(config.colours or usual_colours(len(config.classes)))
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return model.SerializeToString(), model.opset_import[0].version


@contextlib.contextmanager
def _silent_logs() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _compare(data: bytes, network: nn.Module, batch: Tensor, scale: tuple[float, float]) -> float:
    """Return how far ONNX Runtime's outputs are from a network's own, for all images at once and for one.

    Numbers are compared before they are scaled: what all of them have in common would hide what they differ in.
    """
    from onnxruntime import InferenceSession

    session = InferenceSession(data, providers=["CPUExecutionProvider"])
    furthest = torch.zeros(())
    for part in (batch, batch[:1]):
        with torch.inference_mode():
            ours = network(part)
        theirs = torch.from_numpy(session.run(None, {INPUT: part.numpy()})[0])
        ours, theirs = ((outputs.double() - scale[1]) / scale[0] for outputs in (ours, theirs))
        # One that is not a number stays so.
        furthest = torch.maximum(furthest, (ours - theirs).abs().max() / ours.abs().max().clamp_min(1e-6))
    return float(furthest)
