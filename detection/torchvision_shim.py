"""Makes `torchvision` importable beside a CPU build of torch.

torchvision's PyPI wheel is a CUDA build: its compiled operators do not load beside a CPU torch, and its own import then
fails while registering a meta kernel for `torchvision::nms`. Declaring the schemas of the two operators it registers lets
models and transforms import; `torchvision.ops.nms` itself stays unavailable (nothing here needs it). Where torchvision
imports by itself nothing is declared.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_keep: list[torch.library.Library] = []
"""Declared schemas live as long as their `Library` object."""


def import_torchvision() -> ModuleType:
    """Returns the `torchvision` module, declaring the missing operator schemas when its import needs them.

    Raises whatever torchvision raises when the reason is another one (not installed, wrong version).
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]  # what the failed import left half made
    if not _keep:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in SCHEMAS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _keep.append(library)
    return importlib.import_module("torchvision")
