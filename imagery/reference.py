"""The picture each site is compared with: chosen by rule, kept as files, replaced by rule, rebuilt when a file is lost.

First one: the first good windows (up to `DEPTH`, by time of acquisition) are aligned with the first of them and averaged by
the median, which takes vehicles and small clouds out. As delivered, scenes lie off by a few metres at random, so the middle
of their displacements is taken for the true place. A scene alone is its own reference.

Later ones: when `REPLACED_AFTER` good windows of different days in a row do not align with the reference but with each
other, the site was rebuilt: they become the next reference, which holds from the last of them on. Older scenes keep the
older one, whenever they are read, and nothing is deleted: what made a reference, when and why stands in its JSON. Seasons,
sun and goods do not replace it, because they do not keep windows from aligning.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray

from collateral.files import write_whole
from imagery.grid import NO_SHIFT, GridSpec, MapShift, PixelSize
from imagery.quality import OVERVIEW_GSD_M, Overview, assess, clouds
from imagery.raster import RasterRejectedError
from imagery.reader import ReadCost, WindowUnreadableError, read_pixels
from imagery.register import align
from imagery.scenes import SceneFile, open_scene
from imagery.target import SiteTarget, mask_inside

DEPTH = 5
_TRIES = 12
"""Windows looked at before giving up finding DEPTH good ones."""
REPLACED_AFTER = 3
_APART = timedelta(hours=12)
"""Strays count once in this time: one delivery cut into several files is one picture."""
_MOST_STRAYS = 6
_LEAST_EDGE_M = 48.0
"""Shortest edge of the window that is aligned: a small site alone has too little structure to tell where it lies."""
FIRST = "first"
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Reference:
    """The luminance a site's windows are compared with."""

    grid: GridSpec
    luminance: NDArray[np.uint8]
    """Rows x columns on `grid`; 0 where nothing is known."""
    scene_ids: tuple[str, ...]
    """What it was made from."""
    valid_from: datetime | None = None
    """Scenes taken from then on are compared with it; None: the first, for all scenes before another one."""

    @property
    def version(self) -> str:
        """`first`, or the time from which on it holds."""
        return FIRST if self.valid_from is None else f"{self.valid_from:%Y%m%dT%H%M%SZ}"


def overview_grid(target: SiteTarget) -> GridSpec:
    """The grid on which windows of a site are judged and aligned."""
    return target.grid(OVERVIEW_GSD_M, least_edge_m=_LEAST_EDGE_M)


def overview_of(scene: SceneFile, target: SiteTarget) -> tuple[Overview, ReadCost]:
    """A scene's window of one site on the overview grid.

    Raises:
        WindowUnreadableError: the pixels cannot be had.
    """
    grid = overview_grid(target)
    pixels = read_pixels(scene.facts, grid)
    return Overview(grid, pixels.rgb, pixels.valid, mask_inside(target.polygon, grid)), pixels.cost


