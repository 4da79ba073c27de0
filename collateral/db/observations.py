"""Observations: append-only revisions, written set-based, read as they were known at a time.

The identity of an observation is (subject_kind, subject_id, quantity, source, method, valid_from). What was in force at T is
the highest revision whose `known_at` is not after T. A row that says what is already in force at its own `known_at` writes
nothing, so the same work done again, in any order, leaves the table as it is.
"""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db.pool import fetch_dicts
from collateral.domain import Observation, Quality, Source, SubjectKind
from collateral.errors import InvalidInputError
from collateral.quantities import OBSERVATION_QUANTITIES


@dataclass(frozen=True)
class WriteSummary:
    """What one call of `write_observations` did."""

    written: int = 0
    """New revisions."""
    unchanged: int = 0
    """Rows that said what was in force already."""

    def __add__(self, other: WriteSummary) -> WriteSummary:
        return WriteSummary(self.written + other.written, self.unchanged + other.unchanged)


_COLUMNS = (
    "subject_kind, subject_id, site_id, quantity, valid_from, valid_to, source, method,"
    " value, lower, upper, quality, evidence, known_at"
)
_ALL_COLUMNS = f"observation_id, revision, {_COLUMNS}"
_KEY = "subject_kind, subject_id, quantity, source, method, valid_from"

_STAGE = f"""
CREATE TEMPORARY TABLE IF NOT EXISTS observation_stage ON COMMIT DROP AS
    SELECT 0 AS position, {_COLUMNS} FROM observation WITH NO DATA
"""  # noqa: S608

# `rival` are the stored revisions of the staged keys; the constant bounds on valid_from let TimescaleDB skip chunks.
_INSERT = f"""
WITH rival AS MATERIALIZED (
    SELECT s.position, o.revision, o.known_at <= s.known_at AS in_time,
           (o.site_id, o.valid_to, o.value, o.lower, o.upper, o.quality, o.evidence)
               IS NOT DISTINCT FROM (s.site_id, s.valid_to, s.value, s.lower, s.upper, s.quality, s.evidence) AS same
    FROM observation_stage s
    JOIN observation o USING ({_KEY})
    WHERE o.valid_from BETWEEN %(first)s AND %(last)s
), newest AS (
    SELECT position, max(revision) AS revision FROM rival GROUP BY position
), in_force AS (
    SELECT DISTINCT ON (position) position, same FROM rival WHERE in_time ORDER BY position, revision DESC
), written AS (
    INSERT INTO observation (revision, {_COLUMNS})
    SELECT coalesce(n.revision, 0) + 1, {_COLUMNS}
    FROM observation_stage s LEFT JOIN newest n USING (position) LEFT JOIN in_force f USING (position)
    WHERE f.same IS NOT TRUE
    ORDER BY valid_from
    RETURNING site_id
)
SELECT site_id, count(*) FROM written GROUP BY site_id
"""  # noqa: S608


def write_observations(
    connection: Connection, observations: Iterable[Observation], reason: str = "observation"
) -> WriteSummary:
    """Writes what is new as the next revision of its key and marks the sites in `dirty_site`.

    Several revisions of one key may come in one call; they are taken in the order given. Writers of the same source wait
    for each other until the transaction ends.

    Raises:
        InvalidInputError: unknown quantity, a value that is not finite or outside its interval, a time without zone.
    """
    rounds: dict[int, list[Observation]] = defaultdict(list)
    seen: dict[tuple[object, ...], int] = defaultdict(int)
    for observation in observations:
        _check(observation)
        key = _key(observation)
        rounds[seen[key]].append(observation)
        seen[key] += 1
    if not rounds:
        return WriteSummary()
    sources = sorted({observation.source.value for batch in rounds.values() for observation in batch})
    written: dict[str, int] = defaultdict(int)
    total = 0
    with connection.cursor() as cursor:
        for source in sources:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('observation'), hashtext(%s))", (source,))
        cursor.execute(_STAGE)
        for _, batch in sorted(rounds.items()):
            total += len(batch)
            cursor.execute("TRUNCATE observation_stage")
            cursor.copy_expert(f"COPY observation_stage (position, {_COLUMNS}) FROM STDIN", _copy_text(batch))
            cursor.execute("ANALYZE observation_stage")
            times = [observation.valid_from for observation in batch]
            cursor.execute(_INSERT, {"first": min(times), "last": max(times)})
            for site_id, count in cursor.fetchall():
                written[site_id] += count
    mark_dirty(connection, written, reason)
    done = sum(written.values())
    return WriteSummary(done, total - done)


