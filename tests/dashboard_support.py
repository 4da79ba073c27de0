"""A dashboard over a small portfolio with scores, observations, pictures and an alert, for tests of its pages."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from dash.development.base_component import Component
from psycopg2.extensions import connection as Connection  # noqa: N812
from shapely.geometry import box

from collateral.db import alerts, observations, scenes, scores
from collateral.db.credentials import set_password_hash
from collateral.db.pool import Role, connect
from collateral.db.reference import write_portfolio
from collateral.domain import (
    Contribution,
    Observation,
    Portfolio,
    Priority,
    Quality,
    SceneRecord,
    Score,
    Source,
    SubjectKind,
)
from collateral.passwords import hash_password
from dashboard.model import SiteView, Viewer
from dashboard.queries import Queries
from tests.portfolio_support import small_portfolio

PASSWORD = "a long test password"
NOW = datetime.now(UTC).replace(microsecond=0)
PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415408d763606060000000040001f61738550000000049454e44ae426082"
)
"""A PNG of one pixel."""


def fill(url: str, evidence: Path) -> int:
    """Writes everything; returns the id of the alert at S1. S1, S2: branch suzhou; S3: taicang, without a score."""
    import_portfolio(url)
    with closing(connect(url, Role.APP)) as connection, connection:
        scores.write_scores(connection, [_score("S1", 4210, 3400, 5100, "E", day) for day in range(20)])
        scores.write_scores(connection, [_score("S2", 9300, 8800, 9700, "A", day) for day in range(3)])
        observations.write_observations(connection, _observations())
        for number, days in enumerate((70, 5)):
            _scene(connection, number, NOW - timedelta(days=days), evidence)
        seen = observations.observation_revisions(connection, ["S1"], ["vehicle_count"])
        return alerts.raise_alert(
            connection,
            alerts.NewAlert(
                "sources_disagree", SubjectKind.SITE, "S1", "S1", Priority.HIGH, NOW - timedelta(days=2), "test",
                {
                    "figures": {"samples": [{"at": NOW.isoformat(), "figure": 0.7}], "raise_at": 0.45, "clear_at": 0.2},
                    "above": {"quantity": "vehicle_count", "value": 4.0, "normal": 30.0, "share_of_normal": 0.13},
                    "inside": {"quantity": "energy_kwh_per_day", "value": 7733.0, "normal": 8100.0, "share_of_normal": 0.95},
                    "gap": 0.82,
                    "observations": [one.observation_id for one in seen],
                },
            ),
        )


def import_portfolio(url: str, given: Portfolio | None = None) -> None:
    """Writes a portfolio and gives each of its people `PASSWORD`."""
    whole = small_portfolio() if given is None else given
    with closing(connect(url, Role.APP)) as connection, connection:
        write_portfolio(connection, whole, NOW - timedelta(days=365), "test")
        for person in whole.users:
            set_password_hash(connection, person.username, _hash())


@cache
def _hash() -> str:
    """Made once: a hash takes its time on purpose."""
    return hash_password(PASSWORD)


def _score(site_id: str, value: int, lower: int, upper: int, grade: str, days_ago: int) -> Score:
    at = NOW - timedelta(days=days_ago)
    taken = 10_000 - value
    parts = (
        Contribution("energy", taken // 3, 60.0, 0.4, True, {"support": 1.0}),
        Contribution("vehicles", taken - taken // 3, 40.0, 0.6, False, {"support": 0.0}),
    )
    return Score(
        SubjectKind.SITE, site_id, at, at, value, lower, upper, grade, 0.9, parts, "test", "0",
        {"sha256": f"{site_id}{days_ago}"},
    )


def _observations() -> list[Observation]:
    rows = []
    for days in range(1, 120):
        begin = NOW.replace(hour=16, minute=0, second=0) - timedelta(days=days + 1)
        rows.append(_observation("energy_kwh_per_day", Source.TELEMETRY, begin, timedelta(days=1), 8000.0 + days % 7, {}))
    for number, days in enumerate((70, 5)):
        taken = NOW - timedelta(days=days)
        evidence: dict[str, object] = {"png": f"S1/picture{number}.png", "scene_id": f"scene{number}", "gsd_m": 0.3}
        rows.append(_observation("vehicle_count", Source.IMAGERY, taken, timedelta(seconds=1), 30.0 - 26 * number, evidence))
    return rows


def _observation(
    quantity: str, source: Source, begin: datetime, length: timedelta, value: float, evidence: dict[str, object]
) -> Observation:
    return Observation(
        SubjectKind.SITE, "S1", "S1", quantity, begin, begin + length, source, "test@1", value, value * 0.9, value * 1.1,
        Quality.GOOD, begin + length, evidence,
    )


def _scene(connection: Connection, number: int, taken: datetime, evidence: Path) -> None:
    footprint = box(120.5, 31.2, 120.7, 31.4)
    record = SceneRecord(
        f"scene{number}", f"/scenes/{number}.tif", "test", taken, 0.3, 32651, footprint, f"{number}" * 64, 1
    )
    scenes.write_scene(connection, record, taken)
    figures = {"png": f"S1/picture{number}.png", "vehicles": 30 - 26 * number}
    done = scenes.ScanResult(record.scene_id, "S1", "vehicles", "a" * 64, "done", "", figures)
    scenes.write_scan_results(connection, [done])
    (evidence / "S1").mkdir(parents=True, exist_ok=True)
    (evidence / "S1" / f"picture{number}.png").write_bytes(PICTURE)


def words(component: object) -> str:
    """Everything a page says, as one text."""
    if isinstance(component, (list, tuple)):
        return " ".join(words(one) for one in component)
    if isinstance(component, Component):
        return words(getattr(component, "children", None))
    return "" if component is None else str(component)


def seen(queries: Queries, username: str, site_id: str = "S1", locale: str = "en") -> tuple[Viewer, SiteView]:
    """A person in a language, and what the site page reads for them."""
    account = queries.account(username)
    assert account is not None
    viewer = Viewer(account.user, locale)
    view = queries.site(viewer, site_id)
    assert view is not None
    return viewer, view
