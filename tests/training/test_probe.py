"""The fit of a last layer: against the solver on its own, a closed form, and a probe that was killed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from seen import centred
from striate.data.embedded import load_digits
from striate.errors import UsageError
from striate.training.config import TrainConfig
from striate.training.loading import Loader
from striate.training.probe import FREEDOMS, keep_features, last_layer
from striate.training.task import Features
from striate.training.tasks import Classification, Regression


def features(count: int, classes: int, seed: int) -> tuple[Features, Tensor]:
    """Two features that tell classes, of very different scales, one that never varies and one of noise."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, count)
    values = np.stack([labels + draw.normal(0, 0.4, count), 1000 * draw.normal(0, 1, count), np.ones(count)], 1)
    return Features(values.astype(np.float32), torch.from_numpy(labels)), torch.from_numpy(labels)


def classification(classes: int, **options: Any) -> Classification:
    config = TrainConfig.model_validate({"data": "d", "model": "m", **options})
    return Classification(config, centred(), tuple("abcdef"[:classes]))


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_told_as_the_best_of_the_solvers_models_tells_them(classes: int) -> None:
    (known, _), (others, labels) = features(300, classes, 0), features(200, classes, 1)
    fitted = classification(classes).fit(known, others)
    assert {name: tuple(tensor.shape) for name, tensor in fitted.items()} == {
        "weight": (classes, 3),
        "bias": (classes,),
    }
    logits = torch.from_numpy(others.values).double() @ fitted["weight"].T + fitted["bias"]
    ours = logits.log_softmax(1)
    std = known.values.std(0)
    std[std == 0] = 1
    scaled, shown = ((each.values - known.values.mean(0)) / std for each in (known, others))
    losses, said = [], []
    for much in FREEDOMS:
        model = LogisticRegression(C=much, max_iter=1000).fit(scaled, known.labels.numpy())
        said.append(torch.from_numpy(model.predict_log_proba(shown)))
        losses.append(-float(said[-1][torch.arange(200), labels].mean()))
    torch.testing.assert_close(ours, said[int(np.argmin(losses))].double(), rtol=1e-3, atol=1e-3)


def test_a_class_without_images_is_never_said() -> None:
    (known, _), (others, _) = features(300, 2, 0), features(200, 2, 1)
    spread = {0: 1, 1: 3}  # Of five classes, two have images.
    numbered = [Features(each.values, each.labels.clone().apply_(spread.__getitem__)) for each in (known, others)]
    fitted, plain = classification(5).fit(*numbered), classification(2).fit(known, others)
    torch.testing.assert_close(fitted["weight"][[1, 3]], plain["weight"])
    logits = torch.from_numpy(others.values).double() @ fitted["weight"].T + fitted["bias"]
    assert set(logits.argmax(1).tolist()) == {1, 3}
    assert float(logits.softmax(1)[:, [0, 2, 4]].max()) < 1e-6


def test_rare_classes_count_as_much_where_they_are_balanced() -> None:
    draw = np.random.default_rng(0)
    labels = torch.tensor([0] * 190 + [1] * 10)
    values = (labels.numpy() + draw.normal(0, 1.0, 200))[:, None].astype(np.float32)
    known = Features(values, labels)
    plain, balanced = (classification(2, balance=how).fit(known, known) for how in ("none", "loss"))

    def border(fitted: Any) -> float:
        slope = fitted["weight"][1, 0] - fitted["weight"][0, 0]
        return float(-(fitted["bias"][1] - fitted["bias"][0]) / slope)

    assert border(balanced) == pytest.approx(0.5, abs=0.3)  # Halfway between the two means.
    assert border(plain) > 1.5


def test_numbers_that_are_linear_in_the_features_are_found() -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(5, [1, 100], (400, 2)).astype(np.float32)
    numbers = torch.from_numpy(3.0 * values[:, 0] - 0.02 * values[:, 1] + 7)
    task = Regression(TrainConfig(data="d", model="m"), centred())
    task.mean, task.std = 10.0, 2.0
    fitted = task.fit(Features(values[:300], numbers[:300]), Features(values[300:], numbers[300:]))
    said = (torch.from_numpy(values).double() @ fitted["weight"].T + fitted["bias"]).squeeze(1) * 2 + 10
    torch.testing.assert_close(said, numbers.double(), rtol=0, atol=5e-3)


def probed(path: Path, stop: int | None = None, batch_size: int = 7) -> tuple[bytes, list[int]]:
    """Keep the features of 50 digits, at most ``stop`` batches of them; return the file and the batches computed."""
    digits = load_digits().subset(range(50))
    layer = nn.Linear(64, 2)
    seen: list[int] = []

    def show(batch: Any) -> None:
        seen.append(len(batch))
        layer(batch.images.flatten(1))

    task = classification(2)
    steps = keep_features(layer, Loader(digits, task.collate, batch_size=batch_size), path, show)
    for done, _ in enumerate(steps, 1):
        if done == stop:
            steps.close()
            break
    return path.read_bytes(), seen


@pytest.mark.parametrize("cut", [0, 5])
def test_a_probe_that_was_killed_computes_what_is_missing(tmp_path: Path, cut: int) -> None:
    whole, seen = probed(tmp_path / "whole")
    assert len(whole) == 50 * 64 * 4
    expected = (load_digits().pixels()[:50].float() / 255 - 0.5) / 0.25
    np.testing.assert_allclose(np.frombuffer(whole, np.float32).reshape(50, 64), expected.flatten(1), rtol=1e-5)
    part, _ = probed(tmp_path / "cut", stop=3)
    (tmp_path / "cut").write_bytes(part[: len(part) - cut])  # The last batch may not have been written whole.
    again, rest = probed(tmp_path / "cut")
    assert again == whole
    assert rest == seen[3 - (cut > 0) :]


@pytest.mark.parametrize("head", [[], ["0"]])
def test_a_network_without_a_dense_layer_at_its_end_is_refused(head: Sequence[str]) -> None:
    with pytest.raises(UsageError, match="--freeze-epochs"):
        last_layer(nn.Sequential(nn.Conv2d(1, 2, 1)), head)
