"""Sorting of batches, sequence numbers, devices on first sight, back-off, and the replay's reading of files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from collateral.db.telemetry import DeviceEntry, from_us, to_us
from collateral.errors import InvalidInputError, UsageError
from iot.backoff import Backoff
from iot.intake import RawMessage, block_of
from iot.mqtt import make_client
from iot.payload import Message, decode, encode_telemetry
from iot.registry import KEPT_S, UNKNOWN_KEPT_S, Registry
from iot.replay import Recording, parse_map, parse_step, parse_time, read_recording
from iot.simulate import phase
from iot.sorting import sort_batch
from iot.sparkplug_nodes import SparkplugBook
from iot.statements import SETTLE_US
from iot.writer import HELD_US, restamped

NOW = 1_780_000_000_000_000
ZONE = ZoneInfo("Asia/Shanghai")


class Book:
    """Registered devices that may change, counting how often it is asked."""

    def __init__(self) -> None:
        self.entries = {"m1": DeviceEntry("S1", frozenset({"weight_kg"}))}
        self.asked: list[list[str]] = []

    def __call__(self, wanted: Sequence[str]) -> dict[str, DeviceEntry]:
        self.asked.append(list(wanted))
        return {name: self.entries[name] for name in wanted if name in self.entries}


def raw(device: str = "m1", site: str = "S1", retained: bool = False, **values: float) -> RawMessage:
    payload = encode_telemetry(1, NOW // 1000, values or {"weight_kg": 1.0})
    return RawMessage(f"cw/v1/{site}/{device}/telemetry".encode(), payload, NOW, retained)


def test_every_value_ends_in_one_place() -> None:
    mixed = raw(weight_kg=1.0, speed_km_h=5.0, tags_present=-1.0)
    batch = sort_batch([raw(), raw("ghost"), raw(site="S2"), mixed], Registry(Book()), SparkplugBook(lambda keys: ((), ())))
    assert len(batch.points) == 2
    reasons = sorted(row.reason for row in batch.quarantined)
    assert reasons == ["range", "undeclared_quantity", "unknown_device", "wrong_site"]
    assert batch.messages == 4 and [message.device_id for _, message in batch.heard] == ["m1", "m1"]


def test_retained_message_is_stored_but_says_nothing_about_when() -> None:
    batch = sort_batch([raw(retained=True)], Registry(Book()), SparkplugBook(lambda keys: ((), ())))
    assert len(batch.points) == 1 and not batch.heard


def test_registry_asks_once_and_sees_changes_in_time() -> None:
    book, now = Book(), [0.0]
    registry = Registry(book, clock=lambda: now[0])
    registry.prefetch(["m1", "m2", "m1"])
    registry.prefetch(["m1", "m2"])
    assert book.asked == [["m1", "m2"]]
    book.entries["m2"] = DeviceEntry("S1", frozenset({"weight_kg"}))
    now[0] = UNKNOWN_KEPT_S + 0.1
    registry.prefetch(["m1", "m2"])
    assert book.asked[1:] == [["m2"]]
    assert registry.refuses(Message("S1", "m2", 1)) is None
    now[0] = 2 * KEPT_S
    registry.prefetch(["m1", "m2"])
    assert book.asked[2:] == [["m1", "m2"]]


def test_back_off_doubles_is_capped_and_starts_again() -> None:
    backoff = Backoff(0.2, 5.0)
    waits = [backoff.next_s() for _ in range(40)]
    assert 0.1 <= waits[0] <= 0.2 and all(2.5 <= wait <= 5.0 for wait in waits[6:])
    backoff.reset()
    assert backoff.next_s() <= 0.2


def test_moments_are_exact_in_microseconds() -> None:
    assert to_us(from_us(NOW + 123_457)) == NOW + 123_457


def test_broker_address_must_be_one() -> None:
    with pytest.raises(InvalidInputError, match=r"mqtt://user:password@host:port"):
        make_client("http://user:secret@localhost", "c", clean_session=True)


@pytest.mark.parametrize("text", ["2024-01-02T08:00:00+08:00", "2024-01-02 08:00", "2/1/2024 8:00", "2024/01/02 08:00:00"])
def test_times_of_recordings(text: str) -> None:
    assert parse_time(text, ZONE) == datetime(2024, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "x=", "=y", "a=nothing", "a=weight_kg,b=weight_kg", "a=weight_kg,a=speed_km_h"])
def test_map_must_name_known_quantities(text: str) -> None:
    with pytest.raises(UsageError, match="--map"):
        parse_map(text)


@pytest.mark.parametrize("text", ["", "15", "0m", "-1h", "15 minutes"])
def test_step_must_be_a_duration(text: str) -> None:
    with pytest.raises(UsageError, match="--time-step"):
        parse_step(text)


def test_recording_with_rebuilt_times_skips_empty_rows(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("﻿when,a (kWh)\nwrong,1.5\nwrong,\nwrong,2\n", encoding="utf-8")
    recording = Recording(path, {"a (kWh)": "energy_interval_kwh"}, ZONE, "", datetime(2024, 1, 1, 0, 15), parse_step("15m"))
    first, second, third = read_recording(recording)
    assert second is None and first is not None and third is not None
    assert first.time == datetime(2024, 1, 1, 0, 15, tzinfo=ZONE)
    assert third.time - first.time == timedelta(minutes=30) and third.values == {"energy_interval_kwh": 2.0}
    with pytest.raises(InvalidInputError, match="no column 'b'"):
        list(read_recording(Recording(path, {"b": "weight_kg"}, ZONE, "when")))
    path.write_bytes("when,重量\n".encode("gbk"))
    with pytest.raises(InvalidInputError, match="UTF-8"):
        list(read_recording(Recording(path, {"b": "weight_kg"}, ZONE, "when")))


def test_examples_of_the_documentation_are_read() -> None:
    text = (Path(__file__).parents[2] / "docs/mqtt.md").read_text()
    examples = re.findall(r"```json\n(.*?)\n```", text, re.S)
    assert len(examples) == 5
    later = to_us(datetime(2026, 11, 23, tzinfo=UTC))
    for example in examples:
        channel = "status" if '"state"' in example else "telemetry"
        message = decode(f"cw/v1/S/d/{channel}", example.encode(), later)
        assert isinstance(message, Message) and not message.rejected, message


def test_what_waited_for_the_database_counts_as_received_when_it_is_stored() -> None:
    blocks = [block_of([RawMessage(b"t", b"1", at, False)] * 3) for at in (0, HELD_US)]
    assert [block.received_us for block in restamped(blocks, HELD_US)] == [0, HELD_US]
    stamped = restamped(blocks, HELD_US + 1)
    arrivals = [block.message(n).received_us for block in stamped for n in range(3)]
    assert arrivals == [HELD_US + 1 + n for n in range(6)], "in the order in which they came"
    assert HELD_US < SETTLE_US


def test_simulated_devices_stand_at_the_same_place_of_the_wave_in_every_run() -> None:
    assert [phase(f"d{n}") for n in range(5)] == [2, 2, 5, 5, 2]
