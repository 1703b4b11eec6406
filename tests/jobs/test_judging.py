import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, precision_recall_fscore_support, r2_score, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_calibration_error

from striate.data.sets import ImageTensors
from striate.jobs.judging import judge


def images(labels: torch.Tensor, count: int) -> ImageTensors:
    pixels = torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8)
    return ImageTensors(pixels, labels, tuple(f"class {number}" for number in range(count)))


@pytest.mark.parametrize("count", [2, 7])
def test_classes_are_judged_as_others_judge_them(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    labels = torch.randint(0, count, (400,), generator=generator)
    logits = torch.randn(400, count, generator=generator) + 1.5 * torch.nn.functional.one_hot(labels, count)
    found = judge(logits, images(labels, count), None)
    shares = logits.double().softmax(1)
    said = shares.argmax(1)
    assert found.metrics["accuracy"] == pytest.approx(float((said == labels).double().mean()))
    assert found.metrics["cross_entropy"] == pytest.approx(log_loss(labels, shares))
    expected = multiclass_calibration_error(shares, labels, count, n_bins=15, norm="l1")
    assert found.metrics["calibration_error"] == pytest.approx(float(expected), abs=1e-6)
    assert ("top5" in found.metrics) == (count > 5)
    if count > 5:
        assert found.metrics["top5"] == pytest.approx(top_k_accuracy_score(labels, shares, k=5))
    precision, recall, _, support = precision_recall_fscore_support(labels, said, labels=range(count))
    assert [each.precision for each in found.classes] == pytest.approx(list(precision))
    assert [each.recall for each in found.classes] == pytest.approx(list(recall))
    assert [each.images for each in found.classes] == list(support)
    assert found.right == int((said == labels).sum())
    assert sum(each.images for each in found.calibration) == 400


def test_of_a_class_that_is_never_there_or_never_said_nothing_is_known() -> None:
    logits = torch.tensor([[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    found = judge(logits, images(torch.tensor([0, 1]), 3), None)
    assert [(each.precision, each.recall) for each in found.classes] == [(0.5, 1.0), (None, 0.0), (None, None)]


def test_numbers_are_judged_in_their_own_unit() -> None:
    truth = torch.tensor([10.0, 20.0, 30.0, 50.0], dtype=torch.float64)
    outputs = torch.tensor([[-1.0], [0.2], [0.4], [1.5]])
    set_of = ImageTensors(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), truth, ())
    found = judge(outputs, set_of, (10.0, 25.0))
    said = np.array([15.0, 27.0, 29.0, 40.0])
    assert found.said.tolist() == pytest.approx(list(said))
    assert found.metrics["rmse"] == pytest.approx(float(np.sqrt(((said - truth.numpy()) ** 2).mean())))
    assert found.metrics["mae"] == pytest.approx(float(abs(said - truth.numpy()).mean()))
    assert found.metrics["r2"] == pytest.approx(r2_score(truth.numpy(), said))
