"""Trips, stops and silences of trackers. All functions work inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import orjson
import psycopg2
import shapely
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import execute_values

from collateral.db.pool import fetch_dicts

TRIP, STOP, SILENCE = "trip", "stop", "silence"
SITE_PLACE = "site"
"""Place of what stands at its own site."""


@dataclass(frozen=True)
class Journey:
    """One trip, stop, or silence during which the thing was moved; cut at local midnight."""

    device_id: str
    day: date
    begins: datetime
    ends: datetime
    kind: str
    """`trip`, `stop` or `silence`."""
    site_id: str
    asset_id: str
    length_m: float
    """Along the positions; of a silence the straight line, of a stop 0."""
    top_km_h: float | None
    """Greatest speed between positions or as reported; None for stops."""
    lon: float
    lat: float
    lon_to: float
    lat_to: float
    """Begin and end, degrees WGS 84; of a stop the median position twice."""
    place: str
    place_to: str
    """`site`, the id of an area, or empty where the place is not known."""
    line: shapely.LineString | None
    """WGS 84, simplified to 10 m; None for stops."""
    flags: tuple[Mapping[str, Any], ...]
    """What is not as it should be: `kind`, `from`, `to` (ISO 8601), `most` (metres, hours or km/h by kind), `line`; outside
    a region also `sure`, the metres that two positions in a row say, and in a forbidden area the hours that positions speak
    for; with it `judged`, what the day's judgement says of them when no more positions of that day come."""


_COLUMNS = (
    "device_id, day, begins, ends, kind, site_id, asset_id, length_m, top_km_h, lon, lat, lon_to, lat_to, place, place_to,"
    " line, flags"
)

_INSERT = f"INSERT INTO journey ({_COLUMNS}) VALUES %s"  # noqa: S608 (our own names)
_OF_DAYS = f"SELECT {_COLUMNS} FROM journey WHERE device_id = %s AND day BETWEEN %s AND %s ORDER BY begins, kind"  # noqa: S608
_SINCE = (
    f"SELECT {_COLUMNS} FROM journey WHERE device_id = %(device)s AND day >="  # noqa: S608
    " (SELECT day FROM journey WHERE device_id = %(device)s AND begins <= %(at)s ORDER BY begins DESC LIMIT 1)"
    " ORDER BY begins, kind LIMIT %(most)s"
)
_OF_FLAGGED = f"""
SELECT {_COLUMNS} FROM journey WHERE ends >= %(since)s AND device_id IN
    (SELECT device_id FROM journey WHERE site_id = ANY(%(sites)s) AND ends >= %(since)s AND flags <> '[]')
    AND site_id = ANY(%(sites)s) ORDER BY site_id, device_id, begins
"""  # noqa: S608
_FOR_OFFICERS = (
    f"SELECT {_COLUMNS} FROM officer_journey WHERE site_id = %(site)s AND ends > %(first)s AND begins < %(last)s"  # noqa: S608
    " AND (%(asset)s = '' OR asset_id = %(asset)s) ORDER BY begins DESC, kind LIMIT %(most)s"
)
_SPAN = """
SELECT (SELECT begins FROM officer_journey WHERE site_id = %(site)s ORDER BY ends LIMIT 1) AS oldest,
    (SELECT ends FROM officer_journey WHERE site_id = %(site)s ORDER BY ends DESC LIMIT 1) AS newest
"""


def replace_journeys(connection: Connection, device_id: str, days: Sequence[date], journeys: Sequence[Journey]) -> None:
    """Puts `journeys` in place of everything that is kept of those days of the tracker.

    Also of what began with one of them on another day: the site's days were cut elsewhere before its time zone changed.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM journey WHERE device_id = %s AND (day = ANY(%s) OR begins = ANY(%s))",
            (device_id, list(days), [one.begins for one in journeys]),
        )
        execute_values(cursor, _INSERT, [_row(one) for one in journeys])


def _row(one: Journey) -> tuple[object, ...]:
    line = None if one.line is None else psycopg2.Binary(one.line.wkb)
    return (
        one.device_id, one.day, one.begins, one.ends, one.kind, one.site_id, one.asset_id, one.length_m, one.top_km_h,
        one.lon, one.lat, one.lon_to, one.lat_to, one.place, one.place_to, line,
        orjson.dumps([dict(flag) for flag in one.flags]).decode(),
    )


def journeys_of_days(connection: Connection, device_id: str, first: date, last: date) -> list[Journey]:
    """What is kept of a tracker's local days first..last, oldest first."""
    return [_journey(row) for row in fetch_dicts(connection, _OF_DAYS, (device_id, first, last))]


def journeys_since(connection: Connection, device_id: str, at: datetime, most: int) -> list[Journey]:
    """What is kept of a tracker from the local day of its last one that began by `at`, oldest first, at most `most` rows."""
    return [_journey(row) for row in fetch_dicts(connection, _SINCE, {"device": device_id, "at": at, "most": most})]


def journeys_of_flagged(connection: Connection, site_ids: Sequence[str], since: datetime) -> list[Journey]:
    """What ended since a time, of trackers that have a flag since then; by site, tracker and time."""
    rows = fetch_dicts(connection, _OF_FLAGGED, {"sites": list(site_ids), "since": since})
    return [_journey(row) for row in rows]


def kept_days(connection: Connection, device_id: str, first: date, last: date) -> list[date]:
    """Local days from first to last of which something is kept, in order."""
    rows = fetch_dicts(
        connection,
        "SELECT DISTINCT day FROM journey WHERE device_id = %s AND day BETWEEN %s AND %s ORDER BY day",
        (device_id, first, last),
    )
    return [row["day"] for row in rows]


def officer_journeys(
    connection: Connection, site_id: str, first: datetime, last: datetime, asset_id: str, most: int
) -> list[Journey]:
    """Through the officers' view: what shares time with [first, last) at a site, newest first, at most `most` rows."""
    asked = {"site": site_id, "first": first, "last": last, "asset": asset_id, "most": most}
    return [_journey(row) for row in fetch_dicts(connection, _FOR_OFFICERS, asked)]


def officer_span(connection: Connection, site_id: str) -> tuple[datetime | None, datetime | None]:
    """Through the officers' view: begin of the oldest and end of the newest one of a site; None twice without any."""
    rows = fetch_dicts(connection, _SPAN, {"site": site_id})
    return rows[0]["oldest"], rows[0]["newest"]


def _journey(row: dict[str, Any]) -> Journey:
    line = None if row["line"] is None else shapely.from_wkb(bytes(row["line"]))
    return Journey(**{**row, "line": line, "flags": tuple(row["flags"])})
