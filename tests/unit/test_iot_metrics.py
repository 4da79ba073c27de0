"""Figures of ingest: what the broker says of itself, alarms, and the page for Prometheus."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from collateral.db.telemetry import Counts
from iot.broker import NEARLY_FULL_BYTES, BrokerFigures
from iot.metrics import IngestStats, served


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_broker_is_alarming_when_it_drops_or_is_nearly_full() -> None:
    calm = BrokerFigures().after([(b"$SYS/broker/store/messages/bytes", b"1000"), (b"$SYS/x", b"7"), (b"$SYS/b", b"x")])
    assert calm == BrokerFigures(stored_bytes=1000)
    drops = calm.after([(b"$SYS/broker/publish/messages/dropped", b"3")])
    assert drops.alarm and drops.dropped == 3
    assert not drops.after([(b"$SYS/broker/publish/messages/dropped", b"3")]).alarm
    assert calm.after([(b"$SYS/broker/store/messages/bytes", b"%d" % (NEARLY_FULL_BYTES + 1))]).alarm


def test_prometheus_reads_the_counters_of_the_service() -> None:
    stats = IngestStats(received=5, acknowledged=4, batches=2, busy_s=0.5, counts=Counts(4, 12, 9, 1, 1, 1), held=1)
    stats.rejects = {"range": 1}
    port = free_port()
    with served(lambda: stats, port):
        stats.received = 6
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            page = answer.read().decode()
    for line in (
        "collateral_ingest_received_total 6.0", 'collateral_ingest_points_total{outcome="stored"} 9.0',
        'collateral_ingest_rejects_total{reason="range"} 1.0', "collateral_ingest_batch_seconds_sum 0.5",
        "collateral_ingest_batch_seconds_count 2.0", "collateral_ingest_in_flight_messages 1.0",
        "collateral_broker_alarm 0.0",
    ):  # fmt: skip
        assert line in page.splitlines()
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2)


def test_a_port_in_use_costs_no_ingest(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with served(IngestStats, taken.getsockname()[1]):
            assert "cannot be had" in caplog.text


def test_a_port_that_is_none_costs_no_ingest(caplog: pytest.LogCaptureFixture) -> None:
    with served(IngestStats, 99_999):
        assert "cannot be had" in caplog.text