def mark_dirty(connection: Connection, site_ids: Collection[str], reason: str) -> None:
    """Says that scores of these sites must be computed anew; listeners on channel `dirty_site` are told."""
    if not site_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO dirty_site (site_id, marked_at, reason)"
            " SELECT site_id, clock_timestamp(), %s FROM unnest(%s::text[]) AS site_id ORDER BY site_id"
            " ON CONFLICT (site_id) DO UPDATE SET marked_at = excluded.marked_at, reason = excluded.reason",
            (reason, sorted(site_ids)),
        )


def observation_revisions(
    connection: Connection,
    site_ids: Sequence[str] | None = None,
    quantities: Sequence[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Observation]:
    """Every revision, ordered by key and revision: for callers that step through many times of knowledge in memory.

    Args:
        connection: a transaction.
        site_ids: only these sites; None for all.
        quantities: only these; None for all.
        since: only periods that begin at or after this time.
        until: only periods that begin before this time.
    """
    return [
        _observation(row)
        for row in fetch_dicts(
            connection,
            f"SELECT {_ALL_COLUMNS} FROM observation"  # noqa: S608
            " WHERE (%(sites)s::text[] IS NULL OR site_id = ANY(%(sites)s))"
            " AND (%(quantities)s::text[] IS NULL OR quantity = ANY(%(quantities)s))"
            " AND (%(since)s::timestamptz IS NULL OR valid_from >= %(since)s)"
            " AND (%(until)s::timestamptz IS NULL OR valid_from < %(until)s)"
            f" ORDER BY {_KEY}, revision",
            {"sites": _listed(site_ids), "quantities": _listed(quantities), "since": since, "until": until},
        )
    ]


def _key(observation: Observation) -> tuple[object, ...]:
    return (
        observation.subject_kind,
        observation.subject_id,
        observation.quantity,
        observation.source,
        observation.method,
        observation.valid_from,
    )


def _check(observation: Observation) -> None:
    what = f"Observation {observation.quantity} of {observation.subject_kind} {observation.subject_id}"
    if observation.quantity not in OBSERVATION_QUANTITIES:
        allowed = ", ".join(sorted(OBSERVATION_QUANTITIES))
        raise InvalidInputError(f"{what}: the quantity is unknown; use one of {allowed}.")
    figures = (observation.lower, observation.value, observation.upper)
    if not all(math.isfinite(figure) for figure in figures):
        raise InvalidInputError(f"{what} has the figures {figures}; write nothing where nothing is known.")
    if not observation.lower <= observation.value <= observation.upper:
        raise InvalidInputError(f"{what}: {observation.value} lies outside [{observation.lower}, {observation.upper}].")
    if any(time.tzinfo is None for time in (observation.valid_from, observation.valid_to, observation.known_at)):
        raise InvalidInputError(f"{what} carries a time without a zone; give aware UTC times.")
    if observation.valid_to <= observation.valid_from:
        raise InvalidInputError(f"{what}: its period ends at {observation.valid_to}, not after {observation.valid_from}.")


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copy_text(batch: Sequence[Observation]) -> io.StringIO:
    text = io.StringIO()
    for position, item in enumerate(batch):
        fields = (
            str(position),
            item.subject_kind.value,
            item.subject_id.translate(_ESCAPES),
            item.site_id.translate(_ESCAPES),
            item.quantity,
            item.valid_from.isoformat(),
            item.valid_to.isoformat(),
            item.source.value,
            item.method.translate(_ESCAPES),
            repr(float(item.value)),
            repr(float(item.lower)),
            repr(float(item.upper)),
            item.quality.value,
            _json(item.evidence).translate(_ESCAPES),
            item.known_at.isoformat(),
        )
        text.write("\t".join(fields) + "\n")
    text.seek(0)
    return text


def _json(evidence: Mapping[str, object]) -> str:
    return orjson.dumps(dict(evidence), default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SORT_KEYS).decode()


def _listed(items: Sequence[str] | None) -> list[str] | None:
    return None if items is None else list(items)


def _observation(row: Mapping[str, Any]) -> Observation:
    return Observation(
        **{
            **row,
            "subject_kind": SubjectKind(row["subject_kind"]),
            "source": Source(row["source"]),
            "quality": Quality(row["quality"]),
        }
    )
