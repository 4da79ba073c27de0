"""The picture each site is compared with: chosen by rule, kept as a file, rebuilt when the file is lost.

Rule: the first good windows (up to `DEPTH`, by time of acquisition) are aligned with the first of them and averaged by the
median, which takes vehicles and small clouds out. As delivered, scenes lie off by a few metres at random, so the middle of
their displacements is taken for the true place. A scene alone is its own reference.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray

from imagery.grid import NO_SHIFT, GridSpec, MapShift, PixelSize
from imagery.quality import OVERVIEW_GSD_M, Overview, assess, clouds
from imagery.reader import ReadCost, WindowUnreadableError, read_pixels
from imagery.register import align
from imagery.scenes import SceneFile
from imagery.target import SiteTarget, mask_inside

DEPTH = 5
_TRIES = 12
"""Windows looked at before giving up finding DEPTH good ones."""


@dataclass(frozen=True)
class Reference:
    """The luminance a site's windows are compared with."""

    grid: GridSpec
    luminance: NDArray[np.uint8]
    """Rows x columns on `grid`; 0 where nothing is known."""
    scene_ids: tuple[str, ...]
    """What it was made from."""


def overview_of(scene: SceneFile, target: SiteTarget) -> tuple[Overview, ReadCost]:
    """A scene's window of one site on the overview grid.

    Raises:
        WindowUnreadableError: the pixels cannot be had.
    """
    grid = target.grid(OVERVIEW_GSD_M)
    pixels = read_pixels(scene.facts, grid)
    return Overview(grid, pixels.rgb, pixels.valid, mask_inside(target.polygon, grid)), pixels.cost


class ReferenceStore:
    """References in a folder, one PNG and one JSON per site."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, target: SiteTarget) -> Reference | None:
        """The stored reference; None when there is none for the site's present grid."""
        meta, picture = self._paths(target.site.site_id)
        try:
            told = json.loads(meta.read_text())
            luminance = cv2.imdecode(np.frombuffer(picture.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
            grid = GridSpec(told["epsg"], Affine(*told["affine"]), PixelSize(told["width"], told["height"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        whole = luminance is not None and luminance.shape == (grid.size.height, grid.size.width)
        if not whole or grid != target.grid(OVERVIEW_GSD_M):
            return None  # the file is damaged or the polygon was changed: made anew
        return Reference(grid, np.asarray(luminance, np.uint8), tuple(told["scene_ids"]))

    def put(self, target: SiteTarget, reference: Reference) -> None:
        """Stores a reference; a reader sees the old one or the new one, never half."""
        meta, picture = self._paths(target.site.site_id)
        self._folder.mkdir(parents=True, exist_ok=True)
        told = {
            "epsg": reference.grid.epsg, "affine": list(reference.grid.affine[:6]), "width": reference.grid.size.width,
            "height": reference.grid.size.height, "scene_ids": list(reference.scene_ids),
        }
        encoded = cv2.imencode(".png", reference.luminance)[1].tobytes()
        for path, content in ((picture, encoded), (meta, json.dumps(told).encode())):
            partial = path.with_name(path.name + ".partial")
            partial.write_bytes(content)
            partial.replace(path)

    def _paths(self, site_id: str) -> tuple[Path, Path]:
        return self._folder / f"{site_id}.json", self._folder / f"{site_id}.png"


def build_reference(target: SiteTarget, scenes: Sequence[SceneFile]) -> Reference | None:
    """Makes a site's reference from the first good windows; None when no window is good.

    Args:
        target: the site.
        scenes: candidates in any order.
    """
    good: list[tuple[SceneFile, Overview]] = []
    for scene in sorted(scenes, key=lambda item: (item.record.acquired_at, item.record.scene_id))[:_TRIES]:
        try:
            overview, _ = overview_of(scene, target)
        except WindowUnreadableError:
            continue  # the scan itself reports it
        verdict = assess(overview, clouds(overview))
        if verdict.accepted and not verdict.doubtful:
            good.append((scene, overview))
        if len(good) == DEPTH:
            break
    if not good:
        return None
    first = good[0][1].luminance
    moved = [(scene, overview, align(overview.luminance, first, overview.grid)) for scene, overview in good[1:]]
    used = [(good[0][0], good[0][1], NO_SHIFT)] + [(s, o, a.shift) for s, o, a in moved if a.aligned]
    middle = MapShift(
        float(np.median([shift.east_m for *_, shift in used])), float(np.median([shift.north_m for *_, shift in used]))
    )
    stack = np.stack([_shifted(overview, shift, middle) for _, overview, shift in used])
    known = stack > 0
    stack_or_gap = np.where(known, stack.astype(np.float32), np.nan)
    luminance = np.zeros(first.shape, np.uint8)
    some = known.any(axis=0)
    luminance[some] = np.nanmedian(stack_or_gap[:, some], axis=0).astype(np.uint8)
    return Reference(good[0][1].grid, luminance, tuple(scene.record.scene_id for scene, *_ in used))


def _shifted(overview: Overview, shift: MapShift, middle: MapShift) -> NDArray[np.uint8]:
    """The luminance moved from where the scene says it lies to where it lies in the middle of all; 0 is unknown."""
    known = overview.valid & ~clouds(overview)
    luminance = np.where(known, np.maximum(overview.luminance, 1), 0).astype(np.uint8)
    gsd_m = overview.grid.gsd_m
    columns, rows = (middle.east_m - shift.east_m) / gsd_m, (shift.north_m - middle.north_m) / gsd_m
    matrix = np.array([[1.0, 0.0, columns], [0.0, 1.0, rows]])
    size = (luminance.shape[1], luminance.shape[0])
    moved = cv2.warpAffine(luminance, matrix, size, flags=cv2.INTER_LINEAR)
    sure = cv2.warpAffine(known.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST)
    return np.asarray(np.where(sure > 0, moved, 0), np.uint8)
