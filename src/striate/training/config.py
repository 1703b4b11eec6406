"""What a training run is asked to do: one table, whose fields are the flags and the keys of ``args.yaml``."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator

from striate.data.names import MAX_PIXELS, USUALLY_IGNORED
from striate.data.preprocessing import Interpolation
from striate.errors import UsageError, nearest
from striate.training.fields import (
    Changes,
    Deviations,
    ImageSize,
    Levels,
    Names,
    Options,
    PathText,
    field,
    parse_options,
)

TaskName = Literal["classify", "regress", "segment", "detect"]
LossName = Literal["cross_entropy", "mse", "dice", "cross_entropy+dice"]
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
USUAL_MODELS = {"segment": "fcn8s", "detect": "faster_rcnn"}


class TrainConfig(BaseModel):
    """Everything that a training run depends on, with defaults; frozen.

    Raises:
        UsageError: for a key that does not exist, with the nearest one that does, and for a value that is missing, of
            the wrong type or out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    data: PathText = Field(description="a folder of images, a CSV table, a folder of idx files, or a name as mnist")
    skip_bad: bool = field(False, "decode all files first, and leave out those that are no images")
    max_pixels: int = field(MAX_PIXELS, "an image of more is refused before it is decoded", ge=1)
    task: TaskName | None = field(None, "what to learn; what the network is for by default")
    classes: PathText | None = field(None, "of masks: a file with names and colours; classes.txt in DATA by default")
    ignore: Names = field(USUALLY_IGNORED, "of masks: number or name in that file of what is not known; none for none")
    model: str = field(..., "a network of the zoo; `striate models` lists them")
    model_kwargs: Options = field({}, "KEY=VALUE for the network, such as hidden_sizes=[300,100]")
    image_size: ImageSize | None = field(None, "side or HEIGHTxWIDTH; the network's own by default")
    in_chans: int | None = field(None, "channels of the input; those of the images by default", ge=1)
    drop: float | None = field(None, "dropout before the last layer; the network's own by default", ge=0, lt=1)
    init: Literal["he", "xavier"] | None = field(None, "initialise all layers so; the network's own by default")
    mean: Levels | None = field(None, "of each channel, from 0 to 1; the weights', or measured, by default")
    std: Deviations | None = field(None, "their standard deviation, likewise")
    interpolation: Interpolation | None = field(None, "of scaling; the weights', or bilinear, by default")

    pretrained: PathText | None = field(None, "weights to begin with: a safetensors file, a folder, a run, or hub")
    frozen_norm: bool | None = field(None, "batch norm keeps its statistics; where it is folded by default")
    probe: bool = field(False, "first fit the last layer to features computed once; --epochs 0 leaves it at that")
    freeze_epochs: int = field(0, "epochs at first in which only the last layer learns, or all but the backbone", ge=0)
    layer_decay: float = field(
        1.0, "factor of the learning rate from one child of the network to that before", gt=0, le=1
    )

    epochs: int = field(10, "passes over the training images; 0 only with --probe", ge=0)
    batch_size: int = field(64, "images a step, at most; an epoch is cut into even parts", ge=1)
    loss: LossName = field("cross_entropy", "mse compares softmax with one-hot; dice is for masks")
    smoothing: float = field(0.0, "label smoothing", ge=0, lt=1)
    mixup: float = field(0.0, "mix pairs of images: alpha of the Beta distribution; 0 is off", ge=0)
    crop_pct: float | None = field(None, "share of the sides that is seen; the weights', or 1, by default", gt=0, le=1)
    shift: int = field(0, "move training images by up to so many pixels", ge=0)
    rotate: float = field(0.0, "turn training images by up to so many degrees", ge=0, le=180)
    zoom: float = field(0.0, "stretch their sides by up to this share, or shrink them", ge=0, lt=1)
    crop_scale: float = field(1.0, "train on random crops of at least this share of the area; 1 is off", gt=0, le=1)
    hflip: float = field(0.0, "share of training images that are mirrored", ge=0, le=1)
    color_jitter: float = field(0.0, "change brightness, contrast and saturation by up to this share", ge=0, le=1)
    average: Literal["none", "ema", "swa"] = field("none", "validate averaged weights: moving, or all since a start")
    average_decay: float = field(0.999, "of the moving average, a step", gt=0, lt=1)
    average_start: float = field(0.75, "share of the run after which swa begins", ge=0, lt=1)
    balance: Literal["none", "loss", "sampling"] = field("none", "give all classes the same weight, in one of two ways")
    monitor: Literal["metric", "loss"] = field("metric", "what makes an epoch better, on the validation images")
    patience: int | None = field(None, "stop after so many epochs without a better one", ge=1)

    opt: OptimizerName = field("momentum", "optimizer")
    lr: float = Field(
        default_factory=lambda values: USUAL_RATES[values["opt"]],
        description="learning rate at its highest; the optimizer's usual one by default",
        gt=0,
    )
    momentum: float = field(0.9, "of momentum and nesterov", ge=0, lt=1)
    weight_decay: float = field(0.0, "not on biases and norms; decoupled for adamw", ge=0)
    clip_grad: float | None = field(None, "largest norm of all gradients together; larger ones are scaled to it", gt=0)
    sched: Literal["constant", "cosine", "onecycle", "step"] = field("cosine", "course of the learning rate")
    warmup_epochs: float = field(0.0, "epochs over which the rate rises from zero", ge=0)
    decay_epochs: float = field(10.0, "for step: epochs between two falls", gt=0)
    decay_rate: float = field(0.1, "for step: factor of each fall", gt=0, le=1)

    memory: str | None = field(None, "bytes that training may take, such as 4GiB or 80%: plans micro-batches and more")
    plan: PathText | None = field(None, "a file that `striate plan --json` printed, instead of memory")
    lossless: bool = field(False, "with memory: only what leaves gradients equal, bit for bit")
    allow: Changes = field((), "with memory: what may be changed of the network where nothing fits")
    margin: float = field(0.02, "with memory: share of it that is left free", ge=0, le=1)
    device: Literal["cpu", "cuda"] = field("cpu", "where it runs")
    amp: bool = field(False, "16-bit floats where they are safe (autocast)")
    amp_dtype: Literal["bfloat16", "float16"] = field("bfloat16", "float16 on cuda only")
    dtype: Literal["float32", "bfloat16"] = field("float32", "of weights and images")
    master_weights: bool = field(False, "with dtype bfloat16: 32-bit copies of the weights for the optimizer")
    compile: bool = field(False, "have torch.compile make the training step's code; without memory or plan")
    sync_bn: bool = field(False, "batch norm over all processes' images; on cuda only")
    channels_last: bool = field(True, "memory layout of images and kernels")
    workers: int = field(0, "processes that prepare images", ge=0)
    cache: str | None = field(None, "bytes, besides memory, to keep decoded images in, such as 2GiB")
    features: str = field("4GiB", "for rcnn: bytes of disk for what its last stages learn from")
    seed: int = field(0, "of everything random", ge=0)
    output: PathText | None = field(None, "run folder; runs/TASK/DATA-MODEL by default")
    checkpoint_seconds: float = field(300.0, "between two checkpoints inside an epoch", ge=0)

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
    def _refuse_starts(self) -> "TrainConfig":
        wants = [flag for flag, wanted in (("--probe", self.probe), ("--freeze-epochs", self.freeze_epochs)) if wanted]
        if wants and self.pretrained is None:
            raise UsageError(
                expected=f"--pretrained with {wants[0]}",
                received="no weights to begin with",
                remedy="What a network with fresh weights sees says nothing yet.",
            )
        if self.pretrained is not None and self.init is not None:
            raise UsageError(
                expected="either --pretrained or --init", received="both", remedy="One would undo the other."
            )
        if self.epochs == 0 and not self.probe:
            raise UsageError(expected="--epochs of 1 or more", received="0", remedy="0 leaves it at --probe.")
        return self

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
    def _refuse_compiling(self) -> "TrainConfig":
        wants = [flag for flag, wanted in (("--compile", self.compile), ("--sync-bn", self.sync_bn)) if wanted]
        if wants and (self.memory is not None or self.plan is not None):
            raise UsageError(
                expected=f"{wants[0]} without --memory and --plan",
                received="both",
                remedy="A plan says operator by operator what is kept, and that step has operators of its own.",
            )
        if self.sync_bn and self.device != "cuda":
            raise UsageError(
                expected="--sync-bn with --device cuda",
                received=self.device,
                remedy="torch synchronises batch norm on cards only; leave it out.",
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
                    remedy="The number of classes comes from the data; --image-size, --in-chans, --pretrained and "
                    "--frozen-norm are flags.",
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
        if self.warmup_epochs >= self.epochs > 0:
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
FREE_ON_RESUME = ("data", "classes", "output", "workers", "cache", "features", "checkpoint_seconds")


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

    ``model_kwargs`` are put together option by option, without those that were said with another model.

    Raises:
        UsageError: for an unknown key, a missing one, or a value of the wrong type or out of range.
    """
    values = {key: value for layer in layers for key, value in layer.items()}
    if values.get("task") in USUAL_MODELS:
        values.setdefault("model", USUAL_MODELS[values["task"]])
    own = [layer for layer in layers if layer.get("model", values.get("model")) == values.get("model")]
    values["model_kwargs"] = {}
    for said in (layer["model_kwargs"] for layer in own if "model_kwargs" in layer):
        try:
            values["model_kwargs"] |= parse_options(said)
        except (TypeError, ValueError):
            values["model_kwargs"] = said  # It is refused below, in words.
            break
    return TrainConfig.model_validate(values)


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
