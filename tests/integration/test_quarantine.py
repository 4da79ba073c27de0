"""Rejected messages are browsed and tried again after a fix, on a real database; nothing is lost or counted twice."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from collateral.db import devices, quarantine
from collateral.db.pool import Pool, Role
from collateral.db.quarantine import Selection
from collateral.errors import UsageError
from collateral.settings import load_settings
from iot import quarantine as retrying
from iot.intake import RawMessage, block_of
from iot.payload import encode_telemetry
from iot.quarantine import hex_dump, retry_quarantined
from iot.quarantine_commands import COMMANDS
from iot.security import FloodWatch
from iot.writer import BatchWriter
from tests.iot_support import device, number, register, rows

EVERYTHING = Selection()
T0 = 1_780_000_000_000
ARRIVED = T0 * 1000 + 5_000_000


def raw(name: str, n: int, payload: bytes | None = None, **values: float) -> RawMessage:
    body = payload if payload is not None else encode_telemetry(n, T0 + n * 60_000, values or {"active_power_kw": float(n)})
    return RawMessage(f"cw/v1/S1/{name}/telemetry".encode(), body, ARRIVED + n * 60_000_000, False)


def ingest(database: str, messages: Sequence[RawMessage]) -> None:
    with Pool(database, Role.INGEST, size=1) as pool:
        BatchWriter(pool, "test", datetime.now(UTC)).write([block_of([message]) for message in messages])


def retry(database: str, selection: Selection = EVERYTHING, batch: int = 3) -> retrying.RetrySummary:
    with Pool(database, Role.INGEST, size=1) as pool:
        return retry_quarantined(pool, selection, BatchWriter, batch=batch)


def balanced(database: str) -> bool:
    """The tally adds up, and counts what the tables hold."""
    tally = rows(
        database, "SELECT sum(points), sum(stored), sum(duplicates), sum(conflicts), sum(quarantined) FROM ingest_tally"
    )[0]
    points, stored, duplicates, conflicts, quarantined = map(int, tally)
    tables = rows(
        database,
        "SELECT (SELECT count(*) FROM reading), (SELECT count(*) FROM reading_conflict),"
        " (SELECT count(*) FROM quarantine WHERE retried_at IS NULL)",
    )[0]
    return points == stored + duplicates + conflicts + quarantined and tables == (stored, conflicts, quarantined)


def command(database: str, verb: str, *words: str) -> dict[str, Any]:
    row = COMMANDS[f"quarantine {verb}"]
    parser = argparse.ArgumentParser()
    row.configure(parser)
    outcome = row.run(parser.parse_args(words), load_settings({"COLLATERAL_DATABASE_URL": database}))
    return dict(outcome.payload)


def test_a_late_registration_is_made_good_with_the_original_arrival(database: str) -> None:
    register(database, [device("m1", ["active_power_kw"])])
    messages = [raw("m2", n, active_power_kw=1.0 + n, weight_kg=5.0) for n in range(7)]
    ingest(database, [*messages, raw("m1", 1), raw("m9", 1), raw("m1", 2, b"\xff\x00broken")])
    assert balanced(database) and number(database, "SELECT count(*) FROM quarantine") == 9
    register(database, [device("m1", ["active_power_kw"]), device("m2", ["active_power_kw"])], known_at=datetime.now(UTC))
    first = retry(database)
    assert (first.tried, first.released, first.unchanged, first.stored) == (9, 7, 2, 7)
    assert first.refused == {"undeclared_quantity": 7, "unknown_device": 1, "not_json": 1}
    assert balanced(database)
    arrived = rows(
        database,
        "SELECT extract(epoch FROM received_at)::bigint - extract(epoch FROM time)::bigint, value FROM reading"
        " JOIN series USING (series_id) WHERE device_id = 'm2' ORDER BY time",
    )
    assert arrived == [(5, 1.0 + n) for n in range(7)], "the original time of arrival"
    assert first.earliest is not None and first.earliest.timestamp() <= T0 / 1000
    # The values refused beside are rows of their own; nothing is tried twice to any effect.
    before = rows(database, "SELECT * FROM ingest_tally WHERE client_id = 'test'")
    again = retry(database)
    assert (again.tried, again.released, again.unchanged, again.stored) == (9, 0, 9, 0)
    assert balanced(database) and rows(database, "SELECT * FROM ingest_tally WHERE client_id = 'test'") == before
    register(database, [device("m2", ["active_power_kw", "weight_kg"])], known_at=datetime.now(UTC))
    last = retry(database, Selection(devices=("m2",)))
    assert (last.released, last.stored) == (7, 7) and balanced(database)
    # No sequence numbers are made up by trying again.
    assert number(database, "SELECT count(*) FROM device_event") == 0


def test_what_is_tried_again_is_no_flood(database: str) -> None:
    register(database, [])
    ingest(database, [raw("m1", n) for n in range(600)])
    register(database, [device("m1", ["active_power_kw"])], known_at=datetime.now(UTC))
    ingest(database, [raw("m1", 600)])
    watch, now = FloodWatch(), datetime.now(UTC)
    with Pool(database, Role.APP, size=1) as pool, pool.connection() as connection:
        expected = partial(devices.senders, connection)
        assert watch.look(devices.message_counts(connection), now, expected) == []
        assert retry(database, batch=200).stored == 600
        assert watch.look(devices.message_counts(connection), now + timedelta(seconds=10), expected) == []


def test_another_reason_gets_a_row_of_its_own_and_back(database: str) -> None:
    register(database, [device("m1", ["active_power_kw"])])
    ingest(database, [raw("m2", 0)])
    with Pool(database, Role.APP, size=1) as pool, pool.connection() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO quarantine (received_at, topic, payload, reason, detail, device_id, digest)"
                       " SELECT received_at, topic, payload, 'schema', '', device_id, '\\x01' FROM quarantine")  # fmt: skip
        cursor.execute("UPDATE quarantine SET retried_at = now(), outcome = 'requarantined' WHERE reason = 'unknown_device'")
    moved = retry(database)
    assert (moved.tried, moved.requarantined, moved.unchanged) == (1, 1, 0)
    assert rows(database, "SELECT reason, outcome FROM quarantine ORDER BY 1") == [
        ("schema", "requarantined"), ("unknown_device", None),
    ], "the reason of before holds again: the row that had it is open again, not lost"  # fmt: skip
    assert balanced(database)


def test_killed_in_between_nothing_is_half_done(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register(database, [device("m1", ["active_power_kw"])])
    ingest(database, [raw("m2", n) for n in range(8)])
    register(database, [device("m2", ["active_power_kw"])], known_at=datetime.now(UTC))
    closing = quarantine.close_rows
    calls: list[str] = []

    def killed(connection: Any, ids: Sequence[int], outcome: str) -> None:
        calls.append(outcome)
        if len(calls) == 4:
            raise KeyboardInterrupt
        closing(connection, ids, outcome)

    monkeypatch.setattr(quarantine, "close_rows", killed)
    with pytest.raises(KeyboardInterrupt):
        retry(database)
    assert number(database, "SELECT count(*) FROM reading") == 3 and balanced(database), "one batch, whole"
    monkeypatch.setattr(quarantine, "close_rows", closing)
    rest = retry(database)
    assert (rest.tried, rest.stored) == (5, 5) and balanced(database)
    assert number(database, "SELECT count(*) FROM reading") == 8


def test_two_at_once_share_the_work(database: str) -> None:
    register(database, [device("m2", ["active_power_kw"])])
    ingest(database, [raw("m3", n) for n in range(4)])
    with Pool(database, Role.INGEST, size=1) as pool, pool.connection() as connection:
        held = quarantine.take_up(connection, Selection(), 0, 99, 2)
        assert len(held) == 2
        assert retry(database).tried == 2, "what another is trying is left to it"


def test_commands_list_pages_show_bytes_and_retry(database: str) -> None:
    register(database, [device("m1", ["active_power_kw"])])
    ingest(database, [*(raw("m2", n) for n in range(5)), raw("m1", 1, b"\xff\x00no"), raw("m1", 2, active_power_kw=-1e9)])
    listed = command(database, "list", "--limit", "3")
    assert listed["total"] == 7
    assert listed["by_reason"] == {"unknown_device": 5, "not_json": 1, "range": 1}
    assert listed["by_device"] == {"m2": 5, "m1": 2} and list(listed["by_day"].values()) == [7]
    seen = [row["id"] for row in listed["rows"]]
    while listed["next"] is not None:
        listed = command(database, "list", "--limit", "3", "--before", str(listed["next"]))
        seen += [row["id"] for row in listed["rows"]]
    assert len(seen) == 7 and seen == sorted(set(seen), reverse=True)
    broken = command(database, "list", "--reason", "not_json", "--device", "m1")["rows"]
    shown = command(database, "show", str(broken[0]["id"]))
    assert bytes.fromhex(shown["payload_hex"]) == b"\xff\x00no" and shown["payload_text"] == "\\xff\x00no"
    assert hex_dump(b"\xff\x00no").startswith("00000000  ff 00 6e 6f")
    later = datetime.fromtimestamp((ARRIVED + 3 * 60_000_000) / 1e6, UTC).isoformat()
    assert command(database, "list", "--since", later)["total"] == 2
    with pytest.raises(UsageError, match="Say what"):
        command(database, "retry")
    register(database, [device("m1", ["active_power_kw"]), device("m2", ["active_power_kw"])], known_at=datetime.now(UTC))
    done = command(database, "retry", "--reason", "unknown_device", "--limit", "4")
    assert (done["tried"], done["stored"]) == (4, 4) and done["observe_since"] is not None
    assert command(database, "retry", "--all")["released"] == 1
    assert command(database, "list")["total"] == 2 and command(database, "list", "--closed")["total"] == 7
    assert balanced(database)
