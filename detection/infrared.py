"""Infrared orthomosaics: one band of temperatures or counts, georeferenced; read module by module, whatever their size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from pyproj.exceptions import CRSError
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from detection.arrays import Floats, floats
from detection.rectify import Upright
from imagery.gdal_env import DRIVER, gdal_environment
from imagery.grid import GridSpec, PixelSize, apply_affine
from imagery.raster import MAX_EDGE_PX, MIN_EDGE_PX, RasterFacts, RasterRejectedError, Reason, file_sha256

TYPES = ("uint8", "uint16", "int16", "float32", "float64")
_FINEST_M, _COARSEST_M = 0.001, 2.0
_GEOD = Geod(ellps="WGS84")
_REMEDY = "export the orthomosaic as one band of temperatures or camera counts (8 or 16 bit, or floating point)"


@dataclass(frozen=True)
class Crop:
    """One place cut out upright."""

    values: Floats
    """Rows x columns, in the mosaic's unit."""
    seen: float
    """Share of it that holds data, 0..1."""


class InfraredMosaic:
    """An open mosaic. Made by `open_infrared`."""

    def __init__(self, facts: RasterFacts, dataset: Any) -> None:
        self.facts = facts
        self.dtype = str(dataset.dtypes[0])
        self._dataset = dataset
        self._from_lonlat = Transformer.from_crs("EPSG:4326", facts.crs, always_xy=True)

    def pixels_of(self, points: NDArray[np.float64], lonlat: bool) -> NDArray[np.float64]:
        """N x 2 longitude and latitude, or coordinates of the mosaic's own system -> N x 2 (column, row)."""
        if lonlat:
            x, y = self._from_lonlat.transform(points[:, 0], points[:, 1])
            points = np.stack([x, y], axis=1)
        return apply_affine(~self.facts.affine, points)

    def crop(self, place: Upright, columns: int, rows: int) -> Crop:
        """The place, stretched to rows x columns; pixels are averaged where it is larger than that.

        Raises `RasterRejectedError` when the pixels cannot be decoded.
        """
        times = max(1, math.ceil(max(place.width / columns, place.length / rows) - 0.25))
        corners = place.points(2, 2)
        low, high = np.floor(corners.min(axis=0)).astype(int) - 2, np.ceil(corners.max(axis=0)).astype(int) + 2
        size = self.facts.size
        start, stop = np.maximum(low, 0), np.minimum(high, [size.width, size.height])
        if (stop <= start).any():
            return Crop(np.zeros((rows, columns), np.float32), 0.0)
        values, valid = self._read(Window(start[0], start[1], *(stop - start)), None)
        if not valid.any():
            return Crop(np.zeros((rows, columns), np.float32), 0.0)
        values[~valid] = values[valid].mean()
        matrix = place.matrix(columns * times, rows * times)
        matrix[:, 2] -= start
        shape = (columns * times, rows * times)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        fine = cv2.warpAffine(values, matrix, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        known = cv2.warpAffine(valid.astype(np.float32), matrix, shape, flags=flags, borderValue=0.0)
        small = floats(fine).reshape(rows, times, columns, times).mean(axis=(1, 3))
        return Crop(floats(small), float((known > 0.5).mean()))

    def view(self, grid: GridSpec) -> tuple[Floats, NDArray[np.bool_]]:
        """The mosaic on a north-up grid for looking at, and which of its pixels hold data."""
        edges = np.array([[0.0, 0.0], [grid.size.width, 0.0], [0.0, grid.size.height]])
        to_source = Transformer.from_crs(f"EPSG:{grid.epsg}", self.facts.crs, always_xy=True)
        x, y = to_source.transform(*grid.to_map(edges).T)
        source = apply_affine(~self.facts.affine, np.stack([x, y], axis=1))
        other = source[1] + source[2] - source[0]
        corners = np.vstack([source, other])
        size = np.array([self.facts.size.width, self.facts.size.height])
        start = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, size - 1)
        stop = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, start + 1, size)
        shrink = max(1.0, float(np.hypot(*(source[1] - source[0])) / grid.size.width))
        shape = tuple(max(1, round(float(edge) / shrink)) for edge in (stop - start)[::-1])
        values, valid = self._read(Window(start[0], start[1], *(stop - start)), shape)
        scale = np.array(shape[::-1]) / (stop - start)
        local = ((source - start) * scale).astype(np.float32)
        matrix = cv2.getAffineTransform(edges.astype(np.float32), local)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size_px = (grid.size.width, grid.size.height)
        shown = cv2.warpAffine(values, matrix, size_px, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        known = cv2.warpAffine(valid.astype(np.float32), matrix, size_px, flags=flags)
        return floats(shown), np.asarray(known > 0.99)

    def _read(self, window: Window, shape: tuple[int, ...] | None) -> tuple[Floats, NDArray[np.bool_]]:
        try:
            values = self._dataset.read(1, window=window, out_shape=shape, resampling=Resampling.nearest).astype(np.float32)
            mask = self._dataset.dataset_mask(window=window, out_shape=shape) > 0
        except (RasterioError, RasterioIOError, OSError) as error:
            detail = f"its pixels cannot be decoded ({' '.join(str(error).split())[:160]}); copy it again."
            raise RasterRejectedError(self.facts.path, Reason.TRUNCATED, detail, self.facts.sha256) from error
        valid = mask & np.isfinite(values)
        values[~valid] = 0.0
        return values, valid


@contextmanager
def open_infrared(path: Path) -> Iterator[InfraredMosaic]:
    """Checks and opens an orthomosaic (GeoTIFF): one band, maybe with alpha, of a type in `TYPES`, georeferenced.

    Raises:
        RasterRejectedError: with one of `Reason` and a sentence for the operator.
    """
    if not path.is_file():
        raise RasterRejectedError(path, Reason.UNREADABLE, "the file is not there; check the path and its rights.")
    if path.stat().st_size == 0:
        raise RasterRejectedError(path, Reason.EMPTY_FILE, "the file has 0 bytes; copy it again.")
    try:
        with gdal_environment(), rasterio.open(path, driver=DRIVER) as dataset:
            yield InfraredMosaic(_facts(path, dataset), dataset)
    except (RasterioError, RasterioIOError, CRSError, OSError) as error:
        detail = f"it cannot be read ({' '.join(str(error).split())[:160]}); copy it again."
        raise RasterRejectedError(path, Reason.UNREADABLE, detail) from error


def _facts(path: Path, dataset: Any) -> RasterFacts:
    _check(path, dataset)
    return RasterFacts(
        path=path,
        sha256=file_sha256(path),
        bytes=path.stat().st_size,
        size=PixelSize(dataset.width, dataset.height),
        crs=dataset.crs.to_wkt(),
        epsg=dataset.crs.to_epsg() or 0,
        affine=dataset.transform,
        gsd_m=_gsd(path, dataset),
        bands=(1, 1, 1),
        has_mask=True,
        tags={str(key): str(value) for key, value in dataset.tags().items()},
    )


def _check(path: Path, dataset: Any) -> None:
    meaning = tuple(dataset.colorinterp)
    if dataset.count > 2 or (dataset.count == 2 and meaning[1] is not ColorInterp.alpha):
        detail = f"it has {dataset.count} bands: colours of a palette are no temperatures; {_REMEDY}."
        raise RasterRejectedError(path, Reason.WRONG_BANDS, detail)
    if meaning[0] is ColorInterp.palette:
        raise RasterRejectedError(path, Reason.WRONG_BANDS, f"its band holds numbers of palette colours; {_REMEDY}.")
    if dataset.dtypes[0] not in TYPES:
        detail = f"its pixels are {dataset.dtypes[0]}; wanted is {', '.join(TYPES)}."
        raise RasterRejectedError(path, Reason.WRONG_TYPE, detail)
    if max(dataset.width, dataset.height) > MAX_EDGE_PX or min(dataset.width, dataset.height) < MIN_EDGE_PX:
        detail = f"it is {dataset.width} x {dataset.height} px; edges from {MIN_EDGE_PX} to {MAX_EDGE_PX} px are read."
        raise RasterRejectedError(path, Reason.ABSURD_SIZE, detail)
    if dataset.crs is None or dataset.transform == Affine.identity():
        detail = "it does not say where on Earth it lies; write its coordinate system and transform."
        raise RasterRejectedError(path, Reason.NO_CRS, detail)


def _gsd(path: Path, dataset: Any) -> float:
    """Edge of a pixel on the ground at the centre, metres; any orientation of the grid."""
    steps = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]) + np.array([dataset.width / 2, dataset.height / 2])
    to_lonlat = Transformer.from_crs(dataset.crs.to_wkt(), "EPSG:4326", always_xy=True)
    places = [to_lonlat.transform(*point) for point in apply_affine(dataset.transform, steps).tolist()]
    if not all(math.isfinite(value) for place in places for value in place):
        detail = "its coordinates lie outside its coordinate system; check the EPSG code."
        raise RasterRejectedError(path, Reason.NO_CRS, detail)
    across, down = (float(_GEOD.inv(*places[0], *place)[2]) for place in places[1:])
    gsd = math.sqrt(across * down)
    if not _FINEST_M <= gsd <= _COARSEST_M:
        detail = f"a pixel is {across:.4g} x {down:.4g} m on the ground; {_FINEST_M} to {_COARSEST_M} m is read."
        raise RasterRejectedError(path, Reason.ABSURD_GSD, f"{detail[:-1]}: check the unit of the transform.")
    return gsd
