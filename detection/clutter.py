"""Draws what is taken for solar panels and is none: dense towns seen from above, dark rectangles, sheet roofs, shadows.

Colours and sizes are invented; the light is geometry (a height map, a sun). Used as background and as decoys beside drawn
panels, so that darkness, blueness and straight edges alone do not make a panel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.arrays import Floats, floats

_CANVAS = 320
"""Pixels a side of the canvas that a town is drawn on, before it is turned and cut."""
_FINER = 0.75
"""Metres per pixel of that canvas as a share of the picture's."""
_MARCH = 12
"""Steps in which a shadow is followed."""


@dataclass(frozen=True)
class Town:
    """A drawn town."""

    picture: NDArray[np.uint8]
    """size x size x 3, RGB."""
    roof: NDArray[np.bool_]
    """size x size: where a panel could stand."""


def draw_town(size: int, gsd_m: float, rng: np.random.Generator) -> Town:
    """Flat-roofed buildings between lanes, with parapets, stairheads, tanks, sheet roofs, trees and their shadows."""
    pixel_m = gsd_m * _FINER
    colour = np.empty((_CANVAS, _CANVAS, 3), np.float32)
    colour[:] = _earth(rng)
    height = np.zeros((_CANVAS, _CANVAS), np.float32)
    roof = np.zeros((_CANVAS, _CANVAS), np.uint8)
    plot_m = float(rng.uniform(5, 22))
    for x, y, w, h in _plots(_CANVAS, plot_m / pixel_m, rng):
        if rng.random() < 0.88:
            _building(colour, height, roof, (x, y, w, h), pixel_m, rng)
        else:
            _trees(colour, height, (x, y, w, h), pixel_m, rng)
    colour += _noise(_CANVAS, rng.uniform(2, 12), rng)[:, :, None]
    shade = _shadow(height, pixel_m, rng)
    colour *= 1 - shade[:, :, None] * np.float32(rng.uniform(0.5, 0.85)) * floats([1.0, 0.97, 0.9])
    angle, scale = rng.uniform(0, 2 * np.pi), _FINER
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    matrix = np.array([[c, -s, 0.0], [s, c, 0.0]])
    matrix[:, 2] = size / 2 - matrix[:, :2] @ np.array([_CANVAS / 2, _CANVAS / 2])
    smooth = cv2.GaussianBlur(np.clip(colour, 0, 255).astype(np.uint8), (0, 0), 0.7)
    picture = cv2.warpAffine(smooth, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101)
    where = cv2.warpAffine(roof, matrix, (size, size), flags=cv2.INTER_NEAREST)
    return Town(picture.astype(np.uint8), where > 0)


