"""How a scene was taken: where the sun stood, how far from straight down the camera looked.

Read, in this order, from the GeoTIFF's own tags, from a STAC item beside it (NAME.json, `properties`) and from a Maxar
metadata file (NAME.IMD). What nobody says stays unknown, but for the sun, which is computed from time and place.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

SUN_TAGS = ("SUN_ELEVATION", "MEAN_SUN_ELEVATION", "view:sun_elevation", "meanSunEl")
OFF_NADIR_TAGS = ("OFF_NADIR", "OFF_NADIR_ANGLE", "view:off_nadir", "meanOffNadirViewAngle")
"""Names under which the angles are known, degrees; upper and lower case are not told apart."""

_SIDECAR_BYTES = 1 << 20
_IMD_LINE = re.compile(r"^\s*(\w+)\s*=\s*(-?[0-9.eE+]+)\s*;", re.MULTILINE)


@dataclass(frozen=True)
class Acquisition:
    """Angles at the time of a picture."""

    sun_elevation_deg: float
    """Above the horizon."""
    sun_stated: bool
    """False when it was computed from the time told, which may be wrong or lack the hour."""
    off_nadir_deg: float | None
    """Between the line of sight and straight down; None when nothing says it."""


def acquisition_of(path: Path, tags: Mapping[str, str], at: datetime, lon: float, lat: float) -> Acquisition:
    """The angles of a scene file.

    Args:
        path: the file; sidecars are looked for beside it.
        tags: the file's own.
        at: time of acquisition, with zone.
        lon: of the place, degrees east.
        lat: degrees north.
    """
    sun = off_nadir = None
    for said in _sources(path, tags):
        sun = _first(said, SUN_TAGS) if sun is None else sun
        off_nadir = _first(said, OFF_NADIR_TAGS) if off_nadir is None else off_nadir
        if sun is not None and off_nadir is not None:
            break
    return Acquisition(
        sun_elevation(at, lon, lat) if sun is None else sun, sun is not None, None if off_nadir is None else abs(off_nadir)
    )


def _sources(path: Path, tags: Mapping[str, str]) -> Iterator[Mapping[str, object]]:
    yield tags
    item = path.with_suffix(".json")
    if (text := _sidecar(item)) is not None:
        try:
            told = json.loads(text)
        except ValueError:
            told = {}
        properties = told.get("properties") if isinstance(told, dict) else None
        yield properties if isinstance(properties, dict) else {}
    for name in (path.with_suffix(".IMD"), path.with_suffix(".imd")):
        if (text := _sidecar(name)) is not None:
            yield dict(_IMD_LINE.findall(text))


def _sidecar(path: Path) -> str | None:
    try:
        if path.stat().st_size > _SIDECAR_BYTES:
            return None
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _first(said: Mapping[str, object], names: tuple[str, ...]) -> float | None:
    lower = {key.lower(): value for key, value in said.items()}
    for name in names:
        try:
            value = float(str(lower[name.lower()]))
        except (KeyError, ValueError):
            continue
        if -90.0 <= value <= 90.0:
            return value
    return None


def sun_elevation(at: datetime, lon: float, lat: float) -> float:
    """Degrees above the horizon, without refraction, to 0.1 degree between 1950 and 2050.

    Low-precision formulae of the Astronomical Almanac (Michalsky 1988, doi:10.1016/0038-092X(88)90045-X).
    """
    days = at.timestamp() / 86_400 - 10_957.5  # since noon of 2000-01-01
    anomaly = math.radians(357.528 + 0.9856003 * days)
    longitude = math.radians(280.460 + 0.9856474 * days + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly))
    obliquity = math.radians(23.439 - 4e-7 * days)
    declination = math.asin(math.sin(obliquity) * math.sin(longitude))
    ascension = math.atan2(math.cos(obliquity) * math.sin(longitude), math.cos(longitude))
    sidereal = math.radians((280.46062 + 360.98564737 * days + lon) % 360)
    hour, latitude = sidereal - ascension, math.radians(lat)
    return math.degrees(math.asin(
        math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(declination) * math.cos(hour)
    ))
