"""Reads a Modules folder: SPLIT.npz with `images` (N x 40 x 24 uint8) and `labels`, and classes.json with their names."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from detection.dataset import LabelledDataError
from detection.models.modules import CLASSES, COLUMNS, ROWS


@dataclass(frozen=True)
class ModuleCrops:
    """Infrared crops of single modules."""

    images: NDArray[np.uint8]
    """N x 40 x 24, warm is bright."""
    labels: NDArray[np.int64]
    """Numbers into `CLASSES`."""

    def take(self, chosen: NDArray[np.bool_]) -> ModuleCrops:
        """The crops where `chosen` is True."""
        return ModuleCrops(self.images[chosen], self.labels[chosen])


def read_modules_folder(root: Path, split: str) -> ModuleCrops:
    """Reads one split. Raises `LabelledDataError` with file and remedy when it is not as it should be."""
    path = root / f"{split}.npz"
    if not path.is_file():
        there = sorted(p.stem for p in root.glob("*.npz")) if root.is_dir() else []
        raise InvalidInputError(f"{path} is missing; {root} has the splits {there}: name one of them with --split.")
    order = _class_order(root / "classes.json")
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        problem = f"no arrays `images` and `labels` can be read ({error})"
        raise LabelledDataError(path, None, problem, "write them anew") from None
    if images.ndim != 3 or images.shape[1:] != (ROWS, COLUMNS) or images.dtype != np.uint8 or len(images) == 0:
        problem = f"`images` is {images.shape}, {images.dtype}"
        raise LabelledDataError(path, None, problem, f"wanted is N x {ROWS} x {COLUMNS}, uint8, N above 0")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(order):
        problem = f"`labels` is {labels.shape}, {labels.dtype}"
        raise LabelledDataError(path, None, problem, f"wanted is one number from 0 to {len(order) - 1} per picture")
    return ModuleCrops(images, order[labels.astype(np.int64)])


def _class_order(path: Path) -> NDArray[np.int64]:
    """The folder's class numbers -> ours."""
    try:
        names = orjson.loads(path.read_bytes())
        return np.array([CLASSES.index(name) for name in names], np.int64)
    except (OSError, orjson.JSONDecodeError, TypeError, ValueError):
        remedy = f"write a JSON list of the class names in the order of their numbers, out of {', '.join(CLASSES)}"
        raise LabelledDataError(path, None, "missing, or no list of known classes", remedy) from None
