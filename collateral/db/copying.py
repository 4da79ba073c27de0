"""PostgreSQL's binary COPY format to and from numpy, for rows of fixed width without NULL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEAD = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TAIL = b"\xff\xff"
PG_EPOCH_US = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970: timestamps are counted from there."""
INT4, INT8, FLOAT8 = ">i4", ">i8", ">f8"


def encode_rows(columns: Sequence[tuple[NDArray[Any], str]]) -> bytes:
    """Columns of one length, each with its type on the wire (`INT4`, `INT8`, `FLOAT8`, or `S3` for a text of 3 bytes).

    Timestamps are `INT8` after subtracting `PG_EPOCH_US`.
    """
    fields: list[tuple[str, str]] = [("count", ">i2")]
    for index, (_, kind) in enumerate(columns):
        fields += [(f"length{index}", INT4), (f"value{index}", kind)]
    rows = np.empty(len(columns[0][0]), dtype=np.dtype(fields))
    rows["count"] = len(columns)
    for index, (array, kind) in enumerate(columns):
        rows[f"length{index}"] = np.dtype(kind).itemsize
        rows[f"value{index}"] = array
    return b"".join((_HEAD, rows.tobytes(), _TAIL))


def decode_rows(data: bytes, kinds: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """What `COPY (SELECT ...) TO STDOUT (FORMAT binary)` gave, as arrays in the machine's own byte order.

    Raises:
        ValueError: rows are not of the widths that `kinds` says (a NULL, or another type).
    """
    fields: list[tuple[str, str]] = [("count", ">i2")]
    for name, kind in kinds.items():
        fields += [(f"length_{name}", INT4), (name, kind)]
    layout = np.dtype(fields)
    body = memoryview(data)[len(_HEAD) : -len(_TAIL)]
    rows = np.frombuffer(body, dtype=layout)
    if not (rows["count"] == len(kinds)).all():
        raise ValueError("rows of another width than expected")
    return {name: rows[name].astype(np.dtype(kind).newbyteorder("=")) for name, kind in kinds.items()}
