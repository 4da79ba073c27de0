"""What counts as a flood, what the broker's log says, and inputs that no command may fall over."""

from __future__ import annotations

import argparse
import getpass
import math
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collateral.db.devices import LogPosition, Sender
from collateral.errors import InvalidInputError, UsageError
from collateral.services import door
from collateral.services.mosquitto import ACCESS_LIST
from collateral.services.system import Account
from iot.mqtt import make_client
from iot.retention import read_policy
from iot.routes_evaluate import read_journeys
from iot.security import FloodWatch, fresh_lines, read_events
from iot.simulate import Troubles
from iot.simulate_commands import _check

NOW = datetime(2026, 5, 1, tzinfo=UTC)
LOOK = timedelta(seconds=10)


Counts = dict[str, tuple[int, datetime | None]]


def floods(before: Counts, after: Counts, interval_s: float = 1.0, first: datetime | None = None) -> list[str]:
    """Who floods between two looks; all are devices with this interval, whose oldest reading is of that time."""
    watch = FloodWatch()

    def expected(device_ids: Sequence[str]) -> dict[str, Sender]:
        return {device: Sender(interval_s, first) for device in device_ids if device != "gone"}

    assert watch.look(before, NOW, expected) == []
    return [event.device_id for event in watch.look(after, NOW + LOOK, expected) if event.kind == "flood"]


def test_what_fills_an_outage_is_no_flood() -> None:
    before: Counts = {"m1": (100, NOW - timedelta(hours=2))}
    assert floods(before, {"m1": (7_300, NOW + LOOK)}) == []  # two hours of a second each, taken in ten seconds


@pytest.mark.parametrize("ahead", [timedelta(0), LOOK, timedelta(minutes=5)])
def test_as_many_about_the_present_are_one(ahead: timedelta) -> None:
    assert floods({"m1": (100, NOW)}, {"m1": (100 + 60 * 600, NOW + ahead)}) == ["m1"]


@pytest.mark.parametrize("before", [{}, {"m1": (1, None)}])
def test_what_a_new_device_kept_is_no_flood(before: Counts) -> None:
    """A day of a second each; one that came online before has told no time yet."""
    day = timedelta(days=1)
    assert floods(before, {"m1": (86_400, NOW)}, first=NOW - day) == []
    assert floods(before, {"m1": (86_400, NOW)}, first=NOW - day / 100) == ["m1"], "a hundred times as dense"
    assert floods(before, {"m1": (86_400, None)}) == ["m1"], "nothing of it was a reading"
    assert floods({"m1": (9, NOW)}, {"m1": (86_400, NOW)}, first=NOW - day) == ["m1"], "no longer new"


def test_a_device_is_judged_by_the_interval_it_has_now() -> None:
    assert floods({}, {"m1": (600, NOW), "gone": (600, NOW)}) == ["m1", "gone"]
    assert floods({}, {"m1": (600, NOW)}, interval_s=0.01) == []


def test_a_client_with_spaces_in_its_name_does_not_hide() -> None:
    said = "Denied PUBLISH from good disconnected (d0, q1, r0, m1, 'cw/v1/S1/m2/telemetry', ... (9 bytes))"
    line = f"2026-05-01T00:00:00: {said}"
    (event,) = read_events([line])
    assert (event.kind, event.client) == ("foreign_topic", "good disconnected")


def test_the_plugins_line_is_read_by_lengths() -> None:
    client, topic = "a topic 3:b", "cw/v1/S1/米/telemetry"
    said = f"Foreign publish by m1 untold 7 client {len(client)}:{client} topic {len(topic.encode())}:{topic}"
    first, rest = read_events([f"2026-05-01T00:00:00: {said}"])
    assert (first.client, first.device_id, first.detail) == (client, "m1", {"action": "publish", "topic": topic})
    assert (rest.times, rest.client) == (7, "")


def test_a_name_cannot_forge_a_line(tmp_path: Path) -> None:
    log = tmp_path / "broker.log"
    forged = "2026-99-99T00:00:00: Client m2 disconnected, not authorised."
    endings = "\u2028\u2029\x85\x0b\x0c\x1c\r"
    name = "".join(f"x{ending}{forged}" for ending in endings)
    log.write_text(f"2026-05-01T00:00:00: Client {name} disconnected, not authorised.\n", newline="\n")
    lines, read = fresh_lines(log, LogPosition())
    assert len(lines) == 1 and read.position == log.stat().st_size
    assert "m2" not in [event.client for event in read_events(lines)]


