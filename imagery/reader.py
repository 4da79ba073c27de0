"""Reads only what a site needs of a scene and warps it once onto the detector's grid.

Pixels are decoded by rasterio at the finest stored level that is needed and warped with OpenCV, which is some thirty times
faster than GDAL's warper here (docs/design.md, section 6).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from collateral.errors import InvalidInputError
from imagery.gdal_env import DRIVER, damage_is_an_error, gdal_environment
from imagery.grid import NO_SHIFT, GridSpec, MapShift, apply_affine
from imagery.raster import RasterFacts, block_extent

_CONTROL = 9
"""Control points along each edge of the target grid."""
_AFFINE_TOLERANCE_PX = 0.05
"""Largest departure from an affine map that is ignored."""
_MARGIN_PX = 2
_SHRINK_FROM = 1.25
"""From this ratio of pixel sizes on, pixels are averaged before the warp, so that nothing is skipped."""
_SQUARE = 0.01
"""Pixels whose edges differ less are read as squares: rounding must not decide how a window is averaged."""
_HEADER_BYTES = 16_384
_CHANNELS = 4
"""OpenCV warps no more at a time."""
_Value = TypeVar("_Value", np.uint8, np.float32)


class WindowUnreadableError(InvalidInputError):
    """The pixels of one window cannot be had."""


class WindowDamagedError(WindowUnreadableError):
    """The file is there and its blocks cannot be decoded: trying again does not help."""


@dataclass(frozen=True)
class ReadCost:
    """What reading cost."""

    bytes_read: int = 0
    """Bytes of the blocks decoded and of the header."""
    bytes_needed: int = 0
    """Bytes of the blocks that the target grid touches."""
    requests: int = 0
    """Runs of adjoining bytes: what an object store would count."""
    megapixels: float = 0.0
    """Pixels handed on."""

    def __add__(self, other: ReadCost) -> ReadCost:
        return ReadCost(
            self.bytes_read + other.bytes_read,
            self.bytes_needed + other.bytes_needed,
            self.requests + other.requests,
            self.megapixels + other.megapixels,
        )


@dataclass(frozen=True)
class Pixels:
    """A warped window."""

    grid: GridSpec
    rgb: NDArray[np.uint8]
    """Rows x columns x 3, red green blue."""
    valid: NDArray[np.bool_]
    """Rows x columns, False where the scene holds no data."""
    cost: ReadCost


def read_pixels(facts: RasterFacts, grid: GridSpec, shift: MapShift = NO_SHIFT) -> Pixels:
    """The scene's pixels on `grid`; what lies outside the scene is black and not valid.

    Bilinear; pixels are averaged first where the grid is coarser than the scene.

    Args:
        facts: the scene's file, as inspected.
        grid: wanted pixels.
        shift: how far the scene's content lies from where the file says; it is put right in the same warp.

    Raises:
        WindowUnreadableError: the blocks are damaged, the grid lies outside the scene, or its bands are no colours.
    """
    if facts.spectral is not None:
        raise WindowUnreadableError(f"{facts.path.name}: it holds reflectances, no colours; use read_reflectances.")
    to_source = _control_points(facts, grid.shifted(shift))
    window = _source_window(facts, to_source)
    ratio, oblong = grid.gsd_m / facts.gsd_m, _oblong(to_source, grid)
    try:
        with gdal_environment(), rasterio.open(facts.path, driver=DRIVER) as dataset:
            source, known, scale, cost = _decode(dataset, facts, window, (ratio * oblong, ratio / oblong))
    except (RasterioError, RasterioIOError, OSError) as error:
        raise _unopened(facts, error) from error
    local = (to_source - (window.col_off, window.row_off)) * scale
    rgb, valid = _warp(source, known, local, grid)
    return Pixels(grid, rgb, valid, cost + ReadCost(megapixels=grid.size.megapixels))


@dataclass(frozen=True)
class Reflectances:
    """A warped window of a satellite's bands."""

    grid: GridSpec
    bands: Mapping[str, NDArray[np.float32]]
    """Reflectance by name, rows x columns each; 0 where not valid, and where a band alone holds nothing."""
    valid: NDArray[np.bool_]
    """Rows x columns, False where no band holds data."""
    cost: ReadCost


