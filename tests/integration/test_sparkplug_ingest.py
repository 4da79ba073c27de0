"""Sparkplug edge nodes through a real broker, ingest and database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as paho

from collateral.db.pool import Pool, Role
from iot.intake import RawMessage, block_of
from iot.mqtt import drop, leave, make_client
from iot.sparkplug import REBIRTH, Packet, encode, parse_packet
from iot.writer import BatchWriter
from tests.integration.test_quarantine import balanced
from tests.iot_support import Publisher, device, ingest_process, number, register, rows, wait_for
from tests.services_support import Broker

VECTORS = Path(__file__).parents[1] / "vectors"
T0 = 1_780_000_000_000
DOUBLE, INT64 = 10, 4
LATER = [
    ("spBv1.0/S1/NBIRTH/g1", encode(T0 + 170_000, 0, [("bdSeq", None, INT64, 4)])),
    ("spBv1.0/S1/DBIRTH/g1/p1", encode(T0 + 170_000, 1, [
        ("temperature_degc", 1, DOUBLE, None), ("active_power_kw", 3, DOUBLE, None),
    ])),
    ("spBv1.0/S1/DDATA/g1/p1", encode(T0 + 180_000, 2, [("", 1, 0, 8.0), ("", 3, 0, 9.0)])),
]  # fmt: skip
"""The node's next session, aliases changed places."""
QUANTITIES = ("active_power_kw", "energy_total_kwh", "temperature_degc", "machine_running")


def behind(database: str, *names: str, quantities: Sequence[str] = QUANTITIES) -> None:
    """Registers gateway g1 and devices behind it."""
    gateway = device("g1", ["temperature_degc"])
    meters = [replace(device(name, quantities), gateway_id="g1") for name in names]
    register(database, [gateway, *meters], known_at=datetime.now(UTC))


def session(encoder: str) -> list[tuple[str, bytes]]:
    lines = json.loads((VECTORS / f"sparkplug_{encoder}.json").read_text())
    return [(line["topic"], bytes.fromhex(line["payload"])) for line in lines]


def write(
    database: str, messages: Sequence[tuple[str, bytes]], writer: BatchWriter | None = None, first_s: int = 200
) -> None:
    """One batch each, arriving a second after each other."""
    with Pool(database, Role.INGEST, size=1) as pool:
        used = writer or BatchWriter(pool, "test", datetime.now(UTC))
        for n, (topic, payload) in enumerate(messages):
            used.write([block_of([RawMessage(topic.encode(), payload, T0 * 1000 + (first_s + n) * 1_000_000, False)])])


def stored(database: str) -> list[tuple[str, str, int, float]]:
    return rows(
        database,
        "SELECT device_id, quantity, (extract(epoch FROM time) * 1000 - %s)::bigint, value FROM reading"
        " JOIN series USING (series_id) ORDER BY 1, 2, 3",
        [T0],
    )


def test_sessions_of_two_encoders_give_the_same_rows(database: str) -> None:
    behind(database, "p1")
    write(database, session("tahu"))
    first = stored(database)
    assert len(first) == 11 and ("p1", "temperature_degc", 120_000, -7.0) in first
    write(database, session("pysparkplug"))  # and again by another process: everything is there already
    assert stored(database) == first and balanced(database)
    assert number(database, "SELECT sum(duplicates) FROM ingest_tally") == 11
    assert number(database, "SELECT count(*) FROM quarantine") == 0
    events = rows(database, "SELECT DISTINCT device_id, kind, detail->'stale' IS NOT NULL FROM device_event ORDER BY 1, 2")
    assert events == [
        ("g1", "last_will", False), ("g1", "online", False), ("p1", "offline", True), ("p1", "online", False),
    ]  # fmt: skip
    assert dict(rows(database, "SELECT device_id, online FROM device_state")) == {"g1": False, "p1": False}
    assert number(database, "SELECT count(*) FROM device_sequence") == 0


def test_two_services_that_both_read_all_of_it(database: str) -> None:
    behind(database, "p1")
    messages = [*session("tahu"), *LATER]
    with Pool(database, Role.INGEST, size=1) as pool:
        ahead, behind_it = (BatchWriter(pool, name, datetime.now(UTC)) for name in ("a", "b"))
        for n in range(len(messages) + 3):  # the second runs three messages behind
            for writer, at in ((ahead, n), (behind_it, n - 3)):
                if 0 <= at < len(messages):
                    write(database, [messages[at]], writer, 200 + n)
    found = stored(database)
    assert len(found) == 13 and ("p1", "temperature_degc", 180_000, 8.0) in found
    assert ("p1", "active_power_kw", 180_000, 9.0) in found, "by the aliases of the second session"
    assert number(database, "SELECT count(*) FROM quarantine") == 0 and balanced(database)
    assert number(database, "SELECT count(*) FROM reading_conflict") == 0
    assert number(database, "SELECT count(*) FROM sparkplug_birth WHERE device_id = 'p1'") == 2


def test_a_node_speaks_only_for_devices_behind_it(database: str) -> None:
    behind(database, "p1")
    birth = encode(T0, 1, [("weight_kg", 1, DOUBLE, 5.0), ("active_power_kw", 2, DOUBLE, 1.0), ("odd", 3, DOUBLE, 1.0)])
    places = ("S1/DBIRTH/g1/p1", "S1/DBIRTH/g2/p1", "S2/DBIRTH/g1/p1", "S1/DBIRTH/g1/p9")
    write(database, [(f"spBv1.0/{place}", birth) for place in places])
    reasons = rows(database, "SELECT reason, topic FROM quarantine ORDER BY 1, 2")
    assert [(reason, bytes(topic).decode()) for reason, topic in reasons] == [
        ("undeclared_quantity", "cw/v1/S1/p1/telemetry"), ("unknown_device", "spBv1.0/S1/DBIRTH/g1/p9"),
        ("unknown_quantity", "cw/v1/S1/p1/telemetry"), ("wrong_gateway", "spBv1.0/S1/DBIRTH/g2/p1"),
        ("wrong_site", "spBv1.0/S2/DBIRTH/g1/p1"),
    ]  # fmt: skip
    assert len(stored(database)) == 1 and balanced(database)
    write(database, [("spBv1.0/S1/NDEATH/g2", encode(T0, None, []))])
    assert number(database, "SELECT count(*) FROM device_event WHERE kind = 'last_will'") == 0, "not g2's to declare dead"


