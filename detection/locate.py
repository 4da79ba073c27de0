"""The one place where what a detector found in pixels becomes map geometry, and where map geometry becomes pixels for it.

Pixel positions count from the outer corner of the upper left pixel, as the detectors give them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes
from shapely.geometry import MultiPoint, Polygon, shape
from shapely.geometry.base import BaseGeometry

from detection.infer import Box
from imagery.grid import GridSpec, compose
from imagery.target import to_lonlat


@dataclass(frozen=True)
class Located:
    """One object on the map."""

    geometry: BaseGeometry
    """In metres of the grid's coordinate system."""
    epsg: int
    confidence: float
    """Calibrated, 0 to 1."""
    label: str
    length_m: float | None = None
    """Of a vehicle."""
    subject_id: str = ""
    """Slot or module it is about, if any."""
    subject: str = "slot"
    """Which of the two."""

    @property
    def lonlat(self) -> BaseGeometry:
        """The geometry in WGS 84 longitude and latitude."""
        return to_lonlat(self.geometry, self.epsg)


def locate_boxes(boxes: Sequence[Box], grid: GridSpec, inside: BaseGeometry) -> list[Located]:
    """Vehicles whose centre lies in `inside` (metres of the grid's system), strongest first as given."""
    if not boxes:
        return []
    corners = np.array([[(b.x0, b.y0), (b.x1, b.y0), (b.x1, b.y1), (b.x0, b.y1)] for b in boxes], np.float64)
    places = grid.to_map(corners.reshape(-1, 2)).reshape(-1, 4, 2)
    centres = places.mean(axis=1)
    own = shapely.contains_xy(inside, centres[:, 0], centres[:, 1])
    return [
        Located(Polygon(place), grid.epsg, box.confidence, box.label, box.length_px * grid.gsd_m)
        for box, place, wanted in zip(boxes, places, own, strict=True)
        if wanted
    ]


def boxes_lonlat(boxes: Sequence[Box], grid: GridSpec) -> NDArray[np.float64]:
    """Closed outlines, N x 5 x (longitude, latitude), of very many boxes."""
    corners = np.array([[(b.x0, b.y0), (b.x1, b.y0), (b.x1, b.y1), (b.x0, b.y1), (b.x0, b.y0)] for b in boxes], np.float64)
    points = MultiPoint(grid.to_map(corners.reshape(-1, 2)))
    return np.asarray(shapely.get_coordinates(to_lonlat(points, grid.epsg)), np.float64).reshape(-1, 5, 2)


def locate_mask(
    mask: NDArray[np.bool_], probability: NDArray[np.float32], grid: GridSpec, label: str, min_area_m2: float
) -> list[Located]:
    """Connected regions of a mask (rows x columns), holes kept, outlines simplified to half a pixel, largest first.

    `confidence` of a region is the mean of `probability` over it.
    """
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    pixels = np.bincount(labels.ravel(), minlength=count)
    wanted = (pixels >= min_area_m2 / grid.gsd_m**2) & (np.arange(count) > 0)
    if not wanted.any():
        return []
    x, y, width, height = cv2.boundingRect(wanted[labels].astype(np.uint8))
    part = (slice(y, y + height), slice(x, x + width))  # outside of it there is nothing to outline
    labels = labels[part].astype(np.int32)
    means = np.bincount(labels.ravel(), weights=probability[part].ravel(), minlength=count) / np.maximum(pixels, 1)
    moved = compose(grid.affine, Affine.translation(x, y))
    found = [
        Located(shape(outline).simplify(grid.gsd_m / 2), grid.epsg, float(means[int(number)]), label)
        for outline, number in shapes(labels, mask=wanted[labels], transform=moved)
    ]
    return sorted(found, key=lambda region: -region.geometry.area)


def polygon_pixels(geometry: BaseGeometry, grid: GridSpec) -> list[tuple[float, float]]:
    """Corners (x, y) of a polygon's outline in pixels of the grid, the closing one left out."""
    corners = np.asarray(shapely.get_coordinates(geometry.convex_hull), np.float64)[:-1]
    return [(float(x), float(y)) for x, y in grid.to_pixels(corners)]
