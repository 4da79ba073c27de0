"""A batch that the database takes only in parts, and loses its connection meanwhile, is counted once."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from multiprocessing import Pipe

import numpy as np
import psycopg2

from collateral.db import arrivals
from collateral.db.arrivals import DeviceUpdate
from collateral.db.pool import Pool, Role
from collateral.db.telemetry import Counts
from iot.intake import RawMessage, block_of
from iot.payload import encode_telemetry
from iot.writer import BatchWriter, patiently
from tests.iot_support import device, register, rows

T0 = 1_704_067_200_000
_DAMAGE = """
CREATE SEQUENCE damage;
GRANT USAGE ON damage TO PUBLIC;
CREATE FUNCTION damage() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF NEW.value = 13 THEN RAISE EXCEPTION 'not this one' USING ERRCODE = '22000'; END IF;
    IF NEW.value = 14 AND nextval('damage') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER damage BEFORE INSERT ON reading FOR EACH ROW EXECUTE FUNCTION damage();
"""
"""A value of 13 is refused; the first 14 ends its own connection."""


def test_parts_stored_before_the_connection_broke_are_counted_once(database: str) -> None:
    register(database, [device("m1", ["temperature_degc"])])
    with closing(psycopg2.connect(database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_DAMAGE)
    messages = [
        RawMessage(b"cw/v1/S1/m1/telemetry", encode_telemetry(n, T0 + n * 1000, {"temperature_degc": value}), n, False)
        for n, value in enumerate((1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 13.0, 14.0))
    ]
    ours, theirs = Pipe()
    with ours, theirs, Pool(database, Role.INGEST, size=1) as pool:
        writer = BatchWriter(pool, "test", datetime.now(UTC))
        counts = writer.write([block_of(messages)], partial(patiently, ours))
    assert counts == Counts(messages=8, points=8, stored=7, quarantined=1)
    kept = "SELECT messages, points, stored, duplicates, quarantined FROM ingest_tally"
    assert rows(database, kept) == [(8, 8, 7, 0, 1)]
    assert rows(database, "SELECT nextval('damage')") == [(3,)], "the connection broke once, and the part came again"


def test_devices_of_odd_names_keep_their_state_and_numbers(database: str) -> None:
    names = ['"', "\\", "a,b", "{}", "NULL", "", " ", "é'%s"]
    n = len(names)
    update = DeviceUpdate(names, [T0 * 1000] * n, [T0 * 1000] * n, [None] * n, [None] * n, [True] * n, [None] * n, [1] * n)
    heard = np.array([(k, k, 0) for k in range(n)], arrivals.HEARD)
    with Pool(database, Role.INGEST, size=1) as pool, pool.connection() as connection:
        arrivals.update_devices(connection, update)
        arrivals.keep_heard(connection, names, heard, T0 * 1000)
    kept = rows(database, "SELECT device_id FROM device_state WHERE online AND last_sequence IS NULL AND messages = 1")
    assert sorted(name for (name,) in kept) == sorted(names)
    assert rows(database, "SELECT devices FROM sequence_heard") == [(names,)]
