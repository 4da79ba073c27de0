"""The fixtures themselves: each test has its own database, made from the migrated template, and its own broker."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from tests.services_support import Broker


@pytest.mark.parametrize("turn", range(3))
def test_each_test_has_its_own_migrated_database(database: str, turn: int) -> None:
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname NOT LIKE %s", ("pg_%",))
        row = cursor.fetchone()
        assert row is not None
        assert row[0] > 5
        cursor.execute("CREATE TABLE only_here (x int)")
        connection.commit()
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
        assert cursor.fetchone() is not None


def test_each_test_has_its_own_broker(broker: Broker) -> None:
    before = broker.pid
    broker.kill()
    broker.start()
    assert broker.pid != before
