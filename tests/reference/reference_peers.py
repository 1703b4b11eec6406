"""Parts of torchvision and timm, where these are."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
import torch


def import_peer(name: str) -> Any:
    """Import a part of one of them; skip all of a file's tests where it is not installed."""
    library = name.partition(".")[0]
    for needed in {"torchvision", library}:
        if find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed: run by `make test-reference`", allow_module_level=True)
    _missing_operators()
    return import_module(name)


@cache
def _missing_operators() -> Any:
    """Define what a torchvision that was built for another torch lacks, and what nothing here uses."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(  # type: ignore[no-untyped-call]
            f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    return library  # Its operators are there as long as it is.
