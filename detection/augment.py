"""Picture changes for training: what differs between cameras, hours, weathers and compressions. All seeded."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.arrays import floats

Picture = NDArray[np.uint8]


def photometric(image: Picture, rng: np.random.Generator) -> Picture:
    """Colour, light, shadow, haze, blur, lost resolution, noise and JPEG, each with its own chance."""
    x = image.astype(np.float32)
    if rng.random() < 0.8:
        x = floats(x * rng.uniform(0.6, 1.4) + rng.uniform(-25, 25))
    if rng.random() < 0.5:
        x = floats(x * floats(rng.uniform(0.88, 1.12, 3)))
    if rng.random() < 0.5:
        gray = x.mean(axis=2, keepdims=True)
        x = floats(gray + (x - gray) * rng.uniform(0.0, 1.7))
    if rng.random() < 0.35:
        x = _shadow(x, rng)
    if rng.random() < 0.06:  # the whole place in a building's shade, or at dusk
        x = floats(x * rng.uniform(0.35, 0.7))
    if rng.random() < 0.1:
        x = floats(x * _slope(x.shape[0], x.shape[1], rng))
    if rng.random() < 0.25:
        haze = rng.uniform(0.05, 0.5)
        x = floats(x * (1 - haze) + haze * rng.uniform(170, 245))
    if rng.random() < 0.3:
        x = floats(255 * (np.clip(x, 0, 255) / 255) ** rng.uniform(0.65, 1.5))
    return _optics(np.clip(x, 0, 255).astype(np.uint8), rng)


def _optics(image: Picture, rng: np.random.Generator) -> Picture:
    if rng.random() < 0.45:
        image = _coarse(image, rng)
    elif rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.3)).astype(np.uint8)
    if rng.random() < 0.15:
        sharp = cv2.addWeighted(image, 1.6, cv2.GaussianBlur(image, (0, 0), 1.2), -0.6, 0)
        image = sharp.astype(np.uint8)
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(2, 9), image.shape).astype(np.float32)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        image = _jpeg(image, int(rng.integers(35, 95)))
    return image


def _coarse(image: Picture, rng: np.random.Generator) -> Picture:
    """The picture as a coarser camera sees it and as it comes back on this grid: soft or sharpened, compressed."""
    height, width = image.shape[:2]
    factor = rng.uniform(0.42, 0.85)
    if rng.random() < 0.4:  # optics and film blur more than a pixel
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.6) / factor).astype(np.uint8)
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.uint8)
    if rng.random() < 0.35:  # satellite products are delivered sharpened
        amount = rng.uniform(0.3, 1.2)
        soft = cv2.GaussianBlur(small, (0, 0), 1.0)
        small = cv2.addWeighted(small, 1 + amount, soft, -amount, 0).astype(np.uint8)
    if rng.random() < 0.5:  # coarse scenes are compressed on their own grid
        small = _jpeg(small, int(rng.integers(50, 96)))
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def _jpeg(image: Picture, quality: int) -> Picture:
    """What compression at this quality leaves of an RGB picture."""
    coded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1])


def _shadow(x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    height, width = x.shape[:2]
    mask = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(1, 3))):
        centre = rng.uniform(0, 1, 2) * (width, height)
        radius = rng.uniform(0.15, 0.6) * max(width, height)
        turns = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        points = centre + radius * np.stack([np.cos(turns), np.sin(turns)], 1)
        cv2.fillPoly(mask, [points.astype(np.int32)], (1.0,))
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.6, 3)).astype(np.float32)
    deep = rng.random() < 0.4
    tint = floats([0.9, 0.97, 1.08]) * np.float32(rng.uniform(0.16, 0.4) if deep else rng.uniform(0.35, 0.75))
    return (x * (1 + (tint - 1) * mask[:, :, None])).astype(np.float32)


def _slope(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Light that changes from one side to the other, as under thin cloud: rows x columns x 1, about 1."""
    across, down = rng.uniform(-0.35, 0.35, 2)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return floats(1 + across * x + down * y)[:, :, None]


def cover(
    shape: tuple[int, int], across: tuple[float, float], rng: np.random.Generator
) -> tuple[Picture, NDArray[np.float32]]:
    """Something that stands above the ground and hides part of it: a crown, an edge of a roof, a gantry.

    `shape`: rows and columns; `across`: x, y (pixels) of what it is to hide a part of. Returns its picture and how much of
    each pixel it hides (0..1).
    """
    hidden = np.zeros(shape, np.float32)
    centre, turn = np.array(across), rng.uniform(0, 2 * np.pi)
    towards = np.array([np.cos(turn), np.sin(turn)])
    kind = rng.random()
    if kind < 0.45:  # a crown of several branches
        base = floats([rng.uniform(35, 110), rng.uniform(55, 125), rng.uniform(25, 85)])
        middle = centre + towards * rng.uniform(6, 22)
        for _ in range(int(rng.integers(3, 9))):
            x, y = (int(v) for v in middle + rng.normal(0, 8, 2))
            cv2.circle(hidden, (x, y), int(rng.integers(5, 15)), (1.0,), -1)
    elif kind < 0.85:  # a roof, round or with corners
        base = floats(rng.uniform(50, 220) + rng.uniform(-35, 35, 3))
        radius = rng.uniform(20, 130)
        middle = centre + towards * (radius + rng.uniform(-7, 7))
        sides = int(rng.integers(4, 7)) if rng.random() < 0.6 else 40
        turns = turn + np.linspace(0, 2 * np.pi, sides, endpoint=False) + (np.pi / sides if rng.random() < 0.7 else 0.0)
        points = middle + radius * np.stack([np.cos(turns), np.sin(turns)], 1)
        cv2.fillPoly(hidden, [points.astype(np.int32)], (1.0,))
    else:  # a gantry, a cable, a lamp
        base = floats(rng.uniform(60, 230) + rng.uniform(-15, 15, 3))
        ends = [tuple(int(v) for v in centre + towards * reach) for reach in (rng.uniform(-200, -8), rng.uniform(8, 200))]
        cv2.line(hidden, ends[0], ends[1], (1.0,), int(rng.integers(2, 8)))
    hidden = floats(np.minimum(cv2.GaussianBlur(hidden, (0, 0), rng.uniform(0.5, 1.0)), 1.0))
    grain = floats(base + _grain(shape, rng) * np.float32(rng.uniform(3, 30) if kind >= 0.45 else rng.uniform(18, 45)))
    return np.clip(grain, 0, 255).astype(np.uint8), hidden


def _grain(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of two scales, rows x columns x 1, standard deviation about 1."""
    fine = rng.normal(0, 0.8, shape).astype(np.float32)
    small = rng.normal(0, 1, (shape[0] // 4 + 1, shape[1] // 4 + 1)).astype(np.float32)
    coarse = cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return floats(cv2.GaussianBlur(fine, (0, 0), 0.7) + coarse)[:, :, None]


def affine(
    source: tuple[float, float], target: tuple[float, float], scale: float, angle: float, flip: bool
) -> NDArray[np.float64]:
    """2 x 3 matrix that brings point `source` to `target`, turned by `angle` (radians), `scale` times as large."""
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    turn = np.array([[c, -s], [s, c]]) @ np.diag([-1.0 if flip else 1.0, 1.0])
    shift = np.array(target) - turn @ np.array(source)
    return np.concatenate([turn, shift[:, None]], axis=1)


def random_angle(rng: np.random.Generator, free: float) -> float:
    """A quarter turn, or with chance `free` any angle; radians."""
    return float(rng.uniform(0, 2 * np.pi)) if rng.random() < free else float(rng.integers(0, 4)) * np.pi / 2
