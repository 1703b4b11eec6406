import torch
from torch import nn

from striate.inference.predict import classify


def test_gives_each_image_its_softmax_in_order() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    images = torch.randn(5, 1, 2, 2)
    found = list(classify(network, torch.split(images, 2), ("a", "b", "c")))
    scores = network(images).detach().double().exp()
    expected = scores / scores.sum(1, keepdim=True)
    assert [f.names for f in found] == [("a", "b", "c")] * 5
    torch.testing.assert_close(torch.tensor([f.probabilities for f in found]).double(), expected, rtol=1e-6, atol=1e-7)
