"""A truck with a tracker in a database: days observed and judged, areas set by command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collateral.cli import main
from collateral.db.pool import Pool, Role
from collateral.domain import AssetKind
from iot.observe import observe
from scoring.run import score_days
from tests.iot_support import asset, device, register, rows
from tests.scoring_support import POLICY
from tests.tracks_support import HOME, POSITIONS, ZONE, Floats

FIRST = date(2024, 6, 3)
MIDNIGHT = datetime(2024, 6, 3, tzinfo=ZONE)
DAYS = 9


def strays(day: int, place: Floats) -> None:
    """On day 6 a stop of four hours 8 km east of home, on day 8 30 km west of everything and no way back."""
    if day == 6:
        place[44:60] = (HOME[0] + 0.08, HOME[1])
    if day == 8:
        place[56:] = (HOME[0] - 0.3, HOME[1])
        place[54:56] = [(HOME[0] - 0.1, HOME[1]), (HOME[0] - 0.2, HOME[1])]


@pytest.fixture
def truck(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    register(database, [device("gps", POSITIONS, asset_id="T1")], assets=[asset("T1", AssetKind.TRUCK)])
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    return database


def look(database: str, after_days: float, since: date | None = None) -> None:
    with Pool(database, Role.APP, size=2) as pool:
        assert not observe(pool, (MIDNIGHT + timedelta(days=after_days)).astimezone(UTC), since).failed


def judge(database: str, day: int) -> None:
    last = FIRST + timedelta(days=day)
    with Pool(database, Role.APP, size=3) as pool:
        score_days(pool, POLICY, last, last, ["S1"], datetime(2024, 8, 1, tzinfo=UTC))


def told(database: str, quantity: str) -> list[float]:
    found = rows(
        database,
        "SELECT DISTINCT ON (valid_from) value FROM observation WHERE quantity = %s ORDER BY valid_from, revision DESC",
        (quantity,),
    )
    return [row[0] for row in found]


def areas(path: Path, *features: tuple[str, str, Sequence[float] | None, dict[str, Any]], **more: Any) -> Path:
    """Rectangles (west, south, east, north), or lines where `line` is given."""
    listed = []
    for name, kind, box, extra in features:
        line = extra.pop("line", None)
        geometry: dict[str, Any] = {"type": "LineString", "coordinates": line}
        if box is not None:
            west, south, east, north = box
            ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
            geometry = {"type": "Polygon", "coordinates": [ring]}
        properties = {"fence": name, "site": "S1", "kind": kind, "name": name, **extra}
        listed.append({"type": "Feature", "properties": properties, "geometry": geometry})
    path.write_text(json.dumps({"type": "FeatureCollection", "coordinate_system": "WGS84", "features": listed, **more}))
    return path


REGION = (HOME[0] - 0.15, HOME[1] - 0.1, HOME[0] + 0.15, HOME[1] + 0.3)
EARLY = {"holds_from": "2024-06-01"}


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*words, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found
