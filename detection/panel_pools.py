"""Where the panel network's training pictures come from: one pool for each kind, each cut to one size on one grid."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from detection.augment import affine, random_angle
from detection.clutter import draw_town, paste_decoys
from detection.dataset import Chip, MaskedImage, Picture
from detection.paste import paste_panels

GSD_M = 0.2
"""Metres per pixel of the model grid."""
FINE_GSD_M = 0.165
"""The same of the research weights: half as many pixels again for the same ground, for small arrays."""
CROP = 160
NONE, PANEL, UNKNOWN = 0, 1, 2
"""Values of a target: no panel, panel, not known. A target all unknown means "panels somewhere"."""
CHIP_OUTLINES = Path(__file__).parent / "labels" / "solar_chips.csv"
_FOCUS = 48
"""Places on panels that are kept of each masked picture to cut around."""

Target = NDArray[np.uint8]
Outlines = Mapping[str, Sequence[NDArray[np.float32]]]
"""Chip name -> polygons (N x 2, chip pixels)."""


class PanelPool(Protocol):
    """One kind of training picture."""

    def sample(self, rng: np.random.Generator) -> tuple[Picture, Target]:
        """Picture (CROP, CROP, 3) and target (CROP, CROP)."""
        ...


def read_outlines(table: Path = CHIP_OUTLINES) -> dict[str, list[NDArray[np.float32]]]:
    """Our own outlines of panels on chips: rows `chip,polygon,x,y`. Raises `InvalidInputError` for a broken table."""
    if not table.is_file():
        raise InvalidInputError(f"{table} is missing; it comes with the package: install it anew.")
    corners: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with table.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            corners.setdefault((row["chip"], row["polygon"]), []).append((float(row["x"]), float(row["y"])))
    out: dict[str, list[NDArray[np.float32]]] = {}
    for (chip, _), points in corners.items():
        out.setdefault(chip, []).append(np.asarray(points, np.float32))
    return out


def turned(
    picture: Picture, target: Target, scale: float, rng: np.random.Generator, focus: tuple[float, float] | None = None
) -> tuple[Picture, Target]:
    """A CROP x CROP cut, turned and flipped at random, around `focus` (x, y) or anywhere; the border is mirrored."""
    height, width = picture.shape[:2]
    if focus is None:
        slack = np.maximum(np.array([width, height]) - CROP / scale, 0) / 2
        centre = np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * slack
    else:
        centre = np.array(focus) + rng.uniform(-0.4, 0.4, 2) * CROP / scale
    angle, flip = random_angle(rng, 0.3), bool(rng.random() < 0.5)
    matrix = affine((float(centre[0]), float(centre[1])), (CROP / 2, CROP / 2), scale, angle, flip)
    size, border = (CROP, CROP), cv2.BORDER_REFLECT_101
    cut = cv2.warpAffine(picture, matrix, size, borderMode=border)
    mask = cv2.warpAffine(target, matrix, size, flags=cv2.INTER_NEAREST, borderMode=border)
    return cut.astype(np.uint8), mask.astype(np.uint8)


class ChipPool:
    """Roof chips, half of them with panels: outlined where `outlines` has them, else "panels somewhere"."""

    def __init__(self, chips: Sequence[Chip], outlines: Outlines, gsd_m: float = GSD_M, decoys: float = 0.25) -> None:
        self._gsd_m = gsd_m
        self._decoys = decoys
        self._with = [(chip, _chip_target(chip, outlines.get(chip.name))) for chip in chips if chip.label]
        self._without = [(chip, np.zeros(chip.image.shape[:2], np.uint8)) for chip in chips if not chip.label]

    def sample(self, rng: np.random.Generator) -> tuple[Picture, Target]:
        """A chip with panels or one without."""
        pool = self._with if rng.random() < 0.6 else self._without
        chip, target = pool[int(rng.integers(len(pool)))]
        picture, mask = turned(chip.image, target, chip.gsd_m / self._gsd_m * float(rng.uniform(0.85, 1.2)), rng)
        if not mask.any() and not chip.label and rng.random() < self._decoys:
            picture = paste_decoys(picture, self._gsd_m, rng)
        return picture, mask


def _chip_target(chip: Chip, polygons: Sequence[NDArray[np.float32]] | None) -> Target:
    """Panels inside the outlines; a pixel on either side of an outline is not known."""
    target = np.full(chip.image.shape[:2], UNKNOWN, np.uint8)
    if not polygons:
        return target
    target[:] = NONE
    rounded = [np.round((polygon - 0.5) * 16).astype(np.int32) for polygon in polygons]
    cv2.fillPoly(target, rounded, (PANEL,), cv2.LINE_8, 4)
    return target


class MaskPool:
    """Pictures with masks; most cuts lie around panels."""

    def __init__(self, items: Sequence[MaskedImage], near: float = 0.7, gsd_m: float = GSD_M) -> None:
        self._gsd_m = gsd_m
        self._items = [(item, _places(item.mask)) for item in items]
        self._near = near

    def sample(self, rng: np.random.Generator) -> tuple[Picture, Target]:
        """A cut with the mask's panels."""
        item, places = self._items[int(rng.integers(len(self._items)))]
        focus = None
        if len(places) and rng.random() < self._near:
            y, x = places[int(rng.integers(len(places)))]
            focus = (float(x), float(y))
        scale = item.gsd_m / self._gsd_m * float(rng.uniform(0.85, 1.2))
        return turned(item.image, item.mask.view(np.uint8), scale, rng, focus)


