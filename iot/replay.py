"""Plays a recorded CSV through the broker as one device, at QoS 1, until every message is acknowledged."""

from __future__ import annotations

import csv
import math
import re
import select
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import paho.mqtt.client as paho

from collateral.errors import InvalidInputError, ServiceError, UsageError
from collateral.progress import progress
from collateral.quantities import reading_quantity
from iot.mqtt import leave, make_client
from iot.payload import encode_telemetry
from iot.topics import Channel, build_topic

WINDOW = 500
"""Messages on the way to the broker at once."""
STALL_S = 30.0
"""Without any acknowledgement for this long the broker is given up."""
_FORMATS = ("%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M")


@dataclass(frozen=True)
class Recording:
    """How a CSV is read."""

    path: Path
    columns: Mapping[str, str]
    """Column name -> quantity."""
    zone: ZoneInfo
    """Zone of times that carry no offset."""
    time_column: str = ""
    start: datetime | None = None
    """With `step`: times are rebuilt as start + step x row, whatever the file says. Without offset: in `zone`."""
    step: timedelta | None = None


@dataclass(frozen=True)
class ReplayRow:
    """One row to publish."""

    time: datetime
    """Aware."""
    values: Mapping[str, float]


@dataclass(frozen=True)
class ReplaySummary:
    """What was published."""

    rows: int
    acknowledged: int
    skipped: int
    """Rows without any value."""
    first: datetime | None
    last: datetime | None
    seconds: float


def parse_map(text: str) -> dict[str, str]:
    """`COLUMN=quantity,...` as a mapping.

    Raises:
        UsageError: no pair, a name twice, or an unknown quantity.
    """
    pairs: dict[str, str] = {}
    for part in text.split(","):
        column, _, quantity = part.strip().rpartition("=")
        if not column:
            raise UsageError(f"--map {text!r} is not COLUMN=quantity,...; write for example Usage=active_power_kw.")
        try:
            key = reading_quantity(quantity.strip()).key
        except InvalidInputError as error:
            raise UsageError(f"--map {text!r}: {error}") from None
        if column.strip() in pairs or key in pairs.values():
            raise UsageError(f"--map {text!r} names {column.strip()!r} or {key!r} twice; one column is one quantity.")
        pairs[column.strip()] = key
    return pairs


