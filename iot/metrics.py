"""Figures of a running ingest service for Prometheus, on the loopback address alone. Nothing is counted twice: they are read
from the service's own counters when somebody asks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric

from collateral.db.telemetry import Counts
from iot.broker import BrokerFigures

_LOG = logging.getLogger("iot.metrics")


@dataclass
class IngestStats:
    """Counters of one run."""

    received: int = 0
    acknowledged: int = 0
    batches: int = 0
    connects: int = 0
    counts: Counts = field(default_factory=Counts)
    rejects: Mapping[str, int] = field(default_factory=dict)
    """Quarantined values by reason."""
    busy_s: float = 0.0
    """Time the writer needed for all batches."""
    slowest_batch_s: float = 0.0
    lag_s: float = 0.0
    """From the arrival of the oldest message of the last batch to its commit."""
    held: int = 0
    """Messages here that are not acknowledged."""
    held_bytes: int = 0
    batch_limit: int = 0
    """Messages that a batch may have at present."""
    broker: BrokerFigures = field(default_factory=BrokerFigures)


class IngestCollector:
    """Gives the figures of `read()` whenever they are asked for."""

    def __init__(self, read: Callable[[], IngestStats]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """All figures."""
        stats = self._read()
        for name, text, value in (
            ("received", "Messages delivered by the broker.", stats.received),
            ("acknowledged", "Messages acknowledged after their commit.", stats.acknowledged),
            ("connects", "Connections to the broker.", stats.connects),
        ):
            yield CounterMetricFamily(f"collateral_ingest_{name}", text, value=value)
        points = CounterMetricFamily("collateral_ingest_points", "Values by outcome.", labels=["outcome"])
        for outcome, number in asdict(stats.counts).items():
            if outcome not in ("messages", "points"):
                points.add_metric([outcome], number)
        yield points
        rejects = CounterMetricFamily("collateral_ingest_rejects", "Values sent to quarantine by reason.", labels=["reason"])
        for reason, number in sorted(stats.rejects.items()):
            rejects.add_metric([reason], number)
        yield rejects
        yield SummaryMetricFamily(
            "collateral_ingest_batch_seconds", "Time to commit a batch.", count_value=stats.batches, sum_value=stats.busy_s
        )
        for name, text, level in (
            ("slowest_batch_seconds", "Slowest batch so far.", stats.slowest_batch_s),
            ("lag_seconds", "Arrival of the oldest message of the last batch to its commit.", stats.lag_s),
            ("in_flight_messages", "Messages held that are not acknowledged.", stats.held),
            ("in_flight_bytes", "Bytes held that are not acknowledged.", stats.held_bytes),
            ("batch_limit", "Messages that a batch may have at present.", stats.batch_limit),
        ):
            yield GaugeMetricFamily(f"collateral_ingest_{name}", text, value=level)
        yield CounterMetricFamily("collateral_broker_dropped", "Messages the broker dropped.", value=stats.broker.dropped)
        for name, text, level in (
            ("stored_messages", "Messages the broker keeps.", stats.broker.stored),
            ("stored_bytes", "Bytes of the messages the broker keeps.", stats.broker.stored_bytes),
            ("alarm", "1 while the broker drops messages or its queue is nearly full.", int(stats.broker.alarm)),
        ):
            yield GaugeMetricFamily(f"collateral_broker_{name}", text, value=level)


@contextmanager
def served(read: Callable[[], IngestStats], port: int) -> Iterator[None]:
    """The figures at http://127.0.0.1:port/metrics; port 0: nowhere. A port in use is told and costs nothing else."""
    if not port:
        yield
        return
    registry = CollectorRegistry()
    registry.register(IngestCollector(read))
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except (OSError, OverflowError) as error:
        _LOG.warning("no metrics: port %d cannot be had (%s)", port, error)
        yield
        return
    _LOG.info("metrics at http://127.0.0.1:%d/metrics", port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5.0)
