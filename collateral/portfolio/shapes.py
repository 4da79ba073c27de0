"""Polygons of sites, slots and corridors: brought to WGS 84, checked alone and against each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from collateral.domain import Asset, Site, Slot
from collateral.portfolio.kinds import BadValueError
from collateral.portfolio.problems import Problem, Severity

SITE_AREA_M2 = (100.0, 1e8)
SLOT_AREA_M2 = (1.0, 1e5)
CORRIDOR_AREA_M2 = (1e3, 1e13)
OVERLAP_NOTICED = 0.01
"""Share of the smaller site's area; less is the roughness of two surveys along a common fence."""
OVERLAP_REFUSED = 0.05
"""Between sites of different borrowers: more can only mean that one place is offered twice, or a wrong polygon."""
SLOT_OVERLAP = 0.10
SLOT_OUTSIDE = 0.10
_METRES_PER_DEGREE = 111_320.0
_MOST_PAIRS = 200_000
"""Pairs of touching shapes looked at: a portfolio of which every polygon is the same is refused long before that."""


@dataclass(frozen=True)
class AreaLimits:
    """Smallest and largest sensible area, m2."""

    low: float
    high: float


LIMITS: Mapping[str, AreaLimits] = {
    "sites": AreaLimits(*SITE_AREA_M2),
    "slots": AreaLimits(*SLOT_AREA_M2),
    "assets": AreaLimits(*CORRIDOR_AREA_M2),
}


def flat_polygon(shape: BaseGeometry | None) -> Polygon:
    """One polygon without heights out of what a file holds.

    Raises:
        BadValueError: it is something else.
    """
    if shape is None or shape.is_empty:
        raise BadValueError("has no geometry", "Draw its polygon.")
    if isinstance(shape, MultiPolygon) and len(shape.geoms) == 1:
        shape = shape.geoms[0]
    if isinstance(shape, MultiPolygon):
        raise BadValueError(f"has {len(shape.geoms)} separate polygons", "Give each polygon a row of its own.")
    if not isinstance(shape, Polygon):
        raise BadValueError(f"is a {shape.geom_type}, not a polygon", "Draw the outline as one polygon.")
    flat = shapely.force_2d(shape)
    assert isinstance(flat, Polygon)
    return flat


def check_polygon(shape: Polygon, limits: AreaLimits) -> None:
    """Refuses a WGS 84 polygon that is out of range, crosses itself or has a senseless area.

    Raises:
        BadValueError: with the reason.
    """
    lon_min, lat_min, lon_max, lat_max = shape.bounds
    if not all(math.isfinite(value) for value in shape.bounds):
        raise BadValueError("has coordinates that are not finite", "Correct the polygon.")
    if lon_min < -180 or lon_max > 180 or lat_min < -90 or lat_max > 90:
        swapped = -90 <= lon_min <= lon_max <= 90 and -180 <= lat_min <= lat_max <= 180
        hint = "Longitude comes first: they seem to be swapped." if swapped else "They seem to be metres of a projection."
        raise BadValueError(
            f"has coordinates up to {max(map(abs, shape.bounds)):g}, which are no longitude and latitude",
            f"Give degrees, longitude first. {hint}",
        )
    if not shape.is_valid:
        reason = shapely.is_valid_reason(shape)
        raise BadValueError(f"is not a valid polygon ({reason})", "Redraw it without crossing lines.")
    area = area_m2(shape)
    if not limits.low <= area <= limits.high:
        raise BadValueError(
            f"covers {area:,.0f} m2, outside {limits.low:,.0f} to {limits.high:,.0f}",
            "Correct the polygon or its coordinate system.",
        )


def area_m2(shape: BaseGeometry) -> float:
    """Area of a WGS 84 shape that is small against the earth, to about 1 %: enough to find mistakes."""
    _, lat_min, _, lat_max = shape.bounds
    return float(shape.area * _METRES_PER_DEGREE**2 * math.cos(math.radians((lat_min + lat_max) / 2)))


