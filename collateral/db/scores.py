"""Scores: append-only rows, bulk writes that skip what is stored already, and the reads of scoring and dashboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import orjson
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import execute_values

from collateral.db.pool import fetch_dicts
from collateral.domain import Contribution, Score, SubjectKind

_COLUMNS = (
    "subject_kind, subject_id, at, known_at, value, lower, upper, grade, support, contributions, policy_version,"
    " engine_version, inputs"
)
_VERSIONED = (
    "borrower", "loan", "site", "loan_site", "asset", "slot", "device", "price", "link", "fx_rate", "holiday",
)


def write_scores(connection: Connection, scores: Iterable[Score]) -> int:
    """Appends the scores whose result differs from the last one stored for the same subject and time.

    Returns:
        Rows written; the same work done again writes none.
    """
    batch = list(scores)
    if not batch:
        return 0
    stored = _stored_results(connection, batch)
    fresh = [score for score in batch if stored.get(_place(score)) != _result(score)]
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            f"INSERT INTO score ({_COLUMNS}) VALUES %s",  # noqa: S608
            [_row(score) for score in fresh],
            page_size=500,
        )
    return len(fresh)


def _stored_results(connection: Connection, batch: Sequence[Score]) -> dict[tuple[str, str, datetime], tuple[object, ...]]:
    rows = fetch_dicts(
        connection,
        "SELECT DISTINCT ON (subject_kind, subject_id, at) subject_kind, subject_id, at, known_at, value, lower, upper,"
        " grade, policy_version, engine_version, inputs->>'sha256' AS digest FROM score"
        " WHERE subject_id = ANY(%s) AND at BETWEEN %s AND %s"
        " ORDER BY subject_kind, subject_id, at, score_id DESC",
        (
            sorted({score.subject_id for score in batch}),
            min(score.at for score in batch),
            max(score.at for score in batch),
        ),
    )
    return {
        (row["subject_kind"], row["subject_id"], row["at"]): (
            row["known_at"], row["value"], row["lower"], row["upper"], row["grade"], row["policy_version"],
            row["engine_version"], row["digest"],
        )
        for row in rows
    }


def _place(score: Score) -> tuple[str, str, datetime]:
    return score.subject_kind.value, score.subject_id, score.at


def _result(score: Score) -> tuple[object, ...]:
    return (
        score.known_at, score.value, score.lower, score.upper, score.grade, score.policy_version, score.engine_version,
        score.inputs.get("sha256"),
    )


def _row(score: Score) -> tuple[object, ...]:
    contributions = [
        {
            "indicator": part.indicator,
            "points": part.points,
            "weight": part.weight,
            "expected_shortfall": part.expected_shortfall,
            "supported": part.supported,
            "detail": dict(part.detail),
        }
        for part in score.contributions
    ]
    return (
        score.subject_kind.value, score.subject_id, score.at, score.known_at, score.value, score.lower, score.upper,
        score.grade, score.support, orjson.dumps(contributions, default=str).decode(), score.policy_version,
        score.engine_version, orjson.dumps(dict(score.inputs), default=str).decode(),
    )


def latest_scores(
    connection: Connection, subject_kind: SubjectKind = SubjectKind.SITE, at: datetime | None = None
) -> list[Score]:
    """The newest score of every subject of one kind, by subject id; with `at`, the newest not after it."""
    rows = fetch_dicts(
        connection,
        f"SELECT DISTINCT ON (subject_id) {_COLUMNS} FROM score"  # noqa: S608
        " WHERE subject_kind = %s AND (%s::timestamptz IS NULL OR at <= %s) ORDER BY subject_id, at DESC, score_id DESC",
        (subject_kind.value, at, at),
    )
    return [score_from_row(row) for row in rows]


def score_history(
    connection: Connection,
    subject_kind: SubjectKind,
    subject_id: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Score]:
    """Scores of one subject in time, the last written for each time."""
    rows = fetch_dicts(
        connection,
        f"SELECT DISTINCT ON (at) {_COLUMNS} FROM score WHERE subject_kind = %s AND subject_id = %s"  # noqa: S608
        " AND (%s::timestamptz IS NULL OR at >= %s) AND (%s::timestamptz IS NULL OR at <= %s) ORDER BY at, score_id DESC",
        (subject_kind.value, subject_id, since, since, until, until),
    )
    return [score_from_row(row) for row in rows]


def stored_scores(
    connection: Connection, since: datetime, before: datetime, subject_kind: SubjectKind = SubjectKind.SITE
) -> list[Score]:
    """Every score of one kind in [since, before), those that a later one of the same time took the place of too."""
    rows = fetch_dicts(
        connection,
        f"SELECT {_COLUMNS} FROM score WHERE subject_kind = %s AND at >= %s AND at < %s ORDER BY subject_id, at, score_id",  # noqa: S608
        (subject_kind.value, since, before),
    )
    return [score_from_row(row) for row in rows]


def score_from_row(row: Mapping[str, Any]) -> Score:
    """A score from a row with the columns of table `score`."""
    return Score(
        subject_kind=SubjectKind(row["subject_kind"]),
        subject_id=row["subject_id"],
        at=row["at"],
        known_at=row["known_at"],
        value=row["value"],
        lower=row["lower"],
        upper=row["upper"],
        grade=row["grade"],
        support=row["support"],
        contributions=tuple(Contribution(**part) for part in row["contributions"]),
        policy_version=row["policy_version"],
        engine_version=row["engine_version"],
        inputs=row["inputs"],
    )


def last_evaluated(connection: Connection, site_id: str, now: datetime) -> datetime | None:
    """The latest time for which the site was scored; None when it never was. Times after `now` are a wrong clock's."""
    row = fetch_dicts(
        connection,
        "SELECT max(at) AS at FROM score WHERE subject_kind = 'site' AND subject_id = %s AND at <= %s",
        (site_id, now),
    )[0]
    found: datetime | None = row["at"]
    return found


