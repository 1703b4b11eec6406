import torch
from torch import nn

from striate.inference.predict import outputs_of, to_classes, to_numbers


def test_gives_each_image_its_softmax_in_order() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    images = torch.randn(5, 1, 2, 2)
    found = [
        each for logits in outputs_of(network, torch.split(images, 2)) for each in to_classes(logits, ("a", "b", "c"))
    ]
    scores = network(images).detach().double().exp()
    expected = scores / scores.sum(1, keepdim=True)
    assert [f.names for f in found] == [("a", "b", "c")] * 5
    torch.testing.assert_close(torch.tensor([f.probabilities for f in found]).double(), expected, rtol=1e-6, atol=1e-7)


def test_numbers_are_scaled_back() -> None:
    assert [number.value for number in to_numbers(torch.tensor([[0.0], [-1.5]]), (4.0, 10.0))] == [10.0, 4.0]
