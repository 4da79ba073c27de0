"""Turned rectangles from axis-aligned vehicle boxes.

An axis-aligned box of width w and height h around a vehicle of length L and width W turned by a obeys
w = L cos a + W sin a, h = L sin a + W cos a. With W known within limits (cars 1.85 m, lorries 2.5 m) that gives L
and a up to the sign of a, which the picture decides: across the right long sides brightness changes the
most (wrong for about one in seven slanted vehicles of rendered scenes).
Holds for vehicles that are wholly visible; boxes cut by the picture's border are taken as parallel to it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.arrays import floats

CAR_WIDTH_M = 1.85
LORRY_WIDTH_M = 2.5
_LONG_M = 6.5
_ANGLES = np.deg2rad(np.arange(0.0, 45.5, 0.5))


def orient_boxes(image: NDArray[np.uint8], boxes: NDArray[np.float32], gsd_m: float) -> NDArray[np.float32]:
    """Boxes N x 4 (x0, y0, x1, y1 px) in `image` -> N x 5 (cx, cy, length, width in px, heading in radians)."""
    out = np.zeros((len(boxes), 5), np.float32)
    if len(boxes) == 0:
        return out
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    for index, box in enumerate(boxes):
        out[index] = _orient(gray, box, gsd_m)
    return out


def _orient(gray: NDArray[np.float32], box: NDArray[np.float32], gsd_m: float) -> tuple[float, ...]:
    x0, y0, x1, y1 = (float(v) for v in box)
    w, h = x1 - x0, y1 - y0
    centre = ((x0 + x1) / 2, (y0 + y1) / 2)
    rows, columns = gray.shape
    cut = x0 < 2 or y0 < 2 or x1 > columns - 2 or y1 > rows - 2
    long, short = max(w, h), min(w, h)
    width = (LORRY_WIDTH_M if np.hypot(w, h) * gsd_m > _LONG_M else CAR_WIDTH_M) / gsd_m
    if cut or short <= width * 1.05:
        return (*centre, long, short, 0.0 if w >= h else np.pi / 2)
    c, s = np.cos(_ANGLES), np.sin(_ANGLES)
    with np.errstate(divide="ignore", invalid="ignore"):
        widths = (short * c - long * s) / (c * c - s * s)
    angle = float(_ANGLES[int(np.nanargmin(np.abs(np.where(np.isfinite(widths), widths, 1e9) - width)))])
    length = max((w + h) / (np.cos(angle) + np.sin(angle)) - width, long * 0.7)
    heading = angle if w >= h else np.pi / 2 - angle
    falling, rising = (_side_contrast(gray, *centre, length, width, sign * heading) for sign in (1, -1))
    return (*centre, length, width, heading if falling >= rising else -heading)


def _side_contrast(gray: NDArray[np.float32], cx: float, cy: float, length: float, width: float, heading: float) -> float:
    """How much brightness changes across the two long sides: the mean gradient along each, absolute, summed."""
    reach = length / 2
    top, left = max(int(cy - reach) - 2, 0), max(int(cx - reach) - 2, 0)
    patch = gray[top : int(cy + reach) + 3, left : int(cx + reach) + 3]
    gx, gy = cv2.Sobel(patch, cv2.CV_32F, 1, 0), cv2.Sobel(patch, cv2.CV_32F, 0, 1)
    along = np.array([np.cos(heading), np.sin(heading)])
    across = np.array([-along[1], along[0]])
    steps = np.linspace(-0.42, 0.42, 24)[:, None] * along * length + np.array([cx - left, cy - top]) - 0.5
    total = 0.0
    for side in (-0.5, 0.5):
        points = floats(steps + side * width * across).reshape(-1, 1, 2)
        slope = [cv2.remap(g, points, None, cv2.INTER_LINEAR) for g in (gx, gy)]  # type: ignore[call-overload]
        total += abs(float((slope[0] * across[0] + slope[1] * across[1]).mean()))
    return total


def corners(oriented: NDArray[np.float32]) -> NDArray[np.float32]:
    """N x 5 turned rectangles -> N x 4 x 2 corner points."""
    cx, cy, length, width, heading = oriented.T.astype(np.float64)
    along = np.stack([np.cos(heading), np.sin(heading)], 1) * (length / 2)[:, None]
    across = np.stack([-np.sin(heading), np.cos(heading)], 1) * (width / 2)[:, None]
    centre = np.stack([cx, cy], 1)
    points = [centre + along + across, centre + along - across, centre - along - across, centre - along + across]
    return np.stack(points, axis=1).astype(np.float32)


def bounds(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """N x K x 2 points -> N x 4 axis-aligned boxes."""
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1).astype(np.float32)
