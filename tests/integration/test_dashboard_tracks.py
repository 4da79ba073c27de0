"""Trips and stops as officers read them: only of their branch's sites, only of the period, never too many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import psycopg2
import pytest

import dashboard.queries
from collateral.db.alerts import NewAlert, raise_alert
from collateral.db.journeys import STOP, TRIP
from collateral.db.pool import Role, connect
from collateral.domain import Priority, SubjectKind
from dashboard.components.alerts import alert_card
from dashboard.components.tracks import tracks_card
from dashboard.model import Viewer
from dashboard.queries import Queries
from dashboard.tracks import last_day_of
from tests.dashboard_support import NOW, words
from tests.tracks_support import fill_tracks


@pytest.fixture
def queries(database: str) -> Iterator[Queries]:
    fill_tracks(database, NOW)
    found = Queries(database)
    yield found
    found.close()


def person(queries: Queries, username: str, locale: str = "en") -> Viewer:
    account = queries.account(username)
    assert account is not None
    return Viewer(account.user, locale)


def test_the_newest_days_are_shown_unless_others_are_asked_for(
    queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = person(queries, "officer_b")
    week = queries.tracks(viewer, "S3", "", 7)
    assert week is not None and week.newest is not None and not week.cut
    assert week.last_day == last_day_of(week.newest, "Asia/Shanghai") and (week.last_day - week.first_day).days == 6
    assert sum(one.kind == TRIP for one in week.journeys) == 28
    assert week.journeys == sorted(week.journeys, key=lambda one: one.begins, reverse=True)
    assert {one.fence_id for one in week.fences} == {"R", "N", "C"}
    marks = [{flag["kind"] for flag in one.flags} for one in week.journeys if one.kind == STOP and one.flags]
    assert marks == [{"unexplained_stop", "route_deviation", "forbidden_area"}, {"jump"}]

    one_day = queries.tracks(viewer, "S3", "A3", 1, week.last_day - timedelta(days=3))
    assert one_day is not None and sum(one.kind == TRIP for one in one_day.journeys) == 4
    before = queries.tracks(viewer, "S3", "", 7, week.last_day - timedelta(days=100))
    assert before is not None and not before.journeys and not before.fences, "areas hold from their first day"
    other = queries.tracks(viewer, "S3", "A2", 7)
    assert other is not None and not other.journeys
    monkeypatch.setattr(dashboard.queries, "MOST_JOURNEYS", 10)
    few = queries.tracks(viewer, "S3", "", 30)
    assert few is not None and few.cut and len(few.journeys) <= 10 and few.journeys[0] == week.journeys[0]


def test_other_branches_see_nothing(queries: Queries, database: str) -> None:
    assert queries.tracks(person(queries, "officer_a"), "S3", "", 7) is None
    assert queries.tracks(person(queries, "officer_b"), "S9", "", 7) is None
    with closing(connect(database, Role.OFFICER)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('collateral.branch', 'suzhou', true)")
        for view in ("officer_journey", "officer_geofence"):
            cursor.execute(f"SELECT count(*) FROM {view}")  # noqa: S608 (two names of ours)
            assert cursor.fetchone() == (0,)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("SELECT count(*) FROM journey")


def test_the_card_is_there_where_something_is_followed(queries: Queries) -> None:
    viewer = person(queries, "risk_a", "zh")
    for site_id, there in (("S3", True), ("S1", False)):
        view = queries.site(viewer, site_id)
        assert view is not None
        assert (viewer.t("tracks.title") in words(tracks_card(viewer, view))) is there


def test_an_alert_says_which_thing_it_is_about(queries: Queries, database: str) -> None:
    viewer = person(queries, "risk_a")
    with closing(connect(database, Role.APP)) as connection, connection:
        for kind, subject in ((SubjectKind.ASSET, "A3"), (SubjectKind.SLOT, "yard-7"), (SubjectKind.SITE, "S3")):
            raise_alert(connection, NewAlert("tamper", kind, subject, "S3", Priority.HIGH, NOW, "2026.2", {}))
    view = queries.site(viewer, "S3")
    assert view is not None
    name = next(one.name for one in view.assets if one.asset_id == "A3")
    rule = viewer.t("rule.tamper")
    heads = sorted(words(alert_card(viewer, view, [], one)) for one in view.alerts if one.rule == "tamper")
    assert name and len(heads) == 3
    assert sum(f"{rule} {name}" in one for one in heads) == 1 and sum(f"{rule} yard-7" in one for one in heads) == 1
    assert not any(f"{rule} S3" in one for one in heads)
