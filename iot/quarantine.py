"""Messages in quarantine are tried again, after a fix, as if they had just come, with their original time of arrival.

A retry goes through the writer of ingest itself, in batches of one transaction each: what is read now is stored and its row
closed, what fails for another reason gets a row of its own, what fails as before stays. The tally moves along, so that
points == stored + duplicates + conflicts + quarantined always holds, and quarantined is the number of open rows. A retry
that is killed has done whole batches or nothing of them, and trying again what is done changes nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import quarantine, telemetry
from collateral.db.pool import Connections, Pool
from collateral.db.quarantine import Held, Selection
from collateral.db.telemetry import Counts, QuarantineRow
from iot.intake import Block, RawMessage, block_of

CLIENT = "quarantine-retry"
"""Under this name retries stand in the tally."""
BATCH = 500


class Writer(Protocol):
    """What is used of `iot.writer.BatchWriter`."""

    refused: list[QuarantineRow]

    def write(self, blocks: Sequence[Block]) -> Counts:
        """Stores or refuses what is in `blocks`."""


class WriterOf(Protocol):
    """Makes a writer."""

    def __call__(
        self, pool: Connections, client_id: str, started_at: datetime, replaying: bool
    ) -> Writer:
        """A writer over `pool`."""


@dataclass
class RetrySummary:
    """What came of it."""

    tried: int = 0
    released: int = 0
    """Rows whose message was read; a value of it that was refused has a row of its own."""
    requarantined: int = 0
    """Rows that fail for another reason now and stand under it."""
    unchanged: int = 0
    stored: int = 0
    duplicates: int = 0
    """Values that were in the table already."""
    conflicts: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Values and messages that were refused, by the reason of now."""
    earliest: datetime | None = None
    """Readings from here on changed."""
    seconds: float = 0.0

    @property
    def since(self) -> date | None:
        """Days observed from here on are to be looked at again (the site's local date may be the one before)."""
        return None if self.earliest is None else (self.earliest - timedelta(days=1)).date()


class _Steps:
    """Parts of one transaction, each undone alone when it fails."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """One part."""
        self._do("SAVEPOINT step")
        try:
            yield self._connection
        except BaseException:
            with suppress(psycopg2.Error):  # the connection may have died: the first error is told
                self._do("ROLLBACK TO SAVEPOINT step")
            raise
        self._do("RELEASE SAVEPOINT step")

    def _do(self, statement: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)


def retry_quarantined(
    pool: Pool, selection: Selection, writer_of: WriterOf, batch: int = BATCH, limit: int | None = None
) -> RetrySummary:
    """Tries the open rows of `selection` again, oldest first.

    Args:
        pool: acting as ingest.
        selection: which rows.
        writer_of: `iot.writer.BatchWriter`.
        batch: rows of one transaction.
        limit: most rows.

    Raises:
        psycopg2.Error, ServiceError: the database is away; the batches before are done.
    """
    summary, began, started_at, after = RetrySummary(), time.monotonic(), datetime.now(UTC), 0
    with pool.connection() as connection:
        until = quarantine.newest_id(connection)  # rows that the retry itself makes are left for the next
    while limit is None or summary.tried < limit:
        wanted = batch if limit is None else min(batch, limit - summary.tried)
        with pool.connection() as connection:
            held = quarantine.take_up(connection, selection, after, until, wanted)
            if not held:
                break
            _retry_batch(connection, held, writer_of, started_at, summary)
        after = held[-1].quarantine_id
    summary.seconds = time.monotonic() - began
    return summary


def _retry_batch(
    connection: Connection, held: Sequence[Held], writer_of: WriterOf, started_at: datetime, summary: RetrySummary
) -> None:
    writer = writer_of(_Steps(connection), CLIENT, started_at, replaying=True)
    blocks = [block_of([RawMessage(one.row.topic, one.row.payload, one.row.received_us, False)]) for one in held]
    counts = writer.write(blocks)
    reasons = {(row.topic, row.payload): row.reason for row in writer.refused}
    unchanged, moved, released = _sorted_out(held, reasons)
    quarantine.note_attempt(connection, unchanged)
    quarantine.close_rows(connection, moved, "requarantined")
    quarantine.close_rows(connection, released, "released")
    reopened = quarantine.reopen(connection, writer.refused)
    # The rows were counted when they first came: as a message each, and as a point in quarantine.
    correction = Counts(
        messages=-len(held),
        points=-len(held),
        duplicates=-len(unchanged) - reopened,
        quarantined=reopened - len(moved) - len(released),
    )
    telemetry.add_tally(connection, CLIENT, started_at, correction)
    summary.tried += len(held)
    summary.released += len(released)
    summary.requarantined += len(moved)
    summary.unchanged += len(unchanged)
    summary.stored += counts.stored
    summary.duplicates += counts.points - counts.stored - counts.conflicts - len(writer.refused)
    summary.conflicts += counts.conflicts
    summary.refused.update(row.reason for row in writer.refused)
    mark = quarantine.earliest_mark(connection)
    summary.earliest = min(filter(None, (summary.earliest, mark)), default=None)


def _sorted_out(
    held: Sequence[Held], reasons: Mapping[tuple[bytes, bytes], str]
) -> tuple[list[int], list[int], list[int]]:
    """Rows that fail as before, that fail for another reason, and that hold nothing any more."""
    unchanged: list[int] = []
    moved: list[int] = []
    released: list[int] = []
    for one in held:
        reason = reasons.get((one.row.topic, one.row.payload))
        (released if reason is None else unchanged if reason == one.row.reason else moved).append(one.quarantine_id)
    return unchanged, moved, released


def readable(payload: bytes) -> str:
    """Any bytes as text: UTF-8, and what is not as escapes."""
    return payload.decode("utf-8", "backslashreplace")


def hex_dump(payload: bytes) -> str:
    """Sixteen bytes a line: offset, hexadecimal, ASCII."""
    lines: list[str] = []
    for begin in range(0, len(payload), 16):
        part = payload[begin : begin + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{begin:08x}  {part.hex(' '):<47}  {text}")
    return "\n".join(lines)


