"""16-bit floats as `torch.autocast` alone has them."""

from typing import Any

from lightning_fabric.plugins.precision import MixedPrecision


class Autocast(MixedPrecision):
    """Fabric's precision, but for the cast of a network's inputs that it puts before the first operator.

    What was predicted and planned is the step as autocast takes it; with that cast it would have other operators.
    """

    def convert_input(self, data: Any) -> Any:
        """Leave inputs as they are: the first operator that is safe in 16 bits casts them."""
        return data
