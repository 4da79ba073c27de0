"""Places of any orientation made upright: the smallest turned rectangle around a polygon, its long side down the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from collateral.errors import InvalidInputError


@dataclass(frozen=True)
class Upright:
    """The smallest turned rectangle around a polygon, in pixels; origin at the outer corner of the first pixel."""

    centre: tuple[float, float]
    across: tuple[float, float]
    """The short side, as a vector."""
    along: tuple[float, float]
    """The long side, as a vector."""

    @property
    def width(self) -> float:
        """Of the short side, pixels."""
        return float(np.hypot(*self.across))

    @property
    def length(self) -> float:
        """Of the long side, pixels."""
        return float(np.hypot(*self.along))

    def matrix(self, columns: int, rows: int) -> NDArray[np.float64]:
        """2 x 3: from the centre of a pixel of a `rows` x `columns` chip to pixel centres of the picture (cv2.warpAffine
        with WARP_INVERSE_MAP)."""
        across, along = np.array(self.across) / columns, np.array(self.along) / rows
        origin = np.array(self.centre) - 0.5 - across * (columns - 1) / 2 - along * (rows - 1) / 2
        return np.stack([across, along, origin], axis=1)

    def points(self, columns: int, rows: int) -> NDArray[np.float64]:
        """rows * columns x 2: a lattice over the rectangle, its border included."""
        u, v = np.meshgrid(np.linspace(-0.5, 0.5, columns), np.linspace(-0.5, 0.5, rows))
        steps = np.stack([u.ravel(), v.ravel()], axis=1) @ np.array([self.across, self.along])
        return np.asarray(np.array(self.centre) + steps)


def upright(polygon_px: Sequence[tuple[float, float]], what: str = "slot") -> Upright:
    """The rectangle of a polygon of at least three (x, y) corners in pixels.

    Raises `InvalidInputError`, which calls the place `what`, for fewer corners or no area.
    """
    points = np.asarray(polygon_px, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise InvalidInputError(f"A {what} polygon of {len(points)} corners came; wanted are at least three (x, y).")
    middle = points.mean(axis=0)  # float32, in which OpenCV computes, has 7 digits
    (cx, cy), (w, h), degrees = cv2.minAreaRect((points - middle).astype(np.float32))
    if min(w, h) < 1e-3:
        raise InvalidInputError(f"The {what} polygon {points.tolist()} has no area; correct its outline.")
    turn = np.deg2rad(degrees)
    if w > h:
        w, h, turn = h, w, turn + np.pi / 2
    across, along = (np.cos(turn) * w, np.sin(turn) * w), (-np.sin(turn) * h, np.cos(turn) * h)
    return Upright(
        (float(cx + middle[0]), float(cy + middle[1])),
        (float(across[0]), float(across[1])),
        (float(along[0]), float(along[1])),
    )
