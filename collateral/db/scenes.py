"""Scenes, files that could not become one, and what was done with each site's window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson
import shapely
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import execute_values

from collateral.db.pool import fetch_dicts
from collateral.domain import SceneRecord

SKY = "clouds"
"""Detector of the verdicts on scenes that are too coarse for every other one."""


@dataclass(frozen=True)
class ScanResult:
    """What one detector did with one site's window of one scene."""

    scene_id: str
    site_id: str
    detector: str
    model_sha256: str
    status: str
    """`done`, `rejected` (the picture is unfit) or `failed` (tried again next time)."""
    reason: str = ""
    figures: Mapping[str, object] = field(default_factory=dict)
    """Quality and registration figures, counts."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Identity: the same work."""
        return (self.scene_id, self.site_id, self.detector, self.model_sha256)


@dataclass(frozen=True)
class SiteScene:
    """A scene as seen from one site: for pictures before and after, and for "no usable picture since"."""

    scene: SceneRecord
    available_at: datetime
    results: tuple[ScanResult, ...]

    @property
    def usable(self) -> bool:
        """True when at least one detector read the window."""
        return any(result.status == "done" for result in self.results)

    @property
    def coarse(self) -> bool:
        """True when no detector could have read it, however clear it is."""
        return all(result.detector == SKY for result in self.results)


def write_scene(connection: Connection, scene: SceneRecord, available_at: datetime) -> None:
    """Registers a scene once; a file found elsewhere later only gets its new path."""
    west, south, east, north = scene.footprint.bounds
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO scene (scene_id, path, source, acquired_at, available_at, gsd_m, epsg, footprint,"
            " lon_min, lat_min, lon_max, lat_max, sha256, bytes)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (scene_id) DO UPDATE SET path = excluded.path WHERE scene.path <> excluded.path",
            (scene.scene_id, scene.path, scene.source, scene.acquired_at, available_at, scene.gsd_m, scene.epsg,
             shapely.to_wkb(scene.footprint), west, south, east, north, scene.sha256, scene.bytes),
        )


def write_scene_rejection(connection: Connection, path: str, sha256: str, reason: str, detail: str) -> None:
    """Notes that a file cannot become a scene; the same file and reason again only renews the time."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO scene_rejection (path, sha256, reason, detail) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (path, sha256, reason) DO UPDATE SET rejected_at = now(), detail = excluded.detail",
            (path, sha256, reason, detail),
        )


def write_scan_results(connection: Connection, results: Iterable[ScanResult]) -> None:
    """Stores the newest result of each piece of work."""
    rows = {result.key: result for result in results}
    if not rows:
        return
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            "INSERT INTO scan_result (scene_id, site_id, detector, model_sha256, status, reason, figures) VALUES %s"
            " ON CONFLICT (scene_id, site_id, detector, model_sha256) DO UPDATE SET status = excluded.status,"
            " reason = excluded.reason, figures = excluded.figures, scanned_at = now()",
            [
                (*key, result.status, result.reason,
                 orjson.dumps(dict(result.figures), default=str, option=orjson.OPT_SERIALIZE_NUMPY).decode())
                for key, result in sorted(rows.items())
            ],
        )


def finished_work(connection: Connection, scene_ids: Sequence[str]) -> set[tuple[str, str, str, str]]:
    """Keys (scene, site, detector, model) of work that need not be done again: done, or refused for the picture's sake."""
    rows = fetch_dicts(
        connection,
        "SELECT scene_id, site_id, detector, model_sha256 FROM scan_result"
        " WHERE scene_id = ANY(%s) AND status IN ('done', 'rejected')",
        (list(scene_ids),),
    )
    return {(row["scene_id"], row["site_id"], row["detector"], row["model_sha256"]) for row in rows}


def scene(connection: Connection, scene_id: str) -> SceneRecord | None:
    """One registered scene, or None."""
    rows = fetch_dicts(connection, f"{_SCENE} WHERE scene_id = %s", (scene_id,))
    return _record(rows[0]) if rows else None


def scenes_of_site(connection: Connection, site_id: str, until: datetime | None = None) -> list[SiteScene]:
    """Every scene in which something was tried for this site, newest first.

    Args:
        connection: a transaction.
        site_id: the site.
        until: only scenes taken at or before this time.
    """
    rows = fetch_dicts(
        connection,
        f"{_SCENE} WHERE scene_id IN (SELECT scene_id FROM scan_result WHERE site_id = %(site)s)"  # noqa: S608
        " AND (%(until)s::timestamptz IS NULL OR acquired_at <= %(until)s) ORDER BY acquired_at DESC, scene_id",
        {"site": site_id, "until": until},
    )
    results: dict[str, list[ScanResult]] = {}
    for row in fetch_dicts(
        connection,
        "SELECT scene_id, site_id, detector, model_sha256, status, reason, figures FROM scan_result"
        " WHERE site_id = %s ORDER BY scene_id, detector, scanned_at",
        (site_id,),
    ):
        results.setdefault(row["scene_id"], []).append(ScanResult(**row))
    return [
        SiteScene(_record(row), row["available_at"] or row["acquired_at"], tuple(results.get(row["scene_id"], ())))
        for row in rows
    ]


_SCENE = "SELECT scene_id, path, source, acquired_at, available_at, gsd_m, epsg, footprint, sha256, bytes FROM scene"


def _record(row: Mapping[str, object]) -> SceneRecord:
    values = {key: value for key, value in row.items() if key not in ("available_at", "footprint")}
    footprint = row["footprint"]
    assert isinstance(footprint, (bytes, memoryview))
    return SceneRecord(**values, footprint=shapely.from_wkb(bytes(footprint)))  # type: ignore[arg-type]
