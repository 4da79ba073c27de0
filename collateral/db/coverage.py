"""Coverage of loans through time: append-only rows, and the newest per loan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import execute_values

from collateral.db.pool import fetch_dicts

_COLUMNS = "loan_id, at, currency, outstanding, value, most, covenant, lines, policy_version"


@dataclass(frozen=True)
class CoverageRow:
    """A loan's collateral at one evaluation, in its currency."""

    loan_id: str
    at: datetime
    currency: str
    outstanding: float
    value: float
    """Verified quantity x price x (1 - haircut), by the preferred witness of each asset."""
    most: float
    """The same by the witness that sees most."""
    covenant: float | None
    """Smallest allowed value / outstanding."""
    lines: Sequence[Mapping[str, Any]]
    """One per asset: asset_id, basis, share, unit_price, haircut, value, most."""
    policy_version: str


def write_coverage(connection: Connection, rows: Sequence[CoverageRow]) -> int:
    """Appends what differs from the last row of the same loan and time; returns how many."""
    if not rows:
        return 0
    held = {
        (row.loan_id, row.at): row
        for row in _read(
            connection,
            "WHERE loan_id = ANY(%s) AND at BETWEEN %s AND %s",
            (sorted({row.loan_id for row in rows}), min(row.at for row in rows), max(row.at for row in rows)),
        )
    }
    fresh = [row for row in rows if held.get((row.loan_id, row.at)) != row]
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            f"INSERT INTO coverage ({_COLUMNS}) VALUES %s",  # noqa: S608
            [
                (
                    row.loan_id, row.at, row.currency, row.outstanding, row.value, row.most, row.covenant,
                    orjson.dumps(list(row.lines)).decode(), row.policy_version,
                )
                for row in fresh
            ],
            page_size=500,
        )
    return len(fresh)


def latest_coverage(connection: Connection, loan_ids: Sequence[str] | None = None) -> list[CoverageRow]:
    """The newest coverage of each loan, by loan."""
    newest: dict[str, CoverageRow] = {}
    for row in _read(connection, "WHERE %(loans)s::text[] IS NULL OR loan_id = ANY(%(loans)s)",
                     {"loans": None if loan_ids is None else list(loan_ids)}):
        newest[row.loan_id] = row
    return list(newest.values())


def last_evaluated(connection: Connection, now: datetime) -> dict[str, datetime]:
    """Per loan the latest time up to `now` for which its coverage was worked out."""
    rows = fetch_dicts(connection, "SELECT loan_id, max(at) AS at FROM coverage WHERE at <= %s GROUP BY loan_id", (now,))
    return {row["loan_id"]: row["at"] for row in rows}


def _read(connection: Connection, condition: str, parameters: object) -> list[CoverageRow]:
    rows = fetch_dicts(
        connection,
        f"SELECT DISTINCT ON (loan_id, at) {_COLUMNS} FROM coverage {condition}"  # noqa: S608
        " ORDER BY loan_id, at, coverage_id DESC",
        parameters,
    )
    return [CoverageRow(**row) for row in rows]