def utm_epsg(shape: BaseGeometry) -> int:
    """EPSG code of the WGS 84 / UTM zone in which the shape's centre lies."""
    centre = shape.centroid
    zone = min(int((centre.x + 180) // 6) + 1, 60)
    return (32600 if centre.y >= 0 else 32700) + zone


def check_utm(epsg: int, shape: BaseGeometry) -> None:
    """Refuses a UTM zone that does not cover the shape, one degree beyond the zone's edge allowed.

    Raises:
        BadValueError: with the zone that does.
    """
    right = utm_epsg(shape)
    zone, north = epsg % 100, epsg < 32700
    central = zone * 6 - 183
    fits = 1 <= zone <= 60 and abs(shape.centroid.x - central) <= 4 and north == (right < 32700)
    if not fits:
        raise BadValueError(f"is {epsg}, which does not cover the polygon", f"Use {right}, or leave it empty.")


def site_overlaps(sites: Sequence[tuple[int, Site]]) -> Iterator[Problem]:
    """Sites that overlap: noticed from 1 % of the smaller one, refused from 5 % when the borrowers differ."""
    for first, second, share in _overlaps([site.geometry for _, site in sites], OVERLAP_NOTICED):
        (_, one), (row, other) = sites[first], sites[second]
        foreign = one.borrower_id != other.borrower_id and share > OVERLAP_REFUSED
        yield Problem(
            "sites.geojson",
            row,
            f"site {other.site_id} overlaps site {one.site_id} by {share:.0%} of the smaller one.",
            "Two borrowers cannot hold the same ground: correct the polygons." if foreign
            else "Correct the polygons unless both are meant so.",
            Severity.ERROR if foreign else Severity.WARNING,
        )


def slot_places(
    slots: Sequence[tuple[int, Slot]], sites: Mapping[str, Site], assets: Mapping[str, Asset]
) -> Iterator[Problem]:
    """Slots outside their site, overlapping slots, and one place pledged to two loans under two names."""
    for row, slot in slots:
        site = sites.get(slot.site_id)
        if site is not None and not site.geometry.covers(slot.geometry):
            yield from _outside(row, slot, site)
    for first, second, share in _overlaps([slot.geometry for _, slot in slots], SLOT_OVERLAP):
        (_, one), (row, other) = slots[first], slots[second]
        loans = {assets[name].loan_id for name in (one.asset_id, other.asset_id) if name in assets}
        text = f"slot {other.slot_id} overlaps slot {one.slot_id} by {share:.0%} of the smaller one"
        if len(loans) > 1:
            yield Problem(
                "slots.geojson", row, f"{text}, and they are pledged to the loans {' and '.join(sorted(loans))}.",
                "One storage place can secure one loan: correct the polygons or the assets.",
            )
        else:
            yield Problem("slots.geojson", row, f"{text}.", "Correct the polygons.", Severity.WARNING)


def _outside(row: int, slot: Slot, site: Site) -> Iterator[Problem]:
    share = slot.geometry.difference(site.geometry).area / slot.geometry.area
    if share > SLOT_OUTSIDE:
        yield Problem(
            "slots.geojson",
            row,
            f"{share:.0%} of slot {slot.slot_id} lies outside its site {site.site_id}.",
            "Correct the slot's polygon or site_id, or enlarge the site.",
            Severity.ERROR if share > 1 - 1e-9 else Severity.WARNING,
        )


def _overlaps(shapes: Sequence[BaseGeometry], least: float) -> Iterator[tuple[int, int, float]]:
    """Pairs of positions (first < second) whose common area is more than `least` of the smaller one, with that share."""
    if len(shapes) < 2:
        return
    held = np.asarray(shapes, dtype=object)
    first, second = shapely.STRtree(held).query(held, predicate="intersects")
    keep = np.flatnonzero(first < second)[:_MOST_PAIRS]
    first, second = first[keep], second[keep]
    areas = shapely.area(held)
    shares = shapely.area(shapely.intersection(held[first], held[second])) / np.minimum(areas[first], areas[second])
    found = np.flatnonzero(shares > least)
    for position in found[np.lexsort((second[found], first[found]))]:
        yield int(first[position]), int(second[position]), float(shares[position])
