"""The connection pool on a real server: roles, transactions, exhaustion, and a server that ends connections."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest

from collateral.db.migrate import available, migrate
from collateral.db.pool import Pool, Role, connect, fetch_dicts
from collateral.errors import CollateralError, ServiceError
from collateral.schedule import Folders, Scheduler
from iot.retention import Policy, retain
from tests.conftest import execute


def end_other_sessions(database: str) -> None:
    execute(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                      " WHERE datname = current_database() AND pid <> pg_backend_pid()")


def test_acts_under_its_role_in_utc(database: str) -> None:
    for role in Role:
        with Pool(database, role) as pool, pool.connection() as connection:
            row = fetch_dicts(connection, "SELECT current_user AS who, current_setting('timezone') AS zone")[0]
            assert row == {"who": role.value, "zone": "UTC"}


def test_a_block_that_raises_leaves_nothing_and_the_connection_is_used_again(database: str) -> None:
    with Pool(database, size=1) as pool:
        with pytest.raises(ZeroDivisionError), pool.connection() as connection:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO dirty_site (site_id) VALUES ('X')")
            raise ZeroDivisionError
        with pool.connection() as connection:
            assert fetch_dicts(connection, "SELECT * FROM dirty_site") == []
        assert (pool.stats().opened, pool.stats().idle, pool.stats().in_use) == (1, 1, 0)


def test_says_so_when_all_are_busy(database: str) -> None:
    with Pool(database, size=1, wait_s=0.2) as pool, pool.connection():
        with pytest.raises(ServiceError, match="All 1 connections of the cw_app pool were busy"), pool.connection():
            pass
        assert pool.stats().in_use == 1


def test_threads_share_few_connections(database: str) -> None:
    seen = []
    with Pool(database, size=2) as pool:

        def work() -> None:
            with pool.connection() as connection:
                seen.append(fetch_dicts(connection, "SELECT 1 AS one")[0]["one"])

        threads = [threading.Thread(target=work) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert seen == [1] * 12
        assert pool.stats().opened <= 2


def test_a_connection_that_died_while_idle_is_replaced_unseen(database: str) -> None:
    with Pool(database, size=2, check_after_s=0.0) as pool:
        with pool.connection(), pool.connection():
            pass
        end_other_sessions(database)
        with pool.connection() as connection:
            assert fetch_dicts(connection, "SELECT 1 AS one") == [{"one": 1}]
        assert (pool.stats().opened, pool.stats().broken) == (3, 2)


def test_a_connection_that_dies_in_use_is_told_and_replaced(database: str) -> None:
    with Pool(database, size=1) as pool:
        refused = pytest.raises(ServiceError, match=r"went away in the middle.*run the command again")
        with refused, pool.connection() as connection:
            end_other_sessions(database)
            fetch_dicts(connection, "SELECT 1")
        with pool.connection() as connection:
            assert fetch_dicts(connection, "SELECT 1 AS one") == [{"one": 1}]
        assert (pool.stats().broken, pool.stats().in_use) == (1, 0)


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(ServiceError, match="does not answer"), Pool("postgresql://x:y@127.0.0.1:1/z").connection():
        pass


@pytest.mark.parametrize(("change", "said"), [
    (lambda url: url.replace("//collateral:", "//collateral:s3s%zzame"), "cannot be read as an address: write a %"),
    (lambda url: url + "?sslmod=s3same", "cannot be read as an address.*options that libpq has"),
    (lambda url: url.replace("127.0.0.1:", "127.0.0.1:x"), "cannot be read as an address .*correct it"),
    (lambda url: url.replace("//collateral:", "//collateral:s3same"), "refuses the connection.*correct user, password"),
    (lambda url: url + "_s3same", "refuses the connection.*does not exist.*correct user"),
])  # fmt: skip
def test_an_address_that_is_wrong_is_told_with_its_remedy_and_without_the_password(
    database: str, change: Callable[[str], str], said: str
) -> None:
    for act in (lambda url: connect(url, Role.APP), migrate):
        with pytest.raises(CollateralError, match=said) as caught:
            act(change(database))
        assert "s3s" not in str(caught.value).replace("_s3same", "")


def test_a_login_without_the_roles_is_told_who_gives_them(database: str) -> None:
    name = f"visitor_{uuid.uuid4().hex[:8]}"
    execute(database, "CREATE ROLE {} LOGIN PASSWORD 'sesame'", name)
    try:
        visitor = database.replace(database.partition("//")[2].partition("@")[0], f"{name}:sesame")
        with pytest.raises(ServiceError, match=r"may not act as cw_app.*GRANT cw_app TO this login"):
            connect(visitor, Role.APP)
        with pytest.raises(ServiceError, match=r"may not change the schema .*use the one that owns it"):
            migrate(visitor)
        with pytest.raises(ServiceError, match="Run it with the account that owns the tables"):
            retain(visitor, Policy(), datetime.now(UTC))
    finally:
        execute(database, "DROP ROLE {}", name)


@pytest.mark.parametrize(("migrations", "said"), [(0, "is not there yet"), (12, "is at 0012, this release needs 00")])
def test_a_schema_that_was_not_migrated_is_told(empty_database: str, migrations: int, said: str, tmp_path: Path) -> None:
    """`geofence_version` came with migration 19, the scheduler's tables with 8, roll-ups with 3."""
    if migrations:
        migrate(empty_database, available()[:migrations])
    with Pool(empty_database, size=1) as pool:
        for _ in range(2):
            refused = pytest.raises(ServiceError, match=f"{said}.*run `collateral database migrate`")
            with refused, pool.connection() as connection:
                fetch_dicts(connection, "SELECT * FROM geofence_version")
    if not migrations:
        for act in (
            lambda: Scheduler(empty_database, Folders.under(tmp_path)).prepare(),
            lambda: retain(empty_database, Policy(), datetime.now(UTC)),
        ):
            with pytest.raises(ServiceError, match="run `collateral database migrate`"):
                act()