def _plots(size: int, plot: float, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """Splits the canvas by lanes until no piece is much larger than `plot` pixels; x, y, w, h."""
    waiting, done = [(0, 0, size, size)], []
    while waiting:
        x, y, w, h = waiting.pop()
        if max(w, h) < plot * rng.uniform(0.9, 1.9):
            done.append((x, y, w, h))
            continue
        at = int((w if w >= h else h) * rng.uniform(0.3, 0.7))
        lane = int(rng.choice([0, 0, 0, 6, 14, 40]) * rng.uniform(0.5, 1.2))
        if w >= h:
            waiting += [(x, y, at, h), (x + at + lane, y, w - at - lane, h)]
        else:
            waiting += [(x, y, w, at), (x, y + at + lane, w, h - at - lane)]
        waiting = [piece for piece in waiting if min(piece[2:]) > 8]
    return done


def _earth(rng: np.random.Generator) -> Floats:
    kinds = ([150, 140, 125], [110, 108, 105], [85, 95, 70], [165, 150, 130], [70, 72, 75])
    return floats(floats(kinds[int(rng.integers(len(kinds)))]) * rng.uniform(0.7, 1.25))


def _building(
    colour: Floats,
    height: Floats,
    roof: NDArray[np.uint8],
    plot: tuple[int, int, int, int],
    pixel_m: float,
    rng: np.random.Generator,
) -> None:
    x, y, w, h = plot
    inset = int(rng.choice([0, 0, 1, 4, 10]))
    x0, y0, x1, y1 = x + inset, y + inset, x + w - inset, y + h - inset
    if min(x1 - x0, y1 - y0) < 8:
        return
    top = float(rng.uniform(3, 14))
    sheet = rng.random() < 0.22
    colour[y0:y1, x0:x1] = _sheet(y1 - y0, x1 - x0, pixel_m, rng) if sheet else _slab(rng)
    height[y0:y1, x0:x1] = top
    roof[y0:y1, x0:x1] = 1
    if sheet:
        return
    if rng.random() < 0.7:
        wall = max(1, round(0.2 / pixel_m))
        tone = tuple(float(v) for v in _slab(rng) * 1.1)
        cv2.rectangle(colour, (x0, y0), (x1 - 1, y1 - 1), tone, wall)
        cv2.rectangle(height, (x0, y0), (x1 - 1, y1 - 1), (top + 1.0,), wall)
    for _ in range(int(rng.integers(0, 9))):
        _fitting(colour, height, roof, (x0, y0, x1, y1), top, pixel_m, rng)


def _slab(rng: np.random.Generator) -> Floats:
    grey = rng.uniform(95, 235)
    return floats(grey * (1 + rng.normal(0, 0.02, 3)) + floats([4, 0, -7]) * rng.uniform(-1, 3))


def _sheet(rows: int, columns: int, pixel_m: float, rng: np.random.Generator) -> Floats:
    """A metal or fibre sheet roof: one colour with fine parallel ribs, maybe a ridge and single brighter sheets."""
    kinds = ([70, 110, 190], [95, 130, 170], [120, 60, 50], [150, 155, 160], [60, 75, 105], [190, 195, 200], [50, 60, 80])
    tone = floats(kinds[int(rng.integers(len(kinds)))]) * np.float32(rng.uniform(0.75, 1.25))
    along = np.arange(columns, dtype=np.float32) * pixel_m
    ribs = np.sin(along * 2 * np.pi / rng.uniform(0.35, 1.3)) * rng.uniform(0, 16)
    sheets = np.repeat(rng.normal(0, rng.uniform(0, 9), columns // 8 + 1), 8)[:columns]
    out = np.broadcast_to(tone + (ribs + sheets)[:, None], (rows, columns, 3)).astype(np.float32)
    if rng.random() < 0.5:
        out[: rows // 2] *= np.float32(rng.uniform(0.75, 0.97))
    return out if rng.random() < 0.5 else np.ascontiguousarray(np.broadcast_to(out[:, :1], out.shape))


def _fitting(
    colour: Floats,
    height: Floats,
    roof: NDArray[np.uint8],
    box: tuple[int, int, int, int],
    top: float,
    pixel_m: float,
    rng: np.random.Generator,
) -> None:
    """Something on a roof: stairhead, tank, opening, tarpaulin, paved or dark field, railing."""
    x0, y0, x1, y1 = box
    w, h = (max(3, round(v / pixel_m)) for v in rng.uniform(0.7, 5.0, 2))
    if x1 - x0 <= w or y1 - y0 <= h:
        return
    x, y = int(rng.integers(x0, x1 - w)), int(rng.integers(y0, y1 - h))
    kind = int(rng.integers(6))
    part = (slice(y, y + h), slice(x, x + w))
    if kind in (0, 1):
        colour[part], height[part] = _slab(rng), top + rng.uniform(0.8, 3.0)
        roof[part] = 0
    elif kind == 2:
        radius = max(2, round(rng.uniform(0.4, 1.0) / pixel_m))
        tone = float(rng.choice([25.0, 45.0, 200.0, 230.0]))
        cv2.circle(colour, (x, y), radius, (tone, tone, tone), -1)
        cv2.circle(height, (x, y), radius, (top + 1.5,), -1)
    elif kind == 3:
        colour[part] = _dark(rng)
    elif kind == 4:
        height[part] = rng.uniform(0, top)
        colour[part] = _slab(rng) * 0.8
        roof[part] = 0
    else:
        _tiles(colour, (x, y, w, h), rng.uniform(0.3, 3.5) / pixel_m, rng)


def _dark(rng: np.random.Generator) -> Floats:
    kinds = ([30, 32, 38], [55, 60, 70], [45, 50, 45], [80, 80, 85], [40, 60, 100], [70, 50, 45])
    return floats(floats(kinds[int(rng.integers(len(kinds)))]) * rng.uniform(0.7, 1.4))


def _tiles(colour: Floats, box: tuple[int, int, int, int], pitch: float, rng: np.random.Generator) -> None:
    """Bright paving or an open frame: a light field with darker joints, or bars with the roof between."""
    x, y, w, h = box
    tone = tuple(float(v) for v in _slab(rng))
    if rng.random() < 0.5:
        cv2.rectangle(colour, (x, y), (x + w, y + h), tone, -1)
        tone = tuple(v * 0.75 for v in tone)
    for step in np.arange(0, w + 1, max(3.0, pitch)):
        cv2.line(colour, (int(x + step), y), (int(x + step), y + h), tone, 1)
    if rng.random() < 0.5:
        for step in np.arange(0, h + 1, max(3.0, pitch)):
            cv2.line(colour, (x, int(y + step)), (x + w, int(y + step)), tone, 1)


def _trees(
    colour: Floats, height: Floats, plot: tuple[int, int, int, int], pixel_m: float, rng: np.random.Generator
) -> None:
    x, y, w, h = plot
    for _ in range(int(rng.integers(0, 12))):
        centre = (int(x + rng.uniform(0, w)), int(y + rng.uniform(0, h)))
        radius = max(3, round(rng.uniform(1.0, 4.5) / pixel_m))
        green = floats([50, 75, 45]) * np.float32(rng.uniform(0.6, 1.5))
        cv2.circle(colour, centre, radius, tuple(float(v) for v in green), -1)
        cv2.circle(height, centre, radius, (float(rng.uniform(3, 9)),), -1)


def _noise(size: int, strength: float, rng: np.random.Generator) -> Floats:
    coarse = rng.normal(0, 1, (size // 12, size // 12)).astype(np.float32)
    fine = rng.normal(0, 0.5, (size // 2, size // 2)).astype(np.float32)
    both = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) + cv2.resize(fine, (size, size))
    return floats(both * strength)


def _shadow(height: Floats, pixel_m: float, rng: np.random.Generator) -> Floats:
    """1 where something stands between the place and the sun."""
    azimuth, slope = rng.uniform(0, 2 * np.pi), float(np.tan(np.deg2rad(rng.uniform(28, 70))))
    reach = float(height.max()) / slope / _MARCH
    lit = height.copy()
    for step in range(1, _MARCH + 1):
        run = step * reach
        dx, dy = np.cos(azimuth) * run / pixel_m, np.sin(azimuth) * run / pixel_m
        moved = cv2.warpAffine(height, np.array([[1, 0, dx], [0, 1, dy]]), height.shape[::-1], flags=cv2.INTER_NEAREST)
        np.maximum(lit, moved - np.float32(run * slope), out=lit)
    return cv2.GaussianBlur((lit > height + 0.15).astype(np.float32), (0, 0), 0.8).astype(np.float32)


def paste_decoys(image: NDArray[np.uint8], gsd_m: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One to six turned rectangles that are no panels: plain dark or blue fields, sheet roofs, pale grids, hard shadows."""
    out = image.astype(np.float32)
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(1, 7))):
        rows, columns = (max(4, round(v / gsd_m)) for v in rng.uniform(1.2, 9.0, 2))
        kind = int(rng.integers(4))
        chart = np.empty((rows, columns, 3), np.float32)
        chart[:] = _dark(rng)
        if kind == 1:
            chart = _sheet(rows, columns, gsd_m, rng)
        elif kind == 2:
            _tiles(chart, (0, 0, columns - 1, rows - 1), rng.uniform(0.8, 4.0) / gsd_m, rng)
        angle = rng.uniform(0, np.pi)
        c, s = np.cos(angle), np.sin(angle)
        matrix = np.array([[c, -s, 0.0], [s, c, 0.0]])
        matrix[:, 2] = rng.uniform(0, 1, 2) * (width, height) - matrix[:, :2] @ np.array([columns / 2, rows / 2])
        cover = cv2.warpAffine(np.ones((rows, columns), np.float32), matrix, (width, height))[:, :, None]
        if kind == 3:
            out *= 1 - cover * np.float32(rng.uniform(0.3, 0.7))
        else:
            drawn = cv2.warpAffine(chart, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
            out = out * (1 - cover) + drawn * cover
    return np.clip(out, 0, 255).astype(np.uint8)
