"""What became of a plant's panels since its reference picture: missing, covered or dark, as shares of the reference's area.

Missing: the segmenter no longer finds a panel (taken away, or hidden under something opaque; from above both look the same).
Covered: still a panel, but brown or white over its own colour (dust, sand, snow). Dark: still a panel, much darker than it
was (burnt, or in a shadow). Thin even dust that changes the colour by less than `_BROWNER` grey levels is not seen.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray

from collateral.files import write_whole
from detection.observe import Estimate
from imagery.grid import GridSpec, PixelSize
from imagery.radiometry import normalise

GROWN = 1.05
"""A good picture that shows this many times the reference's panels becomes the reference: the plant was enlarged."""
_MODULE_M = 1.0
"""Side of the square over which colours and probabilities are averaged: about one module."""
_EDGE_M = 0.4
"""This close to the outline of an array nothing is compared: what is left of misregistration."""
_BROWNER = 12.0
"""Grey levels by which red rises over blue under dust."""
_WHITER = 45.0
"""Grey levels by which luminance rises under snow or a light sheet."""
_DARKER = 0.6
_DARKER_BY = 12.0
"""Dark: below this share of the reference's luminance, and by at least so many grey levels."""
_CLOSE = 0.2
"""Probabilities this near the threshold are in doubt."""


@dataclass(frozen=True)
class PanelView:
    """A site's panels on one date, on the site's own grid."""

    scene_id: str
    acquired_at: datetime
    grid: GridSpec
    rgb: NDArray[np.uint8]
    """Rows x columns x 3."""
    valid: NDArray[np.bool_]
    """Rows x columns: seen and on the site."""
    probability: NDArray[np.float32]
    """Rows x columns: of a panel."""

    def panels(self, threshold: float) -> NDArray[np.bool_]:
        """Pixels that show panels."""
        return np.asarray((self.probability >= threshold) & self.valid, np.bool_)


@dataclass(frozen=True)
class PanelState:
    """Shares of the reference's panels, 0 to 1, of those that can be seen now."""

    missing: Estimate
    covered: Estimate
    dark: Estimate
    seen_share: float
    """Share of the reference's panels that could be compared."""


def compare_panels(reference: PanelView, now: PanelView, threshold: float, relative_error: float = 0.0) -> PanelState | None:
    """The state of the reference's panels now; None where less than half of them can be seen.

    Args:
        reference: the picture to compare with, on the same grid.
        now: the picture to judge, aligned.
        threshold: of the segmenter.
        relative_error: measured relative error of areas; both pictures have it.
    """
    gsd_m = now.grid.gsd_m
    there = reference.panels(threshold).astype(np.uint8)
    margin = max(1, round(_EDGE_M / gsd_m))
    core = cv2.erode(there, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) > 0
    compared = core & now.valid
    total = int(compared.sum())
    if total < 0.5 * max(1, int(core.sum())):
        return None
    side = max(1, round(_MODULE_M / gsd_m))
    probability = cv2.blur(now.probability, (side, side))
    missing = compared & (probability < threshold)
    before = _colours(reference.rgb, side)
    after = _colours(normalise(now.rgb, reference.rgb, now.valid & reference.valid), side)
    light, light_before = after.mean(axis=2), before.mean(axis=2)
    browner = (after[..., 0] - after[..., 2]) - (before[..., 0] - before[..., 2])
    present = compared & ~missing
    covered = present & (light > light_before) & ((browner > _BROWNER) | (light - light_before > _WHITER))
    dark = present & (light < _DARKER * light_before) & (light_before - light > _DARKER_BY)
    doubt = float((compared & (np.abs(probability - threshold) < _CLOSE)).sum()) / total
    return PanelState(
        _share(missing, total, relative_error, doubt), _share(covered, total, relative_error, 0.0),
        _share(dark, total, relative_error, 0.0), total / max(1, int(core.sum())),
    )  # fmt: skip


def _colours(rgb: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    return cv2.blur(rgb.astype(np.float32), (side, side)).astype(np.float32)


def _share(where: NDArray[np.bool_], total: int, relative_error: float, doubt: float) -> Estimate:
    value = float(where.sum()) / total
    spread = 0.01 + 1.96 * relative_error * (value * (1 - value)) ** 0.5 + doubt / 2
    return Estimate(value, max(0.0, value - spread), min(1.0, value + spread))


class PanelReferences:
    """The reference of each site in a folder: a picture, a PNG of probability and validity, and a JSON."""

    def __init__(self, folder: Path, method: str) -> None:
        """References made by another `method` (other weights) are not looked at and replaced."""
        self._folder = folder
        self._method = method

    def get(self, site_id: str, grid: GridSpec) -> PanelView | None:
        """The site's reference on this grid; None when there is none, or its files are damaged."""
        stem = self._folder / site_id
        try:
            told = json.loads(stem.with_suffix(".json").read_text())
            rgb = cv2.imread(str(stem.with_suffix(".webp")), cv2.IMREAD_COLOR)
            layers = cv2.imread(str(stem.with_suffix(".png")), cv2.IMREAD_COLOR)
            kept = GridSpec(told["epsg"], Affine(*told["affine"]), PixelSize(*told["size"]))
            acquired_at, scene_id = datetime.fromisoformat(told["acquired_at"]), str(told["scene_id"])
            method = told["method"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        shape = (grid.size.height, grid.size.width, 3)
        if rgb is None or layers is None or rgb.shape != shape or layers.shape != shape:
            return None
        if kept != grid or method != self._method:
            return None
        probability = (layers[..., 0] / np.float32(255)).astype(np.float32)
        picture = np.ascontiguousarray(rgb[..., ::-1]).astype(np.uint8)
        return PanelView(scene_id, acquired_at, grid, picture, layers[..., 1] > 0, probability)

    def offer(self, site_id: str, view: PanelView, threshold: float, kept: PanelView | None) -> None:
        """Keeps the view where `get` gave None, an older date comes to light, or the plant has grown (`GROWN`)."""
        later = kept is not None and view.acquired_at >= kept.acquired_at
        if kept is None or not later or view.panels(threshold).sum() > GROWN * kept.panels(threshold).sum():
            self._put(site_id, view)

    def _put(self, site_id: str, view: PanelView) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        stem = self._folder / site_id
        told = {
            "method": self._method, "scene_id": view.scene_id, "acquired_at": view.acquired_at.isoformat(),
            "epsg": view.grid.epsg, "affine": list(view.grid.affine[:6]),
            "size": [view.grid.size.width, view.grid.size.height],
        }  # fmt: skip
        seen = np.where(view.valid, 255, 0).astype(np.uint8)
        layers = np.dstack([np.round(view.probability * 255).astype(np.uint8), seen, seen])
        picture = cv2.imencode(".webp", np.ascontiguousarray(view.rgb[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, 92])[1]
        for suffix, content in (
            (".webp", picture.tobytes()), (".png", cv2.imencode(".png", layers)[1].tobytes()),
            (".json", json.dumps(told).encode()),
        ):  # fmt: skip
            write_whole(stem.with_name(stem.name + suffix), content)
