"""Painted scenes of a satellite with bands of 10 m: reflectances of surfaces, water clouds by their optical depth, shadows.

Not photographs. Fields, woods, towns and water carry reflectances as spectral libraries have them (ECOSTRESS, rounded), with
texture and mixed pixels. A cloud of optical depth tau reflects R = b tau / (2 + b tau) with b = 1 - g = 0.15 (two-stream, no
absorption; Bohren 1987, doi:10.1119/1.15109), less in the short-wave infrared, where drops absorb; the ground shines
through it twice. Its shadow takes the direct light away where the sun's way meets it; blue light of the sky stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import rasterio
from affine import Affine

from data_samples.render_canvas import FloatArray, noise

BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
GSD_M = 10.0
_SURFACES: Mapping[str, tuple[float, ...]] = {
    "crops": (0.03, 0.06, 0.035, 0.42, 0.20, 0.09),
    "grass": (0.06, 0.09, 0.09, 0.28, 0.26, 0.17),
    "wood": (0.02, 0.04, 0.025, 0.28, 0.13, 0.06),
    "dry soil": (0.10, 0.14, 0.18, 0.26, 0.34, 0.28),
    "wet soil": (0.06, 0.08, 0.11, 0.17, 0.22, 0.17),
    "water": (0.06, 0.08, 0.06, 0.03, 0.012, 0.008),
    "asphalt": (0.09, 0.10, 0.11, 0.13, 0.15, 0.14),
    "concrete": (0.22, 0.25, 0.27, 0.31, 0.34, 0.31),
    "white roof": (0.55, 0.57, 0.58, 0.58, 0.52, 0.45),
    "blue roof": (0.28, 0.24, 0.16, 0.25, 0.35, 0.28),
    "grey roof": (0.25, 0.26, 0.27, 0.29, 0.30, 0.28),
    "panels": (0.04, 0.04, 0.05, 0.10, 0.12, 0.12),
}
"""Reflectance by `BANDS`."""
_FIELDS = ("crops", "grass", "dry soil", "wet soil", "wood")
_TOWN = ("concrete", "white roof", "blue roof", "grey roof", "asphalt", "panels", "concrete", "grass")
_ABSORBED = (1.0, 1.0, 1.0, 1.0, 0.88, 0.68)
"""What drops leave of a cloud's reflectance."""
_SKY = (0.24, 0.18, 0.13, 0.07, 0.025, 0.015)
"""Share of the light that comes from the clear sky."""
_PATH_L1C = (0.075, 0.045, 0.022, 0.007, 0.001, 0.0)
"""What clear air adds at the top of the atmosphere."""
_HAZE_POWER = (1.35, 1.15, 1.0, 0.75, 0.35, 0.22)
"""Optical depth of haze by band, relative to red (Angstrom exponent 1.3)."""
_BACKSCATTER, _DEEP = 0.15, 2.0


@dataclass(frozen=True)
class Weather:
    """What hangs over a scene."""

    cover: float = 0.0
    """Share of the scene under cloud."""
    depth: float = 20.0
    """Optical depth of clouds, about."""
    size_m: float = 1500.0
    """Of clouds."""
    haze: float = 0.05
    """Optical depth of haze in red."""
    sun_elevation_deg: float = 50.0
    height_m: float = 1200.0
    """Of clouds."""
    level: str = "l2a"
    """`l1c`: with the reflectance of clear air."""


@dataclass(frozen=True)
class SpectralScene:
    """A painted scene and what is true of it."""

    bands: Mapping[str, FloatArray]
    """Reflectance by name, rows x columns of `GSD_M`."""
    depth: FloatArray
    """Optical depth of cloud above each pixel."""
    shade: FloatArray
    """Share of the direct light that clouds take from each pixel."""


def paint_scene(edge_px: int, weather: Weather, seed: int) -> SpectralScene:
    """A scene of edge_px x edge_px; the same ground for the same seed, whatever the weather."""
    ground = _ground(edge_px, seed)
    rng = np.random.default_rng([seed, 2])
    depth = _clouds(edge_px, weather, rng)
    reach = weather.height_m / math.tan(math.radians(weather.sun_elevation_deg)) / GSD_M
    matrix = np.array([[1.0, 0.0, -0.5 * reach], [0.0, 1.0, -0.87 * reach]])  # the sun stands in the south-east
    cast = cv2.warpAffine(depth, matrix, (edge_px, edge_px), borderMode=cv2.BORDER_REFLECT)
    shade = np.asarray(1 - np.exp(-cast / math.sin(math.radians(weather.sun_elevation_deg))), np.float32)
    bands = {}
    for number, name in enumerate(BANDS):
        sky = _SKY[number]
        diffuse = _BACKSCATTER * cast / (_DEEP + _BACKSCATTER * cast)  # lost upwards; the rest comes down scattered
        near = shade * (1 - sky) * (diffuse + 0.55 * (1 - diffuse))  # scattered light falls beside the shadow as well
        lit = ground[number] * (1 - np.minimum(near, 1 - sky))
        haze = weather.haze * _HAZE_POWER[number]
        top = _BACKSCATTER * haze * 1.6 / (_DEEP + _BACKSCATTER * haze * 1.6)
        seen = top + (1 - top) ** 2 * lit
        if weather.level == "l1c":
            seen = _PATH_L1C[number] + (1 - _PATH_L1C[number]) * seen
        cloud = _BACKSCATTER * depth / (_DEEP + _BACKSCATTER * depth)
        value = cloud * _ABSORBED[number] + (1 - cloud) ** 2 * seen / (1 - cloud * np.minimum(seen, 0.9))
        grain = rng.normal(0, 0.002, (edge_px, edge_px))
        bands[name] = np.clip(value + grain, 0.0005, 1.6).astype(np.float32)
    return SpectralScene(bands, depth, shade)


