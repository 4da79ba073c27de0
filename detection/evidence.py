"""Evidence files of one window: the picture with what was found drawn on it, and the same as GeoJSON.

Files lie under EVIDENCE/SITE/TIME_SCENE_METHOD_CONTENT.{jpg,geojson}, CONTENT being the beginning of a hash of what they
show: neither other weights nor a corrected outline write over what earlier observations rest on; the same again is one file.
JPEG because a year of scenes of one portfolio as PNG fills a disk (measured: 82 kB against 585 kB a window).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from collateral.files import write_whole
from detection.locate import Located
from imagery.grid import GridSpec
from imagery.scan import SiteWindow
from imagery.target import to_lonlat

_PICTURE_GSD_M = 0.3
_JPEG_QUALITY = 82
_COLOURS: Mapping[str, tuple[int, int, int]] = {
    "car": (255, 196, 0), "heavy": (255, 80, 40), "panel": (0, 220, 255), "occupied": (255, 120, 40),
    "empty": (90, 220, 120), "unknown": (170, 170, 170), "goods": (255, 150, 0), "stock": (255, 150, 0),
    "vehicles": (255, 60, 60), "roof": (0, 220, 255), "construction": (255, 70, 255), "other": (250, 250, 120),
    "faulty": (255, 60, 60), "sound": (90, 220, 120),
}
"""Red, green, blue by label."""
_OUTLINE = (255, 255, 255)


@dataclass(frozen=True)
class EvidenceFiles:
    """Where the evidence lies, relative to the evidence folder."""

    picture: str
    geojson: str
    bounds: tuple[float, float, float, float]
    """Of the picture: west, south, east, north in degrees."""

    def as_dict(self) -> dict[str, object]:
        """As observations carry it. The key `png` names the picture whatever its format."""
        return {"png": self.picture, "geojson": self.geojson, "bounds": list(self.bounds)}


def write_evidence(
    folder: Path, window: SiteWindow, method: str, found: Sequence[Located], picture_gsd_m: float = _PICTURE_GSD_M
) -> EvidenceFiles:
    """Writes both files of one window, each whole or not at all; the picture no finer than `picture_gsd_m`."""
    site_id = window.target.site.site_id
    record = window.scene.record
    bounds = _bounds(window.pixels.grid)
    features, image = _features(window, method, found, bounds), _picture(window, found, picture_gsd_m)
    content = hashlib.sha256(image + json.dumps(features).encode()).hexdigest()[:10]
    stem = f"{record.acquired_at:%Y%m%dT%H%M%SZ}_{record.scene_id}_{method.replace('@', '-')}_{content}"
    (folder / site_id).mkdir(parents=True, exist_ok=True)
    picture, geojson = f"{site_id}/{stem}.jpg", f"{site_id}/{stem}.geojson"
    write_whole(folder / picture, image)
    write_whole(folder / geojson, json.dumps({**features, "picture": picture}, ensure_ascii=False).encode())
    return EvidenceFiles(picture, geojson, bounds)


def _bounds(grid: GridSpec) -> tuple[float, float, float, float]:
    west, south, east, north = to_lonlat(grid.footprint, grid.epsg).bounds
    return (round(west, 8), round(south, 8), round(east, 8), round(north, 8))


def _picture(window: SiteWindow, found: Sequence[Located], gsd_m: float) -> bytes:
    pixels = window.pixels
    shrink = min(1.0, pixels.grid.gsd_m / gsd_m)
    size = (max(1, round(pixels.grid.size.width * shrink)), max(1, round(pixels.grid.size.height * shrink)))
    image = np.asarray(cv2.resize(pixels.rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    _draw(image, window.target.polygon, pixels.grid, _OUTLINE)
    for item in found:
        _draw(image, item.geometry, pixels.grid, _COLOURS[item.label])
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return encoded.tobytes()


def _draw(image: NDArray[np.uint8], geometry: BaseGeometry, grid: GridSpec, colour: tuple[int, int, int]) -> None:
    scale = np.array([image.shape[1] / grid.size.width, image.shape[0] / grid.size.height])
    rings = [
        np.round(grid.to_pixels(shapely.get_coordinates(ring)) * scale * 16 - 8).astype(np.int32)
        for part in shapely.get_parts(geometry)
        for ring in (part.exterior, *part.interiors)
    ]
    cv2.polylines(image, rings, True, colour, 1, cv2.LINE_AA, shift=4)


def _features(
    window: SiteWindow, method: str, found: Sequence[Located], bounds: tuple[float, ...]
) -> dict[str, object]:
    return {
        "type": "FeatureCollection",
        "bbox": list(bounds),
        "site_id": window.target.site.site_id,
        "scene_id": window.scene.record.scene_id,
        "acquired_at": window.scene.record.acquired_at.isoformat(),
        "method": method,
        "features": [_feature(item) for item in found],
    }


def _feature(item: Located) -> dict[str, object]:
    properties: dict[str, object] = {"label": item.label, "confidence": round(item.confidence, 4)}
    if item.length_m is not None:
        properties["length_m"] = round(item.length_m, 2)
    if item.subject_id:
        properties[f"{item.subject}_id"] = item.subject_id
    geometry = shapely.set_precision(item.lonlat, 1e-8, mode="pointwise")
    return {"type": "Feature", "geometry": shapely.geometry.mapping(geometry), "properties": properties}
