"""How the classifier of PV modules is taught: infrared crops, rare classes drawn more often, re-scaled, shifted, mixed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from detection.arrays import Floats, floats
from detection.augment import affine
from detection.models.modules import CLASSES, COLUMNS, ROWS, ModuleNet
from detection.module_data import ModuleCrops, read_modules_folder
from detection.views import mirrored

HOLD_EVERY = 10
"""One in so many groups of near duplicates is kept for calibration and for every choice."""
SAME_MODULE = 0.95
"""Correlation of what a blur of 3 px takes away from which on two crops are taken for pictures of one module."""
_SMOOTHING = 0.06
_MIXED = 0.3
"""Share of samples that are a blend of two crops (Zhang et al. 2018, doi:10.48550/arXiv.1710.09412)."""
_MARGIN = 4
_CHUNK = 2000


KNOWN_FAILURES = (
    "one hot cell and vegetation at the lower edge look alike; single hot spots, soiling and shadow are named wrongly often",
    "an offline module is warm all over and looks like a sound one where its neighbours are not seen",
    "sound modules are half of the training data; on a healthy plant most of those called faulty may be sound ones: the "
    "share of a site is corrected for the measured error rates, single answers are not",
    "modules of other shape than 40 x 24 cells' proportions, and thin-film modules",
)


@dataclass(frozen=True)
class ModuleTask:
    """Batches and loss of the module classifier (see `detection.train.Task`)."""

    crops: ModuleCrops
    drawn: tuple[float, ...]
    """Chance of each class in a batch."""
    members: tuple[NDArray[np.int64], ...]
    """Indices of the crops of each class."""

    @property
    def offset(self) -> Floats:
        """12: log of the share of each class in the data over the share it is drawn with."""
        counts = np.array([len(own) for own in self.members], np.float64)
        return floats(np.log(counts / counts.sum()) - np.log(np.array(self.drawn)))

    def model(self) -> nn.Module:
        """The network as it starts."""
        return ModuleNet()

    def sample(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """One crop (1, 40, 24) uint8 and its class as shares (12,)."""
        picture, target = self._one(rng)
        if rng.random() < _MIXED:
            other, second = self._one(rng)
            share = float(rng.beta(0.3, 0.3))
            picture = floats(share * picture + (1 - share) * other)
            target = floats(share * target + (1 - share) * second)
        grey = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        return torch.from_numpy(grey[None]), torch.from_numpy(target)

    def _one(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        label = min(int(np.searchsorted(np.cumsum(self.drawn), rng.random())), len(CLASSES) - 1)
        own = self.members[label]
        index = int(own[rng.integers(len(own))])
        target = np.zeros(len(CLASSES), np.float32)
        target[label] = 1.0
        return changed(self.crops.images[index], rng), target

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Cross entropy with softened labels."""
        logits = model(images).float()
        value = functional.cross_entropy(logits, targets, label_smoothing=_SMOOTHING)
        right = float((logits.argmax(1) == targets.argmax(1)).float().mean())
        return value, {"ce": float(value.detach()), "right": right}


def changed(crop: NDArray[np.uint8], rng: np.random.Generator) -> Floats:
    """Another camera's view of a module: flips, shift, turn and scale, gain and level, lost resolution, noise."""
    angle, zoom = float(rng.normal(0, 0.03)), float(rng.uniform(0.92, 1.1))
    centre = (COLUMNS / 2 + rng.normal(0, 0.7), ROWS / 2 + rng.normal(0, 0.9))
    matrix = affine(centre, (COLUMNS / 2, ROWS / 2), zoom, angle, bool(rng.random() < 0.5))
    x = cv2.warpAffine(crop, matrix, (COLUMNS, ROWS), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    if rng.random() < 0.5:
        x = x[::-1]
    if rng.random() < 0.8:
        level = float(x.mean())
        x = floats((x - level) * rng.uniform(0.75, 1.35) + level + rng.normal(0, 14))
    if rng.random() < 0.15:
        small = cv2.resize(x, None, fx=rng.uniform(0.5, 0.9), fy=rng.uniform(0.5, 0.9), interpolation=cv2.INTER_AREA)
        x = floats(cv2.resize(small, (COLUMNS, ROWS), interpolation=cv2.INTER_LINEAR))
    if rng.random() < 0.3:
        x = floats(x + rng.normal(0, rng.uniform(0.5, 4), x.shape))
    return np.ascontiguousarray(x, np.float32)


def near_duplicates(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Number of the group that each crop belongs to: crops of one module, also mirrored, are in one group."""
    fine = np.stack([image - cv2.GaussianBlur(image, (0, 0), 3) for image in images.astype(np.float32)])
    inner = fine[:, _MARGIN:-_MARGIN, _MARGIN - 1 : 1 - _MARGIN]
    parent = np.arange(len(images))
    base = _unit(inner)
    for view in mirrored(inner):
        other = _unit(view)
        for start in range(0, len(images), _CHUNK):
            for a, b in np.argwhere(base[start : start + _CHUNK] @ other.T > SAME_MODULE):
                parent[_root(parent, int(b))] = _root(parent, start + int(a))
    return np.array([_root(parent, index) for index in range(len(images))], np.int64)


def _unit(pictures: Floats) -> Floats:
    flat = pictures.reshape(len(pictures), -1)
    return floats(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6))


def _root(parent: NDArray[np.int64], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = int(parent[index])
    return index


def prepare(data: Path) -> tuple[ModuleTask, ModuleCrops]:
    """The task, and the crops kept for calibration. Near duplicates of a kept crop are not trained on."""
    crops = read_modules_folder(data / "pv_modules", "train")
    groups = near_duplicates(crops.images)
    names = np.unique(groups)
    kept = np.isin(groups, np.random.default_rng(5).permutation(names)[::HOLD_EVERY])
    mine = crops.take(~kept)
    counts = np.bincount(mine.labels, minlength=len(CLASSES)).astype(np.float64)
    drawn = np.sqrt(counts) / np.sqrt(counts).sum()
    members = tuple(np.flatnonzero(mine.labels == label) for label in range(len(CLASSES)))
    return ModuleTask(mine, tuple(drawn.tolist()), members), crops.take(kept)
