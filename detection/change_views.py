"""One date of a site as the change detector wants it: made from a registered window, and kept until the next date comes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry import box

from collateral.files import write_whole
from detection.arrays import floats
from detection.change import GSD_M, View
from detection.dataset import resample
from detection.infer import PanelSegmenter, VehicleDetector
from detection.locate import Located, locate_boxes
from detection.stock import StockSegmenter
from imagery.grid import GridSpec, PixelSize, compose
from imagery.reader import Pixels, moved_mask

KEPT = 6
"""Dates of a site that are kept."""
_FLOOR = 0.5
"""Vehicles are kept down to this share of the detector's threshold."""
_PANEL_FLOOR = 0.3
_KNOWN = 127
"""Grey level of known pixels in the third layer; 255 seen, 0 not."""
_PICTURE_QUALITY = 92


@dataclass(frozen=True)
class DatedView:
    """A view and what it is of."""

    scene_id: str
    acquired_at: datetime
    view: View


def make_view(
    pixels: Pixels,
    segmenter: StockSegmenter,
    vehicles: VehicleDetector | None,
    panels: PanelSegmenter | None = None,
    native_gsd_m: float | None = None,
    panel_pixels: Pixels | None = None,
) -> View:
    """Shrinks a registered window to GSD_M, finds goods and roofs on it and vehicles on the window itself.

    `pixels` lie on a grid of GSD_M or an exact part of it, the vehicle detector's own where vehicles are wanted. With
    `panels` their pixels are known: they are not compared, how panels change is the panel detector's to say; they are looked
    for on `panel_pixels`, the same window on the grid of `panels`, or on the window resampled to it.
    """
    factor = max(1, round(GSD_M / pixels.grid.gsd_m))
    grid = _coarser(pixels.grid, factor)
    cut = (slice(0, grid.size.height * factor), slice(0, grid.size.width * factor))
    size = (grid.size.width, grid.size.height)
    rgb = np.asarray(cv2.resize(pixels.rgb[cut], size, interpolation=cv2.INTER_AREA), np.uint8)
    valid = cv2.resize(pixels.valid[cut].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    goods, roof = segmenter.classes(rgb)
    found: Sequence[Located] = ()
    if vehicles is not None:
        boxes = vehicles.detect(pixels.rgb, floor=vehicles.threshold * _FLOOR, gsd_m=native_gsd_m)
        found = locate_boxes(boxes, pixels.grid, pixels.grid.footprint)
    limit = vehicles.threshold if vehicles is not None else 1.0
    known = None if panels is None else _panels(panel_pixels or _resampled(pixels, panels.gsd_m), panels, grid)
    return View(grid, rgb, np.asarray(valid, np.bool_), goods, roof, tuple(found), limit, known)


def _panels(pixels: Pixels, panels: PanelSegmenter, grid: GridSpec) -> NDArray[np.bool_]:
    found = moved_mask(panels.segment(pixels.rgb) >= _PANEL_FLOOR, pixels.grid, grid)
    return np.asarray(cv2.dilate(found.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0, np.bool_)


def _resampled(pixels: Pixels, gsd_m: float) -> Pixels:
    rgb = resample(pixels.rgb, pixels.grid.gsd_m / gsd_m)
    return replace(pixels, rgb=rgb, grid=_scaled(pixels.grid, PixelSize(rgb.shape[1], rgb.shape[0])))


def _scaled(grid: GridSpec, size: PixelSize) -> GridSpec:
    """The same ground in so many pixels."""
    part = Affine.scale(grid.size.width / size.width, grid.size.height / size.height)
    return GridSpec(grid.epsg, compose(grid.affine, part), size)


def _coarser(grid: GridSpec, factor: int) -> GridSpec:
    a, b, c, d, e, f = grid.affine[:6]
    size = PixelSize(grid.size.width // factor, grid.size.height // factor)
    return GridSpec(grid.epsg, Affine(a * factor, b * factor, c, d * factor, e * factor, f), size)


class ViewStore:
    """Views of each site in a folder: a picture, a PNG of goods, roof and validity, and a JSON."""

    def __init__(self, folder: Path, method: str) -> None:
        """Views made by another `method` (other weights) are not looked at."""
        self._folder = folder
        self._method = method

    def put(self, site_id: str, dated: DatedView) -> None:
        """Keeps a view; the oldest beyond KEPT go."""
        folder = self._folder / site_id
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / f"{dated.acquired_at.astimezone(UTC):%Y%m%dT%H%M%SZ}_{dated.scene_id}"
        view = dated.view
        seen = np.where(view.valid, np.uint8(255), np.uint8(0))
        if view.known is not None:
            seen[view.known & view.valid] = _KNOWN
        layers = np.dstack([_bytes(view.goods), _bytes(view.roof), seen])
        told = {
            "method": self._method, "scene_id": dated.scene_id, "acquired_at": dated.acquired_at.isoformat(),
            "epsg": view.grid.epsg, "affine": list(view.grid.affine[:6]),
            "size": [view.grid.size.width, view.grid.size.height],
            "vehicle_threshold": view.vehicle_threshold,
            "vehicles": [[*item.geometry.bounds, item.confidence, item.label, item.length_m] for item in view.vehicles],
        }
        colours = np.ascontiguousarray(view.rgb[..., ::-1])
        picture = cv2.imencode(".webp", colours, [cv2.IMWRITE_WEBP_QUALITY, _PICTURE_QUALITY])
        for suffix, content in (
            (".webp", picture[1].tobytes()), (".png", cv2.imencode(".png", layers)[1].tobytes()),
            (".json", json.dumps(told).encode()),
        ):
            write_whole(stem.with_name(stem.name + suffix), content)
        for old in sorted(folder.glob("*.json"))[:-KEPT]:
            for suffix in (".json", ".png", ".webp"):
                old.with_suffix(suffix).unlink(missing_ok=True)

    def before(self, site_id: str, acquired_at: datetime, grid: GridSpec) -> DatedView | None:
        """The last view of a site taken before a time, on the same grid; None when there is none."""
        for path in sorted((self._folder / site_id).glob("*.json"), reverse=True):
            dated = self._read(path)
            if dated is not None and dated.acquired_at < acquired_at and dated.view.grid == grid:
                return dated
        return None

    def _read(self, path: Path) -> DatedView | None:
        try:
            told = json.loads(path.read_text())
            if told["method"] != self._method:
                return None
            layers = cv2.imread(str(path.with_suffix(".png")), cv2.IMREAD_COLOR)
            picture = cv2.imread(str(path.with_suffix(".webp")), cv2.IMREAD_COLOR)
            grid = GridSpec(told["epsg"], Affine(*told["affine"]), PixelSize(*told["size"]))
            shape = (grid.size.height, grid.size.width, 3)
            if layers is None or picture is None or layers.shape != shape or picture.shape != shape:
                return None
            vehicles = tuple(
                Located(box(*row[:4]), grid.epsg, float(row[4]), str(row[5]), row[6]) for row in told["vehicles"]
            )
            goods, roof = (floats(layers[..., band] / np.float32(255)) for band in (0, 1))
            rgb = np.asarray(np.ascontiguousarray(picture[..., ::-1]), np.uint8)
            seen = layers[..., 2]
            limit = float(told["vehicle_threshold"])
            view = View(grid, rgb, seen > 0, goods, roof, vehicles, limit, seen == _KNOWN)
            return DatedView(told["scene_id"], datetime.fromisoformat(told["acquired_at"]), view)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None  # a damaged file is as good as none: the next date makes a new one


def _bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(values * 255), np.uint8)
