"""The dashboard's only way to the database.

What people see is read as `cw_officer` through the officer views, narrowed to the person's branch by a setting of the
transaction. Signing in, histories of alerts and acts on them need `cw_app`; for those it is first made sure, through the
views, that the person may see the site.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any, TypeVar

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import alerts as alert_rows
from collateral.db import coverage as coverage_rows
from collateral.db import credentials, reference
from collateral.db.alerts import Alert
from collateral.db.anomalies import AnomalyEpisode
from collateral.db.geofences import in_force, officer_geofences
from collateral.db.journeys import officer_journeys, officer_span
from collateral.db.pool import Pool, Role, fetch_dicts
from collateral.db.scenes import scenes_of_site
from collateral.db.scores import score_from_row
from collateral.domain import (
    AlertState,
    Borrower,
    Loan,
    Observation,
    Priority,
    Quality,
    Score,
    Site,
    Source,
    SubjectKind,
    User,
)
from collateral.errors import CollateralError, InvalidInputError
from dashboard.doubts import Doubt
from dashboard.model import Account, AlertView, HistoryPoint, LoanView, SiteRow, SiteView, Snapshot, Viewer
from dashboard.portfolio import ranked
from dashboard.tracks import MOST_JOURNEYS, TracksView, last_day_of, merged, span_of

log = logging.getLogger(__name__)
Row = TypeVar("Row")

SNAPSHOT_S = 10.0
"""The map and the list are read anew when they are older than this."""
STALE_S = 120.0
"""And never shown when they are older than this."""
RECENT = timedelta(days=2)
"""Sites are scored every day: these days are read first, and older ones only for sites that are not among them."""
HISTORY = timedelta(days=400)
UNUSUAL = timedelta(days=90)
MOST_UNUSUAL = 10
DOUBTED = timedelta(days=90)
MOST_DOUBTS = 400
MOST_ALERTS = 500
LONGEST_SHELVING_H = 168

_SITES = """
WITH waiting AS (
    SELECT site_id, count(*) FILTER (WHERE priority = 'high') AS high,
        count(*) FILTER (WHERE priority = 'medium') AS medium, count(*) FILTER (WHERE priority = 'low') AS low
    FROM officer_alert WHERE state IN ('open', 'acknowledged') GROUP BY site_id
), owed AS (
    SELECT ls.site_id, array_agg(DISTINCT l.branch ORDER BY l.branch) AS branches
    FROM loan_site ls JOIN officer_loan l USING (loan_id) GROUP BY ls.site_id
)
SELECT s.site_id, s.name, s.name_en, s.kind, s.time_zone, (s.lon_min + s.lon_max) / 2 AS lon,
    (s.lat_min + s.lat_max) / 2 AS lat, coalesce(b.name, '') AS borrower, coalesce(b.name_en, '') AS borrower_en,
    coalesce(o.branches, ARRAY[]::text[]) AS branches, coalesce(w.high, 0) AS high, coalesce(w.medium, 0) AS medium,
    coalesce(w.low, 0) AS low
FROM officer_site s LEFT JOIN borrower b USING (borrower_id) LEFT JOIN waiting w USING (site_id)
    LEFT JOIN owed o USING (site_id)
"""

_NEWEST = """
SELECT DISTINCT ON (subject_id) subject_id AS site_id, grade, value, lower, upper, support, at
FROM officer_score WHERE subject_kind = 'site' AND at >= %(since)s
    AND (%(sites)s::text[] IS NULL OR subject_id = ANY(%(sites)s))
ORDER BY subject_id, at DESC, score_id DESC
"""
_NO_SCORE: Mapping[str, Any] = {"grade": "U", "value": None, "lower": None, "upper": None, "support": 0.0, "at": None}

_OBSERVATIONS = """
SELECT DISTINCT ON (valid_from, subject_kind, subject_id, quantity, source, method)
    observation_id, subject_kind, subject_id, site_id, quantity, valid_from, valid_to, source, method, revision, value,
    lower, upper, quality, evidence, known_at
