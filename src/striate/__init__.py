"""Convolutional networks that fit: know their cost, train them in the memory you have, see what they learned.

Public names are loaded when they are first used, so that ``import striate`` costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from striate.costing.layers import layer_costs as layer_costs
    from striate.data.preprocessing import Preprocessing as Preprocessing
    from striate.detection.selective_search import selective_search as selective_search
    from striate.errors import StriateError as StriateError
    from striate.jobs.check import Checked as Checked
    from striate.jobs.check import check as check
    from striate.jobs.comparing_detectors import ComparedDetectors as ComparedDetectors
    from striate.jobs.comparing_detectors import compare_detectors as compare_detectors
    from striate.jobs.comparing_proposals import ComparedProposals as ComparedProposals
    from striate.jobs.comparing_proposals import compare_proposals as compare_proposals
    from striate.jobs.convert import convert as convert
    from striate.jobs.convert import fully_convolutional as fully_convolutional
    from striate.jobs.cost import Cost as Cost
    from striate.jobs.cost import cost as cost
    from striate.jobs.detections import DetectedThings as DetectedThings
    from striate.jobs.detections import detect_images as detect_images
    from striate.jobs.explaining import Explained as Explained
    from striate.jobs.explaining import explain as explain
    from striate.jobs.export import export as export
    from striate.jobs.maps import Mapped as Mapped
    from striate.jobs.maps import map_classes as map_classes
    from striate.jobs.masks import Segmented as Segmented
    from striate.jobs.masks import segment_images as segment_images
    from striate.jobs.painting.settings import StyleSettings as StyleSettings
    from striate.jobs.painting.stylizing import StyleStep as StyleStep
    from striate.jobs.painting.stylizing import Stylized as Stylized
    from striate.jobs.painting.stylizing import stylize as stylize
    from striate.jobs.plan import plan as plan
    from striate.jobs.predict import Prediction as Prediction
    from striate.jobs.predict import predict as predict
    from striate.jobs.train import Finished as Finished
    from striate.jobs.train import Started as Started
    from striate.jobs.train import train as train
    from striate.jobs.val import Validated as Validated
    from striate.jobs.val import val as val
    from striate.planning.apply import apply_plan as apply_plan
    from striate.planning.apply import micro_batches as micro_batches
    from striate.planning.plan import Plan as Plan
    from striate.planning.plan import read_plan as read_plan
    from striate.results import ClassMap as ClassMap
    from striate.results import Detections as Detections
    from striate.results import Mask as Mask
    from striate.training.config import TrainConfig as TrainConfig
    from striate.training.records import EpochRecord as EpochRecord
    from striate.training.records import StepRecord as StepRecord
    from striate.weights import WeightsConfig as WeightsConfig
    from striate.weights import save_weights as save_weights
    from striate.zoo import create_model as create_model
    from striate.zoo import list_models as list_models
    from striate.zoo import load_network as load_network

_HOMES = {
    "Checked": "striate.jobs.check",
    "ClassMap": "striate.results",
    "ComparedDetectors": "striate.jobs.comparing_detectors",
    "ComparedProposals": "striate.jobs.comparing_proposals",
    "DetectedThings": "striate.jobs.detections",
    "Detections": "striate.results",
    "Cost": "striate.jobs.cost",
    "EpochRecord": "striate.training.records",
    "Explained": "striate.jobs.explaining",
    "Finished": "striate.jobs.train",
    "Mapped": "striate.jobs.maps",
    "Mask": "striate.results",
    "Segmented": "striate.jobs.masks",
    "Started": "striate.jobs.train",
    "StepRecord": "striate.training.records",
    "StriateError": "striate.errors",
    "StyleSettings": "striate.jobs.painting.settings",
    "StyleStep": "striate.jobs.painting.stylizing",
    "Stylized": "striate.jobs.painting.stylizing",
    "Plan": "striate.planning.plan",
    "Prediction": "striate.jobs.predict",
    "Preprocessing": "striate.data.preprocessing",
    "TrainConfig": "striate.training.config",
    "Validated": "striate.jobs.val",
    "WeightsConfig": "striate.weights",
    "apply_plan": "striate.planning.apply",
    "check": "striate.jobs.check",
    "compare_detectors": "striate.jobs.comparing_detectors",
    "compare_proposals": "striate.jobs.comparing_proposals",
    "convert": "striate.jobs.convert",
    "cost": "striate.jobs.cost",
    "detect_images": "striate.jobs.detections",
    "create_model": "striate.zoo",
    "explain": "striate.jobs.explaining",
    "export": "striate.jobs.export",
    "fully_convolutional": "striate.jobs.convert",
    "layer_costs": "striate.costing.layers",
    "list_models": "striate.zoo",
    "load_network": "striate.zoo",
    "map_classes": "striate.jobs.maps",
    "micro_batches": "striate.planning.apply",
    "plan": "striate.jobs.plan",
    "predict": "striate.jobs.predict",
    "read_plan": "striate.planning.plan",
    "save_weights": "striate.weights",
    "segment_images": "striate.jobs.masks",
    "selective_search": "striate.detection.selective_search",
    "stylize": "striate.jobs.painting.stylizing",
    "train": "striate.jobs.train",
    "val": "striate.jobs.val",
}

__all__ = [
    "Checked",
    "ClassMap",
    "ComparedDetectors",
    "ComparedProposals",
    "Cost",
    "DetectedThings",
    "Detections",
    "EpochRecord",
    "Explained",
    "Finished",
    "Mapped",
    "Mask",
    "Plan",
    "Prediction",
    "Preprocessing",
    "Segmented",
    "Started",
    "StepRecord",
    "StriateError",
    "StyleSettings",
    "StyleStep",
    "Stylized",
    "TrainConfig",
    "Validated",
    "WeightsConfig",
    "apply_plan",
    "check",
    "compare_detectors",
    "compare_proposals",
    "convert",
    "cost",
    "create_model",
    "detect_images",
    "explain",
    "export",
    "fully_convolutional",
    "layer_costs",
    "list_models",
    "load_network",
    "map_classes",
    "micro_batches",
    "plan",
    "predict",
    "read_plan",
    "save_weights",
    "segment_images",
    "selective_search",
    "stylize",
    "train",
    "val",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return version("striate")
    if name not in _HOMES:
        raise AttributeError(f"module 'striate' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
