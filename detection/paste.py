"""Draws photovoltaic panels onto aerial pictures: the outlines that weakly labelled chips do not give.

Modules are about 1.0 x 1.7 m, dark blue to black, with lighter frames, in rows that follow one direction; arrays may be
sheared (tilted roofs), shaded and glinting. A drawing is an approximation: it teaches outlines, real chips teach appearance.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.arrays import Floats, floats

_FINE = 4
"""Drawing happens at this multiple of the picture's resolution and is then averaged down."""


def paste_panels(
    image: NDArray[np.uint8], gsd_m: float, rng: np.random.Generator, allowed: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draws one to five arrays on an H x W x 3 picture; returns the picture and the mask of panel pixels.

    `allowed` (H x W) limits where the centres lie, for example usable roof.
    """
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.float32)
    out = image.astype(np.float32)
    angle = rng.uniform(0, np.pi)
    tone = _tone(rng)
    for _ in range(int(rng.integers(1, 6))):
        centre = _centre(height, width, allowed, rng)
        colour, cover = _array(height, width, gsd_m, centre, angle + rng.choice([0.0, np.pi / 2]), tone, rng)
        soft = cover[:, :, None]
        shade = floats(np.roll(cover, (1, 1), axis=(0, 1)))[:, :, None] * (1 - soft)
        out = out * (1 - rng.uniform(0.0, 0.5) * shade)
        out = out * (1 - soft) + colour * soft
        mask = np.maximum(mask, cover)
    return np.clip(out, 0, 255).astype(np.uint8), mask > 0.5


def _centre(height: int, width: int, allowed: NDArray[np.bool_] | None, rng: np.random.Generator) -> tuple[float, float]:
    if allowed is not None and bool(allowed.any()):
        rows, columns = np.nonzero(allowed)
        pick = int(rng.integers(len(rows)))
        return float(columns[pick]), float(rows[pick])
    return float(rng.uniform(0, width)), float(rng.uniform(0, height))


def _tone(rng: np.random.Generator) -> Floats:
    """Cell colour: blue polycrystalline, dark blue, or black monocrystalline; RGB."""
    kinds = ([38, 55, 95], [25, 32, 55], [22, 23, 28], [55, 70, 105], [45, 48, 60])
    base = floats(kinds[int(rng.integers(len(kinds)))])
    return floats(base * rng.uniform(0.7, 1.5) + rng.normal(0, 5, 3))


def _array(
    height: int, width: int, gsd_m: float, centre: tuple[float, float], angle: float, tone: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Colour (H x W x 3) and cover (H x W, 0..1) of one array."""
    chart, solid = _chart(gsd_m / _FINE, tone, rng)
    rows, columns = chart.shape[:2]
    c, s = np.cos(angle), np.sin(angle)
    shear = rng.normal(0, 0.08)
    turn = np.array([[c, -s], [s, c]]) @ np.array([[1, shear], [0, rng.uniform(0.75, 1.0)]]) / _FINE
    shift = np.array(centre) - turn @ np.array([columns / 2, rows / 2])
    matrix = np.concatenate([turn, shift[:, None]], axis=1) * _FINE
    size = (width * _FINE, height * _FINE)
    colour = cv2.warpAffine(chart, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(solid, matrix, size, flags=cv2.INTER_NEAREST)
    small = cv2.resize(colour, (width, height), interpolation=cv2.INTER_AREA)
    return floats(small), floats(cv2.resize(cover, (width, height), interpolation=cv2.INTER_AREA))


def _chart(pixel_m: float, tone: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The array seen straight on, at `pixel_m` metres per pixel: colour and where it is solid."""
    across, along = rng.uniform(0.95, 1.15), rng.uniform(1.55, 2.1)
    if rng.random() < 0.4:
        across, along = along, across
    large = rng.random() < 0.3
    columns = int(rng.integers(2, 26 if large else 9))
    rows = int(rng.integers(1, 12 if large else 4))
    w, h = max(2, round(across / pixel_m)), max(2, round(along / pixel_m))
    gap = max(0, round(rng.choice([0.0, 0.0, 0.3, 0.8]) / pixel_m)) if rows > 1 else 0
    chart = np.empty((rows * (h + gap) - gap, columns * w, 3), np.float32)
    chart[:] = tone
    solid = np.ones(chart.shape[:2], np.float32)
    frame = tone + floats(rng.uniform(-10, 110))
    line = max(1, round(0.05 / pixel_m))
    for row in range(rows):
        top = row * (h + gap)
        chart[top : top + line] = frame
        chart[top + h - line : top + h] = frame
        if gap and row + 1 < rows:
            solid[top + h : top + h + gap] = 0.0
        for column in range(columns):
            chart[top : top + h, column * w : column * w + line] = frame
            chart[top : top + h, column * w : (column + 1) * w] += rng.normal(0, 3)
            if rng.random() < 0.02:
                solid[top : top + h, column * w : (column + 1) * w] = 0.0
    slope = np.linspace(-1, 1, chart.shape[1], dtype=np.float32)[None, :, None] * rng.normal(0, 12)
    glint = rng.uniform(30, 130) if rng.random() < 0.15 else 0.0
    return floats(chart + slope + glint), solid
