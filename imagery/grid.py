"""Pixel grids on the map as value types: no bare (x, y) or (rows, columns) pair crosses a module."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from collateral.errors import InvalidInputError


@dataclass(frozen=True)
class PixelSize:
    """Extent of an array in pixels."""

    width: int
    """Columns."""
    height: int
    """Rows."""

    @property
    def megapixels(self) -> float:
        """Millions of pixels."""
        return self.width * self.height / 1e6


@dataclass(frozen=True)
class MapShift:
    """A displacement on the map: a shift of the pivot, with a turn and a stretch about it."""

    east_m: float
    north_m: float
    turn_deg: float = 0.0
    """Anticlockwise."""
    scale: float = 1.0
    pivot_east_m: float = 0.0
    """The pivot, coordinates of the grid's system; of no importance without turn and stretch."""
    pivot_north_m: float = 0.0

    @property
    def length_m(self) -> float:
        """Distance that the pivot is moved, metres."""
        return math.hypot(self.east_m, self.north_m)

    @property
    def affine(self) -> Affine:
        """Map coordinates -> map coordinates."""
        to_pivot = Affine.translation(self.pivot_east_m, self.pivot_north_m)
        shift = Affine.translation(self.east_m, self.north_m)
        return compose(shift, to_pivot, Affine.rotation(self.turn_deg), Affine.scale(self.scale), ~to_pivot)


NO_SHIFT = MapShift(0.0, 0.0)


@dataclass(frozen=True)
class GridSpec:
    """A pixel grid in a projected coordinate system.

    `affine` maps (column, row), counted from the upper left corner of the upper left pixel, to (east, north) metres.
    """

    epsg: int
    affine: Affine
    size: PixelSize

    @property
    def gsd_m(self) -> float:
        """Ground sampling distance: edge of a pixel of the same area, metres."""
        return math.sqrt(abs(self.affine.determinant))

    @property
    def footprint(self) -> BaseGeometry:
        """The grid's outline in its own coordinate system."""
        width, height = self.size.width, self.size.height
        return Polygon(self.to_map(np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])))

    def to_map(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixel points N x 2 (column, row) -> N x 2 (east, north) metres."""
        return apply_affine(self.affine, points)

    def to_pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points N x 2 (east, north) metres -> N x 2 (column, row)."""
        return apply_affine(~self.affine, points)

    def shifted(self, shift: MapShift) -> GridSpec:
        """The same pixels said to lie `shift` further on the map."""
        if shift.turn_deg == 0 and shift.scale == 1:  # exact: large coordinates do not pass through the pivot
            a, b, c, d, e, f = self.affine[:6]
            return replace(self, affine=Affine(a, b, c + shift.east_m, d, e, f + shift.north_m))
        return replace(self, affine=compose(shift.affine, self.affine))


def grid_over(geometry: BaseGeometry, epsg: int, gsd_m: float, margin_m: float = 0.0, multiple: int = 1) -> GridSpec:
    """The north-up grid that covers a geometry.

    Args:
        geometry: in the coordinate system `epsg`.
        epsg: a projected coordinate system in metres.
        gsd_m: edge of a pixel.
        margin_m: added on every side.
        multiple: width and height are rounded up to a multiple of this many pixels.

    The upper left corner lies on a multiple of the pixel, so that the same site always gets the same grid.

    Raises:
        InvalidInputError: the geometry is empty or the pixel is not positive.
    """
    if geometry.is_empty or not gsd_m > 0:
        raise InvalidInputError(f"No grid over an empty geometry or with pixels of {gsd_m} m; check the site's polygon.")
    west, south, east, north = geometry.bounds
    column = math.floor((west - margin_m) / gsd_m)
    row = math.ceil((north + margin_m) / gsd_m)
    width = math.ceil((east + margin_m) / gsd_m) - column
    height = row - math.floor((south - margin_m) / gsd_m)
    size = PixelSize(_round_up(width, multiple), _round_up(height, multiple))
    return GridSpec(epsg, Affine(gsd_m, 0.0, column * gsd_m, 0.0, -gsd_m, row * gsd_m), size)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def apply_affine(affine: Affine, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points N x 2 through an affine map (written out: releases of `affine` differ in the operator)."""
    matrix = np.array([[affine.a, affine.b], [affine.d, affine.e]])
    moved: NDArray[np.float64] = np.asarray(points, np.float64).reshape(-1, 2) @ matrix.T + (affine.c, affine.f)
    return moved


def compose(*parts: Affine) -> Affine:
    """Affine maps one after the other, the last one first (written out for the same reason)."""
    whole = np.eye(3)
    for part in parts:
        whole = whole @ np.array(tuple(part)[:9]).reshape(3, 3)
    return Affine(*(float(value) for value in whole[:2].ravel()))
