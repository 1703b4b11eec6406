"""Kinds of settings: how each is read from a file or a flag, and what it may be."""

import os
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field


def _expand(value: object) -> object:
    """Take paths as text, with ``~`` for the user's home."""
    return os.path.expanduser(value) if isinstance(value, str | os.PathLike) else value


def _parse_size(value: object) -> object:
    """Read ``32`` and ``32x24`` (height x width)."""
    if isinstance(value, int):
        return (value, value)
    if isinstance(value, str):
        sides = value.lower().split("x")
        if len(sides) > 2 or not all(side.isdecimal() for side in sides):
            raise ValueError("a side such as 32, or HEIGHTxWIDTH such as 32x24")
        return (int(sides[0]), int(sides[-1]))
    return value


def parse_options(value: object) -> object:
    """Read ``["key=value", ...]``, each value as YAML."""
    if not isinstance(value, list | tuple):
        return value
    options = {}
    for item in value:
        name, sign, text = str(item).partition("=")
        if not sign:
            raise ValueError("KEY=VALUE, such as hidden_sizes=[300,100]")
        try:
            options[name] = _number(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise ValueError("KEY=VALUE with a value in YAML, such as hidden_sizes=[300,100]") from error
    return options


def _number(value: object) -> object:
    """Take ``1e-1`` for the number that it is; YAML 1.1 asks for a dot."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _parse_names(value: Any) -> Any:
    """Read ``11`` and ``void, 255``."""
    if isinstance(value, str):
        return tuple(each.strip() for each in value.split(","))
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(str(each) if isinstance(each, int) else each for each in values)


def _parse_channels(value: object) -> object:
    """Read ``0.5`` and ``0.485,0.456,0.406``."""
    if isinstance(value, int | float):
        return (value,)
    if isinstance(value, str):
        try:
            return tuple(float(part) for part in value.split(","))
        except ValueError:
            raise ValueError("a number for each channel such as 0.485,0.456,0.406, or one for all") from None
    return value


Side = Annotated[int, Field(ge=1, le=65536)]
PathText = Annotated[str, BeforeValidator(_expand)]
Level = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0, le=1)]
Levels = Annotated[tuple[Level, ...], Field(min_length=1), BeforeValidator(_parse_channels)]
Deviations = Annotated[tuple[Deviation, ...], Field(min_length=1), BeforeValidator(_parse_channels)]
ImageSize = Annotated[tuple[Side, Side], BeforeValidator(_parse_size)]
Options = Annotated[dict[str, Any], BeforeValidator(parse_options)]


def field(default: Any, description: str, **limits: Any) -> Any:
    """Return a setting with a default, its description, and its limits."""
    return Field(default, description=description, **limits)


Names = Annotated[tuple[str, ...], BeforeValidator(_parse_names)]
Change = Literal["stride", "image-size", "layers"]
Changes = Annotated[tuple[Change, ...], BeforeValidator(_listed)]
