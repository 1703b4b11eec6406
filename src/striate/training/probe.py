"""The features that a network's last layer sees, computed once for each image and kept in a file.

With the rest of the network as it is, fitting its last layer is a linear problem, for which a solver takes seconds
(Kornblith et al., "Do better ImageNet models transfer better?", 2019, section 3.1: a logistic regression on the
features, its penalty chosen on validation images).
"""

import os
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn
from torch.nn import functional as F

from striate.errors import NotFiniteError, UsageError
from striate.files import make_folder
from striate.training.failures import interrupted
from striate.training.folder import RunFolder
from striate.training.loading import Loader
from striate.training.records import ProbeRecord
from striate.training.task import Batch, Features, Probed, Task

if TYPE_CHECKING:
    from striate.training.machine import Machine

FLOAT = np.dtype(np.float32)
FREEDOMS = tuple(10.0**power for power in range(-5, 2))  # One over the penalty.


def last_layer(network: nn.Module, head: Sequence[str]) -> nn.Linear:
    """Return the layer that a probe fits.

    Raises:
        UsageError: for a network that has no dense layer at its end.
    """
    layer = network.get_submodule(head[0]) if head else None
    if not isinstance(layer, nn.Linear):
        raise UsageError(
            expected="--probe with a network whose last layer is a dense one",
            received="one whose classes are maps" if isinstance(layer, nn.Conv2d) else "another",
            remedy="Use --freeze-epochs, in which the last layer alone learns.",
        )
    return layer


def keep_features(
    layer: nn.Linear, loader: Loader, path: Path, show: Callable[[Batch], Any]
) -> Generator[ProbeRecord, None, None]:
    """Write what ``layer`` is given for each image to a file, a row of 32-bit floats each; go on where that stopped.

    Args:
        layer: of a network.
        loader: of the images, in order.
        path: of the file.
        show: runs the network on a batch.
    """
    make_folder(path.parent)
    row = layer.in_features * FLOAT.itemsize
    ends = np.cumsum([loader.size_of(step) for step in range(loader.steps)])
    rows = path.stat().st_size // row if path.exists() else 0
    begun = int((ends <= rows).sum())  # Batches that are there whole.
    done, total = int(ends[begun - 1]) if begun else 0, int(ends[-1])
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0].detach()))
    try:
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(done * row)
            for batch in loader.epoch(start=begun):
                show(batch)
                file.write(seen.pop().float().cpu().numpy().tobytes())
                file.flush()
                os.fsync(file.fileno())  # Rows that are counted are there.
                done += len(batch)
                yield ProbeRecord(done, total)
    finally:
        handle.remove()


def fit_layer(
    features: NDArray[np.float32],
    truth: NDArray[Any],
    others: NDArray[np.float32],
    models: Iterable[Any],
    loss: Callable[[Any, NDArray[np.float32]], float],
) -> Mapping[str, Tensor]:
    """Fit linear models, and return the best one's ``weight`` and ``bias`` as those of a dense layer.

    Args:
        features: a row for each image.
        truth: what the models are to say of each.
        others: rows of the images to choose by.
        models: scikit-learn's, with more and more freedom.
        loss: of a fitted model, on the other images' features.
    """

    mean, std = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    std[std == 0] = 1.0
    scaled, shown = (((each - mean) / std).astype(np.float32) for each in (features, others))
    best: tuple[float, Any] | None = None
    for model in models:
        with warnings.catch_warnings():
            # A fit that was cut short is still one, and the other images tell what it is worth.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(scaled, truth)
        value = loss(model, shown)
        if best is None or value < best[0]:
            best = value, model
    assert best is not None
    weight, bias = np.atleast_2d(best[1].coef_).astype(np.float64), np.atleast_1d(best[1].intercept_).astype(np.float64)
    if len(getattr(best[1], "classes_", ())) == 2:  # One logit, of the second class against the first.
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / std
    return {"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias - weight @ mean)}


def fit_head(
    network: nn.Module,
    head: Sequence[str],
    task: Task,
    loaders: Mapping[str, Loader],
    machine: "Machine",
    folder: RunFolder,
    received: list[str],
) -> Generator[ProbeRecord, None, float]:
    """Fit a network's last layer to the features of all images; return the loss that it then has in training.

    Args:
        network: on its machine; the layer is changed in place.
        head: names of the layers that give its outputs, the last one first.
        task: that knows what the best layer is.
        loaders: of each process's share of the images to fit to, and of those to choose by.
        machine: where it runs.
        folder: of the run, for the features: a file for each part and process.
        received: signals that ask to stop.

    Raises:
        UsageError: for a network that has no dense layer at its end.
        NotFiniteError: for features that are no numbers.
        InterruptedRunError: after a signal; it goes on from there.
    """
    assert isinstance(task, Probed), "what has no such layer is refused before"
    layer, group = last_layer(network, head), machine.group
    network.eval()

    def show(batch: Batch) -> None:
        with torch.inference_mode(), machine.autocast():
            network(machine.move(batch).images)

    known = []
    for name, loader in loaders.items():
        path = folder.probe / f"{name}-{group.rank}"
        for record in keep_features(layer, loader, path, show):
            yield record
            if received:
                done = f"the features of {record.done} of {record.total} images"
                raise interrupted(received, done, folder, group)
        own = np.fromfile(path, dtype=FLOAT).reshape(-1, layer.in_features)
        values = group.gather(torch.from_numpy(own)).numpy()
        if not np.isfinite(values).all():
            raise NotFiniteError(
                expected="finite features of all images",
                received=f"infinities, or what is no number, of {int((~np.isfinite(values)).any(1).sum())} of them",
                remedy="The weights may want another --mean and --std; leave --amp out.",
            )
        known.append(Features(values, loader.images.labels))
    fitted = group.decide(lambda: task.fit(*known))
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(fitted[name])
    features, labels = torch.from_numpy(known[0].values), known[0].labels
    outputs = F.linear(features, *(fitted[name].float() for name in ("weight", "bias")))
    return float(task.compare(outputs, task.targets(labels)))
