"""Writes a Sparkplug session with an encoder that is not ours: `make_sparkplug.py pysparkplug|tahu > sparkplug_NAME.json`.

`pysparkplug` is pysparkplug 0.6.1; `tahu` is the Eclipse Tahu helper as mqtt-spb-wrapper 2.1.2 ships it. Both pin a
paho-mqtt older than this project's, so they are no dependencies: download them with `pip download --no-deps`, unzip, set
PYTHONPATH.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

T0 = 1_780_000_000_000
DOUBLE, FLOAT, INT16, UINT64, BOOLEAN, STRING, INT64 = 10, 9, 2, 8, 11, 12, 4
Row = tuple[str, int | None, int, Any, int, bool]
"""name, alias, datatype, value, time, historical."""
SESSION: list[tuple[str, str, int | None, list[Row]]] = [
    ("NBIRTH", "g1", 0, [("bdSeq", None, INT64, 3, T0, False), ("Node Control/Rebirth", None, BOOLEAN, False, T0, False)]),
    ("DBIRTH", "g1/p1", 1, [
        ("Meter/active_power_kw", 1, DOUBLE, 182.4, T0 + 1, False), ("energy_total_kwh", 2, UINT64, 915230, T0 + 1, False),
        ("temperature_degc", 3, INT16, -5, T0 + 1, False), ("machine_running", 4, BOOLEAN, True, T0 + 1, False),
        ("Properties/Firmware", None, STRING, "1.2", T0 + 1, False),
    ]),
    ("DDATA", "g1/p1", 2, [
        ("", 1, DOUBLE, 183.5, T0 + 60_000, False), ("", 2, UINT64, 915233, T0 + 60_000, False),
        ("", 3, INT16, -6, T0 + 60_000, False), ("", 4, BOOLEAN, False, T0 + 60_000, False),
    ]),
    ("DDATA", "g1/p1", 3, [
        ("", 1, DOUBLE, 170.25, T0 + 20_000, True), ("", 1, DOUBLE, 171.25, T0 + 40_000, True),
        ("", 1, DOUBLE, None, T0 + 90_000, False), ("", 3, INT16, -7, T0 + 120_000, False),
    ]),
    ("DDEATH", "g1/p1", 4, []),
    ("NDEATH", "g1", None, [("bdSeq", None, INT64, 3, T0, False)]),
]  # fmt: skip


def with_pysparkplug(kind: str, seq: int | None, metrics: list[Row]) -> bytes:
    """One payload."""
    lib = importlib.import_module("pysparkplug")
    rows = tuple(
        lib.Metric(
            timestamp=at, name=name or None, datatype=lib.DataType(datatype), value=value, alias=alias,
            is_historical=past, is_null=value is None,
        )
        for name, alias, datatype, value, at, past in metrics
    )  # fmt: skip
    classes = {
        "NBIRTH": lib.NBirth, "DBIRTH": lib.DBirth, "DDATA": lib.DData, "DDEATH": lib.DDeath, "NDEATH": lib.NDeath,
    }  # fmt: skip
    moment = max((row[4] for row in metrics), default=T0 + 130_000)
    if kind == "NDEATH":
        return bytes(classes[kind](timestamp=moment, bd_seq_metric=rows[0]).encode(include_dtypes=True))
    if kind == "DDEATH":
        return bytes(classes[kind](timestamp=moment, seq=seq).encode())
    return bytes(classes[kind](timestamp=moment, seq=seq, metrics=rows).encode(include_dtypes=kind.endswith("BIRTH")))


def with_tahu(kind: str, seq: int | None, metrics: list[Row]) -> bytes:
    """One payload."""
    lib = importlib.import_module("mqtt_spb_wrapper.spb_protobuf.sparkplug_b")
    payload = lib.Payload()
    payload.timestamp = max((row[4] for row in metrics), default=T0 + 130_000)
    if seq is not None:
        payload.seq = seq
    for name, alias, datatype, value, at, past in metrics:
        if value is None:
            lib.addNullMetric(payload, name or None, alias, datatype).timestamp = at
        else:
            lib.addMetric(payload, name or None, alias, datatype, value, at).is_historical = past
    return bytes(payload.SerializeToString())


if __name__ == "__main__":
    encoder = {"pysparkplug": with_pysparkplug, "tahu": with_tahu}[sys.argv[1]]
    lines = [
        {"topic": f"spBv1.0/S1/{kind}/{path}", "payload": encoder(kind, seq, metrics).hex()}
        for kind, path, seq, metrics in SESSION
    ]
    sys.stdout.write(json.dumps(lines, indent=1) + "\n")