def test_data_before_its_birth_is_made_good_when_the_birth_comes(database: str, broker: Broker, tmp_path: Path) -> None:
    behind(database, "p1")
    node = Edge(broker.mqtt_fleet_url)
    publisher = Publisher(broker.mqtt_fleet_url)
    now = int(datetime.now(UTC).timestamp() * 1000) - 60_000
    with ingest_process(database, broker.mqtt_url, tmp_path):
        publisher.send([
            ("spBv1.0/S1/DDATA/g1/p1", encode(now + n, 10 + n, [("", 1, 0, 4.5 + n), ("", 2, 0, 20.5)])) for n in range(3)
        ])  # fmt: skip
        wait_for(lambda: number(database, "SELECT count(*) FROM quarantine WHERE reason = 'unknown_alias'") == 3)
        wait_for(node.asked, what="a request for the births")
        publisher.send([
            ("spBv1.0/S1/NBIRTH/g1", encode(now + 50, 0, [("bdSeq", None, INT64, 1)])),
            ("spBv1.0/S1/DBIRTH/g1/p1", encode(now + 50, 1, [
                ("active_power_kw", 1, DOUBLE, 9.0), ("Ambient/temperature_degc", 2, DOUBLE, 21.0),
            ])),
        ])  # fmt: skip
        wait_for(lambda: number(database, "SELECT count(*) FROM reading") == 8, what="what waited for the birth")
    assert number(database, "SELECT count(*) FROM quarantine WHERE retried_at IS NULL") == 0
    with ingest_process(database, broker.mqtt_url, tmp_path):  # aliases outlive ingest
        publisher.send([("spBv1.0/S1/DDATA/g1/p1", encode(now + 100, 2, [("", 2, 0, 22.0)]))])
        wait_for(lambda: number(database, "SELECT count(*) FROM reading") == 9)
    values = rows(database, "SELECT quantity, value FROM reading JOIN series USING (series_id) ORDER BY time, quantity")
    assert values[:2] == [("active_power_kw", 4.5), ("temperature_degc", 20.5)] and values[-1] == ("temperature_degc", 22.0)
    assert balanced(database) and number(database, "SELECT count(*) FROM device_event WHERE kind = 'sequence_gap'") == 0
    publisher.close()
    node.close()


def test_an_edge_node_of_its_own_account_dies_by_its_will(database: str, broker: Broker, tmp_path: Path) -> None:
    behind(database, "p1")
    broker.stop()
    broker.passwords = {**broker.passwords, "g1": "secret"}
    broker.start()
    with ingest_process(database, broker.mqtt_url, tmp_path):
        client = make_client(broker.url_of("g1"), "edge-g1", clean_session=True)
        client.will_set("spBv1.0/S1/NDEATH/g1", encode(T0, None, [("bdSeq", None, INT64, 7)]), qos=1)
        client.reconnect()
        client.loop_start()
        wait_for(client.is_connected)
        now = int(datetime.now(UTC).timestamp() * 1000)
        client.publish("spBv1.0/S1/NBIRTH/g1", encode(now, 0, [("bdSeq", None, INT64, 7)]), qos=1)
        client.publish("spBv1.0/S1/DBIRTH/g1/p1", encode(now, 1, [("active_power_kw", 1, DOUBLE, 9.0)]), qos=1)
        client.publish("spBv1.0/S1/DBIRTH/g2/p1", encode(now, 1, [("active_power_kw", 1, DOUBLE, 6.0)]), qos=1)
        wait_for(lambda: number(database, "SELECT count(*) FROM reading") == 1)
        drop(client)
        wait_for(lambda: number(database, "SELECT count(*) FROM device_event WHERE kind = 'last_will'") == 2)
    assert rows(database, "SELECT device_id, detail FROM device_event WHERE kind = 'last_will' ORDER BY 1") == [
        ("g1", {}), ("p1", {"stale": ["active_power_kw"]}),
    ]  # fmt: skip
    assert number(database, "SELECT count(*) FROM quarantine") == 0, "what it said in another's name stopped at the broker"


class Edge:
    """Listens as node g1 for commands."""

    def __init__(self, url: str) -> None:
        self._heard: list[bytes] = []
        self._ready = False
        self._client = make_client(url, "edge", clean_session=True)
        self._client.on_message = lambda _, held, message: self._heard.append(bytes(message.payload))
        self._client.on_connect = lambda client, *_: client.subscribe("spBv1.0/S1/NCMD/g1", 1)
        self._client.on_subscribe = self._subscribed
        self._client.reconnect()
        wait_for(lambda: self._client.loop(0.05) == paho.MQTT_ERR_SUCCESS and self._ready, what="subscription")

    def _subscribed(self, *_: object) -> None:
        self._ready = True

    def asked(self) -> bool:
        """A rebirth was asked for."""
        self._client.loop(0.05)
        packets = [parse_packet(payload) for payload in self._heard]
        return any(isinstance(p, Packet) and p.metrics[0].name == REBIRTH and p.metrics[0].value is True for p in packets)

    def close(self) -> None:
        leave(self._client)
