"""The scheduler on a real database with real processes: every due time leaves a row, and a death loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from collateral.db import jobs
from collateral.db.jobs import Job
from collateral.db.pool import Pool, fetch_dicts
from collateral.errors import InvalidInputError
from collateral.schedule import Folders, Scheduler, read_tail
from collateral.settings import Settings
from tests.conftest import execute, with_database

QUICK = Job("quick", ("portfolio", "schema", "--json"), every_s=3_600)
FAILING = Job("failing", ("portfolio", "import", "/nowhere"), every_s=3_600)
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """What the jobs' processes see."""
    return {
        **os.environ,
        "COLLATERAL_DATABASE_URL": settings.require_database(),
        "COLLATERAL_RUNTIME": str(settings.runtime),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }


@pytest.fixture
def scheduler(settings: Settings, environment: dict[str, str]) -> Iterator[Scheduler]:
    made = Scheduler(settings.require_database(), Folders.under(settings.runtime), environment=environment)
    yield made
    made.close()


def runs(database: str, **where: object) -> list[dict[str, Any]]:
    with Pool(database, size=1) as pool, pool.connection() as connection:
        found = fetch_dicts(connection, "SELECT * FROM job_run ORDER BY due_at, attempt")
    return [row for row in found if all(row[key] == value for key, value in where.items())]


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def finish(scheduler: Scheduler) -> None:
    until(lambda: not scheduler.tick())


def lock_out(database: str) -> Any:
    """A transaction that makes `collateral housekeeping` wait until it is closed."""
    holder = psycopg2.connect(database)
    with holder.cursor() as cursor:
        cursor.execute("LOCK TABLE audit IN ACCESS EXCLUSIVE MODE")
    return closing(holder)


