"""Broken messages by the million through the writer, beside sound ones; everything must be accounted for, exactly.

Messages go to `iot.writer.BatchWriter` as the network process hands them over, against a real database. What is checked:
nothing raises, every value sent is stored, a duplicate, a conflict or in quarantine, the tables hold what the counters say,
and each sound message is stored with its value, whatever stood beside it.
"""

from __future__ import annotations

import json
import random
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from collateral.db.pool import Pool
from collateral.db.telemetry import Counts
from collateral.progress import progress
from iot.intake import RawMessage, block_of
from iot.sparkplug import encode
from iot.writer import BatchWriter

SOUND_EVERY = 10
"""One message in this many is sound."""
TOPIC = b"cw/v1/S1/%s/telemetry"
SOUND_QUANTITY = "temperature_degc"
"""Sound messages carry this alone: broken ones never name it."""
BATCH = 5_000
_START_MS = 1_700_000_000_000
_ODD = (
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1e-999", b"null", b"true", b"\"5\"", b"[]", b"{}", b"[1]",
    b"9007199254740993", b"18446744073709551616", b"-0", b"1.", b".5", b"0x10", b"1_000", b"\"\"", b"\"\\ud800\"",
    b"\"\\u0000\"",
    b"1" * 400, b"-1e308", b"1e308", b"4e5", b"'5'", b"undefined", b"\xff\xfe", b"1,2", b"\"" + b"x" * 2_000 + b"\"",
)  # fmt: skip


@dataclass(frozen=True)
class FuzzReport:
    """What came of it."""

    messages: int
    sound: int
    points: int
    """Values in, where a message that is refused whole counts as one."""
    stored: int
    duplicates: int
    conflicts: int
    quarantined: int
    unaccounted: int
    """points - stored - duplicates - conflicts - quarantined."""
    table_differences: int
    """Rows of the tables against the counters."""
    sound_lost: int
    slowest_batch_s: float
    seconds: float


def fuzz(pool: Pool, devices: Sequence[str], count: int, seed: int, quantities: Sequence[str]) -> FuzzReport:
    """Writes `count` messages, one in ten sound, and accounts for them.

    Args:
        pool: empty database with `devices` registered at site S1 for `quantities` and `SOUND_QUANTITY`.
        devices: device ids.
        count: messages.
        seed: of the damage.
        quantities: names that broken messages use.
    """
    maker = Maker(random.Random(seed), devices, quantities)
    writer = BatchWriter(pool, "fuzz", datetime.now(UTC))
    total, slowest, began = Counts(), 0.0, time.monotonic()
    for first in progress(range(0, count, BATCH), "fuzz", unit="batch"):
        batch = [maker.message(n) for n in range(first, min(first + BATCH, count))]
        started = time.monotonic()
        total = total + writer.write([block_of(batch)])
        slowest = max(slowest, time.monotonic() - started)
    kept, lost = _in_tables(pool), _sound_lost(pool, maker.sound, count)
    accounted = total.stored + total.duplicates + total.conflicts + total.quarantined
    differences = sum(abs(a - b) for a, b in zip(kept, (total.stored, total.conflicts, total.quarantined), strict=True))
    return FuzzReport(
        messages=total.messages,
        sound=maker.sound,
        points=total.points,
        stored=total.stored,
        duplicates=total.duplicates,
        conflicts=total.conflicts,
        quarantined=total.quarantined,
        unaccounted=total.points - accounted,
        table_differences=differences + abs(total.messages - count),
        sound_lost=lost,
        slowest_batch_s=round(slowest, 2),
        seconds=round(time.monotonic() - began, 1),
    )


def report(result: FuzzReport) -> dict[str, object]:
    """As the command prints it; `exact` is true when nothing is missing."""
    exact = not (result.unaccounted or result.table_differences or result.sound_lost)
    return {**asdict(result), "exact": exact}


def _in_tables(pool: Pool) -> tuple[int, int, int]:
    with pool.connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM reading), (SELECT count(*) FROM reading_conflict),"
            " (SELECT count(*) FROM quarantine)"
        )
        row = cursor.fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])


def _sound_lost(pool: Pool, sound: int, count: int) -> int:
    """Sound messages whose value is not in the table as it was sent: value n at minute n."""
    with pool.connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM reading JOIN series USING (series_id) WHERE quantity = %s"
            " AND abs(value - ((extract(epoch FROM time) * 1000 - %s) / 60000.0)::bigint %% 900 - 20) < 1e-9",
            (SOUND_QUANTITY, _START_MS),
        )
        row = cursor.fetchone()
    assert row is not None
    return sound - int(row[0])


