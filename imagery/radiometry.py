"""Brings a window to the brightness and colour of the site's reference, so that a difference means a change on the ground.

Per band a gain and an offset, fitted on pixels that did not change (pseudo-invariant features: Schott, Salvaggio & Volchok
1988, doi:10.1016/0034-4257(88)90116-2). Which those are is found while fitting: a robust line in both directions (window
on reference and reference on window), whose geometric mean is not flattened by noise in either picture. Valid for one
illumination over the window; moving shadows and changed goods fall out as outliers while they cover less than about half.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from collateral.errors import InvalidInputError

GAIN_RANGE = (0.4, 2.5)
"""A stronger change of contrast is not sun or air."""
MIN_PIXELS = 64
"""With fewer comparable pixels the window is left as it is."""

_SAMPLE = 40_000
_ITERATIONS = 12
_TUKEY = 4.685
"""Tukey's biweight: 95 % efficiency for normal errors."""
_CLIPPED = (3.0, 250.0)
"""Grey levels beyond these may have been cut off and say nothing about gain."""


@dataclass(frozen=True)
class BandFit:
    """reference = gain x window + offset, for one band."""

    gain: float
    offset: float
    """Grey levels."""
    invariant_share: float
    """Share of the compared pixels on the line, 0 to 1; 0 when there were too few to fit."""


UNCHANGED = BandFit(1.0, 0.0, 0.0)


def normalise(window: NDArray[np.uint8], reference: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The window with the reference's brightness and colour.

    Args:
        window: rows x columns (x bands), registered with the reference.
        reference: the same shape.
        mask: rows x columns, True where both pictures show ground (no cloud, no missing data).

    Returns:
        An array like `window`; pixels outside the mask are put right with the same line.

    Raises:
        InvalidInputError: the shapes differ.
    """
    fits = fit_bands(window, reference, mask)
    bands = window if window.ndim == 3 else window[..., None]
    levels = np.arange(256, dtype=np.float64)
    out = np.empty_like(bands)
    for number, fit in enumerate(fits):
        table = np.clip(np.rint(fit.gain * levels + fit.offset), 0, 255).astype(np.uint8)
        out[..., number] = cv2.LUT(np.ascontiguousarray(bands[..., number]), table)
    return out.reshape(window.shape)


def fit_bands(
    window: NDArray[np.uint8], reference: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> tuple[BandFit, ...]:
    """One line per band; arguments and errors as for `normalise`."""
    if window.shape != reference.shape or mask.shape != window.shape[:2]:
        raise InvalidInputError(
            f"Window {window.shape}, reference {reference.shape} and mask {mask.shape} differ; read them on one grid."
        )
    shape = (*window.shape[:2], -1)
    # A 3 x 3 mean: what is left of misregistration after alignment lies below a pixel.
    moving, fixed = (cv2.blur(image, (3, 3)).reshape(shape) for image in (window, reference))
    core = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    steps = max(1, int(np.ceil(np.sqrt(core.sum() / _SAMPLE))))
    chosen = core[::steps, ::steps]
    x, y = (image[::steps, ::steps][chosen].astype(np.float64) for image in (moving, fixed))
    return tuple(_line(x[:, band], y[:, band]) for band in range(x.shape[1]))


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> BandFit:
    low, high = _CLIPPED
    kept = (x > low) & (x < high) & (y > low) & (y < high)
    x, y = x[kept], y[kept]
    if len(x) < MIN_PIXELS:
        return UNCHANGED
    spread_x, spread_y = (float(np.subtract(*np.percentile(v, (90, 10)))) for v in (x, y))
    gain = float(np.clip(spread_y / max(spread_x, 1e-6), *GAIN_RANGE)) if spread_x > 4 else 1.0
    offset = float(np.median(y - gain * x))
    weights = np.ones(len(x))
    for _ in range(_ITERATIONS):
        residual = (y - gain * x - offset) / np.sqrt(1 + gain * gain)
        scale = max(1.4826 * float(np.median(np.abs(residual))), 0.5)
        weights = np.square(np.clip(1 - np.square(residual / (_TUKEY * scale)), 0, None))
        before = gain
        gain = _slope(x, y, weights, gain)
        offset = float(np.sum(weights * (y - gain * x)) / max(float(weights.sum()), 1e-9))
        if abs(gain - before) < 1e-4:
            break
    return BandFit(gain, offset, float(np.mean(weights > 0.5)))


def _slope(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64], before: float) -> float:
    """Weighted geometric mean of both regressions; the one before where the pixels say nothing about it."""
    total = float(weights.sum())
    if total <= 0:
        return before
    dx, dy = x - np.sum(weights * x) / total, y - np.sum(weights * y) / total
    xx, yy, xy = (float(np.sum(weights * a * b)) for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    if xx < 1e-6 * total or yy < 1e-6 * total or xy <= 0.3 * np.sqrt(xx * yy):
        return before
    return float(np.clip(np.sqrt(yy / xx), *GAIN_RANGE))
