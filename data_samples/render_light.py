"""Light and air: sun position, cast shadows from a height map, cloud, haze, lens and sensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import cv2
import numpy as np

from data_samples.render_canvas import ByteArray, FloatArray, noise
from data_samples.scene_model import SunPosition


def sun_position(lon: float, lat: float, when: datetime) -> SunPosition:
    """Elevation and azimuth of the sun in degrees, good to about 0.5 degrees (Spencer 1971 series; no refraction).

    `when` carries a zone. For pictures only; energy yields use pvlib.
    """
    utc = when.astimezone(UTC)
    hours = utc.hour + utc.minute / 60 + utc.second / 3600
    day = 2 * math.pi * (utc.timetuple().tm_yday - 1 + (hours - 12) / 24) / 365
    equation_min = 229.18 * (
        0.000075 + 0.001868 * math.cos(day) - 0.032077 * math.sin(day)
        - 0.014615 * math.cos(2 * day) - 0.040849 * math.sin(2 * day)
    )
    declination = (
        0.006918 - 0.399912 * math.cos(day) + 0.070257 * math.sin(day) - 0.006758 * math.cos(2 * day)
        + 0.000907 * math.sin(2 * day) - 0.002697 * math.cos(3 * day) + 0.00148 * math.sin(3 * day)
    )
    angle = math.radians(15 * (hours - 12) + lon + equation_min / 4)
    phi = math.radians(lat)
    sine = math.sin(phi) * math.sin(declination) + math.cos(phi) * math.cos(declination) * math.cos(angle)
    elevation = math.asin(max(-1.0, min(1.0, sine)))
    azimuth = math.atan2(
        math.sin(angle), math.cos(angle) * math.sin(phi) - math.tan(declination) * math.cos(phi)
    ) + math.pi
    return SunPosition(math.degrees(elevation), math.degrees(azimuth) % 360.0)


def cast_shadows(height: FloatArray, gsd_m: float, sun: SunPosition) -> FloatArray:
    """How much of the direct sun is blocked at each pixel, 0-1, (H, W), from a height map in metres.

    The horizon towards the sun is found by doubling: the highest rise over 2n pixels is the larger of the first n
    and of the next n lowered by the sun's slope, so 100 pixels take seven shifts.
    """
    slope = gsd_m * math.tan(math.radians(max(sun.elevation_deg, 8.0)))
    azimuth = math.radians(sun.azimuth_deg)
    step_col, step_row = math.sin(azimuth), -math.cos(azimuth)
    tallest = float(height.max())
    horizon = height
    length = 1
    rows, cols = height.shape
    while length * slope * 0.5 < tallest and length < 1024:
        matrix = np.array([[1.0, 0.0, step_col * length], [0.0, 1.0, step_row * length]])
        shifted = cv2.warpAffine(
            horizon, matrix, (cols, rows), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        horizon = np.maximum(horizon, shifted - np.float32(slope * length))
        length *= 2
    blocked = np.clip((horizon - height - 0.12) / np.float32(0.35), 0.0, 1.0)
    return np.asarray(cv2.GaussianBlur(blocked, (0, 0), max(0.12 / gsd_m, 0.35)), np.float32)


def surface_tilt(height: FloatArray, gsd_m: float) -> tuple[FloatArray, FloatArray]:
    """Slopes of a height map to the east and to the south, walls left out; two (H, W) arrays."""
    east = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3) / np.float32(8 * gsd_m)
    south = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3) / np.float32(8 * gsd_m)
    wall = np.hypot(east, south) > 1.6
    east[wall] = 0.0
    south[wall] = 0.0
    return east, south


@dataclass(frozen=True, slots=True)
class Light:
    """Relative strength and colour of sun and sky on flat ground, as multipliers of reflectance."""

    direct: tuple[float, float, float]
    diffuse: tuple[float, float, float]

    @classmethod
    def of(cls, sun: SunPosition, *, overcast: bool) -> Light:
        """Sunlit flat ground gets about 1 in all; shadows get the blueish diffuse part alone."""
        if overcast:
            return cls((0.10, 0.10, 0.10), (0.88, 0.90, 0.92))
        low = max(0.0, min(1.0, (45.0 - sun.elevation_deg) / 40.0))
        diffuse = 0.36 + 0.08 * low
        return cls((0.66, 0.645 - 0.02 * low, 0.61 - 0.06 * low), (diffuse * 0.92, diffuse, diffuse * 1.12))

    @property
    def contrast(self) -> float:
        """Share of the sun in the whole light, 0-1."""
        return self.direct[1] / (self.direct[1] + self.diffuse[1])


def illuminate(
    rgb: FloatArray, height: FloatArray, tilt: tuple[FloatArray, FloatArray], gsd_m: float, sun: SunPosition,
    light: Light,
) -> FloatArray:
    """Reflectance times light, (H, W, 3): cast shadows, slopes towards and away from the sun."""
    azimuth = math.radians(sun.azimuth_deg)
    cotangent = 1.0 / max(math.tan(math.radians(sun.elevation_deg)), 0.25)
    facing = 1.0 - cotangent * (tilt[0] * math.sin(azimuth) - tilt[1] * math.cos(azimuth))
    beam = np.clip(facing, 0.25, 1.7) * (1.0 - cast_shadows(height, gsd_m, sun))
    for band in range(3):
        rgb[..., band] *= beam * np.float32(light.direct[band]) + np.float32(light.diffuse[band])
    return rgb


def cloud_alpha(shape: tuple[int, int], cover: float, gsd_m: float, rng: np.random.Generator) -> FloatArray:
    """Cloud thickness 0-1, (H, W), thick (above 0.5) on about `cover` of the picture."""
    if cover <= 0.0:
        return np.zeros(shape, np.float32)
    small = (max(shape[0] // 8, 8), max(shape[1] // 8, 8))
    scale = max(int(45 / (gsd_m * 8)), 3)
    field = noise(small, scale, rng) + 0.45 * noise(small, max(scale // 3, 2), rng) + 0.2 * noise(small, 2, rng)
    threshold = float(np.quantile(field, 1.0 - min(cover, 0.999)))
    alpha = 1.0 / (1.0 + np.exp(-4.5 * (field - threshold)))
    large = cv2.resize(alpha.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(large, 0, 1), np.float32)


def add_cloud(rgb: FloatArray, alpha: FloatArray, gsd_m: float, sun: SunPosition) -> FloatArray:
    """Lay clouds over a picture and their shadow on the ground away from the sun."""
    if not alpha.any():
        return rgb
    azimuth = math.radians(sun.azimuth_deg)
    reach = 60.0 / gsd_m
    matrix = np.array([[1.0, 0.0, -math.sin(azimuth) * reach], [0.0, 1.0, math.cos(azimuth) * reach]])
    shadow = cv2.warpAffine(alpha, matrix, (alpha.shape[1], alpha.shape[0]), borderMode=cv2.BORDER_REFLECT)
    rgb *= (1.0 - 0.5 * shadow)[..., None]
    rgb += alpha[..., None] * (np.float32(236.0) - rgb)
    return rgb


def expose(rgb: FloatArray, haze: float, gsd_m: float, rng: np.random.Generator) -> ByteArray:
    """Haze, colour balance, lens blur and sensor noise; returns (H, W, 3) uint8.

    Coarse pixels stand for satellite products, which are delivered sharpened; fine ones for aerial cameras.
    """
    veil = np.array([176, 184, 194], np.float32)
    balance = np.clip(rng.normal(1.0, 0.02, size=3), 0.94, 1.06) * float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15))
    strength = np.float32(0.75 * haze)
    rgb *= balance.astype(np.float32) * (1 - strength)
    rgb += veil * strength
    lens = float(rng.uniform(0.42, 0.62) if gsd_m < 0.25 else rng.uniform(0.32, 0.48))
    blurred = np.asarray(cv2.GaussianBlur(rgb, (0, 0), lens), np.float32)
    sharpen = float(rng.uniform(0.0, 0.4) if gsd_m < 0.25 else rng.uniform(0.2, 0.8))
    if sharpen > 0.1:
        softer = np.asarray(cv2.GaussianBlur(blurred, (0, 0), 1.3), np.float32)
        blurred += np.float32(sharpen) * (blurred - softer)
    grain = noise(blurred.shape[:2], 1, rng) * np.float32(rng.uniform(1.0, 2.6))
    blurred += grain[..., None]
    pixels: ByteArray = np.clip(blurred + 0.5, 0, 255).astype(np.uint8)
    return pixels