class Maker:
    """Messages, sound and broken in many ways; deterministic by its random source."""

    def __init__(self, rng: random.Random, devices: Sequence[str], quantities: Sequence[str]) -> None:
        self._rng = rng
        self._devices = [device.encode() for device in devices]
        self._quantities = list(quantities)
        self.sound = 0
        self._ways: tuple[Callable[[int], tuple[bytes, bytes]], ...] = (
            self._cut, self._flipped, self._wrong_type, self._odd_number, self._deep, self._noise, self._huge, self._topic,
            self._odd_time, self._many, self._not_utf8, self._array, self._status, self._keys, self._spliced,
            self._sparkplug,
        )  # fmt: skip

    def message(self, n: int) -> RawMessage:
        """Message number `n` of the run."""
        if n % SOUND_EVERY == 0:
            self.sound += 1
            body = {"v": 1, "seq": n, "time": _START_MS + n * 60_000, "values": {SOUND_QUANTITY: n % 900 + 20}}
            topic, payload = TOPIC % self._devices[n % len(self._devices)], json.dumps(body).encode()
        else:
            topic, payload = self._rng.choice(self._ways)(n)
        received = 1_800_000_000_000_000 + n
        return RawMessage(topic[:65_535], payload, received, self._rng.random() < 0.02)

    def _topic_of(self) -> bytes:
        return TOPIC % self._rng.choice(self._devices)

    def _body(self, n: int) -> dict[str, object]:
        rng = self._rng
        names = rng.sample(self._quantities, rng.randint(1, min(3, len(self._quantities))))
        moment = _START_MS + rng.randint(0, 200) * 60_000  # few times: duplicates and conflicts come about
        return {"v": 1, "seq": n, "time": moment, "values": {name: rng.choice((1, 2.5, 40, 7e4)) for name in names}}

    def _valid(self, n: int) -> bytes:
        return json.dumps(self._body(n), separators=self._rng.choice(((",", ":"), (", ", ": ")))).encode()

    def _cut(self, n: int) -> tuple[bytes, bytes]:
        text = self._valid(n)
        return self._topic_of(), text[: self._rng.randint(0, len(text))]

    def _flipped(self, n: int) -> tuple[bytes, bytes]:
        text = bytearray(self._valid(n))
        for _ in range(self._rng.randint(1, 4)):
            text[self._rng.randrange(len(text))] = self._rng.randrange(256)
        return self._topic_of(), bytes(text)

    def _wrong_type(self, n: int) -> tuple[bytes, bytes]:
        body = self._body(n)
        odd: list[object] = [None, True, [], {}, "x", -1, 2**70, 1.5, [[1]], {"a": {}}, "2024-13-45T99:00:00Z", ""]
        body[self._rng.choice(list(body))] = self._rng.choice(odd)
        return self._topic_of(), json.dumps(body).encode()

    def _odd_number(self, n: int) -> tuple[bytes, bytes]:
        name = self._rng.choice([*self._quantities, "no_such_quantity"]).encode()
        value = self._rng.choice(_ODD)
        return self._topic_of(), b'{"v":1,"seq":%d,"time":%d,"values":{"%s":%s}}' % (n, _START_MS, name, value)

    def _deep(self, n: int) -> tuple[bytes, bytes]:
        depth = self._rng.choice((10, 200, 2_000, 20_000))
        opening, closing = self._rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
        inner = opening * depth + b"1" + closing * (depth if self._rng.random() < 0.7 else 0)
        return self._topic_of(), b'{"v":1,"seq":1,"time":1,"values":%s}' % inner

    def _noise(self, n: int) -> tuple[bytes, bytes]:
        return self._topic_of(), self._rng.randbytes(self._rng.choice((0, 1, 7, 64, 900)))

    def _huge(self, n: int) -> tuple[bytes, bytes]:
        if n % 50 != 1:
            return self._noise(n)
        return self._topic_of(), b'{"v":1,"pad":"' + b"x" * self._rng.choice((100_000, 300_000)) + b'"}'

    def _topic(self, n: int) -> tuple[bytes, bytes]:
        rng = self._rng
        device = rng.choice(self._devices)
        odd = (
            b"", b"/", b"cw/v1/S1/%s/telemetr" % device, b"cw/v2/S1/%s/telemetry" % device, b"cw/v1//%s/telemetry" % device,
            b"cw/v1/S2/%s/telemetry" % device, b"cw/v1/S1/%s/telemetry/x" % device, b"cw/v1/S1/nobody/telemetry",
            b"cw/v1/S1/" + rng.randbytes(9) + b"/telemetry", b"cw/v1/S1/" + b"d" * 3_000 + b"/telemetry", b"\x00\xff",
            b"cw/v1/S1/%s\n/telemetry" % device, b"$SYS/broker", b"cw/v1/S1/%s/telemetry\x00" % device,
        )  # fmt: skip
        return rng.choice(odd), self._valid(n)

    def _odd_time(self, n: int) -> tuple[bytes, bytes]:
        body = self._body(n)
        times: list[object] = [
            0, -1, 2**63, 1e400, "now", "2024-02-30T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00", 1.5e12,
            "9999-12-31T23:59:59Z", 1_700_000_000, "2016-12-31T23:59:60Z", "2024-01-01T00:00:00+99:00",
        ]  # fmt: skip
        body["time"] = self._rng.choice(times)
        return self._topic_of(), json.dumps(body).encode()

    def _many(self, n: int) -> tuple[bytes, bytes]:
        if n % 40 != 1:
            return self._keys(n)
        samples = [
            {"time": _START_MS + k, "values": {self._quantities[0]: 1}} for k in range(self._rng.choice((500, 11_000)))
        ]
        return self._topic_of(), json.dumps({"v": 1, "seq": n, "samples": samples}).encode()

    def _not_utf8(self, n: int) -> tuple[bytes, bytes]:
        text = self._valid(n).decode()
        return self._topic_of(), text.encode(self._rng.choice(("utf-16", "utf-32", "utf-16-be"))) + b"\xc3\x28"

    def _array(self, n: int) -> tuple[bytes, bytes]:
        rng = self._rng
        parts: list[object] = [
            {"time": _START_MS + k * 60_000, "values": {rng.choice(self._quantities): k}} for k in range(6)
        ]
        parts[rng.randrange(6)] = rng.choice([None, 5, [], {"time": 5}, {"values": {}}, {"time": "x", "values": {"a": 1}}])
        return self._topic_of(), json.dumps({"v": 1, "seq": n, "samples": parts}).encode()

    def _status(self, n: int) -> tuple[bytes, bytes]:
        topic = b"cw/v1/S1/%s/status" % self._rng.choice(self._devices)
        state = self._rng.choice(['"online"', '"offline"', '"asleep"', "1", "null", '"\\ud83d"'])
        return topic, b'{"v":1,"seq":%d,"state":%s,"time":%d}' % (n, state.encode(), _START_MS + n)

    def _keys(self, n: int) -> tuple[bytes, bytes]:
        rng = self._rng
        names = [
            rng.choice(("", "\u0000", "a" * 500, "energy_total_kwh ", "Ενέργεια", "values", "__proto__")) for _ in range(3)
        ]
        values = {**dict.fromkeys(names, 1.0), self._quantities[0]: 2.5}
        return self._topic_of(), json.dumps({"v": 1, "seq": n, "time": _START_MS, "values": values}).encode()

    def _sparkplug(self, n: int) -> tuple[bytes, bytes]:
        rng = self._rng
        device = rng.choice(self._devices)
        paths = (b"NBIRTH/%s", b"NDATA/%s", b"NDEATH/%s", b"DBIRTH/g/%s", b"DDATA/g/%s", b"DDEATH/g/%s", b"NCMD/%s", b"%s")
        names = [rng.choice((*self._quantities, "bdSeq", "odd", "")) for _ in range(rng.randint(0, 4))]
        metrics = [
            (name, rng.choice((None, 1, 2**63)), rng.choice((0, 3, 8, 10, 11, 77)), rng.choice((1, 2.5, True, None, 1e300)))
            for name in names
        ]
        payload = bytearray(encode(rng.choice((_START_MS + n, 0, 2**64 - 1)), rng.choice((None, n % 256, 300)), metrics))
        for _ in range(rng.choice((0, 0, 1, 5))):
            payload[rng.randrange(len(payload))] = rng.randrange(256)
        return b"spBv1.0/S1/" + rng.choice(paths) % device, bytes(payload[: rng.choice((None, None, len(payload) // 2))])

    def _spliced(self, n: int) -> tuple[bytes, bytes]:
        first, second = self._valid(n), self._valid(n + 1)
        return self._topic_of(), first[: self._rng.randint(1, len(first))] + struct.pack(">d", 1.0) + second
