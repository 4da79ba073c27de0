"""How different two registered pictures of one place are at each pixel, whatever the sun, the season's light and the air.

Structure: the contrast-and-structure term of the structural similarity index (Wang et al. 2004, doi:10.1109/TIP.2003.819861)
over windows of two metres, at the best of the small displacements that registration leaves. Colour: distance of the smoothed
CIELAB chroma after the later picture was brought to the earlier one's light (`imagery.radiometry`), and of the lightness.
Shadow: where one picture is the other one darkened and turned a little blue, the difference is light, not ground.
Valid for pictures of 0.1 to 0.6 m per pixel aligned to within about a metre.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.arrays import floats
from imagery.radiometry import normalise

_WINDOW_M = 2.1
_REACH_M = 0.6
"""Displacements up to this far are forgiven."""
_NOISE = 5.0
"""Grey levels: texture below it says nothing."""
_SMOOTH_M = 0.45
_SHADOW_RATIO = (0.22, 0.8)
"""Brightness in the shade over brightness in the sun."""
_SHADOW_BLUE = (-0.08, 0.45)
"""How much less of the blue than of the red is lost in the shade (difference of logarithms)."""
_LEVEL_SHARE = 0.2
"""With less of the picture beside roofs the light is measured on all of it."""

Grey = NDArray[np.float32]


@dataclass(frozen=True)
class ChangeMaps:
    """Rows x columns each."""

    structure: Grey
    """0 same, 1 nothing in common."""
    chroma: Grey
    """Distance in the a*b* plane."""
    hue: Grey
    """a* and b* after minus before, rows x columns x 2."""
    lightness: Grey
    """L* after minus before, 0 to 100."""
    shade: NDArray[np.bool_]
    """The difference looks like a shadow that came or went."""
    green: NDArray[np.bool_]
    """Vegetation on either date: its colour and texture follow the season."""
    bared: NDArray[np.bool_]
    """Vegetation on the earlier date and none on the later."""
    valid: NDArray[np.bool_]
    """Both pictures show the ground."""


def change_maps(
    before: NDArray[np.uint8], after: NDArray[np.uint8], valid: NDArray[np.bool_], gsd_m: float,
    roofs: NDArray[np.bool_] | None = None,
) -> ChangeMaps:
    """Compares two pictures (rows x columns x 3, RGB) on one grid.

    `valid` is where both show the site. The light of the days is measured beside `roofs`: their slopes take another share
    of the sun on another day than level ground does, and a large roof would bend the line for all.
    """
    level = valid if roofs is None else valid & ~roofs
    if level.sum() < _LEVEL_SHARE * valid.sum():
        level = valid
    lit = normalise(after, before, level) if valid.any() else after
    first, second = _lab(before, gsd_m), _lab(lit, gsd_m)
    was_green, is_green = _green(before), _green(after) | _green(lit)  # a hazy date's light leaves little green in the other
    reach = max(1, round(_REACH_M / gsd_m))
    chroma = _nearest(first[..., 1:], second[..., 1:], reach)
    lightness = second[..., 0] - first[..., 0]
    return ChangeMaps(
        structure=_structure(before, lit, gsd_m, reach),
        chroma=chroma,
        hue=floats(second[..., 1:] - first[..., 1:]),
        lightness=np.asarray(lightness, np.float32),
        shade=_shade(before, lit, gsd_m),
        green=was_green | is_green,
        bared=was_green & ~is_green,
        valid=valid,
    )


def _lab(picture: NDArray[np.uint8], gsd_m: float) -> NDArray[np.float32]:
    smooth = cv2.GaussianBlur(picture.astype(np.float32) / 255, (0, 0), max(_SMOOTH_M / gsd_m, 0.5))
    return np.asarray(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB), np.float32)


def _offsets(reach: int) -> list[tuple[int, int]]:
    """Whole displacements (columns, rows) within a diamond."""
    steps = range(-reach, reach + 1)
    return [(columns, rows) for rows in steps for columns in steps if abs(columns) + abs(rows) <= reach]


def _nearest(first: NDArray[np.float32], second: NDArray[np.float32], reach: int) -> Grey:
    """Smallest distance of each pixel to the other picture's neighbourhood, the larger of both ways."""
    there = np.full(first.shape[:2], np.inf, np.float32)
    back = there.copy()
    one, other = ([floats(band) for band in cv2.split(image)] for image in (first, second))
    for columns, rows in _offsets(reach):
        across, down = (a - _moved(b, columns, rows) for a, b in zip(one, other, strict=True))
        squared = across * across + down * down  # not cv2.magnitude: see imagery.vectors
        np.minimum(there, squared, out=there)
        np.minimum(back, _moved(squared, -columns, -rows), out=back)
    return np.asarray(np.sqrt(np.maximum(there, back)), np.float32)


def _moved(values: NDArray[np.float32], columns: int, rows: int) -> NDArray[np.float32]:
    """Content moved by whole pixels, the border repeated."""
    height, width = values.shape[:2]
    rim = max(abs(columns), abs(rows))
    wide = cv2.copyMakeBorder(values, rim, rim, rim, rim, cv2.BORDER_REPLICATE)
    return np.asarray(wide[rim - rows : rim - rows + height, rim - columns : rim - columns + width], np.float32)


def _structure(before: NDArray[np.uint8], after: NDArray[np.uint8], gsd_m: float, reach: int) -> Grey:
    first, second = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float32) for p in (before, after))
    size = (2 * max(1, round(_WINDOW_M / gsd_m / 2)) + 1,) * 2
    mean_a, mean_b = floats(cv2.blur(first, size)), floats(cv2.blur(second, size))
    var_a = np.maximum(cv2.blur(first * first, size) - mean_a * mean_a, 0)
    floor = np.float32(_NOISE**2)
    best = np.full(first.shape, -1.0, np.float32)
    var_second = floats(np.maximum(cv2.blur(second * second, size) - mean_b * mean_b, 0))
    for columns, rows in _offsets(reach):
        var_b = _moved(var_second, columns, rows)
        shared = cv2.blur(first * _moved(second, columns, rows), size) - mean_a * _moved(mean_b, columns, rows)
        # The textures may differ in contrast (haze, shade): their product of deviations, not the mean of squares.
        np.maximum(best, (shared + floor) / (np.sqrt(var_a * var_b) + floor + 0.5 * np.abs(var_a - var_b)), out=best)
    return np.asarray(np.clip(1 - best, 0, 1), np.float32)


def _shade(before: NDArray[np.uint8], after: NDArray[np.uint8], gsd_m: float) -> NDArray[np.bool_]:
    sigma = max(_SMOOTH_M / gsd_m, 0.5)
    first, second = (cv2.GaussianBlur(picture.astype(np.float32) + 1.0, (0, 0), sigma) for picture in (before, after))
    red, green, blue = cv2.split(np.log(second / first))
    mean = (red + green + blue) / np.float32(3)
    level = -np.abs(mean)  # of the darker one over the lighter one
    bluer = np.where(mean < 0, blue - red, red - blue)
    low, high = (np.log(v) for v in _SHADOW_RATIO)
    alike = (level > low) & (level < high) & (bluer > _SHADOW_BLUE[0]) & (bluer < _SHADOW_BLUE[1])
    return np.asarray(alike, np.bool_)


def _green(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    smooth = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 1.5)
    red, green, blue = smooth[..., 0], smooth[..., 1], smooth[..., 2]
    return np.asarray(((2 * green - red - blue) > 0.055 * (red + green + blue)) & (green > 0.95 * red), np.bool_)
