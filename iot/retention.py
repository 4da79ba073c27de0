"""How long telemetry is kept and when it is compressed, by a policy file.

    # policy.toml: days; 0 or a missing line is for ever, or never
    [reading]
    keep_days = 3650
    compress_after_days = 60

    [rollup]
    minutes_keep_days = 90
    keep_days = 0
    compress_after_days = 365

    [quarantine]
    keep_days = 730

    [security]
    keep_days = 1095

    [journey]
    keep_days = 730

Whole chunks are dropped (28 days of readings, 180 of roll-ups), so that a chunk stays until its newest row is old enough.
Roll-ups outlive their readings: the horizon up to which readings were dropped is stored, and nothing that lies before it is
made anew; for trips and stops it lies as many days after the last that went as they are judged by. A reading that comes for
such a day is stored, told of by `collateral observe`, and goes with the next run.
"""

from __future__ import annotations

import tomllib
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path

import psycopg2

from collateral.db import retention, rollups
from collateral.db.login import open_connection
from collateral.db.pool import in_words
from collateral.errors import InvalidInputError, ServiceError
from iot.tracks import LEARNT_DAYS

EDITION = "this server is the Apache edition of TimescaleDB; compression needs the Community edition"

BEHIND = "readings that wait for roll-ups or judgement are kept, and what came after them; run `collateral observe` first"
MOST_DAYS = 36_500
LEAST_DAYS = {
    "security_keep_days": 90,  # younger refusals cannot be deleted; the database sees to it
    "journey_keep_days": 90,  # trips of the weeks before say what is usual, also for readings that come late
}


@dataclass(frozen=True)
class Policy:
    """Days; 0 is for ever, or never."""

    reading_keep_days: int = 0
    reading_compress_after_days: int = 0
    rollup_minutes_keep_days: int = 90
    rollup_keep_days: int = 0
    rollup_compress_after_days: int = 0
    quarantine_keep_days: int = 0
    security_keep_days: int = 1_095
    journey_keep_days: int = 0


@dataclass(frozen=True)
class RetentionSummary:
    """What one run did."""

    dropped_chunks: int
    deleted_minutes: int
    deleted_quarantined: int
    deleted_security_events: int
    deleted_journeys: int
    compressed_chunks: int
    not_done: str
    """Why something the policy asks for was not done; empty when all was."""


def read_policy(path: Path) -> Policy:
    """The policy of a file; what it does not name keeps its default.

    Raises:
        InvalidInputError: not TOML, an unknown name, or not a whole number of days.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read as a policy ({error}); it is TOML, see docs/mqtt.md.") from error
    known = {field.name for field in fields(Policy)}
    found: dict[str, int] = {}
    for table, rows in tables.items():
        for name, days in (rows if isinstance(rows, dict) else {"": rows}).items():
            key = f"{table}_{name}"
            if key not in known:
                place = f"{table}.{name}" if name else table
                raise InvalidInputError(f"{path}: {place} is not a rule; rules are {', '.join(sorted(known))}.")
            if type(days) is not int or not 0 <= days <= MOST_DAYS:
                raise InvalidInputError(f"{path}: {table}.{name} is {days!r}; give 1 to {MOST_DAYS} whole days, 0 for ever.")
            if 0 < days < LEAST_DAYS.get(key, 0):
                raise InvalidInputError(f"{path}: {table}.{name} is {days}; give {LEAST_DAYS[key]} or more.")
            found[key] = days
    return Policy(**found)


def retain(database_url: str, policy: Policy, now: datetime) -> RetentionSummary:
    """Applies `policy` as of `now`, each rule in a transaction of its own.

    Raises:
        ServiceError: the database does not answer, or the account does not own the tables.
    """
    try:
        with closing(open_connection(database_url, "collateral retention")) as connection, in_words(connection):
            connection.autocommit = True
            rollups.take_turn(connection)  # or roll-ups could be made at this moment of readings that are going
            oldest = now - timedelta(days=policy.reading_keep_days)
            waiting = retention.earliest_waiting(connection) if policy.reading_keep_days else None
            behind = waiting is not None and waiting < oldest
            dropped = minutes = quarantined = refusals = journeys = compressed = 0
            if policy.reading_keep_days:
                dropped += retention.drop_readings(connection, waiting if waiting and behind else oldest, now)
            if policy.rollup_keep_days:
                dropped += retention.drop_chunks(connection, "rollup", now - timedelta(days=policy.rollup_keep_days))
            if policy.rollup_minutes_keep_days:
                minutes = retention.delete_minutes(connection, now - timedelta(days=policy.rollup_minutes_keep_days))
            if policy.quarantine_keep_days:
                quarantined = retention.delete_quarantined(connection, now - timedelta(days=policy.quarantine_keep_days))
            if policy.security_keep_days:
                refusals = retention.delete_security_events(connection, now - timedelta(days=policy.security_keep_days))
            if policy.journey_keep_days:
                journeys = _forget_journeys(connection, now - timedelta(days=policy.journey_keep_days), now)
            wanted = [
                (table, now - timedelta(days=days))
                for table, days in (
                    ("reading", policy.reading_compress_after_days), ("rollup", policy.rollup_compress_after_days),
                )
                if days
            ]  # fmt: skip
            able = retention.can_compress(connection)
            if able:
                compressed = sum(retention.compress_chunks(connection, table, before) for table, before in wanted)
    except psycopg2.Error as error:
        remedy = " Run it with the account that owns the tables." if error.pgcode == "42501" else ""
        raise ServiceError(f"The policy cannot be applied: {str(error).strip()}.{remedy}") from error
    reasons = ([BEHIND] if behind else []) + ([EDITION] if wanted and not able else [])
    return RetentionSummary(dropped, minutes, quarantined, refusals, journeys, compressed, "; ".join(reasons))


def _forget_journeys(connection: psycopg2.extensions.connection, before: datetime, now: datetime) -> int:
    """In one transaction with the new horizon."""
    connection.autocommit = False
    try:
        with connection:
            return retention.delete_journeys(connection, before, before + timedelta(days=LEARNT_DAYS + 2), now)
    finally:
        connection.autocommit = True