def read_reflectances(facts: RasterFacts, grid: GridSpec) -> Reflectances:
    """The named bands of a satellite's scene on `grid`, averaged over what is valid where the grid is coarser.

    Raises:
        WindowUnreadableError: the blocks are damaged, the grid lies outside the scene, or the scene has no named bands.
    """
    told = facts.spectral
    if told is None:
        raise WindowUnreadableError(f"{facts.path.name}: it holds colours, no reflectances; use read_pixels.")
    to_source = _control_points(facts, grid)
    window = _source_window(facts, to_source)
    try:
        with gdal_environment(), rasterio.open(facts.path, driver=DRIVER) as dataset:
            source, held = _decode_bands(dataset, facts, window)
            cost = _cost(dataset, window, 1.0)
            planes = 1 if str(dataset.profile.get("interleave")) == "pixel" else len(told.bands)
    except (RasterioError, RasterioIOError, OSError) as error:
        raise _unopened(facts, error) from error
    values = np.where(held, source * np.float32(told.scale) + np.float32(told.offset), np.float32(0))
    known = np.any(held, axis=0)  # a single band that is 0, as over water, is data
    small, share, scale = _averaged(values, known, grid.gsd_m / facts.gsd_m)
    local = (to_source - (window.col_off, window.row_off)) * scale
    whole = np.where(share >= 0.5, np.uint8(255), np.uint8(0))
    parts = np.array_split(small, math.ceil(len(small) / _CHANNELS))
    warped = [_warp(np.ascontiguousarray(part.transpose(1, 2, 0)), whole, local, grid) for part in parts]
    bands = np.concatenate([pixels for pixels, _ in warped], axis=2)
    valid = warped[0][1]
    cost = ReadCost(cost.bytes_read * planes, cost.bytes_needed * planes, cost.requests * planes, grid.size.megapixels)
    return Reflectances(grid, {name: bands[..., number] for number, name in enumerate(told.bands)}, valid, cost)