def parse_step(text: str) -> timedelta:
    """`900s`, `15m`, `1h` or `1d`.

    Raises:
        UsageError: another form.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"--time-step {text!r} is not a duration; write 900s, 15m, 1h or 1d.")
    return timedelta(seconds=float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]])


def parse_time(text: str, zone: ZoneInfo) -> datetime:
    """ISO 8601, `D/M/YYYY H:MM[:SS]` or `YYYY/M/D H:MM[:SS]`; times without an offset are taken in `zone`.

    Raises:
        InvalidInputError: none of these forms.
    """
    text = text.strip()
    moment: datetime | None = None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        for form in _FORMATS:
            try:
                moment = datetime.strptime(text, form)  # noqa: DTZ007, RUF100 -- the zone is set below
                break
            except ValueError:
                continue
    if moment is None:
        raise InvalidInputError(
            f"Time {text!r} cannot be read; use ISO 8601, or rebuild times with --time-start and --time-step."
        )
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def read_recording(recording: Recording) -> Iterator[ReplayRow | None]:
    """Rows in the file's order; None for a row without any value.

    Raises:
        InvalidInputError: a column is missing, or a time or a value cannot be read; the message names the line.
    """
    try:
        yield from _rows(recording)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{recording.path} cannot be read ({error}); save it as CSV in UTF-8.") from error


def _rows(recording: Recording) -> Iterator[ReplayRow | None]:
    with recording.path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        present = reader.fieldnames or []
        wanted = [*recording.columns, *([recording.time_column] if recording.time_column and not recording.step else [])]
        missing = [column for column in wanted if column not in present]
        if missing:
            raise InvalidInputError(f"{recording.path} has no column {missing[0]!r}; it has {', '.join(present)}.")
        for index, row in enumerate(reader):
            line = f"{recording.path} line {index + 2}"
            values = {
                quantity: value
                for column, quantity in recording.columns.items()
                if (value := _number(row[column], line, column)) is not None
            }
            yield ReplayRow(_row_time(recording, row, index, line), values) if values else None


def _row_time(recording: Recording, row: Mapping[str, str | None], index: int, line: str) -> datetime:
    if recording.start is not None and recording.step is not None:
        start = recording.start if recording.start.tzinfo else recording.start.replace(tzinfo=recording.zone)
        return start.astimezone(UTC) + recording.step * index  # elapsed time: no hour is skipped or doubled
    try:
        return parse_time(row[recording.time_column] or "", recording.zone)
    except InvalidInputError as error:
        raise InvalidInputError(f"{line}: {error}") from None


def _number(text: str | None, line: str, column: str) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        raise InvalidInputError(f"{line}: {column} is {text!r}, not a number; mend it or leave the column out.") from None
    return value if math.isfinite(value) else None


class Player:
    """Publishes rows and waits for the broker's acknowledgements; survives reconnects."""

    def __init__(self, url: str, site_id: str, device_id: str, first_sequence: int = 0) -> None:
        self._client = make_client(url, f"collateral-replay-{device_id}"[:60], clean_session=True, window=WINDOW)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._topic = build_topic(site_id, device_id, Channel.TELEMETRY)
        self._sequence = first_sequence
        self._refusal = ""
        self._welcome = False
        self.sent = 0
        self.acknowledged = 0

    def open(self) -> None:
        """Connects.

        Raises:
            ServiceError: the broker does not answer or refuses.
        """
        try:
            self._client.reconnect()
        except OSError as error:
            raise ServiceError(f"The broker does not answer ({error}); run `collateral services up`.") from error
        deadline = time.monotonic() + STALL_S
        while not self._welcome:
            self._serve(0.5)
            if self._refusal or time.monotonic() > deadline:
                said = self._refusal or "no answer"
                raise ServiceError(f"The broker refuses the replay ({said}); check user and password.")

    def publish(self, row: ReplayRow) -> None:
        """Sends one row; waits while too many are on the way."""
        self._await(WINDOW - 1)
        self._client.publish(self._topic, encode_telemetry(self._sequence, row.time, row.values), qos=1)
        self._sequence += 1
        self.sent += 1

    def settle(self) -> None:
        """Waits until everything is acknowledged."""
        self._await(0)

    def close(self) -> None:
        """Leaves, whatever is still on the way."""
        leave(self._client)

    def pause(self, seconds: float) -> None:
        """Keeps the connection alive for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._serve(min(left, 0.5))

    def _await(self, allowed: int) -> None:
        progressed_at, seen = time.monotonic(), self.acknowledged
        while self.sent - self.acknowledged > allowed:
            self._serve(0.5)
            if self.acknowledged != seen:
                progressed_at, seen = time.monotonic(), self.acknowledged
            elif time.monotonic() - progressed_at > STALL_S:
                raise ServiceError(
                    f"The broker acknowledged {self.acknowledged} of {self.sent} messages and then fell silent; play it "
                    "again: what is there already is recognised."
                )

    def _serve(self, wait_s: float) -> None:
        socket = self._client.socket()
        if socket is None:
            time.sleep(min(wait_s, 0.5))
            try:
                self._client.reconnect()
            except OSError:
                return
            socket = self._client.socket()
            if socket is None:
                return
        readable, writable, _ = select.select([socket], [socket] if self._client.want_write() else [], [], wait_s)
        if readable:
            self._client.loop_read()
        if writable:
            self._client.loop_write()
        self._client.loop_misc()

    def _on_connect(self, client: paho.Client, userdata: object, flags: object, reason: object, properties: object) -> None:
        if getattr(reason, "is_failure", True):
            self._refusal = str(reason)
        self._welcome = True

    def _on_publish(self, client: paho.Client, userdata: object, mid: int, reason: object, properties: object) -> None:
        self.acknowledged += 1


def play(recording: Recording, player: Player, speed: float | None) -> ReplaySummary:
    """Publishes every row; `speed` None is as fast as the broker takes it, 60 plays an hour in a minute.

    Raises:
        InvalidInputError: a row cannot be read; the rows before it are acknowledged, and the message says how many they are.
        ServiceError: the broker does not answer, refuses or falls silent.
    """
    began = time.monotonic()
    first: datetime | None = None
    last: datetime | None = None
    skipped = 0
    try:
        player.open()
        for row in progress(read_recording(recording), f"replay {recording.path.name}", unit="rows"):
            if row is None:
                skipped += 1
                continue
            first = first or row.time
            last = row.time
            if speed is not None:
                player.pause((row.time - first).total_seconds() / speed - (time.monotonic() - began))
            player.publish(row)
        player.settle()
    except InvalidInputError as error:
        player.settle()
        again = "; mend the file and play it again: what is there already is recognised" if player.sent else ""
        raise InvalidInputError(f"{error} Rows published before that: {player.acknowledged}{again}.") from error
    finally:
        player.close()
    return ReplaySummary(player.sent, player.acknowledged, skipped, first, last, time.monotonic() - began)
