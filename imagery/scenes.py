"""A file becomes a scene: where it lies, when it was taken, when it could first be had."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from pyproj import Transformer
from shapely.geometry import Polygon

from collateral.domain import SceneRecord
from imagery.acquisition import Acquisition, acquisition_of
from imagery.grid import apply_affine
from imagery.raster import RasterFacts, RasterRejectedError, Reason, inspect

_EDGE_POINTS = 9
_CLOCK_TOLERANCE = timedelta(hours=1)
"""A scene may be this much younger than our clock."""
_FIRST = datetime(1972, 7, 23, tzinfo=UTC)
"""Landsat 1: an older time of acquisition is a missing one (1970-01-01, 1900-01-01)."""


@dataclass(frozen=True)
class SceneFile:
    """A registered scene together with what reading it needs."""

    record: SceneRecord
    facts: RasterFacts
    available_at: datetime
    """When it could first be had: tag AVAILABLE_AT, else the time it was taken."""
    acquisition: Acquisition
    """Angles of sun and view."""


def open_scene(path: Path) -> SceneFile:
    """Checks a GeoTIFF and describes it as a scene; its id is the beginning of its checksum.

    Time is read from the tag ACQUIRED_AT (ISO 8601), else TIFFTAG_DATETIME (taken as UTC).

    Raises:
        RasterRejectedError: the file cannot become a scene.
    """
    return scene_of(inspect(path))


def scene_of(facts: RasterFacts, now: datetime | None = None) -> SceneFile:
    """The same of a file that was inspected already; `now`: the clock, by default the machine's."""
    now = now or datetime.now(UTC)
    acquired_at = _acquired_at(facts)
    if not _FIRST <= acquired_at <= now + _CLOCK_TOLERANCE:
        raise RasterRejectedError(
            facts.path, Reason.IMPOSSIBLE_TIME,
            f"it says that it was taken at {acquired_at:%Y-%m-%d %H:%M} UTC, and now it is {now:%Y-%m-%d %H:%M}; "
            "correct the tag ACQUIRED_AT (or this machine's clock).", facts.sha256,
        )
    record = SceneRecord(
        scene_id=facts.sha256[:16],
        path=str(facts.path),
        source=facts.tags.get("SOURCE", "file"),
        acquired_at=acquired_at,
        gsd_m=facts.gsd_m,
        epsg=facts.epsg,
        footprint=footprint_of(facts),
        sha256=facts.sha256,
        bytes=facts.bytes,
    )
    available = _iso_time(facts, "AVAILABLE_AT")
    # A file that is here was available: a later time told must not make knowledge of the future.
    available_at = min(max(available or acquired_at, acquired_at), max(now, acquired_at))
    middle = record.footprint.centroid
    return SceneFile(record, facts, available_at, acquisition_of(facts.path, facts.tags, acquired_at, middle.x, middle.y))


def _acquired_at(facts: RasterFacts) -> datetime:
    acquired = _iso_time(facts, "ACQUIRED_AT")
    if acquired is not None:
        return acquired
    written = facts.tags.get("TIFFTAG_DATETIME", "").strip()
    try:
        return datetime.strptime(written, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        detail = f"it does not say when it was taken{f' (TIFFTAG_DATETIME is {written[:40]!r})' if written else ''}; "
        remedy = "write the tag ACQUIRED_AT (ISO 8601 with zone) or TIFFTAG_DATETIME."
        raise RasterRejectedError(facts.path, Reason.NO_TIME, detail + remedy, facts.sha256) from None


def _iso_time(facts: RasterFacts, name: str) -> datetime | None:
    """None where the tag is not there; one that cannot be read is refused: no other time may stand in for it."""
    said = facts.tags.get(name, "").strip()
    if not said:
        return None
    try:
        time = datetime.fromisoformat(said)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        detail = f"its tag {name} is {said[:40]!r}, no time; write it as ISO 8601 with zone, like 2026-05-04T10:30:00+08:00."
        raise RasterRejectedError(facts.path, Reason.NO_TIME, detail, facts.sha256) from None


def footprint_of(facts: RasterFacts) -> Polygon:
    """Outline in longitude and latitude; edges carry points between the corners because they bend."""
    steps = np.linspace(0.0, 1.0, _EDGE_POINTS)[:-1]
    top, right = [(s, 0.0) for s in steps], [(1.0, s) for s in steps]
    unit = top + right + [(1 - u, 1 - v) for u, v in top + right]
    to_lonlat = Transformer.from_crs(facts.crs, "EPSG:4326", always_xy=True)
    corners = apply_affine(facts.affine, np.array(unit) * (facts.size.width, facts.size.height))
    lon, lat = to_lonlat.transform(corners[:, 0], corners[:, 1])
    return Polygon(zip(lon, lat, strict=True))