class ReferenceStore:
    """References in a folder: one PNG and one JSON per version, and per site a list of windows that did not align."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, target: SiteTarget, at: datetime | None = None) -> Reference | None:
        """The reference for a scene taken at this time (None: the newest); None when none fits the site's present grid."""
        return reference_at(self.versions(target), at)

    def versions(self, target: SiteTarget) -> tuple[Reference, ...]:
        """All usable references of a site, oldest first."""
        site_id = target.site.site_id
        metas = [self._folder / f"{site_id}.json", *sorted(self._folder.glob(f"{glob.escape(site_id)}@*.json"))]
        found = [reference for meta in metas if (reference := _read(meta, target)) is not None]
        return tuple(sorted(found, key=lambda reference: reference.valid_from or _BEFORE_ALL))

    def put(self, target: SiteTarget, reference: Reference, reason: str = "the first good windows") -> None:
        """Stores a reference; a reader sees the old one or the new one, never half."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = target.site.site_id + ("" if reference.valid_from is None else f"@{reference.version}")
        told = {
            "epsg": reference.grid.epsg, "affine": list(reference.grid.affine[:6]), "width": reference.grid.size.width,
            "height": reference.grid.size.height, "scene_ids": list(reference.scene_ids), "reason": reason,
            "valid_from": reference.valid_from.isoformat() if reference.valid_from else None,
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"), "made_by": "collateral scan",
        }
        write_whole(self._folder / f"{name}.png", cv2.imencode(".png", reference.luminance)[1].tobytes())
        write_whole(self._folder / f"{name}.json", json.dumps(told).encode())

    def stray(self, target: SiteTarget, scene: SceneFile) -> Reference | None:
        """Notes a good window that does not align; the new reference when this one completes what the rule asks for."""
        strays = [row for row in self._strays(target) if row["scene_id"] != scene.record.scene_id]
        strays.append({
            "scene_id": scene.record.scene_id, "path": scene.record.path, "acquired_at": scene.record.acquired_at.isoformat()
        })
        strays = sorted(strays, key=lambda row: row["acquired_at"])[-_MOST_STRAYS:]
        self._keep_strays(target, strays)
        if len(strays) < REPLACED_AFTER or strays[-1]["scene_id"] != scene.record.scene_id:
            return None
        reference = _rebuilt(target, [row["path"] for row in strays])
        if reference is not None:
            self.put(target, reference, f"{len(reference.scene_ids)} windows in a row agree with each other, not with it")
            self._keep_strays(target, [])
        return reference

    def settled(self, target: SiteTarget, scene: SceneFile) -> None:
        """A window aligned: strays before it were single bad pictures."""
        strays = self._strays(target)
        later = [row for row in strays if row["acquired_at"] > scene.record.acquired_at.isoformat()]
        if later != strays:
            self._keep_strays(target, later)

    def _strays(self, target: SiteTarget) -> list[dict[str, str]]:
        try:
            return list(json.loads(self._stray_file(target).read_text()))
        except (OSError, ValueError, TypeError):
            return []

    def _keep_strays(self, target: SiteTarget, rows: list[dict[str, str]]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._stray_file(target), json.dumps(rows).encode())

    def _stray_file(self, target: SiteTarget) -> Path:
        return self._folder / f"{target.site.site_id}.strays"


def reference_at(versions: Sequence[Reference], at: datetime | None) -> Reference | None:
    """The version that holds for a scene taken at this time (None: the newest)."""
    if at is None or not versions:
        return versions[-1] if versions else None
    holding = [reference for reference in versions if (reference.valid_from or _BEFORE_ALL) <= at]
    return holding[-1] if holding else None


def _read(meta: Path, target: SiteTarget) -> Reference | None:
    try:
        told = json.loads(meta.read_text())
        picture = meta.with_name(meta.name.removesuffix(".json") + ".png").read_bytes()
        luminance = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
        grid = GridSpec(told["epsg"], Affine(*told["affine"]), PixelSize(told["width"], told["height"]))
        since = told.get("valid_from")
        valid_from = datetime.fromisoformat(since) if since else None
        scene_ids = tuple(told["scene_ids"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, cv2.error):
        return None
    whole = luminance is not None and luminance.shape == (grid.size.height, grid.size.width)
    if not whole or grid != overview_grid(target):
        return None  # the file is damaged or the polygon was changed: made anew
    return Reference(grid, np.asarray(luminance, np.uint8), scene_ids, valid_from)


def _rebuilt(target: SiteTarget, paths: Sequence[str]) -> Reference | None:
    """A reference from strays of different days that all align with the newest of them; None when they are too few."""
    scenes: list[SceneFile] = []
    for path in reversed(paths):
        try:
            scene = open_scene(Path(path))
        except (RasterRejectedError, OSError):
            continue  # moved or deleted since: it cannot bear witness
        if not scenes or scenes[-1].record.acquired_at - scene.record.acquired_at >= _APART:
            scenes.append(scene)
    if len(scenes) < REPLACED_AFTER:
        return None
    reference = build_reference(target, scenes)
    newest = scenes[0].record
    if reference is None or len(reference.scene_ids) < REPLACED_AFTER or newest.scene_id not in reference.scene_ids:
        return None
    return replace(reference, valid_from=newest.acquired_at)


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
