"""Pictures of a scene for the map: one window as PNG or JPEG with the bounds a Leaflet ImageOverlay wants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from affine import Affine
from pyproj import Transformer

from collateral.domain import BoundingBox
from collateral.errors import InvalidInputError
from imagery.grid import GridSpec, PixelSize
from imagery.raster import RasterFacts, inspect
from imagery.reader import WindowUnreadableError, read_pixels

WEB_MERCATOR = 3857
"""The projection of web maps: a picture in it lies true between its corners there."""
MAX_EDGE_PX = 2048
_LAT_LIMIT = 85.0
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class WindowImage:
    """An encoded picture and where it lies."""

    content: bytes
    media_type: str
    """`image/png` or `image/jpeg`."""
    bounds: BoundingBox


def window_image(scene_path: Path, bounds: BoundingBox, size: int = 1024, transparent: bool = True) -> WindowImage:
    """A scene's part inside `bounds`, in web Mercator.

    Args:
        scene_path: GeoTIFF.
        bounds: degrees.
        size: longer edge in pixels, at most MAX_EDGE_PX.
        transparent: PNG with transparency where the scene holds nothing; else JPEG, black there.

    Raises:
        InvalidInputError: bounds without area or out of range, a size out of range, or a file that cannot be read.
    """
    grid = _mercator_grid(bounds, size)
    try:
        stat = scene_path.stat()
        pixels = read_pixels(_facts(scene_path, stat.st_mtime_ns, stat.st_size), grid)
    except FileNotFoundError as error:
        raise InvalidInputError(f"{scene_path} is not there any more; put it back or scan its new place.") from error
    except WindowUnreadableError as error:
        raise InvalidInputError(f"{error} (asked for {bounds})") from error
    bgr = pixels.rgb[..., ::-1]
    if transparent:
        alpha = np.where(pixels.valid, np.uint8(255), np.uint8(0))
        encoded = cv2.imencode(".png", np.dstack([bgr, alpha]), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
        return WindowImage(encoded.tobytes(), "image/png", bounds)
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(bgr), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return WindowImage(encoded.tobytes(), "image/jpeg", bounds)


def window_png(scene_path: Path, bounds: BoundingBox, size: int = 1024) -> bytes:
    """`window_image` as bare PNG bytes."""
    return window_image(scene_path, bounds, size).content


def tile_bounds(zoom: int, column: int, row: int) -> BoundingBox:
    """Bounds of one XYZ tile.

    Raises:
        InvalidInputError: the tile does not exist.
    """
    count = 2**zoom if 0 <= zoom <= 24 else 0
    if not (0 <= column < count and 0 <= row < count):
        raise InvalidInputError(f"Tile {zoom}/{column}/{row} does not exist; zoom runs from 0 to 24.")

    def latitude(y: int) -> float:
        return math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * y / count))))

    def longitude(x: int) -> float:
        return x / count * 360 - 180

    return BoundingBox(longitude(column), latitude(row + 1), longitude(column + 1), latitude(row))


@lru_cache(maxsize=64)
def _facts(path: Path, mtime_ns: int, length: int) -> RasterFacts:
    """A file is checked once, and again when it was changed."""
    return inspect(path)


def _mercator_grid(bounds: BoundingBox, size: int) -> GridSpec:
    if not (-180 <= bounds.lon_min < bounds.lon_max <= 180 and -90 <= bounds.lat_min < bounds.lat_max <= 90):
        raise InvalidInputError(f"{bounds} has no area or lies outside the Earth; give west, south, east, north in degrees.")
    if not 1 <= size <= MAX_EDGE_PX:
        raise InvalidInputError(f"A picture of {size} px was asked for; 1 to {MAX_EDGE_PX} px are made.")
    to_mercator = Transformer.from_crs("EPSG:4326", f"EPSG:{WEB_MERCATOR}", always_xy=True)
    south, north = (min(max(lat, -_LAT_LIMIT), _LAT_LIMIT) for lat in (bounds.lat_min, bounds.lat_max))
    west_m, south_m = to_mercator.transform(bounds.lon_min, south)
    east_m, north_m = to_mercator.transform(bounds.lon_max, north)
    width_m, height_m = east_m - west_m, north_m - south_m
    scale = size / max(width_m, height_m)
    pixels = PixelSize(max(1, round(width_m * scale)), max(1, round(height_m * scale)))
    affine = Affine(width_m / pixels.width, 0.0, west_m, 0.0, -height_m / pixels.height, north_m)
    return GridSpec(WEB_MERCATOR, affine, pixels)
