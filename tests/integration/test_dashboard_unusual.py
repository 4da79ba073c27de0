"""Unusual readings on the site page: the newest revision, to the right branch, in both languages, and no score moved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from collateral.db.anomalies import AnomalyEpisode, write_episodes
from collateral.db.pool import Role, connect
from dashboard.components.unusual import reason_family, unusual_card
from dashboard.i18n import CATALOGUES
from dashboard.model import Viewer
from dashboard.queries import MOST_UNUSUAL, Queries
from iot.anomaly import SeriesDetector
from iot.anomaly_watch import WATCHED
from tests.dashboard_support import NOW, fill, seen, words


def episode(hours_ago: float, wait_days: float = 120.0, reason: str = "rise", site_id: str = "S1") -> AnomalyEpisode:
    begin = NOW - timedelta(hours=hours_ago)
    return AnomalyEpisode(
        1, "D1", "active_power_kw", site_id, begin, begin + timedelta(hours=1), wait_days, reason, False, 1
    )


@pytest.fixture
def queries(database: str, tmp_path: Path) -> Iterator[Queries]:
    fill(database, tmp_path)
    found = Queries(database)
    yield found
    found.close()


def keep(database: str, *episodes: AnomalyEpisode) -> int:
    with closing(connect(database, Role.APP)) as connection, connection:
        return write_episodes(connection, episodes)


def test_the_newest_revision_is_shown_and_the_same_again_adds_none(queries: Queries, database: str) -> None:
    first = episode(5)
    grown = replace(first, time_to=first.time_to + timedelta(hours=3), wait_days=800.0, reason="above_30")
    assert [keep(database, first), keep(database, first), keep(database, grown), keep(database, grown)] == [1, 0, 1, 0]
    viewer, view = seen(queries, "risk_a")
    assert [one.reason for one in view.unusual] == ["above_30"]
    said = words(unusual_card(viewer, view))
    assert "stays higher than before" in said and "once in 2 years" in said and "Power drawn" in said
    assert view.score is not None and view.score.value == 4210
    assert all(alert.rule == "sources_disagree" for alert in view.alerts)


def test_only_recent_ones_of_the_site_newest_first(queries: Queries, database: str) -> None:
    keep(database, episode(91 * 24), episode(3, site_id="S3"), *(replace(episode(n), series_id=n) for n in range(4, 20)))
    viewer, view = seen(queries, "risk_a")
    assert [one.series_id for one in view.unusual] == list(range(4, 4 + MOST_UNUSUAL))
    officer = seen(queries, "officer_a")[1]
    assert len(officer.unusual) == MOST_UNUSUAL
    account = queries.account("officer_a")
    assert account is not None
    assert queries.site(Viewer(account.user, "en"), "S3") is None
    empty = words(unusual_card(viewer, replace(view, unusual=[])))
    assert viewer.t("unusual.none") in empty


def test_every_reason_and_every_watched_reading_has_a_text(queries: Queries, database: str) -> None:
    detector = SeriesDetector(900.0)
    detector.update(0, 1.0)
    reasons = {reason_family(name) for name, _ in detector._statistics(900, 2.0)}
    for catalogue in CATALOGUES.values():
        assert [name for name in reasons if f"unusual_reason.{name}" not in catalogue] == []
        assert [name for name in WATCHED if f"reading.{name}" not in catalogue] == []
    keep(database, replace(episode(2, 40_000.0, "under_season_12"), late=True))
    said = words(unusual_card(*seen(queries, "risk_a", locale="zh")))
    assert "百年一遇" in said and "迟到" in said and "低于同一时段常态" in said
