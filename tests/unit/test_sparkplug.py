"""Sparkplug payloads of two other encoders, aliases and sessions; any bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collateral.db.sparkplug import BirthRow, NodeRow
from iot.intake import RawMessage
from iot.payload import Message, Rejection
from iot.sparkplug import Packet, encode, encode_rebirth, number_of, parse_packet, parse_place
from iot.sparkplug_nodes import ASK_EVERY_S, Rebirth, SparkplugBook

T0 = 1_780_000_000_000
DOUBLE, UINT64, BOOLEAN, INT64 = 10, 8, 11, 4
VECTORS = Path(__file__).parents[1] / "vectors"
Row = tuple[str, int | None, int, float | int | bool | None]


def nothing(keys: Sequence[tuple[str, str]]) -> tuple[list[NodeRow], list[BirthRow]]:
    return [], []


class Reader:
    """A book that is asked message by message, as a writer would; `now` is the clock of its requests."""

    def __init__(self) -> None:
        self.now = 0.0
        self.arrived = T0 * 1000
        self.rows: dict[tuple[str, str], NodeRow] = {}
        self.births: list[BirthRow] = []
        self.restart()

    def restart(self) -> None:
        """Only what was stored is known now."""
        self.book = SparkplugBook(self._find, clock=lambda: self.now)

    def _find(self, keys: Sequence[tuple[str, str]]) -> tuple[list[NodeRow], list[BirthRow]]:
        births = sorted((row for row in self.births if (row.group_id, row.node_id) in keys), key=lambda row: row.born_ms)
        return [row for key, row in self.rows.items() if key in keys], births

    def read(self, topic: str, payload: bytes, at_us: int | None = None) -> list[Message | Rejection]:
        self.arrived += 1_000_000
        row = RawMessage(topic.encode(), payload, self.arrived if at_us is None else at_us, False)
        self.book.begin([row.topic])
        heard = list(self.book.read(row))
        nodes, births = self.book.changes()
        self.rows.update({(node.group_id, node.node_id): node for node in nodes})
        self.births += births
        self.book.committed()
        return heard

    def one(self, topic: str, payload: bytes, at_us: int | None = None) -> Message | Rejection:
        heard = self.read(topic, payload, at_us)
        assert len(heard) == 1
        return heard[0]

    def values(self, topic: str, payload: bytes) -> dict[str, float]:
        message = self.one(topic, payload)
        assert isinstance(message, Message), message
        return {sample.quantity: sample.value for sample in message.samples}

    def born(self, aliases: dict[int, str], at_ms: int = T0, bd_seq: int = 1) -> None:
        self.read("spBv1.0/S1/NBIRTH/g", encode(at_ms, 0, [("bdSeq", None, INT64, bd_seq)]))
        self.read("spBv1.0/S1/DBIRTH/g/d", encode(at_ms, 1, [(name, key, DOUBLE, 1.0) for key, name in aliases.items()]))

    def dead(self, bd_seq: int = 1) -> list[Message | Rejection]:
        return self.read("spBv1.0/S1/NDEATH/g", encode(T0, None, [("bdSeq", None, INT64, bd_seq)]))


def data(seq: int, at_ms: int, *metrics: Row) -> bytes:
    return encode(at_ms, seq, list(metrics))


DATA = "spBv1.0/S1/DDATA/g/d"


@pytest.mark.parametrize("encoder", ["pysparkplug", "tahu"])
def test_sessions_written_by_other_encoders(encoder: str) -> None:
    reader, heard = Reader(), []
    for line in json.loads((VECTORS / f"sparkplug_{encoder}.json").read_text()):
        heard.append(reader.read(line["topic"], bytes.fromhex(line["payload"])))
    messages = [message for batch in heard for message in batch if isinstance(message, Message)]
    assert len(messages) == sum(map(len, heard)), "nothing is refused"
    samples = [(s.quantity, s.time_us // 1000 - T0, s.value) for message in messages for s in message.samples]
    assert samples == [
        ("active_power_kw", 1, 182.4), ("energy_total_kwh", 1, 915230.0), ("temperature_degc", 1, -5.0),
        ("machine_running", 1, 1.0), ("active_power_kw", 60_000, 183.5), ("energy_total_kwh", 60_000, 915233.0),
        ("temperature_degc", 60_000, -6.0), ("machine_running", 60_000, 0.0), ("active_power_kw", 20_000, 170.25),
        ("active_power_kw", 40_000, 171.25), ("temperature_degc", 120_000, -7.0),
    ]  # fmt: skip
    told = [(m.device_id, m.status.state, m.status.reason) for m in messages if m.status is not None]
    assert told == [
        ("g1", "online", "birth"), ("p1", "online", "birth"), ("p1", "offline", "death"), ("g1", "offline", "last_will"),
    ]  # fmt: skip
    death = messages[-2].status
    assert death is not None
    assert death.stale == ("active_power_kw", "energy_total_kwh", "machine_running", "temperature_degc")
    assert all(not message.rejected for message in messages) and not reader.book.asks and not reader.book.gaps


def test_our_encoding_is_read_by_us_and_asks_for_rebirth() -> None:
    packet = parse_packet(encode_rebirth(T0))
    assert isinstance(packet, Packet)
    assert [(metric.name, metric.datatype, metric.value) for metric in packet.metrics] == [
        ("Node Control/Rebirth", BOOLEAN, True)
    ]


@pytest.mark.parametrize(
    ("value", "datatype", "meant"),
    [(255, 1, -1), (2**32 - 1, 1, -1), (2**64 - 1, 2, -1), (127, 1, 127), (65_531, 2, -5), (2**31, 3, -(2**31)),
     (2**64 - 3, 4, -3), (70_000, 2, 70_000), (2**64 - 1, 8, 2**64 - 1), (1.5, 10, 1.5)],
)  # fmt: skip
def test_signed_integers(value: float, datatype: int, meant: float) -> None:
    assert number_of(value, datatype) == meant


def test_data_before_birth_waits_and_the_node_is_asked_once_in_a_while() -> None:
    reader = Reader()
    early = reader.one(DATA, data(7, T0, ("", 1, 0, 5.0)))
    assert isinstance(early, Rejection) and (early.reason, early.device_id) == ("unknown_alias", "d")
    assert reader.book.asks == [Rebirth("S1", "g")]
    reader.one(DATA, data(8, T0, ("", 1, 0, 5.0)))
    assert len(reader.book.asks) == 1
    reader.now += ASK_EVERY_S
    reader.one(DATA, data(9, T0, ("", 1, 0, 5.0)))
    assert len(reader.book.asks) == 2
    reader.born({1: "weight_kg"}, T0 + 10)
    assert reader.book.born == {"g", "d"}
    assert reader.values(DATA, data(2, T0 + 11, ("", 1, 0, 5.0))) == {"weight_kg": 5.0}


def test_names_need_no_birth_and_integers_need_their_type() -> None:
    reader = Reader()
    assert reader.values(DATA, data(1, T0, ("weight_kg", None, DOUBLE, 5.0))) == {"weight_kg": 5.0}
    message = reader.one(DATA, data(2, T0, ("weight_kg", None, 0, 5)))
    assert isinstance(message, Rejection), "an integer without a datatype may be signed"


def test_a_restart_forgets_neither_aliases_nor_numbers() -> None:
    reader = Reader()
    reader.born({1: "weight_kg", 2: "tags_present"})
    reader.restart()
    assert reader.values(DATA, data(2, T0 + 5, ("", 2, 0, 7.0), ("", 1, 0, 5.0))) == {"tags_present": 7.0, "weight_kg": 5.0}
    assert not reader.book.asks
    reader.restart()
    reader.one(DATA, data(4, T0 + 6, ("", 2, 0, 7.0)))
    (site, gap), = reader.book.gaps  # fmt: skip
    assert (site, gap.device_id, gap.detail["first_missing"], gap.detail["count"]) == ("S1", "g", 3, 1)
    assert reader.book.asks == [Rebirth("S1", "g")]


def test_numbers_go_around_and_repeats_are_no_gaps() -> None:
    reader = Reader()
    reader.born({1: "weight_kg"})
    for n in range(2, 600):
        reader.one(DATA, data(n % 256, T0 + n, ("", 1, 0, 5.0)))
        assert not reader.book.gaps
    for n in (590, 591, 592):
        reader.one(DATA, data(n % 256, T0 + n, ("", 1, 0, 5.0)))
        assert not reader.book.gaps, "delivered again"
    reader.one(DATA, data(600 % 256, T0 + 600, ("", 1, 0, 5.0)))
    assert not reader.book.gaps and not reader.book.asks


def test_death_makes_stale_once_and_an_old_will_says_nothing() -> None:
    reader = Reader()
    reader.born({1: "weight_kg"}, bd_seq=4)
    assert reader.dead(bd_seq=3) == [], "of the session before"
    gone = [message for message in reader.dead(bd_seq=4) if isinstance(message, Message)]
    assert [(m.device_id, m.gateway_id, m.status and m.status.stale) for m in gone] == [
        ("g", "", ()), ("d", "g", ("weight_kg",)),
    ]  # fmt: skip
    assert reader.dead(bd_seq=4) == [], "said already"
    after = reader.one(DATA, data(9, T0 + 60, ("", 1, 0, 5.0)))
    assert isinstance(after, Rejection) and after.reason == "unknown_alias", "nothing holds until the next birth"


def test_changed_aliases_are_never_mixed_up() -> None:
    reader = Reader()
    reader.born({1: "weight_kg", 2: "tags_present"}, T0, bd_seq=1)
    reader.dead(bd_seq=1)
    reader.born({1: "tags_present", 2: "weight_kg"}, T0 + 1000, bd_seq=2)
    assert reader.values(DATA, data(2, T0 + 1001, ("", 1, 0, 5.0))) == {"tags_present": 5.0}
    again = reader.one(DATA, data(2, T0 + 500, ("", 1, 0, 9.0)))
    assert isinstance(again, Rejection), "delivered again from before the change: uncertain, so not guessed"


def test_messages_of_the_past_are_read_by_the_birth_of_their_session() -> None:
    reader = Reader()
    early = reader.arrived + 1
    reader.dead(bd_seq=1)
    late = reader.arrived + 1
    reader.born({1: "weight_kg"}, T0 + 1000, bd_seq=2)
    reader.book = SparkplugBook(reader._find, replaying=True)
    ours = reader.one(DATA, data(9, T0 + 900, ("", 1, 0, 5.0)), late)
    assert isinstance(ours, Message) and ours.samples[0].quantity == "weight_kg"
    assert isinstance(reader.one(DATA, data(9, T0 - 900, ("", 1, 0, 5.0)), early), Rejection), "a session never explained"
    assert not reader.book.asks and reader.book.changes()[0] == []


def test_an_uncommitted_batch_is_read_again_from_what_is_stored() -> None:
    reader = Reader()
    reader.born({1: "weight_kg"}, bd_seq=1)
    will = RawMessage(b"spBv1.0/S1/NDEATH/g", encode(T0, None, [("bdSeq", None, INT64, 1)]), reader.arrived + 5, False)
    for _ in range(2):  # the database refuses the first time
        reader.book.begin([will.topic])
        assert len(reader.book.read(will)) == 2


_PATHS = ("NBIRTH/g", "DBIRTH/g/d", "NDATA/g", "DDATA/g/d", "NDEATH/g", "DDEATH/g/d", "NCMD/g", "DDATA/g", "X", "")
_BYTES = st.one_of(st.binary(max_size=200), st.sampled_from([encode(T0, 3, [("weight_kg", 1, DOUBLE, 2.0)])]))


@settings(max_examples=300, deadline=None)
@given(_BYTES, st.randoms(use_true_random=False), st.sampled_from(_PATHS))
def test_any_bytes(payload: bytes, rng: random.Random, path: str) -> None:
    damaged = bytearray(payload)
    for _ in range(rng.randint(0, 3) if damaged else 0):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    reader = Reader()
    for message in reader.read(f"spBv1.0/S1/{path}", bytes(damaged)):
        assert isinstance(message, Message | Rejection)
        assert parse_place(f"spBv1.0/S1/{path}".encode()) is not None or isinstance(message, Rejection)


def test_a_compressed_payload_is_refused_not_taken_for_empty() -> None:
    compressed = b"\x22\x15SPBV1.0_COMPRESSED..." + b"\x2a\x03abc"
    refused = parse_packet(compressed)
    assert isinstance(refused, Rejection) and refused.reason == "schema"


def test_a_command_is_not_ours() -> None:
    book = SparkplugBook(nothing)
    assert book.read(RawMessage(b"spBv1.0/S1/NCMD/g", b"", 0, False))[0] == Rejection(
        "topic", "the topic is not spBv1.0/SITE/NBIRTH|NDATA|NDEATH/NODE or .../D.../NODE/DEVICE"
    )
