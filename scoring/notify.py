"""Tells officers about alerts: rows of the outbox are handed to a channel and tried again until that works."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from collateral.db.outbox import Notice, due, mark_delivered, mark_failed
from collateral.db.pool import Pool
from collateral.domain import Loan, LoanSite, Priority
from collateral.errors import CollateralError

log = logging.getLogger(__name__)

NOTIFIED = frozenset({Priority.MEDIUM, Priority.HIGH})
"""Low alerts wait in the list; these are told."""


class Channel(Protocol):
    """A way to reach people."""

    def send(self, notice: Notice) -> None:
        """Hands one message over.

        Raises:
            CollateralError: it could not be handed over now.
        """


class LogChannel:
    """Writes the message to the log: the only channel so far."""

    def send(self, notice: Notice) -> None:
        """One line per message."""
        log.info(
            "alert %d for %s: %s (%s) at site %s, %s, raised %s", notice.alert_id, notice.recipient, notice.rule,
            notice.priority, notice.site_id, notice.subject_id, notice.raised_at.isoformat(),
        )


CHANNELS: Mapping[str, Channel] = {"log": LogChannel()}


@dataclass(frozen=True)
class Delivery:
    """What one round did."""

    delivered: int = 0
    failed: int = 0


def recipients(site_id: str, loan_sites: Iterable[LoanSite], loans: Mapping[str, Loan]) -> Sequence[str]:
    """Officers of the loans that the site secures, by name."""
    officers = {loans[one.loan_id].officer for one in loan_sites if one.site_id == site_id and one.loan_id in loans}
    return sorted(name for name in officers if name)


def deliver(pool: Pool, now: datetime, channels: Mapping[str, Channel] = CHANNELS) -> Delivery:
    """Tries every message that is due once; what fails is due again later."""
    delivered = failed = 0
    with pool.connection() as connection:
        for notice in due(connection, now):
            channel = channels.get(notice.channel)
            try:
                if channel is None:
                    raise CollateralError(f"Channel {notice.channel!r} is not set up; use one of {', '.join(channels)}.")
                channel.send(notice)
            except CollateralError as error:
                log.warning("message %d to %s was not sent: %s", notice.outbox_id, notice.recipient, error)
                mark_failed(connection, notice, now, str(error))
                failed += 1
            else:
                mark_delivered(connection, notice.outbox_id, now)
                delivered += 1
    return Delivery(delivered, failed)