FROM officer_observation
WHERE site_id = %(site)s AND (subject_kind <> 'slot' OR quantity = 'stock_cover') AND valid_from >= %(since)s
    AND valid_from <= now()
ORDER BY valid_from, subject_kind, subject_id, quantity, source, method, revision DESC
"""

_ALERTS = """
SELECT a.alert_id, a.rule, a.subject_kind, a.subject_id, a.site_id, a.priority, a.raised_at, a.policy_version, a.state,
    a.state_at, a.actor, a.reason, a.expires_at, a.evidence, s.name, s.name_en, s.time_zone
FROM officer_alert a JOIN officer_site s USING (site_id)
WHERE (%(states)s::text[] IS NULL OR a.state = ANY(%(states)s))
    AND (%(priorities)s::text[] IS NULL OR a.priority = ANY(%(priorities)s))
ORDER BY a.raised_at DESC, a.alert_id DESC LIMIT %(most)s
"""


class Queries:
    """Reads and acts of the dashboard; safe for the server's threads."""

    def __init__(self, database_url: str, size: int = 8) -> None:
        self._officer = Pool(database_url, Role.OFFICER, size)
        self._app = Pool(database_url, Role.APP, max(2, size // 2))
        self._snapshots: dict[str, tuple[float, Snapshot]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def close(self) -> None:
        """Closes the connections."""
        self._officer.close()
        self._app.close()

    def reachable(self) -> bool:
        """Whether the database answers and has the schema."""
        try:
            with self._officer.connection() as connection:
                fetch_dicts(connection, "SELECT username FROM app_user LIMIT 1")
        except (CollateralError, psycopg2.Error):
            return False
        return True

    def account(self, username: str) -> Account | None:
        """A person who has a password."""
        with self._app.connection() as connection:
            kept = credentials.credential(connection, username)
            if kept is None:
                return None
            row = _rows(connection, ", ".join(reference.USER.columns), "app_user", "username", username)[0]
        return Account(User(**row), sha256(kept.password_hash.encode()).hexdigest()[:24])

    def credential(self, username: str) -> credentials.Credential | None:
        """The stored hash, failures and lock of a person."""
        with self._app.connection() as connection:
            return credentials.credential(connection, username)

    def note_sign_in(self, username: str, succeeded: bool) -> None:
        """Counts failures, and forgets them after a success."""
        with self._app.connection() as connection:
            credentials.note_sign_in(connection, username, succeeded)

    def portfolio(self, viewer: Viewer) -> Snapshot:
        """All sites the person may see, worst first.

        What is older than `SNAPSHOT_S` is read anew, once per branch at a time. Until `STALE_S` the last one is shown
        meanwhile, so that nobody waits for a portfolio that is looked at all the time.
        """
        branch = viewer.branch
        held = self._snapshots.get(branch)
        age = float("inf") if held is None else time.monotonic() - held[0]
        if held is None or age > STALE_S:
            return self._refresh(branch, held)
        if age > SNAPSHOT_S and not self._lock_of(branch).locked():
            threading.Thread(target=self._refresh_quietly, args=(branch, held), name="snapshot", daemon=True).start()
        return held[1]

    def _refresh(self, branch: str, seen: tuple[float, Snapshot] | None) -> Snapshot:
        """Reads anew, unless another did since `seen`. Rows that are the same keep their object, and what was made of it."""
        with self._lock_of(branch):
            held = self._snapshots.get(branch)
            if held is not None and held is not seen:
                return held[1]
            begun = time.monotonic()
            fresh = self._read_portfolio(branch)
            if held is not None and held[1].rows == fresh.rows:
                fresh = held[1]
            self._snapshots[branch] = (begun, fresh)
            return fresh

    def _lock_of(self, branch: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(branch, threading.Lock())

    def _refresh_quietly(self, branch: str, seen: tuple[float, Snapshot]) -> None:
        try:
            self._refresh(branch, seen)
        except (CollateralError, psycopg2.Error):
            log.exception("the portfolio of branch %r could not be read anew", branch)

    def _read_portfolio(self, branch: str) -> Snapshot:
        with self._as_officer(branch) as connection:
            rows = fetch_dicts(connection, _SITES)
            scores = _newest(connection, datetime.now(UTC) - RECENT, None)
            missing = [row["site_id"] for row in rows if row["site_id"] not in scores]
            if missing:
                scores |= _newest(connection, datetime.min.replace(tzinfo=UTC), missing)
        return Snapshot(
            ranked(
                SiteRow(**{**row, **scores.get(row["site_id"], _NO_SCORE), "branches": tuple(row["branches"])})
                for row in rows
            )
        )

    def may_see(self, viewer: Viewer, site_id: str) -> bool:
        """Whether the site secures a loan of the person's branch."""
        with self._as_officer(viewer.branch) as connection:
            return bool(fetch_dicts(connection, "SELECT 1 FROM officer_site WHERE site_id = %s", (site_id,)))

    def site(self, viewer: Viewer, site_id: str) -> SiteView | None:
        """Everything about one site; None when there is none of this id, or it is another branch's."""
        since = datetime.now(UTC) - HISTORY
        with self._as_officer(viewer.branch) as connection:
            site = _site(connection, site_id)
            if site is None:
                return None
            borrowers = _rows(connection, "borrower_id, name, name_en, group_name, industry", "borrower",
                              "borrower_id", site.borrower_id)
            loans = _loans(connection, site_id)
            score, history = _score(connection, site_id), _history(connection, site_id, since)
            observations = [
                _observation(row) for row in fetch_dicts(connection, _OBSERVATIONS, {"site": site_id, "since": since})
            ]
            scenes = scenes_of_site(connection, site_id)
            assets = _of_site(connection, reference.ASSET, site_id)
            devices = _of_site(connection, reference.DEVICE, site_id)
            holidays = reference.holidays(connection)
            unusual = _unusual(connection, site_id)
            shown = {row["alert_id"] for row in _rows(connection, "alert_id", "officer_alert", "site_id", site_id)}
        with self._app.connection() as connection:
            doubts = _doubts(connection, [one.device_id for one in devices])
            alerts = [one for one in alert_rows.current_alerts(connection, site_id=site_id) if one.alert_id in shown]
            steps = alert_rows.events_of_alerts(connection, [one.alert_id for one in alerts])
            coverage = {
                row.loan_id: row for row in coverage_rows.latest_coverage(connection, [one.loan_id for one in loans])
            }
        return SiteView(
            site=site, borrower=Borrower(**borrowers[0]) if borrowers else None,
            loans=[LoanView(loan, coverage.get(loan.loan_id)) for loan in loans], assets=assets, devices=devices,
            score=score, history=history, observations=observations, scenes=scenes, alerts=alerts,
            events={one.alert_id: [step for step in steps if step.alert_id == one.alert_id] for one in alerts},
            holidays=holidays, unusual=unusual, doubts=doubts[:MOST_DOUBTS], doubts_cut=len(doubts) > MOST_DOUBTS,
        )

    def tracks(
        self, viewer: Viewer, site_id: str, asset_id: str, days: int, last_day: date | None = None
    ) -> TracksView | None:
        """Trips and stops of a site's movables; None when there is no such site, or it is another branch's.

        Args:
            viewer: the person.
            site_id: the site.
            asset_id: one movable; empty for all.
            days: local days that are shown.
            last_day: the last of them; None for the newest with a trip or stop.
        """
        with self._as_officer(viewer.branch) as connection:
            site = _site(connection, site_id)
            if site is None:
                return None
            oldest, newest = officer_span(connection, site_id)
            last = last_day or last_day_of(newest or datetime.now(UTC), site.time_zone)
            begin, end = span_of(site.time_zone, last, days)
            rows = officer_journeys(connection, site_id, begin, end, asset_id, MOST_JOURNEYS + 1)
            fences = in_force(officer_geofences(connection, site_id), last)
            assets = _of_site(connection, reference.ASSET, site_id)
        return TracksView(
            site, [one for one in assets if asset_id in ("", one.asset_id)], merged(rows[:MOST_JOURNEYS]), fences,
            begin.date(), last, oldest, newest, len(rows) > MOST_JOURNEYS,
        )  # fmt: skip

    def alerts(
        self, viewer: Viewer, states: Sequence[str] | None = None, priorities: Sequence[str] | None = None
    ) -> list[AlertView]:
        """Alerts of the sites the person may see, newest first, at most `MOST_ALERTS`."""
        with self._as_officer(viewer.branch) as connection:
            rows = fetch_dicts(
                connection, _ALERTS,
                {"states": _listed(states), "priorities": _listed(priorities), "most": MOST_ALERTS},
            )
        return [AlertView(_alert(row), row["name"], row["name_en"], row["time_zone"]) for row in rows]

    def act(self, viewer: Viewer, alert_id: int, verb: str, reason: str, hours: float) -> str:
        """Acknowledges, shelves (for `hours`), unshelves or clears an alert in the person's name; returns its site.

        Raises:
            InvalidInputError: the person may not act or not see the alert, or the act is not allowed as it stands.
        """
        if not viewer.may_act:
            raise InvalidInputError(f"Role {viewer.user.role!r} may look at alerts but not act on them.")
        if verb == "shelve" and not 0 < hours <= LONGEST_SHELVING_H:
            raise InvalidInputError(f"Alerts are shelved for at most {LONGEST_SHELVING_H} hours, not for {hours}.")
        now = datetime.now(UTC)
        actor = viewer.user.username
        with self._as_officer(viewer.branch) as connection:
            found = fetch_dicts(connection, "SELECT site_id FROM officer_alert WHERE alert_id = %s", (alert_id,))
        if not found:
            raise InvalidInputError(f"Alert {alert_id} does not exist or belongs to another branch.")
        with self._app.connection() as connection:
            if verb == "acknowledge":
                alert_rows.acknowledge(connection, alert_id, actor, now, reason)
            elif verb == "shelve":
                alert_rows.shelve(connection, alert_id, actor, now, reason, now + timedelta(hours=hours))
            elif verb == "unshelve":
                alert_rows.unshelve(connection, alert_id, actor, now, reason)
            elif verb == "clear":
                alert_rows.clear(connection, alert_id, actor, now, reason)
            else:
                raise InvalidInputError(f"Act {verb!r} is unknown; use acknowledge, shelve, unshelve or clear.")
        self._snapshots.clear()
        return str(found[0]["site_id"])

    @contextmanager
    def _as_officer(self, branch: str) -> Iterator[Connection]:
        with self._officer.connection() as connection:
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('collateral.branch', %s, true)", (branch,))
            yield connection


def _rows(connection: Connection, columns: str, table: str, key: str, value: str) -> list[dict[str, Any]]:
    return fetch_dicts(connection, f"SELECT {columns} FROM {table} WHERE {key} = %s", (value,))  # noqa: S608 (our own names)


def _newest(connection: Connection, since: datetime, sites: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """The newest score of each site since then, of all sites or the given ones."""
    return {
        row["site_id"]: row for row in fetch_dicts(connection, _NEWEST, {"since": since, "sites": _listed(sites)})
    }


def _site(connection: Connection, site_id: str) -> Site | None:
    rows = _rows(connection, ", ".join(reference.SITE.columns), "officer_site", "site_id", site_id)
    if not rows:
        return None
    converted = {column: convert(rows[0][column]) for column, convert in reference.SITE.readers.items()}
    return Site(**{**rows[0], **converted})


def _of_site(connection: Connection, table: reference.Table[Row], site_id: str) -> list[Row]:
    """Rows of one site of a part of the portfolio, by id."""
    columns = ", ".join(table.columns)
    rows = fetch_dicts(
        connection, f"SELECT {columns} FROM {table.name} WHERE site_id = %s ORDER BY {', '.join(table.key)}", (site_id,)  # noqa: S608
    )
    return [table.row(**{**row, **{one: read(row[one]) for one, read in table.readers.items()}}) for row in rows]


def _doubts(connection: Connection, devices: Sequence[str]) -> list[Doubt]:
    """Newest first, one more than is shown where there are more. Read as the application, of devices the person may see."""
    rows = fetch_dicts(
        connection,
        "SELECT s.device_id, s.quantity, q.time_from, q.time_to, q.readings, q.flags, q.clock_ahead_s"
        " FROM series s JOIN reading_quality q USING (series_id) WHERE s.device_id = ANY(%s) AND q.time_from >= %s"
        " ORDER BY q.time_from DESC, s.series_id LIMIT %s",
        (list(devices), datetime.now(UTC) - DOUBTED, MOST_DOUBTS + 1),
    )
    return [Doubt(**row) for row in rows]


def _loans(connection: Connection, site_id: str) -> list[Loan]:
    columns = ", ".join(f"l.{name}" for name in reference.LOAN.columns)
    rows = fetch_dicts(
        connection,
        f"SELECT {columns} FROM officer_loan l JOIN loan_site s USING (loan_id) WHERE s.site_id = %s ORDER BY loan_id",  # noqa: S608
        (site_id,),
    )
    return [Loan(**row) for row in rows]


def _unusual(connection: Connection, site_id: str) -> list[AnomalyEpisode]:
    rows = fetch_dicts(
        connection,
        "SELECT series_id, device_id, quantity, site_id, time_from, time_to, wait_days, reason, late, version"
        " FROM officer_anomaly WHERE site_id = %s AND time_from >= %s ORDER BY time_from DESC, series_id LIMIT %s",
        (site_id, datetime.now(UTC) - UNUSUAL, MOST_UNUSUAL),
    )
    return [AnomalyEpisode(**row) for row in rows]


def _score(connection: Connection, site_id: str) -> Score | None:
    rows = fetch_dicts(
        connection,
        "SELECT subject_kind, subject_id, at, known_at, value, lower, upper, grade, support, contributions, policy_version,"
        " engine_version, inputs FROM officer_score WHERE subject_kind = 'site' AND subject_id = %s"
        " ORDER BY at DESC, score_id DESC LIMIT 1",
        (site_id,),
    )
    return score_from_row(rows[0]) if rows else None


def _history(connection: Connection, site_id: str, since: datetime) -> list[HistoryPoint]:
    rows = fetch_dicts(
        connection,
        "SELECT DISTINCT ON (at) at, value, lower, upper, grade FROM officer_score"
        " WHERE subject_kind = 'site' AND subject_id = %s AND at >= %s ORDER BY at, score_id DESC",
        (site_id, since),
    )
    return [HistoryPoint(**row) for row in rows]


def _observation(row: Mapping[str, Any]) -> Observation:
    kinds = {
        "subject_kind": SubjectKind(row["subject_kind"]), "source": Source(row["source"]),
        "quality": Quality(row["quality"]),
    }
    return Observation(**{**row, **kinds})


def _alert(row: Mapping[str, Any]) -> Alert:
    fields = {key: value for key, value in row.items() if key not in ("name", "name_en", "time_zone")}
    kinds = {
        "subject_kind": SubjectKind(row["subject_kind"]), "priority": Priority(row["priority"]),
        "state": AlertState(row["state"]),
    }
    return Alert(**{**fields, **kinds})


def _listed(items: Sequence[str] | None) -> list[str] | None:
    return None if items is None else list(items)
