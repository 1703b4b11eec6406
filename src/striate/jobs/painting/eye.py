"""The network that looks at pictures while they are painted: its feature layers alone, with their trained weights."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from striate.data.preprocessing import Preprocessing
from striate.errors import UsageError
from striate.inference.folding import make_ready
from striate.jobs.painting.settings import Source
from striate.pretrained import open_pretrained, usual_preprocessing
from striate.style.layers import Layers, Row, choose_layers, row_of
from striate.weights import load_features
from striate.zoo import create_model, find_model


@dataclass(frozen=True, slots=True)
class Eye:
    """A network that looks at pictures.

    Args:
        origin: of its weights, for people.
        row: its layers, as far as the last that counts.
        layers: which of its maps count.
        preprocessing: its mean and std are those of its images.
        layout: of its images.
    """

    origin: str
    row: Row
    layers: Layers
    preprocessing: Preprocessing
    layout: torch.memory_format

    def to_input(self, image: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 3 H W"]:
        """Return an image of levels from 0 to 1 as the network takes it."""
        mean, std = self._spread(image)
        return (image - mean) / std

    def to_image(self, pixels: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 3 H W"]:
        """Return levels from 0 to 1 of what the network takes; what is darker or brighter than can be shown is cut."""
        mean, std = self._spread(pixels)
        return (pixels * std + mean).clamp_(0, 1)

    def _spread(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (
            like.new_tensor(each).view(1, 3, 1, 1) for each in (self.preprocessing.mean, self.preprocessing.std)
        )
        return mean, std


def open_eye(source: Source, device: str) -> Eye:
    """Load a network's feature layers; what follows them is neither built nor kept.

    Raises:
        UsageError: for another network's weights, or one that does not look at colours.
        StriateError: for weights that are damaged or not there.
    """
    model, entry = source.model, find_model(source.model)
    weights = open_pretrained(source.weights, model)
    options = {} if weights.config is None else weights.config.model_options
    preprocessing = weights.preprocessing or usual_preprocessing(entry.image_size)
    if preprocessing.channels != 3:
        raise UsageError(
            expected="weights for images of 3 channels, red, green and blue",
            received=f"{weights.origin}, for {preprocessing.channels}",
            remedy="Name others, such as those of vgg19 on ImageNet.",
        )
    with torch.device("meta"):
        network = create_model(model, **options)
    for name, _ in list(network.named_children()):
        if name != "features":
            setattr(network, name, nn.Identity())
    network.features.to_empty(device="cpu")
    load_features(network, model, weights.file, entry.peer_names)
    layout = make_ready(network.features)
    row = row_of(network.features.to(device))
    layers = choose_layers(row)
    used = {layers.content, *layers.style, *layers.held_out}
    last = max(place for place, (name, _) in enumerate(row) if name in used)
    return Eye(weights.origin, row[: last + 1], layers, preprocessing, layout)
