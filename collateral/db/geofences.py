"""Areas that people draw for movables, in append-only rows. All functions work inside the caller's transaction.

An area holds from a local day of its site on, until a newer row of the same id holds: so a past day is always judged by what
held on it, and an area drawn today says nothing about yesterday.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from typing import Any

import psycopg2.extensions
import shapely
from psycopg2.extensions import connection as Connection  # noqa: N812
from shapely.geometry.base import BaseGeometry

from collateral.db.pool import fetch_dicts
from collateral.errors import InvalidInputError

_WRITE_LOCK = 7_203_520


class FenceKind(StrEnum):
    """What an area says about those who go there."""

    REGION = "region"
    """Must not be left."""
    CORRIDOR = "corridor"
    """Allowed way; added to the corridor of the pledged thing itself."""
    FORBIDDEN = "forbidden"
    """Must not be entered."""
    PLACE = "place"
    """Known: stops there are explained."""


@dataclass(frozen=True)
class Geofence:
    """One area as it holds from a day on."""

    fence_id: str
    site_id: str
    asset_id: str
    """Movable that it is meant for; empty for all of the site."""
    kind: FenceKind
    name: str
    name_en: str
    holds_from: date
    """First local day of the site."""
    ended: bool
    """True: from that day on there is no such area."""
    geometry: BaseGeometry
    """Polygon or polygons, WGS 84."""
    revision: int = 0
    """Given by the database, from 1."""


@dataclass(frozen=True)
class Spell:
    """Days on which one row of an area holds without a break."""

    fence: Geofence
    begins: date
    """First local day."""
    until: date | None
    """First local day on which it holds no more; None: no end was set."""


_COLUMNS = ", ".join(one.name for one in fields(Geofence))
_INSERT = (
    f"INSERT INTO geofence_version ({_COLUMNS}, recorded_by)"  # noqa: S608 (our own names)
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_NEWEST = (
    f"SELECT DISTINCT ON (fence_id) {_COLUMNS} FROM geofence_version"  # noqa: S608
    " WHERE %(site)s = '' OR site_id = %(site)s ORDER BY fence_id, revision DESC"
)
_OF_SITE = (
    f"SELECT {_COLUMNS} FROM geofence_version"  # noqa: S608
    " WHERE %(site)s = '' OR site_id = %(site)s ORDER BY fence_id, revision"
)
_FOR_OFFICERS = f"SELECT {_COLUMNS} FROM officer_geofence WHERE site_id = %s ORDER BY fence_id, revision"  # noqa: S608


def write_geofences(connection: Connection, fences: Sequence[Geofence], by: str) -> int:
    """Appends what differs from the newest row of its id; returns how many rows were written.

    Raises:
        InvalidInputError: the id is that of an area of another site, where it would hold for ever beside the new one.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_WRITE_LOCK,))
        newest = {one.fence_id: one for one in newest_geofences(connection)}
        written = 0
        for fence in fences:
            held = newest.get(fence.fence_id)
            if held is not None and _same(held, fence):
                continue
            if held is None and fence.ended:
                continue
            if held is not None and held.site_id != fence.site_id and not held.ended:
                raise InvalidInputError(
                    f"Area {fence.fence_id} belongs to site {held.site_id}, not {fence.site_id}; remove it first, or give "
                    "another id."
                )
            cursor.execute(
                _INSERT,
                (
                    fence.fence_id, fence.site_id, fence.asset_id, fence.kind.value, fence.name, fence.name_en,
                    fence.holds_from, fence.ended, psycopg2.Binary(fence.geometry.wkb),
                    1 if held is None else held.revision + 1, by,
                ),
            )
            written += 1
    return written


def _same(held: Geofence, given: Geofence) -> bool:
    """Whether the newest row says it already; the same area given again later keeps its first day."""
    def said(one: Geofence) -> tuple[object, ...]:
        return one.site_id, one.asset_id, one.kind, one.name, one.name_en, one.ended, one.geometry.wkb

    return said(held) == said(given) and held.holds_from <= given.holds_from


def newest_geofences(connection: Connection, site_id: str = "") -> list[Geofence]:
    """The newest row of every id, of one site or of all, by id; ended ones are told too."""
    return [_geofence(row) for row in fetch_dicts(connection, _NEWEST, {"site": site_id})]


def geofences_of_site(connection: Connection, site_id: str) -> list[Geofence]:
    """All rows of a site (empty: of all), oldest revision first."""
    return [_geofence(row) for row in fetch_dicts(connection, _OF_SITE, {"site": site_id})]


def officer_geofences(connection: Connection, site_id: str) -> list[Geofence]:
    """The same through the officers' view."""
    return [_geofence(row) for row in fetch_dicts(connection, _FOR_OFFICERS, (site_id,))]


def _geofence(row: dict[str, Any]) -> Geofence:
    return Geofence(**{**row, "kind": FenceKind(row["kind"]), "geometry": shapely.from_wkb(bytes(row["geometry"]))})


def in_force(fences: Iterable[Geofence], day: date, asset_id: str | None = None) -> list[Geofence]:
    """What holds on a day, for one movable or (None) at all, by id."""
    newest: dict[str, Geofence] = {}
    for fence in fences:
        held = newest.get(fence.fence_id)
        if fence.holds_from <= day and (held is None or held.revision < fence.revision):
            newest[fence.fence_id] = fence
    return [
        newest[name]
        for name in sorted(newest)
        if not newest[name].ended and (asset_id is None or newest[name].asset_id in ("", asset_id))
    ]


def spells(fences: Sequence[Geofence]) -> list[Spell]:
    """When each area holds, by id and then by day.

    Args:
        fences: all rows of the areas of one or more sites, in any order.
    """
    found: list[Spell] = []
    for name in sorted({(one.fence_id, one.site_id) for one in fences}):
        rows = [one for one in fences if (one.fence_id, one.site_id) == name]
        held: Geofence | None = None
        begins = date.min
        for day in sorted({one.holds_from for one in rows}):
            now = next(iter(in_force(rows, day)), None)
            if now is held:
                continue
            if held is not None:
                found.append(Spell(held, begins, day))
            held, begins = now, day
        if held is not None:
            found.append(Spell(held, begins, None))
    return found
