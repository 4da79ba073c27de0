"""The broker's doors and its memory: who may do what, and that acknowledged messages stay."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from iot.mqtt import leave
from tests.services_support import Broker

WAIT = 20.0
MESSAGES = 3000
"""Three times what a broker with default settings keeps for an absent client."""


class Client:
    """A paho client that waits for things to happen instead of sleeping."""

    def __init__(self, url: str | None, port: int, name: str, expected: int = 0) -> None:
        self.connected, self.complete, self.subscribed = threading.Event(), threading.Event(), threading.Event()
        self.answer = ""
        self.received: list[bytes] = []
        self.expected = expected
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        if url is not None:
            parts = urlsplit(url)
            self.client.username_pw_set(parts.username, parts.password)
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600
        self.client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self.client.loop_start()
        assert self.connected.wait(WAIT)

    def _on_connect(self, client: object, data: object, flags: object, reason: object, properties: object) -> None:
        self.answer = str(reason)
        self.connected.set()

    def _on_message(self, client: object, data: object, message: mqtt.MQTTMessage) -> None:
        self.received.append(bytes(message.payload))
        if len(self.received) >= self.expected:
            self.complete.set()

    def subscribe(self, topic: str) -> None:
        self.client.subscribe(topic, qos=1)
        assert self.subscribed.wait(WAIT)

    def publish(self, topic: str, payload: bytes) -> None:
        self.client.publish(topic, payload, qos=1).wait_for_publish(WAIT)

    def close(self) -> None:
        leave(self.client)


def test_nobody_without_an_account_and_the_right_password_gets_in(broker: Broker) -> None:
    wrong = broker.mqtt_url.replace(broker.passwords["ingest"], "wrong")
    for url in (None, wrong):
        client = Client(url, broker.port, "stranger")
        client.close()
        assert client.answer == "Not authorized"
    client = Client(broker.mqtt_url, broker.port, "known")
    client.close()
    assert client.answer == "Success"


def test_a_device_writes_its_own_topics_only_and_the_fleet_reads_nothing(broker: Broker) -> None:
    broker.stop()
    broker.passwords = {**broker.passwords, "meter-7": "its-own-password"}
    broker.start()
    ingest = Client(broker.mqtt_url, broker.port, "ingest-test", expected=3)
    ingest.subscribe("cw/v1/#")
    fleet = Client(broker.mqtt_fleet_url, broker.port, "fleet-test")
    fleet.subscribe("cw/v1/#")
    device = Client(broker.url_of("meter-7"), broker.port, "device-test")
    device.publish("cw/v1/site-1/meter-8/telemetry", b"forged")
    device.publish("cw/v1/site-1/meter-7/command", b"forged")
    device.publish("cw/v1/site-1/meter-7/telemetry", b"own")
    fleet.publish("cw/v2/elsewhere", b"forged")
    fleet.publish("cw/v1/site-1/meter-9/telemetry", b"simulated")
    ingest.client.publish("cw/v1/site-1/meter-9/telemetry", b"forged", qos=1).wait_for_publish(WAIT)
    fleet.publish("cw/v1/site-1/meter-9/status", b"last")
    assert ingest.complete.wait(WAIT)
    for client in (ingest, fleet, device):
        client.close()
    assert ingest.received == [b"own", b"simulated", b"last"]
    assert fleet.received == []


def test_a_long_queue_for_an_absent_client_outlives_a_restart(broker: Broker) -> None:
    absent = Client(broker.mqtt_url, broker.port, "ingest-test")
    absent.subscribe("cw/v1/#")
    absent.close()
    fleet = Client(broker.mqtt_fleet_url, broker.port, "fleet-test")
    sent = [fleet.client.publish("cw/v1/s/d/telemetry", str(number), qos=1) for number in range(MESSAGES)]
    for message in sent:
        message.wait_for_publish(WAIT)
    fleet.close()
    broker.stop()
    broker.start()
    back = Client(broker.mqtt_url, broker.port, "ingest-test", expected=MESSAGES)
    assert back.complete.wait(WAIT)
    back.close()
    assert [int(payload) for payload in back.received] == list(range(MESSAGES))
