"""Aligns a window with the site's reference: pictures of one place lie a few metres apart as delivered.

Phase correlation (Kuglin & Hines 1975) of gradient magnitudes, which survive another sun and season better than brightness;
the peak is found to a tenth of a pixel by a parabola. Translation only; what cannot be aligned is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imagery.grid import NO_SHIFT, MapShift

MAX_SHIFT_M = 10.0
"""A larger displacement is not searched for."""
MIN_AGREEMENT = 0.18
"""Smallest normalised correlation of the gradients after alignment."""

_PASSES = 2
_SETTLED_PX = 0.05


@dataclass(frozen=True)
class Alignment:
    """How a window lies against the reference."""

    aligned: bool
    shift: MapShift
    """Displacement of the window's content from the reference's: subtract it from the window's georeferencing."""
    agreement: float
    """Normalised correlation of gradients after the shift, -1 to 1."""


def align(
    picture: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    gsd_m: float,
    usable: NDArray[np.bool_] | None = None,
) -> Alignment:
    """Finds the displacement of `picture` against `reference`.

    Args:
        picture: rows x columns luminance, north up.
        reference: the same shape and grid; 0 where it says nothing.
        gsd_m: edge of a pixel.
        usable: rows x columns, False where the picture shows cloud or nothing.
    """
    known = (reference > 0) & (picture > 0)
    if usable is not None:
        known &= usable
    fixed = _edges(reference, known)
    columns = rows = 0.0
    for _ in range(_PASSES):
        # The taper lies still while the content moves, which pulls towards no shift: measured again when moved back.
        moving = _moved_back(_edges(picture, known), columns, rows)
        if not moving.any() or not fixed.any():
            return Alignment(False, NO_SHIFT, 0.0)
        more = _peak(moving * _taper(moving.shape), fixed * _taper(fixed.shape), MAX_SHIFT_M / gsd_m)
        columns, rows = columns + more[0], rows + more[1]
        if max(abs(more[0]), abs(more[1])) < _SETTLED_PX:
            break
    agreement = _agreement(_moved_back(_edges(picture, known), columns, rows), fixed)
    shift = MapShift(columns * gsd_m, -rows * gsd_m)
    return Alignment(agreement >= MIN_AGREEMENT and shift.length_m <= MAX_SHIFT_M, shift, agreement)


def _edges(image: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    values = cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32)
    gradient = cv2.magnitude(cv2.Sobel(values, cv2.CV_32F, 1, 0), cv2.Sobel(values, cv2.CV_32F, 0, 1))
    core = cv2.erode(known.astype(np.uint8), np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    if not core.any():
        return np.zeros(image.shape, np.float32)
    # A few hard shadows must not decide: strong gradients count no more than the 95th percentile.
    gradient = np.minimum(gradient, np.percentile(gradient[core], 95))
    gradient = np.where(core, gradient - gradient[core].mean(), 0.0)
    return np.asarray(gradient, np.float32)


def _taper(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Square root of a Hann window: without it the picture's edges are the strongest structure."""
    window = np.hanning(shape[0])[:, None] * np.hanning(shape[1])[None, :]
    return np.asarray(np.sqrt(window), np.float32)


def _moved_back(edges: NDArray[np.float32], columns: float, rows: float) -> NDArray[np.float32]:
    if columns == rows == 0.0:
        return edges
    matrix = np.array([[1.0, 0.0, columns], [0.0, 1.0, rows]])
    size = (edges.shape[1], edges.shape[0])
    return np.asarray(cv2.warpAffine(edges, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP), np.float32)


def _peak(moving: NDArray[np.float32], fixed: NDArray[np.float32], reach_px: float) -> tuple[float, float]:
    """(columns, rows) by which `moving` lies right of and below `fixed`."""
    shape = tuple(cv2.getOptimalDFTSize(edge) for edge in moving.shape)
    cross = np.fft.rfft2(moving, shape) * np.conj(np.fft.rfft2(fixed, shape))
    # Between pure phase and plain correlation: pure phase lets noise of empty frequencies in.
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9) ** 0.7, shape)
    reach = int(np.ceil(reach_px)) + 1
    reach = min(reach, min(shape) // 2 - 1)
    offsets = np.arange(-reach, reach + 1)
    near = surface[np.ix_(offsets % shape[0], offsets % shape[1])]
    row, column = (int(v) for v in np.unravel_index(int(np.argmax(near)), near.shape))
    rows = offsets[row] + _parabola(near[:, column], row)
    columns = offsets[column] + _parabola(near[row], column)
    return float(columns), float(rows)


def _parabola(values: NDArray[np.float64], at: int) -> float:
    if not 0 < at < len(values) - 1:
        return 0.0
    left, middle, right = (float(v) for v in values[at - 1 : at + 2])
    bend = left - 2 * middle + right
    return 0.0 if bend >= 0 else float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))


def _agreement(moving: NDArray[np.float32], fixed: NDArray[np.float32]) -> float:
    both = (moving != 0) & (fixed != 0)
    if both.sum() < 256:
        return 0.0
    a, b = moving[both] - moving[both].mean(), fixed[both] - fixed[both].mean()
    norm = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b)) / norm if norm > 0 else 0.0