def write_scene(
    path: Path, scene: SpectralScene, epsg: int, west: float, north: float, taken: datetime, names: tuple[str, ...] = (),
    outside: int = 0, **tags: str,
) -> Path:
    """A GeoTIFF of digital numbers (reflectance x 10,000, uint16) with band descriptions.

    Args:
        path: the file.
        scene: what is painted.
        epsg: projected system.
        west: of the upper left corner, metres; `north` likewise.
        taken: tag ACQUIRED_AT.
        names: descriptions instead of Sentinel-2's.
        outside: columns on the right that hold no data (0).
        tags: more tags of the file.
    """
    stack = np.stack([np.round(band * 10_000) for band in scene.bands.values()]).astype(np.uint16)
    if outside:
        stack[:, :, -outside:] = 0
    count, height, width = stack.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype="uint16", crs=f"EPSG:{epsg}", nodata=0,
        transform=Affine(GSD_M, 0, west, 0, -GSD_M, north), compress="deflate", tiled=True, blockxsize=256, blockysize=256,
    ) as dataset:
        dataset.write(stack)
        dataset.descriptions = names or ("B02", "B03", "B04", "B08", "B11", "B12")
        dataset.update_tags(ACQUIRED_AT=taken.isoformat(), **tags)
    return path


@lru_cache(maxsize=1)
def _ground(edge: int, seed: int) -> FloatArray:
    """Bands x rows x columns; not to be written to."""
    rng = np.random.default_rng([seed, 1])
    fine = edge * 2
    kinds = _parcels(fine, 28, rng, _FIELDS)
    town = cv2.resize(noise((edge, edge), 160, rng), (fine, fine)) > 0.6
    kinds = np.where(town, _parcels(fine, 9, rng, _TOWN), kinds)
    water = np.abs(cv2.resize(noise((edge, edge), 240, rng), (fine, fine))) < 0.05
    names = list(_SURFACES)
    kinds = np.where(water, names.index("water"), kinds)
    table = np.array(list(_SURFACES.values()), np.float32)
    light = 1 + 0.07 * noise((fine, fine), 30, rng) + 0.05 * noise((fine, fine), 3, rng)
    colour = 0.06 * noise((fine, fine), 40, rng)
    layers = []
    for number in range(len(BANDS)):
        layer = table[kinds, number] * np.clip(light + colour * (1 if number < 3 else -1), 0.5, 1.6)
        layers.append(cv2.resize(cv2.GaussianBlur(layer, (0, 0), 1.2), (edge, edge), interpolation=cv2.INTER_AREA))
    return np.stack(layers)


def _parcels(edge: int, size: int, rng: np.random.Generator, kinds: tuple[str, ...]) -> np.ndarray:
    """Rows x columns of indices into _SURFACES: turned rectangles of about `size` pixels in patches of one direction."""
    names = list(_SURFACES)
    palette = np.array([names.index(kind) for kind in kinds])
    rows, columns = np.mgrid[0:edge, 0:edge].astype(np.float32)
    out = np.zeros((edge, edge), np.int64)
    patch = np.digitize(noise((edge, edge), max(24, size * 5), rng), (-0.7, 0.0, 0.7))
    for number in range(4):
        turn = float(rng.uniform(0, math.pi / 2))
        u = (columns * math.cos(turn) + rows * math.sin(turn)) / (size * rng.uniform(0.7, 1.6))
        v = (rows * math.cos(turn) - columns * math.sin(turn)) / (size * rng.uniform(0.4, 1.1))
        cell = (np.floor(u).astype(np.int64) * 7919 + np.floor(v).astype(np.int64) * 104_729) % 997
        chosen = palette[rng.integers(len(palette), size=997)[cell]]
        out = np.where(patch == number, chosen, out)
    return out


def _clouds(edge: int, weather: Weather, rng: np.random.Generator) -> FloatArray:
    """Optical depth, rows x columns: billows of every size down to some pixels."""
    if weather.cover <= 0:
        return np.zeros((edge, edge), np.float32)
    scale = max(6, round(weather.size_m / GSD_M))
    octaves = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03)
    field = sum(share**0.8 * noise((edge, edge), max(2, round(scale * share)), rng) for share in octaves)
    over = np.asarray(field, np.float32) - np.float32(np.quantile(field, 1 - min(weather.cover, 0.999)))
    billows = sum(share**0.5 * noise((edge, edge), max(2, round(scale * share)), rng) for share in octaves[2:])
    depth = weather.depth * np.clip(over, 0, 2) ** 1.2 * np.exp(0.4 * np.asarray(billows, np.float32))
    return np.asarray(depth, np.float32)
