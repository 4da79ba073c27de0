"""The migration runner on a real server: from nothing, from an older release, several at once, edited history."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from collateral.db import jobs, reference
from collateral.db.migrate import Migration, available, migrate
from collateral.db.pool import Pool
from collateral.errors import IntegrityError, ServiceError
from tests.portfolio_support import small_portfolio


def names(migrations: tuple[Migration, ...]) -> tuple[str, ...]:
    return tuple(f"{one.version:04d}_{one.name}" for one in migrations)


def test_from_nothing_and_then_nothing_more(empty_database: str) -> None:
    assert migrate(empty_database) == names(available())
    assert migrate(empty_database) == ()


def test_an_older_database_with_data_is_brought_up_and_works(empty_database: str) -> None:
    """The release of the first five migrations, with reference rows and a job, then everything since."""
    old = available()[:5]
    assert migrate(empty_database, old) == names(old)
    with closing(psycopg2.connect(empty_database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO borrower_version (borrower_id, revision, name, name_en) VALUES ('OLD', 1, 'x', 'x')")
        cursor.execute("INSERT INTO job (name, command, every_s, next_due_at) VALUES ('scan', '{scan}', 60, now())")
        cursor.execute("INSERT INTO job_run (job_name, due_at, status) VALUES ('scan', now(), 'failed')")
    assert migrate(empty_database) == names(available()[5:])
    with Pool(empty_database) as pool, pool.connection() as connection:
        assert [one.borrower_id for one in reference.borrowers(connection)] == ["OLD"]
        written = reference.write_portfolio(connection, small_portfolio(), datetime.now(UTC), "tester")
        assert (written["sites"], written["deleted"]) == (3, 1)
        jobs.plan(connection, datetime.now(UTC) + timedelta(seconds=1))
        assert [(one.name, one.status, one.failed) for one in jobs.states(connection)] == [("scan", "failed", 1)]


def test_two_at_once_apply_each_migration_once(empty_database: str) -> None:
    done: list[tuple[str, ...]] = []
    threads = [threading.Thread(target=lambda: done.append(migrate(empty_database))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(done, key=len) == [(), (), names(available())]


def test_edited_history_is_refused(empty_database: str) -> None:
    known = available()
    migrate(empty_database, known[:2])
    edited = (known[0], replace(known[1], sql=known[1].sql + "\n-- an afterthought"), *known[2:])
    with pytest.raises(IntegrityError, match=r"0002_reference was edited.*new migration"):
        migrate(empty_database, edited)
    with closing(psycopg2.connect(empty_database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT max(version) FROM schema_migration")
        assert cursor.fetchone() == (2,)


def test_a_database_of_a_newer_release_is_refused(empty_database: str) -> None:
    known = available()
    migrate(empty_database, known[:3])
    with pytest.raises(IntegrityError, match="newer release; upgrade the program"):
        migrate(empty_database, known[:2])


def test_a_migration_that_fails_leaves_nothing_of_itself(empty_database: str) -> None:
    broken = Migration(2, "broken", "CREATE TABLE half_done (x integer); SELECT 1 / 0;")
    with pytest.raises(psycopg2.errors.DivisionByZero):
        migrate(empty_database, (available()[0], broken))
    with closing(psycopg2.connect(empty_database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('half_done'), max(version) FROM schema_migration")
        assert cursor.fetchone() == (None, 1)


def test_no_server_is_one_sentence() -> None:
    with pytest.raises(ServiceError, match="does not answer"):
        migrate("postgresql://x:y@127.0.0.1:1/z")
