"""Alerts: what they are about never changes, what happens to them is appended; the legal moves stand in `MOVES`.

Officers act through `acknowledge`, `shelve`, `unshelve` and `clear`, each with the person's name; every act is audited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db.pool import fetch_dicts
from collateral.domain import AlertState, Priority, SubjectKind
from collateral.errors import InvalidInputError

ENGINE = "engine"
"""Actor of what the rules do themselves."""

MOVES: Mapping[AlertState, frozenset[AlertState]] = {
    AlertState.OPEN: frozenset({AlertState.ACKNOWLEDGED, AlertState.SHELVED, AlertState.CLEARED}),
    AlertState.ACKNOWLEDGED: frozenset({AlertState.SHELVED, AlertState.CLEARED}),
    AlertState.SHELVED: frozenset({AlertState.OPEN, AlertState.CLEARED}),
    AlertState.CLEARED: frozenset(),
}
"""From each state the states that may follow (after ISA-18.2); a cleared alert ends, a new condition is a new alert."""


@dataclass(frozen=True)
class Alert:
    """An abnormal condition and where it stands."""

    alert_id: int
    rule: str
    subject_kind: SubjectKind
    subject_id: str
    site_id: str
    priority: Priority
    raised_at: datetime
    """When the rule fired: the time of the evaluation, not of the writing."""
    policy_version: str
    state: AlertState
    state_at: datetime
    actor: str
    reason: str
    expires_at: datetime | None
    """End of the shelving."""
    evidence: Mapping[str, object]
    """What the rule saw when it raised: observation ids, figures of both sides."""


@dataclass(frozen=True)
class AlertEvent:
    """One step in an alert's history."""

    alert_id: int
    sequence: int
    at: datetime
    state: AlertState
    actor: str
    reason: str
    expires_at: datetime | None
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class NewAlert:
    """What is written when a rule fires."""

    rule: str
    subject_kind: SubjectKind
    subject_id: str
    site_id: str
    priority: Priority
    raised_at: datetime
    policy_version: str
    evidence: Mapping[str, object]


_SELECT = (
    "SELECT a.alert_id, a.rule, a.subject_kind, a.subject_id, a.site_id, a.priority, a.raised_at, a.policy_version, a.state,"
    " a.state_at, a.actor, a.reason, a.expires_at, opening.evidence FROM alert_current a"
    " JOIN alert_event opening ON opening.alert_id = a.alert_id AND opening.sequence = 1"
)


def raise_alert(connection: Connection, new: NewAlert) -> int:
    """Writes an alert in state open; returns its id."""
    row = fetch_dicts(
        connection,
        "INSERT INTO alert (rule, subject_kind, subject_id, site_id, priority, raised_at, policy_version)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING alert_id",
        (
            new.rule, new.subject_kind.value, new.subject_id, new.site_id, new.priority.value, new.raised_at,
            new.policy_version,
        ),
    )[0]
    alert_id = int(row["alert_id"])
    append_event(connection, AlertEvent(alert_id, 1, new.raised_at, AlertState.OPEN, ENGINE, "", None, new.evidence))
    return alert_id


def append_event(connection: Connection, event: AlertEvent) -> None:
    """Appends one step; two that claim the same sequence number fail on the primary key."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO alert_event (alert_id, sequence, at, state, actor, reason, expires_at, evidence)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (
                event.alert_id, event.sequence, event.at, event.state.value, event.actor, event.reason, event.expires_at,
                orjson.dumps(dict(event.evidence), default=str).decode(),
            ),
        )


def lock_alerts(connection: Connection, alert_id: int) -> None:
    """Makes others who act on the same alert wait until this transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('alert'), %s)", (alert_id,))


def current_alerts(
    connection: Connection,
    site_id: str | None = None,
    states: Sequence[AlertState] | None = None,
    rule: str | None = None,
) -> list[Alert]:
    """Alerts with their present state, newest first; `evidence` is what was seen when each was raised."""
    rows = fetch_dicts(
        connection,
        _SELECT + " WHERE (%(site)s::text IS NULL OR a.site_id = %(site)s) AND (%(rule)s::text IS NULL OR a.rule = %(rule)s)"
        " AND (%(states)s::text[] IS NULL OR a.state = ANY(%(states)s)) ORDER BY a.raised_at DESC, a.alert_id DESC",
        {"site": site_id, "rule": rule, "states": None if states is None else [state.value for state in states]},
    )
    return [_alert(row) for row in rows]


