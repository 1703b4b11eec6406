"""What a training run is asked to do: one table, whose fields are the flags and the keys of ``args.yaml``."""

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from striate.data.names import MAX_PIXELS
from striate.errors import UsageError, nearest

OptimizerName = Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam"]

USUAL_RATES: Mapping[str, float] = {
    "sgd": 0.1,
    "momentum": 0.05,
    "nesterov": 0.05,
    "adagrad": 0.01,
    "rmsprop": 0.001,
    "adam": 0.001,
    "adamw": 0.001,
    "nadam": 0.001,
}


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


def _parse_options(value: object) -> object:
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


Side = Annotated[int, Field(ge=1, le=65536)]
PathText = Annotated[str, BeforeValidator(_expand)]
ImageSize = Annotated[tuple[Side, Side], BeforeValidator(_parse_size)]
Options = Annotated[dict[str, Any], BeforeValidator(_parse_options)]


def _field(default: Any, description: str, **limits: Any) -> Any:
    return Field(default, description=description, **limits)


Change = Literal["stride", "image-size", "layers"]
Changes = Annotated[tuple[Change, ...], BeforeValidator(_listed)]


class TrainConfig(BaseModel):
    """Everything that a training run depends on, with defaults; frozen.

    Raises:
        UsageError: for a key that does not exist, with the nearest one that does, and for a value that is missing, of
            the wrong type or out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    data: PathText = Field(description="a folder of images, a CSV table, a folder of idx files, or digits")
    skip_bad: bool = _field(False, "decode all files first, and leave out those that are no images")
    max_pixels: int = _field(MAX_PIXELS, "an image of more is refused before it is decoded", ge=1)
    model: str = _field(..., "a network of the zoo; `striate models` lists them")
    model_kwargs: Options = _field({}, "KEY=VALUE for the network, such as hidden_sizes=[300,100]")
    image_size: ImageSize | None = _field(None, "side or HEIGHTxWIDTH; the network's own by default")
    in_chans: int | None = _field(None, "channels of the input; those of the images by default", ge=1)
    drop: float | None = _field(None, "dropout before the last layer; the network's own by default", ge=0, lt=1)
    init: Literal["he", "xavier"] | None = _field(None, "initialise all layers so; the network's own by default")

    epochs: int = _field(10, "passes over the training images", ge=1)
    batch_size: int = _field(64, "images a step, at most; an epoch is cut into even parts", ge=1)
    loss: Literal["cross_entropy", "mse"] = _field("cross_entropy", "mse compares softmax with one-hot")
    smoothing: float = _field(0.0, "label smoothing", ge=0, lt=1)
    mixup: float = _field(0.0, "mix pairs of images: alpha of the Beta distribution; 0 is off", ge=0)
    crop_pct: float = _field(1.0, "share of an image's sides that is seen, in the middle", gt=0, le=1)
    shift: int = _field(0, "move training images by up to so many pixels", ge=0)
    crop_scale: float = _field(1.0, "train on random crops of at least this share of the area; 1 is off", gt=0, le=1)
    hflip: float = _field(0.0, "share of training images that are mirrored", ge=0, le=1)
    color_jitter: float = _field(0.0, "change brightness, contrast and saturation by up to this share", ge=0, le=1)
    average: Literal["none", "ema", "swa"] = _field("none", "validate averaged weights: moving, or all since a start")
    average_decay: float = _field(0.999, "of the moving average, a step", gt=0, lt=1)
    average_start: float = _field(0.75, "share of the run after which swa begins", ge=0, lt=1)
    patience: int | None = _field(None, "stop after so many epochs without a better one", ge=1)

    opt: OptimizerName = _field("momentum", "optimizer")
    lr: float = Field(
        default_factory=lambda values: USUAL_RATES[values["opt"]],
        description="learning rate at its highest; the optimizer's usual one by default",
        gt=0,
    )
    momentum: float = _field(0.9, "of momentum and nesterov", ge=0, lt=1)
    weight_decay: float = _field(0.0, "not on biases and norms; decoupled for adamw", ge=0)
    clip_grad: float | None = _field(None, "largest norm of all gradients together; larger ones are scaled to it", gt=0)
    sched: Literal["constant", "cosine", "onecycle", "step"] = _field("cosine", "course of the learning rate")
    warmup_epochs: float = _field(0.0, "epochs over which the rate rises from zero", ge=0)
    decay_epochs: float = _field(10.0, "for step: epochs between two falls", gt=0)
    decay_rate: float = _field(0.1, "for step: factor of each fall", gt=0, le=1)

    memory: str | None = _field(None, "bytes that training may take, such as 4GiB or 80%: plans micro-batches and more")
    plan: PathText | None = _field(None, "a file that `striate plan --json` printed, instead of memory")
    lossless: bool = _field(False, "with memory: only what leaves gradients equal, bit for bit")
    allow: Changes = _field((), "with memory: what may be changed of the network where nothing fits")
    margin: float = _field(0.02, "with memory: share of it that is left free", ge=0, le=1)
    device: Literal["cpu", "cuda"] = _field("cpu", "where it runs")
    amp: bool = _field(False, "16-bit floats where they are safe (autocast)")
    amp_dtype: Literal["bfloat16", "float16"] = _field("bfloat16", "float16 on cuda only")
    dtype: Literal["float32", "bfloat16"] = _field("float32", "of weights and images")
    master_weights: bool = _field(False, "with dtype bfloat16: 32-bit copies of the weights for the optimizer")
    channels_last: bool = _field(True, "memory layout of images and kernels")
    workers: int = _field(0, "processes that prepare images", ge=0)
    seed: int = _field(0, "of everything random", ge=0)
    output: PathText | None = _field(None, "run folder; runs/TASK/DATA-MODEL by default")
    checkpoint_seconds: float = _field(300.0, "between two checkpoints inside an epoch", ge=0)

    @model_validator(mode="wrap")
    @classmethod
    def _refuse(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                raise UsageError(
                    expected="a key of the training config",
                    received=repr(key),
                    remedy=nearest(str(key), cls.model_fields),
                )
        try:
            return validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "config"
            flag = "DATA" if name == "data" else f"--{name.replace('_', '-')}"
            missing = first["type"] == "missing"
            raise UsageError(
                expected=flag if missing else f"{flag}: {first['msg'].removeprefix('Value error, ')}",
                received="nothing" if missing else repr(first["input"]),
                remedy="`striate train --help` says what each flag takes.",
            ) from error

    @model_validator(mode="after")
    def _refuse_slow_halves(self) -> "TrainConfig":
        if self.amp and self.amp_dtype == "float16" and self.device == "cpu":
            raise UsageError(
                expected="--amp-dtype bfloat16 on the CPU",
                received="float16, which is some twenty times slower there than 32-bit floats",
                remedy="Use --amp-dtype bfloat16, or --device cuda.",
            )
        return self

    @model_validator(mode="after")
    def _refuse_clashing_halves(self) -> "TrainConfig":
        if self.dtype == "float32" and self.master_weights:
            raise UsageError(
                expected="--master-weights with --dtype bfloat16",
                received="it with float32",
                remedy="Weights of 32 bits are their own masters.",
            )
        if self.dtype == "bfloat16" and (self.amp or self.average != "none"):
            raise UsageError(
                expected="--dtype bfloat16 without --amp and without --average",
                received="amp" if self.amp else f"average {self.average}",
                remedy="Autocast is for 32-bit weights, and an average moves in steps that 16 bits round away.",
            )
        return self

    @model_validator(mode="after")
    def _refuse_two_plans(self) -> "TrainConfig":
        if self.allow and self.memory is None:
            raise UsageError(
                expected="--allow with --memory",
                received="it without",
                remedy="A network is changed only where it does not fit into what --memory grants.",
            )
        if self.plan is not None and self.memory is not None:
            raise UsageError(
                expected="either --plan or --memory",
                received="both",
                remedy="A plan was made for a budget; leave --memory out, or have a new plan made for it.",
            )
        return self

    @model_validator(mode="after")
    def _refuse_double_options(self) -> "TrainConfig":
        for name in ("num_classes", "in_chans", "image_size", "pretrained", "frozen_norm"):
            if name in self.model_kwargs:
                raise UsageError(
                    expected="the network's own options in model_kwargs",
                    received=name,
                    remedy="The number of classes comes from the data, --image-size and --in-chans are flags, and a "
                    "run begins with fresh weights.",
                )
        return self

    @model_validator(mode="after")
    def _refuse_clashing_schedules(self) -> "TrainConfig":
        if self.warmup_epochs and self.sched == "onecycle":
            raise UsageError(
                expected="no --warmup-epochs with --sched onecycle",
                received=f"{self.warmup_epochs:g}",
                remedy="onecycle begins with a warm-up of its own, 30 % of the run.",
            )
        if self.warmup_epochs >= self.epochs:
            raise UsageError(
                expected=f"--warmup-epochs below --epochs, which is {self.epochs}",
                received=f"{self.warmup_epochs:g}",
                remedy="The rate would never reach --lr.",
            )
        return self

    def to_yaml(self) -> str:
        """Return every setting as `read_config` takes it, but for where the run lies."""
        values = self.model_dump(mode="json", exclude={"output"})
        text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        return text


# The data may have moved: what is in them is compared by content.
FREE_ON_RESUME = ("data", "output", "workers", "checkpoint_seconds")


def changed_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two configs of one run, as ``name before -> after``.

    What may differ does not count, nor what ``after`` leaves to be found out, as None.
    """
    return [
        f"{name} {value} -> {after[name]}"
        for name, value in before.items()
        if name not in FREE_ON_RESUME and after[name] is not None and after[name] != value
    ]


def load_config(*layers: Mapping[str, Any]) -> TrainConfig:
    """Make a config of several mappings, later ones over earlier ones.

    Raises:
        UsageError: for an unknown key, a missing one, or a value of the wrong type or out of range.
    """
    return TrainConfig.model_validate({key: value for layer in layers for key, value in layer.items()})


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML config file.

    Raises:
        UsageError: where it cannot be read or is not a mapping of keys.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            expected=f"a YAML config file at {path}",
            received=" ".join(str(error).split()),
            remedy="Any run's args.yaml is an example of one.",
        ) from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UsageError(
            expected=f"`key: value` lines in {path}",
            received=type(values).__name__,
            remedy="Any run's args.yaml is an example of one.",
        )
    return values


def read_recipe(name: str) -> dict[str, Any]:
    """Read a recipe that ships with striate.

    Raises:
        UsageError: for an unknown name, with the known ones.
    """
    folder = resources.files("striate.training") / "recipes"
    known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if name not in known:
        raise UsageError(expected="a recipe", received=repr(name), remedy=nearest(name, known))
    values: dict[str, Any] = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return values
