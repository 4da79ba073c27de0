"""The clock of this machine beside the database's: what is judged of a time to come could never be taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db.pool import fetch_dicts
from collateral.errors import ServiceError

TOLERANCE = timedelta(minutes=5)


def check_clock(connection: Connection, here: datetime | None = None) -> None:
    """Nothing, where both clocks tell the same time within `TOLERANCE`; `here`: what this machine's says, by default now.

    Raises:
        ServiceError: they do not; the message says by how much.
    """
    there: datetime = fetch_dicts(connection, "SELECT clock_timestamp() AS now")[0]["now"]
    ahead = (here or datetime.now(UTC)) - there
    if abs(ahead) > TOLERANCE:
        side = "ahead of" if ahead > timedelta() else "behind"
        raise ServiceError(
            f"The clock of this machine is {abs(ahead).total_seconds() / 60:,.0f} minutes {side} the database's "
            f"({there:%Y-%m-%d %H:%M} UTC): nothing was judged, for that could not be taken back. Set the wrong one right "
            "(NTP) and run the command again."
        )
