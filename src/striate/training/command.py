"""A config as the command that asks for it."""

import shlex
from typing import Any

from striate.training.config import TrainConfig


def command_of(config: TrainConfig) -> str:
    """Return what asks `striate` for a run: its data, and a flag for each setting that is not the usual one."""
    usual = TrainConfig(data=config.data, model=config.model, opt=config.opt).model_dump()
    usual |= {"model": None, "opt": TrainConfig.model_fields["opt"].default}
    words = ["train", config.data]
    for name in TrainConfig.model_fields:
        value = getattr(config, name)
        if name not in ("data", "output") and value != usual[name]:
            words += _words(f"--{name.replace('_', '-')}", value)
    return shlex.join(words)


def _words(flag: str, value: Any) -> list[str]:
    if value is True:
        return [flag]
    if value is False:
        return [f"--no-{flag.removeprefix('--')}"]
    if isinstance(value, dict):
        return [word for key, each in value.items() for word in (flag, f"{key}={_yaml(each)}")]
    if flag == "--image-size":
        return [flag, "x".join(map(str, value))]
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        return [word for each in value for word in (flag, each)]
    if isinstance(value, tuple):
        return [flag, ",".join(map(repr, value))]
    return [flag, str(value)]


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_yaml, value))}]"
    return "null" if value is None else str(value)
