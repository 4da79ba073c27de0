"""A site as the scan needs it: its polygon and slots in metres, and its fixed pixel grids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from collateral.domain import Site, Slot
from imagery.grid import GridSpec, grid_over

MARGIN_M = 6.0
"""Seen around the site's polygon, so that what stands on its edge is seen whole."""


@dataclass(frozen=True)
class SiteTarget:
    """One site to be looked at."""

    site: Site
    polygon: BaseGeometry
    """The site in metres of `site.utm_epsg`."""
    slots: tuple[Slot, ...]
    slot_polygons: Mapping[str, BaseGeometry]
    """slot_id -> polygon in metres of `site.utm_epsg`; yards are not among them."""
    yard_polygons: Mapping[str, BaseGeometry] = field(default_factory=dict)
    """slot_id of a yard (ground without marked places) -> polygon in metres of `site.utm_epsg`."""

    def grid(self, gsd_m: float, multiple: int = 1, least_edge_m: float = 0.0) -> GridSpec:
        """The site's window on a grid of this pixel, no edge shorter than `least_edge_m`; the same every time."""
        west, south, east, north = self.polygon.bounds
        margin_m = max(MARGIN_M, (least_edge_m - min(east - west, north - south)) / 2)
        return grid_over(self.polygon, self.site.utm_epsg, gsd_m, margin_m, multiple)


def site_targets(sites: Iterable[Site], slots: Iterable[Slot]) -> list[SiteTarget]:
    """Sites with their slots, projected once."""
    by_site: dict[str, list[Slot]] = {}
    for slot in slots:
        by_site.setdefault(slot.site_id, []).append(slot)
    targets = []
    for site in sites:
        own = tuple(sorted(by_site.get(site.site_id, ()), key=lambda slot: slot.slot_id))
        polygons = {slot.slot_id: to_utm(slot.geometry, site.utm_epsg) for slot in own}
        places = tuple(slot for slot in own if slot.kind != "yard")
        yards = {slot.slot_id: polygons.pop(slot.slot_id) for slot in own if slot.kind == "yard"}
        targets.append(SiteTarget(site, to_utm(site.geometry, site.utm_epsg), places, polygons, yards))
    return targets


def to_utm(geometry: BaseGeometry, epsg: int) -> BaseGeometry:
    """WGS 84 longitude/latitude -> metres of a projected system."""
    return _transformed(geometry, _transformer("EPSG:4326", f"EPSG:{epsg}"))


def to_lonlat(geometry: BaseGeometry, epsg: int) -> BaseGeometry:
    """Metres of a projected system -> WGS 84 longitude/latitude."""
    return _transformed(geometry, _transformer(f"EPSG:{epsg}", "EPSG:4326"))


@lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def _transformed(geometry: BaseGeometry, transformer: Transformer) -> BaseGeometry:
    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = transformer.transform(points[:, 0], points[:, 1])
        return np.stack([x, y], axis=1)

    moved: BaseGeometry = shapely.transform(geometry, move)
    return moved


def mask_inside(geometry: BaseGeometry, grid: GridSpec) -> NDArray[np.bool_]:
    """Rows x columns, True where a pixel's centre lies in `geometry` (coordinates of the grid)."""
    shape = (grid.size.height, grid.size.width)
    if geometry.is_empty:
        return np.zeros(shape, np.bool_)
    inside: NDArray[np.uint8] = rasterize([geometry], shape, transform=grid.affine, default_value=1, dtype="uint8")
    return inside > 0