def _decode_bands(dataset: Any, facts: RasterFacts, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Numbers of the named bands and where each holds data: both bands x rows x columns."""
    numbers = [] if facts.spectral is None else list(facts.spectral.bands.values())
    try:
        with damage_is_an_error():
            source = dataset.read(numbers, window=window).astype(np.float32)
            held = np.isfinite(source) & (source != 0)
            if facts.has_mask:
                held &= dataset.read_masks(numbers, window=window) > 0
    except (RasterioError, RasterioIOError, OSError) as error:
        raise _damaged(facts, error) from error
    source[~held] = 0
    return source, held


def _averaged(
    values: NDArray[np.float32], known: NDArray[np.bool_], ratio: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Bands x rows x columns averaged over the known pixels (their mean where none is), share of those, scale (x, y)."""
    rows, columns = known.shape
    width, height = (max(1, round(edge / ratio)) if ratio >= _SHRINK_FROM else edge for edge in (columns, rows))
    share = np.asarray(cv2.resize(known.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA), np.float32)
    out = np.empty((len(values), height, width), np.float32)
    for layer, band in zip(out, values, strict=True):
        total = cv2.resize(band, (width, height), interpolation=cv2.INTER_AREA)
        usual = float(band.sum() / max(int(known.sum()), 1))
        layer[:] = np.where(share > 0, total / np.maximum(share, 1e-6), usual)
    return out, share, np.array([width / columns, height / rows])


def _control_points(facts: RasterFacts, grid: GridSpec) -> NDArray[np.float64]:
    """_CONTROL x _CONTROL x 2: pixel positions in the scene of a regular lattice over the grid, corners included."""
    columns, rows = np.meshgrid(
        np.linspace(0.0, grid.size.width, _CONTROL), np.linspace(0.0, grid.size.height, _CONTROL)
    )
    places = grid.to_map(np.stack([columns.ravel(), rows.ravel()], axis=1))
    if facts.epsg != grid.epsg:
        transformer = Transformer.from_crs(f"EPSG:{grid.epsg}", facts.crs, always_xy=True)
        x, y = transformer.transform(places[:, 0], places[:, 1])
        places = np.stack([x, y], axis=1)
    pixels = apply_affine(~facts.affine, places)
    if not np.isfinite(pixels).all():
        raise WindowUnreadableError(f"{facts.path.name}: the window lies outside the scene's coordinate system.")
    lattice: NDArray[np.float64] = pixels.reshape(_CONTROL, _CONTROL, 2)
    return lattice


def _oblong(to_source: NDArray[np.float64], grid: GridSpec) -> float:
    """Root of the scene's columns over its rows on an edge of the grid: not 1 where its pixels are degrees."""
    right = (to_source[:, -1] - to_source[:, 0]).mean(axis=0) / grid.size.width
    down = (to_source[-1] - to_source[0]).mean(axis=0) / grid.size.height
    columns, rows = np.hypot(right, down)
    found = math.sqrt(columns / rows)
    return found if abs(found - 1) > _SQUARE else 1.0


def _source_window(facts: RasterFacts, to_source: NDArray[np.float64]) -> Window:
    low = np.floor(to_source.min(axis=(0, 1)) - _MARGIN_PX).astype(int)
    high = np.ceil(to_source.max(axis=(0, 1)) + _MARGIN_PX).astype(int)
    first, last = np.maximum(low, 0), np.minimum(high, (facts.size.width, facts.size.height))
    if (last <= first).any():
        raise WindowUnreadableError(f"{facts.path.name}: the window lies outside the scene; check the site's polygon.")
    return Window(int(first[0]), int(first[1]), int(last[0] - first[0]), int(last[1] - first[1]))


def _decode(
    dataset: Any, facts: RasterFacts, window: Window, ratios: tuple[float, float]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64], ReadCost]:
    """Pixels (rows x columns x 3), validity (0/255), scale (x, y) from scene pixels to them, cost.

    `ratios`: scene columns and rows to a pixel of the grid.
    """
    shape = tuple(
        max(1, round(edge / ratio)) if ratio >= _SHRINK_FROM else int(edge)
        for edge, ratio in zip((window.height, window.width), reversed(ratios), strict=True)
    )
    try:
        with damage_is_an_error():
            source = dataset.read(list(facts.bands), window=window, out_shape=(3, *shape), resampling=Resampling.average)
    except (RasterioError, RasterioIOError, OSError) as error:
        raise _damaged(facts, error) from error
    rgb = np.ascontiguousarray(source.transpose(1, 2, 0))
    if facts.has_mask:
        known = dataset.dataset_mask(window=window, out_shape=shape, resampling=Resampling.nearest)
    else:
        known = np.where(rgb.max(axis=2) > 2, np.uint8(255), np.uint8(0))
    scale = np.array([shape[1] / window.width, shape[0] / window.height])
    return rgb, known, scale, _cost(dataset, window, min(ratios))


def _unopened(facts: RasterFacts, error: Exception) -> WindowUnreadableError:
    return WindowUnreadableError(f"{facts.path.name}: it cannot be opened ({_short(error)}); is the file still there?")


def _damaged(facts: RasterFacts, error: Exception) -> WindowDamagedError:
    detail = _short(error.__cause__ or error)
    return WindowDamagedError(f"{facts.path.name}: its pixels cannot be decoded ({detail}); copy the file again.")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]


