"""A drawn infrared orthomosaic of a small solar plant: modules in turned rows, some with drawn faults; for tests and shows.

Temperatures are invented: sound modules near 40 degrees C with a slope and noise, colder at the frame, colder ground.
The classifier is not trained on these.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

FAULTS = ("Cell", "Cell-Multi", "Diode")
"""What is drawn: one hot cell, several, one third of the module warm."""
MODULE_M = (1.0, 1.67)
_GAP_M = 0.25
_GROUND_C, _MODULE_C = 33.0, 40.0
_NODATA = -9999.0


@dataclass(frozen=True)
class DrawnPlant:
    """Files and truth of one plant."""

    mosaic: Path
    outlines: Path
    faults: dict[str, str]
    """module_id -> fault; modules that are not in it are sound."""
    modules: int
    footprint: list[tuple[float, float]]
    """Corners in longitude and latitude of what the mosaic covers."""


def draw_plant(
    folder: Path, seed: int = 1, rows: int = 6, columns: int = 14, gsd_m: float = 0.04, turn_deg: float = 17.0,
    fault_share: float = 0.15, epsg: int = 32650, origin: tuple[float, float] = (500_000.0, 3_400_000.0),
    dtype: str = "float32", taken: str = "2026-05-04T03:30:00Z",
) -> DrawnPlant:  # fmt: skip
    """Writes FOLDER/infrared.tif and FOLDER/outlines.geojson (WGS 84).

    Args:
        folder: is made where missing.
        seed: of the faults and the noise.
        rows: of modules.
        columns: modules in a row.
        gsd_m: edge of a pixel.
        turn_deg: of the rows against the grid.
        fault_share: share of faulty modules.
        epsg: projected system of the mosaic.
        origin: east and north of its upper left corner.
        dtype: float32 in degrees C, or uint16 or uint8 counts.
        taken: tag ACQUIRED_AT.
    """
    rng = np.random.default_rng(seed)
    across, along = MODULE_M[0] + _GAP_M, MODULE_M[1] + _GAP_M
    reach = np.hypot(columns * across, rows * along) + 2.0
    edge = int(np.ceil(reach / gsd_m))
    image = np.full((edge, edge), _GROUND_C, np.float32) + rng.normal(0, 0.4, (edge, edge)).astype(np.float32)
    turn = np.deg2rad(turn_deg)
    u, v = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    transform = Affine(gsd_m, 0.0, origin[0], 0.0, -gsd_m, origin[1])
    faults: dict[str, str] = {}
    features = []
    for row in range(rows):
        for column in range(columns):
            name = f"R{row + 1:02d}-{column + 1:02d}"
            if rng.random() < fault_share:
                faults[name] = str(rng.choice(FAULTS))
            middle = np.array([edge, edge]) / 2 + (
                u * (column - (columns - 1) / 2) * across + v * (row - (rows - 1) / 2) * along) / gsd_m
            corners = [middle + (u * a * MODULE_M[0] + v * b * MODULE_M[1]) / gsd_m / 2
                       for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]  # fmt: skip
            _paste(image, _module(faults.get(name), rng), np.array(corners, np.float32))
            features.append(_feature(name, np.array(corners), transform, epsg))
    folder.mkdir(parents=True, exist_ok=True)
    mosaic, outlines = folder / "infrared.tif", folder / "outlines.geojson"
    _write(mosaic, image, transform, epsg, dtype, taken)
    outlines.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    border = np.array([[0, 0], [edge, 0], [edge, edge], [0, edge]], np.float64)
    return DrawnPlant(mosaic, outlines, faults, len(features), _lonlat(border, transform, epsg))


def _module(fault: str | None, rng: np.random.Generator) -> NDArray[np.float32]:
    """120 x 72 degrees C."""
    rows, columns = 120, 72
    y, x = np.mgrid[0:rows, 0:columns]
    slope = rng.normal(0, 1.0, 2) + np.array([3.0, 0.0])
    t = _MODULE_C + rng.normal(0, 0.5) + slope[0] * (y / rows - 0.5) + slope[1] * (x / columns - 0.5)
    t = t + rng.normal(0, 0.8, (rows, columns))
    t = t - 2.0 * np.exp(-np.minimum(y, rows - 1 - y) / 3.0) - 2.0 * np.exp(-np.minimum(x, columns - 1 - x) / 3.0)
    for _ in range({None: 0, "Diode": 0, "Cell": 1, "Cell-Multi": 4}[fault]):
        cy, cx = int(rng.integers(1, 9)) * 12 + 6, int(rng.integers(1, 5)) * 12 + 6
        t[cy - 6 : cy + 6, cx - 6 : cx + 6] += rng.uniform(7, 12)
    if fault == "Diode":
        third = int(rng.integers(0, 3)) * 24
        t[:, third : third + 24] += rng.uniform(3.5, 5)
    t = cv2.GaussianBlur(t, (0, 0), 1.5)
    return np.asarray(t, np.float32)


def _paste(image: NDArray[np.float32], module: NDArray[np.float32], corners: NDArray[np.float32]) -> None:
    rows, columns = module.shape
    source = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform(source, corners - 0.5)
    size = (image.shape[1], image.shape[0])
    shown = cv2.warpPerspective(module, matrix, size, flags=cv2.INTER_LINEAR, borderValue=np.nan)
    inside = np.isfinite(shown)
    image[inside] = shown[inside]


def _lonlat(points: NDArray[np.float64], transform: Affine, epsg: int) -> list[tuple[float, float]]:
    to_lonlat = Transformer.from_crs(f"EPSG:{epsg}", "EPSG:4326", always_xy=True)
    east, north = transform.c + transform.a * points[:, 0], transform.f + transform.e * points[:, 1]
    lon, lat = to_lonlat.transform(east, north)
    return [(float(a), float(b)) for a, b in zip(lon, lat, strict=True)]


def _feature(name: str, corners: NDArray[np.float64], transform: Affine, epsg: int) -> dict[str, object]:
    ring = _lonlat(corners, transform, epsg)
    geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    return {"type": "Feature", "properties": {"module_id": name}, "geometry": geometry}


def _write(path: Path, image: NDArray[np.float32], transform: Affine, epsg: int, dtype: str, taken: str) -> None:
    values = image
    if dtype == "uint16":
        values = np.clip((image + 273.15) * 100, 1, 65535).astype(np.uint16)
    elif dtype == "uint8":
        values = np.clip((image - 20) * 6, 1, 255).astype(np.uint8)
    nodata = _NODATA if dtype == "float32" else 0
    with rasterio.open(
        path, "w", driver="GTiff", width=image.shape[1], height=image.shape[0], count=1, dtype=dtype,
        crs=f"EPSG:{epsg}", transform=transform, nodata=nodata, tiled=True, compress="deflate",
    ) as target:  # fmt: skip
        target.write(values, 1)
        target.update_tags(ACQUIRED_AT=taken)
