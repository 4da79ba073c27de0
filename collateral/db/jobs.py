"""Jobs and their runs. Every due time leaves a row in `job_run`; which process works on it is decided by the database.

States of a run: `due` -> `running` -> `done` or `failed`; `lost` when its scheduler died or was stopped, which makes a new
attempt due; `missed` for a due time that was passed over because a later one of the same job stood in its place.

A scheduler holds a session of its own. While it works on a run it holds the advisory lock (CLASS, run_id) in that session,
which the server frees when the process or its connection dies: a run that says `running` and whose lock is free is lost.
Any number of schedulers may share one database.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg2
import psycopg2.errors
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db.pool import fetch_dicts
from collateral.errors import InvalidInputError

LOCK_CLASS = 7_203_513
MOST_ATTEMPTS = 3
"""A run that brings its scheduler down three times is not tried a fourth time."""
MOST_MISSED_ROWS = 1_000
"""Per job and catch-up; of a longer pause the oldest due times are counted in one row."""
TAIL_CHARACTERS = 4_000


@dataclass(frozen=True)
class Job:
    """A command that runs again and again."""

    name: str
    command: tuple[str, ...]
    """Words after `collateral`; `{inbox}` stands for the inbox folder."""
    every_s: int
    timeout_s: int = 21_600
    """After so many seconds the command is ended and the run has failed."""
    enabled: bool = True


@dataclass(frozen=True)
class Run:
    """A run that this scheduler works on."""

    run_id: int
    job_name: str
    command: tuple[str, ...]
    timeout_s: int
    due_at: datetime
    attempt: int


@dataclass(frozen=True)
class JobState:
    """A job and its latest run, for people."""

    name: str
    every_s: int
    enabled: bool
    next_due_at: datetime
    due_at: datetime | None
    status: str | None
    exit_code: int | None
    finished_at: datetime | None
    failed: int
    """Runs that failed, of the last 24 hours."""
    missed: int
    """Due times passed over, of the last 24 hours."""


def ensure_jobs(connection: Connection, jobs: Sequence[Job], now: datetime) -> None:
    """Makes the jobs that are not there yet, due at once; those that are keep what an operator changed."""
    with connection.cursor() as cursor:
        for job in jobs:
            cursor.execute(
                "INSERT INTO job (name, command, every_s, timeout_s, enabled, next_due_at) VALUES (%s, %s, %s, %s, %s, %s)"
                " ON CONFLICT (name) DO NOTHING",
                (job.name, list(job.command), job.every_s, job.timeout_s, job.enabled, now),
            )


def set_interval(connection: Connection, name: str, every_s: int) -> None:
    """Changes how often a job runs, from its next due time on, which comes no later than the new interval.

    Raises:
        InvalidInputError: no such job, or no positive interval.
    """
    if every_s < 1:
        raise InvalidInputError(f"The interval of job {name!r} is {every_s} s; use at least 1.")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE job SET every_s = %(every)s, next_due_at = least(next_due_at, now() + %(every)s * interval '1 s')"
            " WHERE name = %(name)s",
            {"every": every_s, "name": name},
        )
        if cursor.rowcount == 0:
            known = [row["name"] for row in fetch_dicts(connection, "SELECT name FROM job ORDER BY name")]
            raise InvalidInputError(f"There is no job {name!r}; known are {', '.join(known)}.")


def plan(connection: Connection, now: datetime) -> int:
    """Makes a row for every due time up to `now`; returns how many. The latest of each job becomes due, earlier ones missed.

    So after a pause each job catches up with one run, and the history shows which times were passed over.
    """
    jobs = fetch_dicts(
        connection,
        "SELECT name, every_s, next_due_at FROM job WHERE enabled AND next_due_at <= %s FOR UPDATE SKIP LOCKED",
        (now,),
    )
    made = 0
    for job in jobs:
        every = timedelta(seconds=job["every_s"])
        behind = int((now - job["next_due_at"]) / every)
        latest = job["next_due_at"] + behind * every
        made += _miss(connection, job["name"], job["next_due_at"], every, behind)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE job_run SET status = 'missed', finished_at = %s, output_tail = 'still waiting when the next was due'"
                " WHERE job_name = %s AND status = 'due'",
                (now, job["name"]),
            )
            cursor.execute(
                "INSERT INTO job_run (job_name, due_at, status) VALUES (%s, %s, 'due') ON CONFLICT DO NOTHING",
                (job["name"], latest),
            )
            cursor.execute("UPDATE job SET next_due_at = %s WHERE name = %s", (latest + every, job["name"]))
        made += 1
    return made


def _miss(connection: Connection, name: str, first: datetime, every: timedelta, count: int) -> int:
    """Rows for `count` due times from `first` on that nobody was there for."""
    hidden = max(count - MOST_MISSED_ROWS, 0)
    for position in range(hidden, count):
        note = "no scheduler was running"
        if position == hidden and hidden:
            note += f"; so it was for {hidden} earlier due times, from {first.isoformat()} on"
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO job_run (job_name, due_at, status, output_tail) VALUES (%s, %s, 'missed', %s)"
                " ON CONFLICT DO NOTHING",
                (name, first + position * every, note),
            )
    return min(count, MOST_MISSED_ROWS)


def recover(session: Connection, mine: Collection[int], now: datetime) -> list[int]:
    """Marks runs whose scheduler is gone as lost and makes their next attempt due; returns their ids.

    Args:
        session: the scheduler's own autocommit connection.
        mine: runs this session works on itself (it would get their locks again).
        now: the present.
    """
    lost: list[int] = []
    for row in fetch_dicts(session, "SELECT run_id FROM job_run WHERE status = 'running' ORDER BY run_id"):
        run_id = int(row["run_id"])
        if run_id in mine or not _lock(session, run_id):
            continue
        try:
            if lose(session, run_id, now, "[its scheduler died]"):
                lost.append(run_id)
        finally:
            release(session, run_id)
    return lost


def lose(connection: Connection, run_id: int, now: datetime, why: str) -> bool:
    """Marks a running run as lost and makes its next attempt due, up to three attempts; False when it was not running."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH gone AS (
                UPDATE job_run SET status = 'lost', finished_at = %(now)s,
                    output_tail = right(output_tail || %(why)s, %(tail)s)
                WHERE run_id = %(run_id)s AND status = 'running'
                RETURNING job_name, due_at, attempt
            ), again AS (
                INSERT INTO job_run (job_name, due_at, attempt, status)
                SELECT job_name, due_at, attempt + 1, 'due' FROM gone
                WHERE attempt < %(most)s
                    AND NOT EXISTS (SELECT FROM job_run later WHERE later.job_name = gone.job_name AND later.status = 'due')
                ON CONFLICT DO NOTHING
            )
            SELECT count(*) FROM gone
            """,
            {"run_id": run_id, "now": now, "why": why, "most": MOST_ATTEMPTS, "tail": TAIL_CHARACTERS},
        )
        row = cursor.fetchone()
        assert row is not None
        return bool(row[0])


def claim(session: Connection, scheduler: str, now: datetime, most: int) -> list[Run]:
    """Takes up to `most` due runs, oldest first, none whose job runs already.

    Args:
        session: the scheduler's own autocommit connection, which holds the runs' locks from now on.
        scheduler: who takes them, for people.
        now: the present.
        most: free places.
    """
    candidates = fetch_dicts(
        session,
        "SELECT run_id FROM job_run r JOIN job j ON j.name = r.job_name WHERE r.status = 'due' AND j.enabled"
        " AND NOT EXISTS (SELECT FROM job_run busy WHERE busy.job_name = r.job_name AND busy.status = 'running')"
        " ORDER BY r.due_at, run_id",
    )
    taken: list[Run] = []
    for candidate in candidates:
        if len(taken) >= most:
            break
        run_id = int(candidate["run_id"])
        if _lock(session, run_id):  # before the row says running, so that nobody can find it running and free
            run = _start(session, run_id, scheduler, now)
            if run is None:
                release(session, run_id)
            else:
                taken.append(run)
    return taken


def _start(session: Connection, run_id: int, scheduler: str, now: datetime) -> Run | None:
    try:
        rows = fetch_dicts(
            session,
            "UPDATE job_run SET status = 'running', started_at = %s, scheduler = %s FROM job"
            " WHERE job.name = job_name AND run_id = %s AND status = 'due'"
            " RETURNING run_id, job_name, job.command, job.timeout_s, due_at, attempt",
            (now, scheduler, run_id),
        )
    except psycopg2.errors.UniqueViolation:  # another run of the job was started at this moment
        return None
    return Run(**{**rows[0], "command": tuple(rows[0]["command"])}) if rows else None


def finish(session: Connection, run_id: int, now: datetime, exit_code: int, output_tail: str) -> None:
    """Ends a run: done with exit code 0, else failed. Its lock is freed."""
    with session.cursor() as cursor:
        cursor.execute(
            "UPDATE job_run SET status = %s, finished_at = %s, exit_code = %s, output_tail = %s"
            " WHERE run_id = %s AND status = 'running'",
            ("done" if exit_code == 0 else "failed", now, exit_code, output_tail[-TAIL_CHARACTERS:], run_id),
        )
    release(session, run_id)


def release(session: Connection, run_id: int) -> None:
    """Frees the lock of a run."""
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(%s, %s::integer)", (LOCK_CLASS, run_id))


def prune(connection: Connection, older_than: datetime, outputs_older_than: datetime) -> dict[str, int]:
    """Removes finished runs and, earlier, the output of successful ones; the latest run of each job stays."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM job_run WHERE finished_at < %s AND run_id NOT IN"
            " (SELECT max(run_id) FROM job_run GROUP BY job_name)",
            (older_than,),
        )
        runs = cursor.rowcount
        cursor.execute(
            "UPDATE job_run SET output_tail = '' WHERE finished_at < %s AND status = 'done' AND output_tail <> ''",
            (outputs_older_than,),
        )
        return {"runs": runs, "outputs": cursor.rowcount}


def states(connection: Connection) -> list[JobState]:
    """Every job with its latest run."""
    rows = fetch_dicts(
        connection,
        """
        SELECT j.name, j.every_s, j.enabled, j.next_due_at, r.due_at, r.status, r.exit_code, r.finished_at,
            (SELECT count(*) FROM job_run f WHERE f.job_name = j.name AND f.status IN ('failed', 'lost')
                AND f.due_at > now() - interval '1 day') AS failed,
            (SELECT count(*) FROM job_run m WHERE m.job_name = j.name AND m.status = 'missed'
                AND m.due_at > now() - interval '1 day') AS missed
        FROM job j LEFT JOIN LATERAL (
            SELECT * FROM job_run r WHERE r.job_name = j.name AND r.status NOT IN ('due', 'missed')
            ORDER BY r.run_id DESC LIMIT 1
        ) r ON true
        ORDER BY j.name
        """,
    )
    return [JobState(**row) for row in rows]


def _lock(session: Connection, run_id: int) -> bool:
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s::integer)", (LOCK_CLASS, run_id))
        row = cursor.fetchone()
        assert row is not None
        return bool(row[0])
