"""What the telemetry tests share: a small portfolio, ingest as a real process, and a waiting publisher."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import shapely

from collateral.db import telemetry
from collateral.db.pool import Pool, Role
from collateral.db.reference import write_portfolio
from collateral.domain import Asset, AssetKind, Borrower, Device, Loan, LoanSite, Portfolio, Site, SiteKind
from iot.mqtt import leave, make_client

START = datetime(2024, 1, 1, tzinfo=UTC)


def site(
    site_id: str = "S1", kind: SiteKind = SiteKind.FACTORY, zone: str = "Asia/Shanghai", kwp: float | None = None
) -> Site:
    """A square of about 100 m."""
    return Site(
        site_id, "B1", f"site {site_id}", f"site {site_id}", kind, zone, 32651,
        shapely.box(121.0, 31.0, 121.001, 31.001), False, kwp, None, None,
    )  # fmt: skip


def device(
    device_id: str, quantities: Sequence[str], site_id: str = "S1", asset_id: str = "", interval_s: float = 900.0
) -> Device:
    """A registered device."""
    return Device(device_id, site_id, asset_id, "test", "third_party", tuple(quantities), interval_s, "")


def asset(asset_id: str, kind: AssetKind, site_id: str = "S1", quantity: float = 1.0, **more: Any) -> Asset:
    """A pledged thing of loan L1."""
    return Asset(
        asset_id, site_id, "L1", kind, asset_id, more.pop("serial", asset_id), "", quantity, Decimal(1000),
        date(2023, 1, 1), more.pop("corridor", None),
    )  # fmt: skip


def register(
    database: str, devices: Sequence[Device], sites: Sequence[Site] | None = None, assets: Sequence[Asset] = (),
    known_at: datetime = START,
) -> None:  # fmt: skip
    """Writes a portfolio of one borrower, one loan and what is given."""
    places = tuple(sites or (site(),))
    loan = Loan("L1", "B1", "north", "officer", "CNY", Decimal(100), Decimal(50), date(2023, 1, 1), date(2030, 1, 1), None)
    given = Portfolio(
        borrowers=(Borrower("B1", "b", "b", "", "steel"),),
        loans=(loan,),
        sites=places,
        loan_sites=tuple(LoanSite("L1", place.site_id) for place in places),
        assets=tuple(assets),
        devices=tuple(devices),
    )
    with Pool(database, Role.APP, size=1) as pool, pool.connection() as connection:
        write_portfolio(connection, given, known_at=known_at, by="test")


def rows(database: str, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """What a query gives."""
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute(query, parameters)
        return cursor.fetchall()


def change(database: str, statement: str, parameters: Sequence[object] = ()) -> None:
    """Commits a statement as the owner."""
    with closing(psycopg2.connect(database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def number(database: str, query: str, parameters: Sequence[object] = ()) -> int:
    """The single number a query gives."""
    return int(rows(database, query, parameters)[0][0])


def wait_for(condition: Callable[[], bool], timeout_s: float = 30.0, what: str = "condition") -> None:
    """Returns as soon as `condition` holds; fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true in {timeout_s} s"
        time.sleep(0.03)


@contextmanager
def ingest_process(
    database: str, mqtt_url: str, runtime: Path, until: bytes = b"subscribed"
) -> Iterator[subprocess.Popen[bytes]]:
    """`collateral ingest` as an operator starts it, its log saying `until` when the block begins; ended by SIGTERM."""
    environment = {
        **os.environ, "COLLATERAL_DATABASE_URL": database, "COLLATERAL_MQTT_URL": mqtt_url,
        "COLLATERAL_RUNTIME": str(runtime), "PYTHONPATH": str(Path(__file__).parents[1]),
    }  # fmt: skip
    log = runtime / f"ingest-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "collateral.cli", "ingest", "--json"]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr)
    try:
        wait_for(lambda: process.poll() is not None or until in log.read_bytes(), 30, "subscription")
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


class Publisher:
    """Publishes raw payloads at QoS 1 and waits until the broker has them."""

    def __init__(self, url: str) -> None:
        self._client = make_client(url, f"test-{time.monotonic_ns()}", clean_session=True, window=200)
        self._acknowledged = 0
        self._client.on_publish = self._on_publish
        self._client.reconnect()
        wait_for(self._connected, 10, "connection")

    def send(self, messages: Sequence[tuple[str, bytes]], retain: bool = False) -> None:
        """Returns when every message is acknowledged by the broker."""
        target = self._acknowledged + len(messages)
        for topic, payload in messages:
            self._client.publish(topic, payload, qos=1, retain=retain)
            self._client.loop(0)
        deadline = time.monotonic() + 30
        while self._acknowledged < target:
            assert time.monotonic() < deadline, "the broker does not acknowledge"
            self._client.loop(0.1)

    def close(self) -> None:
        """Leaves."""
        leave(self._client)

    def _connected(self) -> bool:
        self._client.loop(0.05)
        return self._client.is_connected()

    def _on_publish(self, client: object, userdata: object, mid: int, reason: object, properties: object) -> None:
        self._acknowledged += 1


def store(database: str, readings: Sequence[tuple[str, str, int, float, int]]) -> None:
    """Commits (device, quantity, time_us, value, received_us) as ingest would, marks included."""
    with Pool(database, Role.INGEST, size=1) as pool, pool.connection() as connection:
        numbers = telemetry.series_ids(connection, {(row[0], row[1]) for row in readings})
        telemetry.hold_dirty_epoch(connection)
        ids = [numbers[row[0], row[1]] for row in readings]
        batch = telemetry.ReadingBatch(
            np.array(ids, np.int32),
            np.array([row[2] for row in readings], np.int64),
            np.array([row[3] for row in readings], np.float64),
            np.array([row[4] for row in readings], np.int64),
            np.full(len(readings), telemetry.NO_SEQUENCE, np.int64),
        )
        telemetry.merge_readings(connection, batch)
        days = {(number, row[2] // 86_400_000_000) for number, row in zip(ids, readings, strict=True)}
        telemetry.mark_dirty(
            connection, [(number, day * 86_400_000_000, (day + 1) * 86_400_000_000) for number, day in sorted(days)]
        )