def last_evaluations(connection: Connection, now: datetime) -> dict[str, datetime]:
    """The latest time up to `now` for which each site was scored; those never scored are left out."""
    rows = fetch_dicts(
        connection,
        "SELECT s.site_id, newest.at FROM site s CROSS JOIN LATERAL (SELECT at FROM score"
        " WHERE subject_kind = 'site' AND subject_id = s.site_id AND at <= %s ORDER BY at DESC LIMIT 1) AS newest",
        (now,),
    )
    return {row["site_id"]: row["at"] for row in rows}


def dirty_sites(connection: Connection) -> dict[str, datetime]:
    """Sites whose inputs changed since they were scored, and when they were last marked."""
    rows = fetch_dicts(connection, "SELECT site_id, marked_at FROM dirty_site ORDER BY site_id")
    return {row["site_id"]: row["marked_at"] for row in rows}


def clean_sites(connection: Connection, marked: Mapping[str, datetime]) -> None:
    """Takes the marks away that were there when the work began; a site marked again meanwhile stays dirty."""
    if not marked:
        return
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            "DELETE FROM dirty_site d USING (VALUES %s) AS seen (site_id, marked_at)"
            " WHERE d.site_id = seen.site_id AND d.marked_at <= seen.marked_at::timestamptz",
            list(marked.items()),
        )


def holidays(connection: Connection, known_at: datetime, calendar: str = "CN") -> dict[date, str]:
    """Public holidays of a calendar, as known then: day -> name."""
    rows = fetch_dicts(connection, "SELECT day, name FROM holiday_as_known(%s) WHERE calendar = %s", (known_at, calendar))
    return {row["day"]: row["name"] for row in rows}


def reference_changes(connection: Connection) -> list[datetime]:
    """The times at which reference data became known, in order: between two of them it does not change."""
    union = " UNION ".join(f"SELECT known_at FROM {name}_version" for name in _VERSIONED)  # noqa: S608
    return [row["known_at"] for row in fetch_dicts(connection, f"{union} ORDER BY known_at")]
