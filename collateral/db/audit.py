"""Who did what: the append-only `audit` table."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from psycopg2.extensions import connection as Connection  # noqa: N812


def record(connection: Connection, actor: str, action: str, subject: str, detail: Mapping[str, object]) -> None:
    """Appends one row; secrets never belong into `detail`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit (actor, action, subject, detail) VALUES (%s, %s, %s, %s)",
            (actor, action, subject, orjson.dumps(dict(detail), default=str).decode()),
        )