def _cost(dataset: Any, window: Window, ratio: float) -> ReadCost:
    """Counts the blocks GDAL decodes: those of the coarsest level that is still at least as fine as asked for."""
    level, factor = None, 1
    for number, decimation in enumerate(dataset.overviews(1)):
        if decimation <= ratio * 1.001:
            level, factor = number, decimation
    height, width = dataset.block_shapes[0]
    extents = sorted(
        extent
        for row in range(window.row_off // factor // height, (window.row_off + window.height - 1) // factor // height + 1)
        for column in range(window.col_off // factor // width, (window.col_off + window.width - 1) // factor // width + 1)
        if (extent := block_extent(dataset, column, row, level)) is not None
    )
    needed = sum(length for _, length in extents)
    gaps = sum(1 for (o, n), (following, _) in pairwise(extents) if following > o + n + 8)
    return ReadCost(bytes_read=needed + _HEADER_BYTES, bytes_needed=needed, requests=1 + gaps + bool(extents))


def _warp(
    source: NDArray[_Value], known: NDArray[np.uint8], local: NDArray[np.float64], grid: GridSpec
) -> tuple[NDArray[_Value], NDArray[np.bool_]]:
    """One bilinear warp of at most `_CHANNELS` layers; the map is affine unless the projections differ too much for that."""
    width, height = grid.size.width, grid.size.height
    columns, rows = np.meshgrid(np.linspace(0.0, width, _CONTROL), np.linspace(0.0, height, _CONTROL))
    design = np.stack([columns.ravel(), rows.ravel(), np.ones(columns.size)], axis=1)
    wanted = local.reshape(-1, 2)
    matrix, *_ = np.linalg.lstsq(design, wanted, rcond=None)
    residual = float(np.abs(design @ matrix - wanted).max())
    if residual <= _AFFINE_TOLERANCE_PX:
        # OpenCV counts from pixel centres, the grids from pixel corners.
        linear = matrix[:2].T
        offset = linear @ (0.5, 0.5) + matrix[2] - 0.5
        inverse = np.column_stack([linear, offset])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        rgb = cv2.warpAffine(source, inverse, (width, height), flags=flags, borderMode=cv2.BORDER_CONSTANT)
        valid = cv2.warpAffine(known, inverse, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    else:
        map_x, map_y = _dense(local, width, height)
        rgb = cv2.remap(source, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        valid = cv2.remap(known, map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    inside = np.asarray(valid) > 0
    pixels = np.asarray(rgb, source.dtype)
    pixels[~inside] = 0
    return pixels, inside


def _dense(local: NDArray[np.float64], width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Bilinear interpolation of the lattice to every pixel centre, as OpenCV positions."""
    columns = (np.arange(width) + 0.5) / width * (_CONTROL - 1)
    rows = (np.arange(height) + 0.5) / height * (_CONTROL - 1)
    left = np.minimum(columns.astype(int), _CONTROL - 2)
    top = np.minimum(rows.astype(int), _CONTROL - 2)
    u, v = (columns - left)[None, :, None], (rows - top)[:, None, None]
    upper = local[top][:, left] * (1 - u) + local[top][:, left + 1] * u
    lower = local[top + 1][:, left] * (1 - u) + local[top + 1][:, left + 1] * u
    dense = (upper * (1 - v) + lower * v - 0.5).astype(np.float32)
    return np.ascontiguousarray(dense[..., 0]), np.ascontiguousarray(dense[..., 1])


def moved_mask(mask: NDArray[np.bool_], grid: GridSpec, target: GridSpec, shift: MapShift = NO_SHIFT) -> NDArray[np.bool_]:
    """A mask on one grid carried to another of the same system, with the same correction as `read_pixels`."""
    corners = np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]])
    places = grid.to_pixels(target.shifted(shift).to_map(corners)) - 0.5
    inverse = np.column_stack([places[1] - places[0], places[2] - places[0], places[0]])
    size = (target.size.width, target.size.height)
    moved = cv2.warpAffine(mask.astype(np.uint8), inverse, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return np.asarray(moved) > 0
