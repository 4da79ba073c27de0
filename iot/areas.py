"""Where one movable may go, must not go and is known to stand, on one day; in metres of its site's UTM zone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from collateral.db.geofences import FenceKind, Geofence, in_force
from collateral.db.journeys import SITE_PLACE
from collateral.domain import Asset, AssetKind, Site

NEAR_M = 150.0
"""This near to a known place is there: gates, queues, and the error of positions."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Areas:
    """What holds for one movable on one day. None: nothing of the kind was agreed."""

    corridor: BaseGeometry | None
    """Allowed way, with the site and the known places."""
    region: BaseGeometry | None
    """Must not be left."""
    forbidden: BaseGeometry | None
    known: BaseGeometry
    """Site and known places, `NEAR_M` wider: stops there are explained."""
    places: tuple[tuple[str, BaseGeometry], ...]
    """Name and shape (`NEAR_M` wider) of the site and of each known place."""

    def place_of(self, xy: tuple[float, float]) -> str:
        """`site`, the id of the known place, or empty."""
        point = shapely.Point(xy)
        return next((name for name, shape in self.places if shape.covers(point)), "")


class AreaBook:
    """The areas of one movable through time."""

    def __init__(self, site: Site, asset: Asset, fences: Sequence[Geofence]) -> None:
        self._asset = asset
        self._fences = [one for one in fences if one.asset_id in ("", asset.asset_id)]
        self._epsg = site.utm_epsg
        self._home = flat(site.geometry, site.utm_epsg)
        self._agreed = None if asset.corridor is None else flat(asset.corridor, site.utm_epsg)
        self._held: dict[tuple[tuple[str, int], ...], Areas] = {}

    def on(self, day: date) -> Areas:
        """What holds on a local day of the site."""
        holding = in_force(self._fences, day)
        key = tuple((one.fence_id, one.revision) for one in holding)
        if key not in self._held:
            self._held[key] = self._areas(holding)
        return self._held[key]

    def _areas(self, holding: Sequence[Geofence]) -> Areas:
        shapes: dict[FenceKind, list[BaseGeometry]] = {kind: [] for kind in FenceKind}
        for one in holding:
            shapes[one.kind].append(flat(one.geometry, self._epsg))
        named = [(SITE_PLACE, self._home)]
        named += [(one.fence_id, flat(one.geometry, self._epsg)) for one in holding if one.kind is FenceKind.PLACE]
        places = tuple((name, shapely.buffer(shape, NEAR_M)) for name, shape in named)
        ways = shapes[FenceKind.CORRIDOR] + ([] if self._agreed is None else [self._agreed])
        corridor = _together([*ways, *(shape for _, shape in named)]) if ways else None
        return Areas(
            corridor, self._region(shapes[FenceKind.REGION], named), _together(shapes[FenceKind.FORBIDDEN]),
            shapely.union_all([shape for _, shape in places]), places,
        )

    def _region(self, drawn: list[BaseGeometry], named: Sequence[tuple[str, BaseGeometry]]) -> BaseGeometry | None:
        """What was drawn; for what is no vehicle, and has no way agreed, the site itself and the known places."""
        if drawn:
            return _together(drawn)
        if self._asset.kind is AssetKind.TRUCK or self._agreed is not None:
            return None
        return _together([shapely.buffer(shape, NEAR_M) for _, shape in named])


def _together(shapes: Sequence[BaseGeometry]) -> BaseGeometry | None:
    if not shapes:
        return None
    whole: BaseGeometry = shapely.union_all(list(shapes))
    shapely.prepare(whole)
    return whole


def flat(shape: BaseGeometry, utm_epsg: int) -> BaseGeometry:
    """A WGS 84 shape in metres of a UTM zone."""
    project = to_metres(utm_epsg).transform
    moved: BaseGeometry = shapely.transform(shape, lambda xy: np.column_stack(project(xy[:, 0], xy[:, 1])))
    return moved


def to_metres(utm_epsg: int) -> Transformer:
    """From WGS 84, longitude first."""
    return Transformer.from_crs("EPSG:4326", f"EPSG:{utm_epsg}", always_xy=True)


def outside_m(shape: BaseGeometry, xy: Floats) -> Floats:
    """Distance of positions (N x 2, metres) from the shape, 0 inside."""
    points = np.asarray(shapely.points(xy), dtype=object)
    out = np.zeros(len(points))
    outside = ~shapely.covers(shape, points)
    out[outside] = shapely.distance(shape, points[outside])
    return out
