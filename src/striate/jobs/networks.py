"""What a user can name as MODEL: a network of the zoo, a trained one, or any module that some code builds."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from striate.errors import StriateError, UsageError, nearest
from striate.weights import find_weights, read_weights_config
from striate.zoo import ZOO, create_model, find_model
from striate.zoo import build_network as build_described

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One argument of a network, without the batch.

    Args:
        shape: of one image, or of whatever it takes.
        dtype: by torch's name; that of the weights by default.
    """

    shape: tuple[int, ...]
    dtype: str | None = None

    def __str__(self) -> str:
        kind = "" if self.dtype is None else f":{self.dtype}"
        return "x".join(map(str, self.shape)) + kind


def check_network(model: str) -> None:
    """Refuse what `build_network` could not build, without running any of it.

    Raises:
        UsageError: for an unknown name, or a file or folder that is not there.
    """
    place, sign, _ = model.rpartition(":")
    if sign and place.endswith(".py") and not Path(place).is_file():
        raise UsageError(
            expected="a file of Python code, as in file.py:callable",
            received=f"{place!r}, which is not there",
            remedy="Check the path.",
        )
    if model.endswith(".py"):
        raise UsageError(
            expected=f"something callable in {model}",
            received="the file alone",
            remedy=f"Name a function or a class of it: {model}:NAME.",
        )
    if not sign and model not in ZOO:
        if Path(model).is_dir():
            read_weights_config(find_weights(model))
        elif len(Path(model).parts) > 1:
            raise UsageError(
                expected="a run folder, a network of the zoo, file.py:callable or package.module:callable",
                received=f"{model!r}, where there is no folder",
                remedy="Check the path: `striate runs` lists the runs that are there.",
            )
        else:
            find_model(model)


def natural_input(model: str) -> tuple[int, int, int] | None:
    """Return channels, height and width of the images that a network was made for; None where nobody says."""
    if model in ZOO:
        return (ZOO[model].in_chans, *ZOO[model].image_size)
    if ":" not in model:
        config = read_weights_config(find_weights(model))
        return (config.in_chans, *config.image_size)
    return None


def build_network(model: str, options: Mapping[str, Any]) -> "nn.Module":
    """Build a network on torch's default device.

    Args:
        model: a name of the zoo, a run folder or folder of weights, ``file.py:callable`` or
            ``package.module:callable``, where the callable is called without arguments and returns a module.
        options: ``image_size``, ``in_chans`` and ``num_classes`` for a network of the zoo; none for others.

    Raises:
        UsageError: where there is no such callable, or it returns something else.
        StriateError: where the code of the user failed.
    """
    if ":" in model:
        return _called(model)
    if model in ZOO:
        return create_model(model, **options)
    return build_described(read_weights_config(find_weights(model)))


def _called(model: str) -> "nn.Module":
    from torch import nn

    place, _, name = model.rpartition(":")
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else _import_package(place)
        made: Callable[[], Any] | None = getattr(module, name, None)
        if made is None:
            raise UsageError(
                expected=f"something callable in {place}",
                received=repr(name),
                remedy=nearest(name, [known for known, value in vars(module).items() if callable(value)]),
            )
        network = made()
    except StriateError:
        raise
    except Exception as error:
        raise StriateError(
            expected=f"{model} to return a network",
            received=f"{type(error).__name__}: {error}",
            remedy="Its code was loaded and called without arguments; `striate --debug` shows where that failed.",
        ) from error
    if not isinstance(network, nn.Module):
        raise UsageError(
            expected=f"{model} to return a torch.nn.Module",
            received=type(network).__name__,
            remedy="Name a function without arguments, or a class that needs none.",
        )
    return network


def _import_package(name: str) -> ModuleType:
    """Import a module that is installed, or lies in the folder where the user is."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def _import_file(path: Path) -> ModuleType:
    name = f"_striate_file_{path.stem}"  # So that a file named random.py does not stand in for Python's own.
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Where dataclasses look for it.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module
