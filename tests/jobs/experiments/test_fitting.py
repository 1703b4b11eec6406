"""What all experiments share: reading, training, judging."""

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.errors import UsageError
from striate.jobs.experiments import fitting
from striate.jobs.experiments.fitting import accuracy, fit, read_small
from striate.jobs.experiments.networks import perceptron
from striate.jobs.experiments.outcome import Trying


def test_what_is_learned_is_learned_alike_each_time() -> None:
    given = read_small("digits", 8, 0, 200)
    accuracies, losses = [], []

    def keep(fitting: Generator[Trying, None, list[tuple[float, float]]]) -> Iterator[Trying]:
        losses.append((yield from fitting))

    for place in range(2):
        torch.manual_seed(0)
        network = perceptron(8, 64, 10)
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        told = [(each.done, each.total) for each in keep(fit(network, given, optimizer, 3, 32, 0, (place, 2)))]
        assert told == [(21 * place + step, 42) for step in range(1, 22)]
        accuracies.append(accuracy(network, given.unseen, given.truth))
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == [float(step) for step in range(21)]
    assert accuracies[0] == accuracies[1] > 0.7
    pairs = zip(given.unseen, given.truth, strict=True)
    right = [int(network(image[None]).argmax()) == int(label) for image, label in pairs]
    assert accuracies[0] == sum(right) / len(right)


def test_data_that_is_not_small_is_refused(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for place in range(10):
            pixels = np.full((8, 8, 3), 10 * place + len(name), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{name}{place}.png")
    with pytest.raises(UsageError, match="grey images in memory") as refused:
        read_small(str(tmp_path), 8, 0)
    assert "give mnist" in str(refused.value)


def test_images_to_test_on_are_some_of_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_small("digits", 8, 0)
    monkeypatch.setattr(fitting, "JUDGED", 50)
    given = read_small("digits", 8, 0, 300)
    assert (len(given.images), len(given.unseen)) == (300, 50)
    # Fewer images have another mean and deviation, which are one scale for all.
    places = []
    for image, label in zip(given.unseen, given.truth, strict=True):
        apart = [torch.corrcoef(torch.stack([image.flatten(), other.flatten()]))[0, 1] for other in whole.unseen]
        places.append(int(torch.stack(apart).argmax()))
        assert apart[places[-1]] > 0.9999
        assert whole.truth[places[-1]] == label
    assert len(set(places)) == 50
    assert places != list(range(50))