def _places(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Up to `_FOCUS` pixels of the mask, (row, column), evenly picked."""
    on = np.argwhere(mask)
    return on[:: max(1, len(on) // _FOCUS)]


@dataclass(frozen=True)
class Background:
    """A picture without panels, and where panels may be drawn."""

    picture: Picture
    gsd_m: float
    allowed: NDArray[np.bool_] | None


class BarePool:
    """Photographs as they are, without panels."""

    def __init__(self, backgrounds: Sequence[Background], gsd_m: float = GSD_M) -> None:
        self._gsd_m = gsd_m
        self._backgrounds = backgrounds

    def sample(self, rng: np.random.Generator) -> tuple[Picture, Target]:
        """A background; no panels."""
        item = self._backgrounds[int(rng.integers(len(self._backgrounds)))]
        none = np.zeros(item.picture.shape[:2], np.uint8)
        return turned(item.picture, none, item.gsd_m / self._gsd_m * float(rng.uniform(0.85, 1.2)), rng)


class DrawnPool:
    """Panels drawn on photographs and on drawn towns, often beside decoys; one cut in five shows none."""

    def __init__(self, backgrounds: Sequence[Background], towns: float = 0.4, gsd_m: float = GSD_M) -> None:
        self._gsd_m = gsd_m
        self._backgrounds = backgrounds
        self._towns = towns

    def sample(self, rng: np.random.Generator) -> tuple[Picture, Target]:
        """A background, decoys, panels."""
        picture, allowed = self._ground(rng)
        if rng.random() < 0.35:
            picture = paste_decoys(picture, self._gsd_m, rng)
        if rng.random() < 0.2:
            return picture, np.zeros((CROP, CROP), np.uint8)
        drawn, mask = paste_panels(picture, self._gsd_m, rng, allowed)
        return drawn, mask.astype(np.uint8)

    def _ground(self, rng: np.random.Generator) -> tuple[Picture, NDArray[np.bool_] | None]:
        if rng.random() < self._towns:
            town = draw_town(CROP, self._gsd_m, rng)
            return town.picture, town.roof
        item = self._backgrounds[int(rng.integers(len(self._backgrounds)))]
        where = np.ones(item.picture.shape[:2], np.uint8) if item.allowed is None else item.allowed.view(np.uint8)
        scale = item.gsd_m / self._gsd_m * float(rng.uniform(0.85, 1.2))
        picture, allowed = turned(item.picture, where, scale, rng)
        return picture, allowed > 0 if item.allowed is not None else None