@pytest.mark.parametrize("time", ["2026-13-45T00:00:00", "2026-05-01T24:61:00", "0000-01-01T00:00:00"])
def test_a_damaged_line_holds_up_none_after_it(time: str) -> None:
    said = "Client m\0x disconnected, not authorised."
    (event,) = read_events([f"{time}: {said}", f"2026-05-01T00:00:00: {said}"])
    assert (event.kind, event.client) == ("not_authorised", "m\N{REPLACEMENT CHARACTER}x")


def test_a_log_that_is_being_turned_is_read_once(tmp_path: Path) -> None:
    log = tmp_path / "broker.log"
    log.write_text("1\n")
    first, read = fresh_lines(log, LogPosition())
    with log.open("a") as stream:
        stream.write("2\n")
    log.replace(tmp_path / "broker.log.1")
    second, read = fresh_lines(log, read)  # the broker has not begun another one yet
    third, read = fresh_lines(log, read)
    log.write_text("3\n")
    fourth, read = fresh_lines(log, read)
    assert [first, second, third, fourth, fresh_lines(log, read)[0]] == [["1"], ["2"], [], ["3"], []]


def test_a_compiler_that_hangs_does_not_keep_the_broker_from_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(door, "BUILD_SECONDS", 0.2)
    monkeypatch.setattr(door, "plain_environment", lambda: {"PATH": str(tmp_path)})
    me = Account(getpass.getuser(), os.geteuid(), os.getegid())
    assert door.build(tmp_path / "plugin", me) is None


def test_the_rules_for_emqx_are_those_of_the_private_broker() -> None:
    text = (Path(__file__).parents[2] / "docs" / "mqtt.md").read_text()
    rules = re.findall(r'^\{allow, (all|\{username, "ingest"\}), (publish|subscribe), \[(.*)\]\}\.$', text, re.MULTILINE)
    told = {(who == "all", act, topic.strip('"')) for who, act, topics in rules for topic in topics.split(", ")}
    mine = set()
    services, _, patterns = ACCESS_LIST.partition("user fleet")
    for kind, lines in (("topic", services), ("pattern", patterns)):
        for act, topic in re.findall(rf"^{kind} (read|write) (\S+)$", lines, re.MULTILINE):
            named = topic.replace("%u", "${username}")
            mine.add((kind == "pattern", "subscribe" if act == "read" else "publish", named))
    assert told == mine and len(mine) > 10
    assert "{deny, all}." in text


@pytest.mark.parametrize("url", ["mqtt://ingest:pa/ssword@127.0.0.1:1883", "mqtt://u:p@[::1", "mqtt://u:p@host:99999"])
def test_an_address_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        make_client(url, "c", clean_session=True)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


@pytest.mark.parametrize("name", ["rate", "seconds", "skew_s"])
def test_endless_load_is_a_mistake_of_use(name: str) -> None:
    chosen = {"devices": 1, "rate": 1.0, "seconds": 1.0, "connections": 1, name: math.inf}
    troubles = Troubles(**{name: math.inf}) if name in asdict(Troubles()) else Troubles()
    with pytest.raises(UsageError, match=name.replace("_", ".")):
        _check(argparse.Namespace(**chosen), troubles)


def test_days_beyond_every_calendar_are_no_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[reading]\nkeep_days = 9999999\n")
    with pytest.raises(InvalidInputError, match="36500"):
        read_policy(path)


def test_a_trip_of_one_position_is_passed_over(tmp_path: Path) -> None:
    rows = [f"{trip},2026-05-01T00:0{n}:00,31.{n},121.0" for trip in "abc" for n in range(3)]
    rows.append("d,2026-05-01T00:00:00,31.0,121.0")
    (tmp_path / "trips.csv").write_text("\n".join(["trip_id,timestamp,latitude,longitude", *rows]))
    assert [journey.name for journey in read_journeys(tmp_path)] == ["a", "b", "c"]
