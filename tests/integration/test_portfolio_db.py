"""The versioned reference tables: what is written, what is not, and what was known when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg2
import pytest

from collateral.db import reference
from collateral.db.pool import Pool, Role, fetch_dicts
from collateral.domain import Portfolio
from collateral.errors import IntegrityError, InvalidInputError
from tests.portfolio_support import small_portfolio

FIRST = datetime(2025, 1, 20, tzinfo=UTC)
LATER = datetime(2025, 6, 1, tzinfo=UTC)


def write(database: str, given: Portfolio, known_at: datetime = FIRST) -> dict[str, int]:
    with Pool(database) as pool, pool.connection() as connection:
        return reference.write_portfolio(connection, given, known_at, "tester")


def ordered(given: Portfolio) -> Portfolio:
    return Portfolio(
        **{
            table.part: tuple(sorted(getattr(given, table.part), key=lambda row: [getattr(row, k) for k in table.key]))
            for table in reference.TABLES
        }
    )


def test_what_is_written_is_read_back_unchanged(database: str) -> None:
    given = small_portfolio()
    written = write(database, given)
    assert written == {table.part: len(getattr(given, table.part)) for table in reference.TABLES} | {"deleted": 0}
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.portfolio(connection) == ordered(given)
        assert reference.sites(connection, FIRST) == list(given.sites)
        assert reference.sites(connection, FIRST - timedelta(seconds=1)) == []
        boxes = fetch_dicts(connection, "SELECT lon_min, lat_min, lon_max, lat_max FROM site WHERE site_id = 'S1'")[0]
    assert tuple(boxes.values()) == given.sites[0].geometry.bounds


def test_same_content_writes_nothing(database: str) -> None:
    write(database, small_portfolio())
    assert set(write(database, small_portfolio(), LATER).values()) == {0}


def test_change_and_removal_append_revisions_and_history_stays(database: str) -> None:
    before = small_portfolio()
    write(database, before)
    after = replace(
        before,
        loans=(replace(before.loans[0], outstanding=Decimal("20000000.00")), before.loans[1]),
        devices=before.devices[:1],
    )
    written = write(database, after, LATER)
    assert (written["loans"], written["devices"], written["deleted"], written["sites"]) == (1, 1, 1, 0)
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.loans(connection, FIRST)[0].outstanding == Decimal("21500000.50")
        assert reference.loans(connection, LATER)[0].outstanding == Decimal("20000000.00")
        assert [one.device_id for one in reference.devices(connection)] == ["D1"]
        assert [one.device_id for one in reference.devices(connection, FIRST)] == ["D1", "D2"]
        assert reference.revisions(connection, "loans") == {"L1": 2, "L2": 1}
        assert reference.revisions(connection, "prices", FIRST)["copper_plate|CNY|2025-06-01"] == 1
    back = write(database, before, LATER + timedelta(days=1))
    assert (back["devices"], back["deleted"]) == (1, 0)
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.revisions(connection, "devices") == {"D1": 1, "D2": 3}


def test_changed_sites_are_marked_for_scoring(database: str) -> None:
    before = small_portfolio()
    write(database, before)
    with Pool(database) as pool:
        with pool.connection() as connection:
            rows = fetch_dicts(connection, "SELECT site_id FROM dirty_site ORDER BY site_id")
            assert [row["site_id"] for row in rows] == ["S1", "S2", "S3"]
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM dirty_site")
        dearer = tuple(replace(one, price=one.price + 1) for one in before.prices)
        write(database, replace(before, prices=dearer), LATER)
        with pool.connection() as connection:
            assert [row["site_id"] for row in fetch_dicts(connection, "SELECT site_id FROM dirty_site")] == ["S3"]


def test_history_must_be_imported_in_order(database: str) -> None:
    before = small_portfolio()
    write(database, before, LATER)
    with pytest.raises(InvalidInputError, match=r"L1.*order in which it became known"):
        write(database, replace(before, loans=(replace(before.loans[0], branch="x"), before.loans[1])), FIRST)
    with pytest.raises(InvalidInputError, match="future"):
        write(database, before, datetime.now(UTC) + timedelta(days=1))
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.portfolio(connection) == ordered(before)


def test_text_of_every_kind_survives(database: str) -> None:
    before = small_portfolio()
    odd = 'tab\there "quoted", back\\slash \\N {a,b} 中文\nnext line'
    given = replace(before, borrowers=(replace(before.borrowers[0], name=odd, group_name="\\."), before.borrowers[1]))
    write(database, given)
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.borrowers(connection)[0] == given.borrowers[0]


def test_versions_cannot_be_changed_or_deleted(database: str) -> None:
    write(database, small_portfolio())
    for statement in ("UPDATE site_version SET name = 'x'", "DELETE FROM loan_version", "TRUNCATE asset_version"):
        refused = pytest.raises(psycopg2.Error, match=r"append-only|permission denied")
        with Pool(database, Role.OWNER) as pool, refused, pool.connection() as connection, connection.cursor() as cursor:
            cursor.execute(statement)


def test_policy_text_never_changes_under_its_version(database: str) -> None:
    with Pool(database) as pool:
        with pool.connection() as connection:
            assert reference.write_policy(connection, "2026-01", "a" * 64, "weights: 1")
            assert not reference.write_policy(connection, "2026-01", "a" * 64, "weights: 1")
            assert reference.policy_body(connection, "2026-01") == "weights: 1"
        with pytest.raises(IntegrityError, match="new version"), pool.connection() as connection:
            reference.write_policy(connection, "2026-01", "b" * 64, "weights: 2")


def test_model_card_is_kept_once_and_versioned(database: str) -> None:
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.write_model(connection, "vehicles", "c" * 64, {"f1": 0.83})
        assert not reference.write_model(connection, "vehicles", "c" * 64, {"f1": 0.83})
        assert reference.write_model(connection, "vehicles", "c" * 64, {"f1": 0.84})
        rows = fetch_dicts(connection, "SELECT card, revision FROM model")
    assert rows == [{"card": {"f1": 0.84}, "revision": 2}]
