"""Areas for movables out of a GeoJSON file: polygons, or lines with a width; brought to WGS 84 and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import Transformer
from shapely.geometry import LineString, MultiLineString, MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from collateral.db.geofences import FenceKind, Geofence
from collateral.db.journeys import SITE_PLACE
from collateral.domain import Asset, Site
from collateral.portfolio.kinds import BadValueError, Choice, Day, Identifier, Number, Text
from collateral.portfolio.parsing import read_cells
from collateral.portfolio.problems import Problem
from collateral.portfolio.reading import RawFile, RawRow, read_file
from collateral.portfolio.schema import Column, FileSpec
from collateral.portfolio.shapes import AreaLimits, check_polygon, utm_epsg

FENCE_AREA_M2 = AreaLimits(100.0, 1e13)
WIDTH_M = (10.0, 50_000.0)
FAR_M = 3_000_000.0
"""An area whose nearest point lies farther from its site was meant for another, or is in another coordinate system."""

SPEC = FileSpec("geofences.geojson", "geofences", Geofence, ("fence",), "Areas for movables.", (
    Column("fence", Identifier(), "own id"),
    Column("site", Identifier(), "site whose movables it is for"),
    Column("asset", Identifier(), "the one movable it is for; empty for all of the site", ""),
    Column("kind", Choice(tuple(FenceKind), FenceKind),
           "region: not to be left; corridor: allowed way; forbidden; place: explains stops"),
    Column("name", Text(), "in the local language"),
    Column("name_en", Text(), "in English", ""),
    Column("width_m", Number(*WIDTH_M), "of a line: full width", None),
    Column("holds_from", Day(), "first local day on which it holds; empty for the day on which it is set", None),
))


@dataclass(frozen=True)
class FenceFile:
    """What a file says, and what is wrong with it."""

    fences: tuple[Geofence, ...]
    problems: tuple[Problem, ...]


def read_fences(path: Path, sites: Mapping[str, Site], assets: Mapping[str, Asset], today: Mapping[str, date]) -> FenceFile:
    """The areas in a GeoJSON file; rows with mistakes are left out and told.

    Args:
        path: ends in `.geojson`; names its coordinate system as the files of a portfolio do.
        sites: of the portfolio, by id.
        assets: of the portfolio, by id.
        today: the present day at each site.
    """
    found = read_file(path.parent, replace(SPEC, name=path.name))
    fences: dict[str, Geofence] = {}
    for row in found.rows:
        values = read_cells(found, row)
        fence = None if values is None else _fence(found, row, values, sites, assets, today)
        if fence is None:
            continue
        if fence.fence_id in fences:
            found.complain(row.row, f"fence {fence.fence_id!r} stands there twice.", "Give each area an id of its own.")
            continue
        fences[fence.fence_id] = fence
    if found.readable and not found.rows:
        found.complain(None, "The file holds no area.", "Draw at least one; end areas with `collateral geofences remove`.")
    return FenceFile(tuple(fences.values()), tuple(found.problems))


def _fence(
    found: RawFile, row: RawRow, values: dict[str, Any], sites: Mapping[str, Site], assets: Mapping[str, Asset],
    today: Mapping[str, date],
) -> Geofence | None:
    try:
        if values["fence"] == SITE_PLACE:
            raise BadValueError(f"fence is {SITE_PLACE!r}, by which trips and stops name the site", "Give it another id.")
        site = sites.get(values["site"])
        if site is None:
            raise BadValueError(f"site {values['site']!r} is not in the portfolio", "Name a site that is.")
        asset = assets.get(values["asset"])
        if values["asset"] and (asset is None or asset.site_id != site.site_id):
            raise BadValueError(
                f"asset {values['asset']!r} is no pledged thing of site {site.site_id}",
                "Name one that is, or leave it empty.",
            )
        shape = fence_shape(row.geometry, values["width_m"])
        _check_near(shape, site)
    except BadValueError as error:
        found.complain(row.row, f"{error.problem[0].upper()}{error.problem[1:]}.", error.remedy)
        return None
    return Geofence(
        values["fence"], site.site_id, values["asset"], values["kind"], values["name"], values["name_en"],
        values["holds_from"] or today[site.site_id], False, shape,
    )


def fence_shape(shape: BaseGeometry | None, width_m: float | None) -> BaseGeometry:
    """Polygon or polygons of what was drawn; a line becomes a strip of the given full width.

    Raises:
        BadValueError: it is neither, a line without a width, or no sensible area.
    """
    if shape is None or shape.is_empty:
        raise BadValueError("the feature has no geometry", "Draw a polygon, or a line with width_m.")
    flat = shapely.force_2d(shape)
    if isinstance(flat, (LineString, MultiLineString)):
        if width_m is None:
            raise BadValueError("a line has no width", "Give width_m, the full width of the way in metres.")
        _check_degrees(flat)
        flat = _strip(flat, width_m)
    if not isinstance(flat, (Polygon, MultiPolygon)):
        raise BadValueError(f"the feature is a {shape.geom_type}", "Draw a polygon, or a line with width_m.")
    for part in shapely.get_parts(flat).tolist():
        try:
            check_polygon(part, FENCE_AREA_M2)
        except BadValueError as error:
            raise BadValueError(f"the area {error.problem}", error.remedy) from None
    if not flat.is_valid:
        raise BadValueError(f"its polygons do not fit ({shapely.is_valid_reason(flat)})", "Draw them apart, or as one.")
    return flat


def _check_degrees(line: BaseGeometry) -> None:
    west, south, east, north = line.bounds
    if not (-180 <= west <= east <= 180 and -84 <= south <= north <= 84):
        raise BadValueError(
            f"the line has coordinates up to {max(map(abs, line.bounds)):g}, which are no longitude and latitude",
            "Give degrees, longitude first.",
        )


def _strip(line: BaseGeometry, width_m: float) -> BaseGeometry:
    there = Transformer.from_crs("EPSG:4326", f"EPSG:{utm_epsg(line)}", always_xy=True)
    flat = shapely.transform(line, lambda xy: np.column_stack(there.transform(xy[:, 0], xy[:, 1])))
    wide = shapely.simplify(shapely.buffer(flat, width_m / 2, quad_segs=4), min(5.0, width_m / 50))
    back: BaseGeometry = shapely.transform(
        wide, lambda xy: np.column_stack(there.transform(xy[:, 0], xy[:, 1], direction="INVERSE"))
    )
    return back


def _check_near(shape: BaseGeometry, site: Site) -> None:
    degrees = float(shape.distance(site.geometry))
    if degrees * 111_000 > FAR_M:
        raise BadValueError(
            f"the area lies some {degrees * 111:,.0f} km from site {site.site_id}",
            "Name the right site, or correct the coordinates (longitude comes first).",
        )


def fences_json(fences: Sequence[Geofence]) -> dict[str, object]:
    """The areas as a GeoJSON file that `read_fences` reads again."""
    features = [
        {
            "type": "Feature",
            "properties": {
                "fence": one.fence_id, "site": one.site_id, "asset": one.asset_id, "kind": one.kind.value, "name": one.name,
                "name_en": one.name_en, "holds_from": one.holds_from.isoformat(),
            },
            "geometry": shapely.geometry.mapping(one.geometry),
        }
        for one in fences
    ]
    return {"type": "FeatureCollection", "coordinate_system": "WGS84", "features": features}