def waiting_job(database: str) -> Job:
    """A job that runs for as long as `lock_out` is held: it writes an audit row."""
    with closing(psycopg2.connect(database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO app_user_version (username, revision, display_name, role) VALUES ('u', 1, 'u', 'officer')"
        )
    return Job("waiting", ("user", "password", "u", "--generate"), every_s=3_600)


def test_runs_what_is_due_and_keeps_exit_code_and_output(database: str, scheduler: Scheduler) -> None:
    scheduler.prepare((QUICK, FAILING))
    stats = scheduler.run(threading.Event(), once=True)
    assert (stats.done, stats.failed, stats.lost, stats.running) == (1, 1, 0, 0)
    done, failed = runs(database, job_name="quick")[0], runs(database, job_name="failing")[0]
    assert (done["status"], done["exit_code"]) == ("done", 0) and "the day off" in done["output_tail"]
    assert (failed["status"], failed["exit_code"]) == ("failed", 2) and "is not a folder" in failed["output_tail"]
    assert done["started_at"] <= done["finished_at"] and done["scheduler"].endswith(f":{os.getpid()}")


def test_a_database_that_only_reads_for_a_while_does_not_end_the_scheduler(database: str, scheduler: Scheduler) -> None:
    scheduler.prepare((QUICK,))
    name = database.rpartition("/")[2]
    execute(database, "ALTER DATABASE {} SET default_transaction_read_only = on", name)
    scheduler.close()  # the next look makes a new session, as after a failover
    stop = threading.Event()
    thread = threading.Thread(target=scheduler.run, args=(stop,))
    thread.start()
    try:
        until(lambda: scheduler.stats().reconnects > 0)
        execute(with_database(database, "postgres"), "ALTER DATABASE {} RESET default_transaction_read_only", name)
        until(lambda: scheduler.stats().done == 1)
    finally:
        stop.set()
        thread.join(30)


def test_only_the_output_of_failed_jobs_stays_as_a_file(settings: Settings, scheduler: Scheduler) -> None:
    scheduler.prepare((QUICK, FAILING))
    scheduler.run(threading.Event(), once=True)
    assert [path.name.split("-")[0] for path in (settings.runtime / "jobs").iterdir()] == ["failing"]


def test_every_due_time_of_a_pause_leaves_a_row_and_one_run_catches_up(database: str) -> None:
    job = Job("hourly", ("portfolio", "schema"), every_s=3_600)
    with Pool(database) as pool:
        with pool.connection() as connection:
            jobs.ensure_jobs(connection, (job,), NOW)
            assert jobs.plan(connection, NOW + timedelta(hours=5, minutes=20)) == 6
        rows = runs(database)
        assert [(row["due_at"], row["status"]) for row in rows] == [
            *((NOW + timedelta(hours=hour), "missed") for hour in range(5)), (NOW + timedelta(hours=5), "due")
        ]
        assert rows[0]["output_tail"] == "no scheduler was running"
        with pool.connection() as connection:
            assert jobs.plan(connection, NOW + timedelta(hours=5, minutes=59)) == 0
            assert jobs.plan(connection, NOW + timedelta(hours=6)) == 1
        assert [row["status"] for row in runs(database)] == ["missed"] * 6 + ["due"]
        assert "still waiting" in runs(database)[5]["output_tail"]


def test_a_very_long_pause_is_counted_without_a_flood_of_rows(database: str) -> None:
    with Pool(database) as pool:
        with pool.connection() as connection:
            jobs.ensure_jobs(connection, (Job("often", ("status",), every_s=60),), NOW)
            jobs.plan(connection, NOW + timedelta(minutes=1_500))
        rows = runs(database)
    assert len(rows) == jobs.MOST_MISSED_ROWS + 1
    assert rows[0]["due_at"] == NOW + timedelta(minutes=500) and "for 500 earlier due times" in rows[0]["output_tail"]


def test_an_operators_changes_outlive_a_restart(database: str, scheduler: Scheduler) -> None:
    scheduler.prepare((QUICK,), {"quick": 120})
    execute(database, "UPDATE job SET enabled = false")
    scheduler.prepare((QUICK,))
    with Pool(database) as pool, pool.connection() as connection:
        state = jobs.states(connection)[0]
    assert (state.every_s, state.enabled, state.status) == (120, False, None)
    assert scheduler.run(threading.Event(), once=True).done == 0
    assert runs(database) == []
    with pytest.raises(InvalidInputError, match="no job 'slow'; known are quick"):
        scheduler.prepare((QUICK,), {"slow": 5})


def test_a_job_is_never_run_twice_at_a_time_by_two_schedulers(
    database: str, scheduler: Scheduler, settings: Settings, environment: dict[str, str]
) -> None:
    other = Scheduler(settings.require_database(), Folders.under(settings.runtime), environment=environment)
    job = waiting_job(database)
    with lock_out(database):
        scheduler.prepare((job,))
        assert scheduler.tick()
        execute(database, "UPDATE job SET next_due_at = now()")
        assert not other.tick()  # sees it run, takes nothing, does not believe it lost
        assert [row["status"] for row in runs(database)] == ["running", "due"]
    finish(scheduler)
    finish(other)
    assert [(row["status"], row["attempt"]) for row in runs(database)] == [("done", 1), ("done", 1)]
    other.close()


def test_a_job_that_takes_too_long_is_ended_and_has_failed(database: str, scheduler: Scheduler) -> None:
    job = waiting_job(database)
    with lock_out(database):
        scheduler.prepare((Job(job.name, job.command, job.every_s, timeout_s=2),))
        finish(scheduler)
        row = runs(database)[0]
    assert row["status"] == "failed" and row["exit_code"] != 0 and "[ended after 2 s]" in row["output_tail"]


def test_a_stopped_scheduler_leaves_its_run_to_the_next(
    database: str, scheduler: Scheduler, settings: Settings, environment: dict[str, str]
) -> None:
    job = waiting_job(database)
    with lock_out(database):
        scheduler.prepare((job,))
        scheduler.tick()
        scheduler.close()
        assert [(row["status"], row["attempt"]) for row in runs(database)] == [("lost", 1), ("due", 2)]
        assert "its scheduler was stopped" in runs(database)[0]["output_tail"]
    with closing(Scheduler(database, Folders.under(settings.runtime), environment=environment)) as following:
        finish(following)
    assert [(row["status"], row["attempt"]) for row in runs(database)] == [("lost", 1), ("done", 2)]


def test_a_killed_scheduler_takes_its_job_along_and_the_next_runs_it_again(
    database: str, scheduler: Scheduler, environment: dict[str, str]
) -> None:
    """kill -9 of a real `collateral schedule`: the job ends with it, its row becomes lost, the next attempt is done."""
    job = waiting_job(database)
    scheduler.prepare((job,))
    with lock_out(database):
        process = subprocess.Popen(
            [sys.executable, "-m", "collateral.cli", "schedule"], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            until(lambda: waits_for_lock(database))
            assert followers(process.pid)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        until(lambda: not followers(process.pid))
        execute(database, "UPDATE job SET enabled = false WHERE name <> 'waiting'")
        scheduler.tick()
        assert [(row["status"], row["attempt"]) for row in runs(database, job_name="waiting")] == [
            ("lost", 1), ("running", 2)
        ]
    finish(scheduler)
    assert [row["status"] for row in runs(database, job_name="waiting")] == ["lost", "done"]


def followers(pid: int) -> list[str]:
    """Command lines of living jobs that the scheduler `pid` started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_text().split("\0")
            if "collateral.follow" in words and str(pid) in words:
                found.append(" ".join(words))
    return found


def waits_for_lock(database: str) -> bool:
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                       " WHERE d.datname = current_database() AND NOT granted AND locktype = 'relation'")
        row = cursor.fetchone()
        assert row is not None
        return bool(row[0])


def test_a_run_that_dies_again_and_again_is_given_up(database: str) -> None:
    with Pool(database) as pool, pool.connection() as connection:
        jobs.ensure_jobs(connection, (QUICK,), NOW)
        jobs.plan(connection, NOW)
        for attempt in range(1, jobs.MOST_ATTEMPTS + 1):
            taken = jobs.claim(connection, "test", NOW, 1)
            assert [run.attempt for run in taken] == [attempt]
            assert jobs.lose(connection, taken[0].run_id, NOW, "[gone]")
            jobs.release(connection, taken[0].run_id)
        assert jobs.claim(connection, "test", NOW, 1) == []


def test_goes_on_after_the_database_ended_its_session(database: str, scheduler: Scheduler) -> None:
    job = waiting_job(database)
    stop = threading.Event()
    scheduler.prepare((job,))
    thread = threading.Thread(target=scheduler.run, args=(stop,))
    with lock_out(database):
        thread.start()
        until(lambda: waits_for_lock(database))
        execute(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'collateral cw_app' AND datname = current_database()",
        )
        until(lambda: bool(runs(database, attempt=2)))
    until(lambda: bool(runs(database, attempt=2, status="done")))
    stop.set()
    thread.join(60)
    assert scheduler.stats().reconnects == 1
    assert [(row["attempt"], row["status"]) for row in runs(database)] == [(1, "lost"), (2, "done")]


def test_housekeeping_keeps_the_latest_run_and_failures_output(database: str) -> None:
    with Pool(database) as pool, pool.connection() as connection:
        jobs.ensure_jobs(connection, (QUICK, FAILING), NOW)
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO job_run (job_name, due_at, finished_at, status, output_tail) VALUES (%s, %s, %s, %s, 'text')",
                [("quick", NOW + timedelta(days=day), NOW + timedelta(days=day), "done") for day in (0, 1, 50)]
                + [("failing", NOW + timedelta(days=40), NOW + timedelta(days=40), "failed")],
            )
        counted = jobs.prune(connection, NOW + timedelta(days=30), NOW + timedelta(days=60))
    assert counted == {"runs": 2, "outputs": 1}
    assert [(row["job_name"], row["output_tail"]) for row in runs(database)] == [("failing", "text"), ("quick", "")]


def test_the_end_of_an_output_is_kept_readable(tmp_path: Path) -> None:
    output = tmp_path / "x.log"
    output.write_bytes(b"first\nbar 1%\rbar 50%\rbar 100%\r\n\xff\x00 at pg://me:secret@h/x\n")
    assert read_tail(output) == "first\nbar 100%\n\ufffd at pg://me:***@h/x"
    output.write_bytes(b"y" * 100_000 + b"end")
    assert len(read_tail(output)) == jobs.TAIL_CHARACTERS and read_tail(output).endswith("yend")
    assert read_tail(tmp_path / "none.log") == ""