def test_a_mistake_in_a_statement_stays_one(database: str) -> None:
    with Pool(database, size=1) as pool, pytest.raises(psycopg2.errors.UndefinedTable), pool.connection() as connection:
        fetch_dicts(connection, "SELECT * FROM no_such_table")


def test_a_database_that_only_reads_is_told(database: str) -> None:
    refused = pytest.raises(ServiceError, match=r"takes no changes.*standby")
    with Pool(database, size=1) as pool, refused, pool.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        cursor.execute("DELETE FROM job_run")


def test_a_full_disk_is_told(database: str) -> None:
    """As the server says it; a disk of its own would be needed to fill one."""
    full = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full', MESSAGE = 'could not extend file'; END $$"
    refused = pytest.raises(ServiceError, match=r"cannot go on \(could not extend file.*Make room")
    with Pool(database, size=1) as pool, refused, pool.connection() as connection, connection.cursor() as cursor:
        cursor.execute(full)


def test_ingest_may_write_readings_and_read_no_loans(database: str) -> None:
    with Pool(database, Role.INGEST) as pool:
        with pool.connection() as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO series (device_id, quantity) VALUES ('D', 'weight_kg')")
        for statement in ("SELECT * FROM loan_version", "SELECT * FROM credential", "INSERT INTO score DEFAULT VALUES"):
            refused = pytest.raises(psycopg2.errors.InsufficientPrivilege)
            with refused, pool.connection() as connection, connection.cursor() as cursor:
                cursor.execute(statement)


def test_officers_read_views_and_no_tables(database: str) -> None:
    with Pool(database, Role.OFFICER) as pool:
        with pool.connection() as connection:
            assert fetch_dicts(connection, "SELECT * FROM officer_loan") == []
        for table in ("loan", "site", "observation", "score", "reading", "credential"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege), pool.connection() as connection:
                fetch_dicts(connection, f"SELECT * FROM {table}")  # noqa: S608


def test_officers_of_a_branch_see_its_loans_and_sites_only(database: str) -> None:
    with closing(psycopg2.connect(database)) as owner, owner, owner.cursor() as cursor:
        cursor.execute(
            "INSERT INTO loan_version (loan_id, revision, borrower_id, branch, officer, currency, principal, outstanding,"
            " granted_on, matures_on) SELECT id, 1, 'B', branch, 'o', 'CNY', 1, 1, '2025-01-01', '2026-01-01'"
            " FROM (VALUES ('L1', 'north'), ('L2', 'south')) AS given (id, branch)"
        )
        cursor.execute(
            "INSERT INTO site_version (site_id, revision, borrower_id, name, name_en, kind, time_zone, utm_epsg, geometry,"
            " lon_min, lat_min, lon_max, lat_max) SELECT id, 1, 'B', '', '', 'solar', 'UTC', 32651, '', 0, 0, 0, 0"
            " FROM (VALUES ('S1'), ('S2')) AS given (id)"
        )
        cursor.execute("INSERT INTO loan_site_version (loan_id, site_id, revision) VALUES ('L1', 'S1', 1), ('L2', 'S2', 1)")
    with Pool(database, Role.OFFICER) as pool, pool.connection() as connection:
        assert len(fetch_dicts(connection, "SELECT loan_id FROM officer_loan")) == 2
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('collateral.branch', 'south', true)")
        assert fetch_dicts(connection, "SELECT loan_id FROM officer_loan") == [{"loan_id": "L2"}]
        assert fetch_dicts(connection, "SELECT site_id FROM officer_site") == [{"site_id": "S2"}]