def alert(connection: Connection, alert_id: int) -> Alert:
    """One alert.

    Raises:
        InvalidInputError: there is none of this id.
    """
    rows = fetch_dicts(connection, _SELECT + " WHERE a.alert_id = %s", (alert_id,))
    if not rows:
        raise InvalidInputError(f"Alert {alert_id} does not exist; take an id from the list of alerts.")
    return _alert(rows[0])


def alert_events(connection: Connection, alert_id: int) -> list[AlertEvent]:
    """The history of one alert, oldest first."""
    return _events(connection, "alert_id = %s", (alert_id,))


def events_of_alerts(connection: Connection, alert_ids: Sequence[int]) -> list[AlertEvent]:
    """The histories of several alerts, by alert and then oldest first."""
    return _events(connection, "alert_id = ANY(%s)", (list(alert_ids),))


def _events(connection: Connection, condition: str, parameters: tuple[object, ...]) -> list[AlertEvent]:
    rows = fetch_dicts(
        connection,
        "SELECT alert_id, sequence, at, state, actor, reason, expires_at, evidence FROM alert_event"  # noqa: S608
        f" WHERE {condition} ORDER BY alert_id, sequence",
        parameters,
    )
    return [AlertEvent(**{**row, "state": AlertState(row["state"])}) for row in rows]


def acknowledge(connection: Connection, alert_id: int, actor: str, at: datetime, reason: str = "") -> AlertEvent:
    """A person has seen it and takes care.

    Raises:
        InvalidInputError: no actor, no such alert, or the alert is not open.
    """
    return _act(connection, alert_id, AlertState.ACKNOWLEDGED, actor, at, reason)


def shelve(
    connection: Connection, alert_id: int, actor: str, at: datetime, reason: str, expires_at: datetime
) -> AlertEvent:
    """Silences an alert until `expires_at`; person, reason and expiry are recorded.

    Raises:
        InvalidInputError: no actor, reason or future expiry, or the alert cannot be shelved.
    """
    if not reason.strip():
        raise InvalidInputError(f"Alert {alert_id} cannot be shelved without a reason; write why it may wait.")
    if expires_at <= at:
        raise InvalidInputError(
            f"Alert {alert_id} cannot be shelved until {expires_at.isoformat()}, which is not after {at.isoformat()}; "
            "name a later time."
        )
    return _act(connection, alert_id, AlertState.SHELVED, actor, at, reason, expires_at)


def unshelve(connection: Connection, alert_id: int, actor: str, at: datetime, reason: str = "") -> AlertEvent:
    """Opens a shelved alert again, by a person or (actor `engine`) when its time is over.

    Raises:
        InvalidInputError: no actor, or the alert is not shelved.
    """
    return _act(connection, alert_id, AlertState.OPEN, actor, at, reason)


def clear(connection: Connection, alert_id: int, actor: str, at: datetime, reason: str) -> AlertEvent:
    """A person ends an alert; should its condition come again on newer evidence, that is a new alert.

    Raises:
        InvalidInputError: no actor or reason, or the alert is cleared already.
    """
    if not reason.strip():
        raise InvalidInputError(f"Alert {alert_id} cannot be cleared without a reason; write what was found.")
    return _act(connection, alert_id, AlertState.CLEARED, actor, at, reason)


def _act(
    connection: Connection,
    alert_id: int,
    state: AlertState,
    actor: str,
    at: datetime,
    reason: str,
    expires_at: datetime | None = None,
) -> AlertEvent:
    if not actor.strip():
        raise InvalidInputError(f"Alert {alert_id}: an act needs the name of the person; sign in and try again.")
    lock_alerts(connection, alert_id)  # the second of two people who act at once sees what the first did
    history = alert_events(connection, alert_id)
    if not history:
        raise InvalidInputError(f"Alert {alert_id} does not exist; take an id from the list of alerts.")
    last = history[-1]
    if state not in MOVES[last.state]:
        allowed = ", ".join(sorted(MOVES[last.state])) or "nothing"
        raise InvalidInputError(
            f"Alert {alert_id} is {last.state} since {last.at.isoformat()} by {last.actor} and cannot become {state}; "
            f"allowed: {allowed}."
        )
    event = AlertEvent(alert_id, last.sequence + 1, at, state, actor, reason.strip(), expires_at)
    append_event(connection, event)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit (actor, action, subject, detail) VALUES (%s, %s, %s, %s)",
            (actor, f"alert {state}", f"alert:{alert_id}", orjson.dumps({"reason": reason}).decode()),
        )
    return event


def _alert(row: Mapping[str, Any]) -> Alert:
    return Alert(
        **{
            **row,
            "subject_kind": SubjectKind(row["subject_kind"]),
            "priority": Priority(row["priority"]),
            "state": AlertState(row["state"]),
        }
    )
