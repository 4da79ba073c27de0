"""Draws photovoltaic panels onto aerial pictures: the outlines that weakly labelled chips do not give.

Modules are about 1.0 x 1.7 m, dark blue to black, with lighter frames, in rows that follow one direction; arrays may be
sheared (tilted roofs), shaded and glinting. A drawing is an approximation: it teaches outlines, real chips teach appearance.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.arrays import Floats, floats

_FINE = 2
"""Drawing happens at this multiple of the picture's resolution and is then averaged down."""
_MERGED_M = 0.4
"""Rows with less ground between them than this are one array."""


def paste_panels(
    image: NDArray[np.uint8], gsd_m: float, rng: np.random.Generator, allowed: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draws one to five arrays on an H x W x 3 picture; returns the picture and the mask of panel pixels.

    `allowed` (H x W) limits where the centres lie, for example usable roof. Rows closer than `_MERGED_M` are one array.
    """
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.float32)
    out = image.astype(np.float32)
    angle = rng.uniform(0, np.pi)
    tone, line = _tone(rng), _line(rng)
    sun = rng.uniform(0, 2 * np.pi)
    for _ in range(int(rng.integers(1, 6))):
        centre = _centre(height, width, allowed, rng)
        chart, solid, merged = _chart(gsd_m / _FINE, tone, line, rng)
        matrix = _placed(chart.shape[:2], centre, angle + rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.03), rng)
        small, cover, whole = _warped(chart, solid, merged, matrix, (height, width))
        out *= 1 - _cast(cover, gsd_m, sun, rng)[:, :, None]
        out = out * (1 - cover[:, :, None]) + small * cover[:, :, None]
        mask = np.maximum(mask, whole)
    return np.clip(out, 0, 255).astype(np.uint8), mask > 0.5


def _warped(
    chart: Floats, solid: Floats, merged: Floats, matrix: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[Floats, Floats, Floats]:
    """Colour (H x W x 3), cover and merged cover (H x W, 0..1) in the picture; only the part that shows is computed."""
    rows, columns = chart.shape[:2]
    corners = np.array([[0, 0, 1], [columns, 0, 1], [0, rows, 1], [columns, rows, 1]]) @ matrix.T / _FINE
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, (shape[1] - 1, shape[0] - 1))
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, (x0 + 1, y0 + 1), (shape[1], shape[0]))
    moved = matrix.copy()
    moved[:, 2] -= np.array([x0, y0]) * _FINE
    size = (int(x1 - x0) * _FINE, int(y1 - y0) * _FINE)
    colour = cv2.warpAffine(chart, moved, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    covers = cv2.warpAffine(np.stack([solid, merged], axis=2), moved, size, flags=cv2.INTER_NEAREST)
    out = np.zeros((*shape, 5), np.float32)
    both = np.concatenate([colour.reshape(size[1], size[0], 3), covers.reshape(size[1], size[0], 2)], axis=2)
    parts = both.reshape(int(y1 - y0), _FINE, int(x1 - x0), _FINE, 5).mean(axis=(1, 3))
    out[y0:y1, x0:x1] = parts
    return floats(out[..., :3]), floats(out[..., 3]), floats(out[..., 4])


def _cast(cover: Floats, gsd_m: float, sun: float, rng: np.random.Generator) -> Floats:
    """Darkening (0..1) by the shadow of a raised array."""
    away = rng.choice([0.15, 0.3, 0.8, 2.0]) * rng.uniform(0.6, 1.3) / gsd_m
    shift = np.array([[1, 0, np.cos(sun) * away], [0, 1, np.sin(sun) * away]])
    moved = cv2.warpAffine(cover, shift, (cover.shape[1], cover.shape[0]))
    return floats(moved * rng.uniform(0.0, 0.65) * (1 - cover))


def _placed(
    shape: tuple[int, int], centre: tuple[float, float], angle: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """2 x 3 matrix from the chart to the enlarged picture: turned, a little sheared, tilted away from the viewer."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]]) @ np.array([[1, rng.normal(0, 0.08)], [0, rng.uniform(0.75, 1.0)]])
    shift = np.array(centre) * _FINE - turn @ np.array([shape[1] / 2, shape[0] / 2])
    return np.concatenate([turn, shift[:, None]], axis=1)


def _centre(height: int, width: int, allowed: NDArray[np.bool_] | None, rng: np.random.Generator) -> tuple[float, float]:
    if allowed is not None and bool(allowed.any()):
        rows, columns = np.nonzero(allowed)
        pick = int(rng.integers(len(rows)))
        return float(columns[pick]), float(rows[pick])
    return float(rng.uniform(0, width)), float(rng.uniform(0, height))


def _tone(rng: np.random.Generator) -> Floats:
    """Cell colour: blue polycrystalline, dark blue, black monocrystalline, or greyed by the sky they reflect; RGB."""
    kinds = (
        [38, 55, 95], [25, 32, 55], [22, 23, 28], [55, 70, 105], [45, 48, 60], [62, 66, 90], [85, 92, 115], [125, 130, 145],
        [30, 38, 75], [70, 70, 78],
    )  # fmt: skip
    base = floats(kinds[int(rng.integers(len(kinds)))])
    return floats(base * rng.uniform(0.7, 1.4) + rng.normal(0, 5, 3))


def _line(rng: np.random.Generator) -> Floats:
    """What frames and the gaps between modules add to the cell colour; seldom nothing (all-black modules)."""
    if rng.random() < 0.15:
        return floats(rng.uniform(-10, 15, 1).repeat(3))
    return floats(rng.uniform(30, 170) * floats([1.0, 1.0, 0.97]))


def _lines(pixel_m: float, rng: np.random.Generator) -> tuple[int, float]:
    """Thickness of a frame line in chart pixels, and what share of it is frame."""
    wide = float(rng.choice([0.04, 0.06, 0.1, 0.16]))
    pixels = max(1, round(wide / pixel_m))
    return pixels, min(1.0, wide / (pixels * pixel_m))


def _counts(rng: np.random.Generator) -> tuple[int, int]:
    """Columns and rows: a roof's few, a hall's many."""
    kind = rng.random()
    if kind < 0.6:
        return int(rng.integers(2, 9)), int(rng.integers(1, 5))
    if kind < 0.85:
        return int(rng.integers(3, 16)), int(rng.integers(1, 8))
    return int(rng.integers(8, 30)), int(rng.integers(3, 14))


def _chart(
    pixel_m: float, tone: Floats, line: Floats, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.float32], NDArray[np.float32]]:
    """The array seen straight on, at `pixel_m` metres per pixel: colour, where it is solid, and its merged outline."""
    across, along = rng.uniform(0.95, 1.15), rng.uniform(1.55, 2.3)
    if rng.random() < 0.4:
        across, along = along, across
    columns, rows = _counts(rng)
    w, h = max(2, round(across / pixel_m)), max(2, round(along / pixel_m))
    gap_m = float(rng.choice([0.0, 0.0, 0.0, 0.15, 0.3, 0.6, 1.0, 1.8])) if rows > 1 else 0.0
    every = int(rng.choice([1, 1, 2, 2, 3]))
    gap = round(gap_m / pixel_m)
    tops = [row * h + (row // every) * gap for row in range(rows)]
    chart = np.empty((tops[-1] + h, columns * w, 3), np.float32)
    chart[:] = tone
    solid = np.zeros(chart.shape[:2], np.float32)
    spread = rng.choice([1.0, 3.0, 8.0])
    thick, share = _lines(pixel_m, rng)
    frame = line * share
    inner = frame * rng.choice([0.0, 0.25, 0.5])
    for top in tops:
        solid[top : top + h] = 1.0
        shades = np.repeat(rng.normal(0, spread, columns), w).astype(np.float32)
        chart[top : top + h] += shades[None, :, None]
        chart[top + h // 2 : top + h // 2 + thick] += inner
        chart[top : top + thick] += frame
        for column in range(columns):
            chart[top : top + h, column * w : column * w + thick] += frame
    merged = np.ones_like(solid) if gap_m <= _MERGED_M else solid.copy()
    _leave_out(solid, merged, tops, (w, h), rng)
    slope = np.linspace(-1, 1, chart.shape[1], dtype=np.float32)[None, :, None] * rng.normal(0, 12)
    glint = rng.uniform(20, 110) if rng.random() < 0.15 else 0.0
    return floats(chart + slope + glint), solid, merged


def _leave_out(
    solid: NDArray[np.float32],
    merged: NDArray[np.float32],
    tops: list[int],
    module: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    """Now and then a corner of the array or single modules are missing, in colour and outline alike."""
    w, h = module
    columns = solid.shape[1] // w
    if rng.random() < 0.25 and columns > 2 and len(tops) > 1:
        first = int(rng.integers(1, columns))
        below = tops[int(rng.integers(1, len(tops)))]
        solid[below:, first * w :] = 0.0
        merged[below:, first * w :] = 0.0
    for _ in range(int(rng.binomial(columns * len(tops), 0.01))):
        top, column = tops[int(rng.integers(len(tops)))], int(rng.integers(columns))
        solid[top : top + h, column * w : (column + 1) * w] = 0.0
        merged[top : top + h, column * w : (column + 1) * w] = 0.0
