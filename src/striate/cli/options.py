"""Flags made from a config's fields, so that a flag, a key of a file and an argument are one thing said once."""

import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo


def with_flags(
    config: type[BaseModel], short: Mapping[str, str], leave_out: tuple[str, ...]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb one flag for each field of ``config``.

    Args:
        config: its descriptions become the help, its defaults are shown there.
        short: one-letter flags by field.
        leave_out: fields that the verb spells itself.

    The verb takes the flags that the user gave, and only those, as ``flags``.
    """

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(verb, eval_str=True).parameters.values() if p.name != "flags"]
        fields = {name: field for name, field in config.model_fields.items() if name not in leave_out}

        def command(**values: Any) -> None:
            flags = {name: values.pop(name) for name in fields}
            verb(**values, flags={name: value for name, value in flags.items() if value is not None})

        made = [_flag(name, field, short.get(name)) for name, field in fields.items()]
        signature = inspect.Signature([*own, *made])
        command.__signature__ = signature  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        command.__doc__ = verb.__doc__
        return command

    return decorate


def _flag(name: str, field: FieldInfo, short: str | None) -> inspect.Parameter:
    spelled = f"--{name.replace('_', '-')}"
    kind = _flag_type(field.annotation)
    if kind is bool:
        spelled = f"{spelled}/--no-{name.replace('_', '-')}"
    default = None if field.is_required() or field.default_factory else field.default
    shown = "" if default in (None, {}, ()) else f" (default: {_spell(default)})"
    option = typer.Option(
        *([short] if short else []),
        spelled,
        help=f"{field.description}{shown}",
        show_default=False,
        metavar=_metavar(field.annotation, kind),
    )
    optional: Any = kind | None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[optional, option])


_METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT", list[str]: "KEY=VALUE"}


def _metavar(annotation: Any, kind: Any) -> str | None:
    if _is_list(annotation):
        return "|".join(get_args(get_args(annotation)[0]))
    return None if get_origin(kind) is Literal or kind is bool else _METAVARS.get(kind)


def _is_list(annotation: Any) -> bool:
    """Tell whether a field takes any number of choices."""
    kinds = get_args(annotation) if get_origin(annotation) is tuple else ()
    return kinds[1:] == (...,) and get_origin(kinds[0]) is Literal


def _spell(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return str(default)


def _flag_type(annotation: Any) -> Any:
    """Return the type that the command line parses; what it has no word for stays text, and the config reads it."""
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        return _flag_type(kinds[0]) if len(kinds) == 1 else str
    if get_origin(annotation) is Annotated:
        return _flag_type(get_args(annotation)[0])
    if get_origin(annotation) is Literal or annotation in (bool, int, float, str):
        return annotation
    return list[str] if get_origin(annotation) is dict or _is_list(annotation) else str
