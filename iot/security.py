"""What the broker refused, and devices that send far more than they should, as security events.

Mosquitto tells of refused sign-ins, certificates and oversized packets in its log. Of publications that the access list
denies it tells at debug level only, so a plugin of ours tells of topics of other devices (`collateral.services.door`);
where that could not be built, `security watch` turns the debug log on for as long as it runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO

from collateral.db import devices
from collateral.db.devices import LogPosition, SecurityEvent, Sender
from collateral.db.pool import Pool

_LINE = re.compile(r"^(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d): (?P<text>.*)$")
_GONE = r"^Client (?P<client>.+?) (?:\[(?P<address>[^\]]*)\] )?disconnected"
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("foreign_topic", re.compile(r"^Denied PUBLISH from (?P<client>.+?) \(d\d, q\d, r\d, m\d+, '(?P<topic>.*)', \.\.\. \(")),
    ("not_authorised", re.compile(_GONE + r"[,:] not authorised")),
    ("too_large", re.compile(_GONE + r".*(?:oversize|too large)", re.IGNORECASE)),
    ("certificate", re.compile(r"^OpenSSL Error\[\d+\]: (?P<reason>.*(?:certificate|unknown ca|alert).*)$", re.IGNORECASE)),
    ("protocol", re.compile(_GONE + r".*(?:protocol error|malformed)", re.IGNORECASE)),
)
_FOREIGN = re.compile(
    rb"^Foreign (?P<action>publish|subscribe) by (?P<device>\S+) untold (?P<untold>\d+) client (?P<length>\d+):(?P<rest>.*)$"
)
"""Of the plugin; client and topic follow with their lengths, because they may hold anything."""
READ_BYTES = 64 * 1024 * 1024
"""Of the log, in one look."""
FLOOD_FACTOR = 50.0
"""A device may send this many times more than its interval says ..."""
FLOOD_LEAST_PER_S = 50.0
"""... and at least this many messages a second, before it is a flood."""
BLOCK = timedelta(minutes=10)
_STRANGER = Sender(1.0, None)
"""A device that is registered no longer."""


def read_events(lines: Iterable[str]) -> Iterator[SecurityEvent]:
    """Events among the lines of the broker's log; times are the broker's, taken as UTC of this machine's clock.

    Damaged lines are passed over: they must not hold up those after them.
    """
    for line in lines:
        match = _LINE.match(line.rstrip("\n"))
        at = None if match is None else _moment(match["at"])
        if match is None or at is None:
            continue
        text = match["text"].replace("\0", "\N{REPLACEMENT CHARACTER}")  # which the database cannot hold
        if text.startswith("Foreign "):
            yield from _foreign(at, text)
            continue
        for kind, pattern in _KINDS:
            found = pattern.match(text)
            if found is None:
                continue
            parts = {name: value for name, value in found.groupdict().items() if value}
            client = parts.pop("client", "")
            yield SecurityEvent(at, kind, client[:200], detail={name: value[:300] for name, value in parts.items()})
            break


def _moment(written: str) -> datetime | None:
    try:
        return datetime.fromisoformat(written).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _foreign(at: datetime, text: str) -> Iterator[SecurityEvent]:
    found = _FOREIGN.match(text.encode())
    if found is None:
        return
    length = int(found["length"])
    client, rest = found["rest"][:length].decode("utf-8", "replace"), found["rest"][length:]
    topic = rest.partition(b":")[2].decode("utf-8", "replace")
    detail = {"action": found["action"].decode(), "topic": topic}
    yield SecurityEvent(at, "foreign_topic", client, found["device"].decode(), detail)
    if int(found["untold"]):
        yield SecurityEvent(at, "foreign_topic", detail={"untold": True}, times=int(found["untold"]))


def fresh_lines(log: Path, read: LogPosition) -> tuple[list[str], LogPosition]:
    """Whole lines added since, from the log before this one too where it was not read to its end; and how far that is.

    The log may be turned meanwhile: what is read is the files that were there at the beginning, the present one looked for
    first, so that the one before it has its last line when another is there.
    """
    with _opened(log) as present, _opened(log.with_name(log.name + ".1")) as before:
        lines: list[str] = []
        if read.inode and _inode(present) != read.inode and before is not None and _inode(before) == read.inode:
            lines, end = _lines_from(before, read.position)
            read = LogPosition(read.inode, end)
            if lines and os.fstat(before.fileno()).st_size > end:
                return lines, read
        if present is None:
            return lines, read
        status = os.fstat(present.fileno())
        begin = read.position if status.st_ino == read.inode and status.st_size >= read.position else 0
        more, end = _lines_from(present, begin)
        return lines + more, LogPosition(status.st_ino, end)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO | None]:
    """The file, or None where there is none."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        yield file


def _inode(file: BinaryIO | None) -> int:
    return 0 if file is None else os.fstat(file.fileno()).st_ino


def _lines_from(file: BinaryIO, position: int) -> tuple[list[str], int]:
    """Split at newlines alone: clients choose their names, and other characters that end a line may be in them."""
    file.seek(position)
    data = file.read(READ_BYTES)
    end = data.rfind(b"\n") + 1
    return [line.decode("utf-8", "replace") for line in data[:end].split(b"\n")[:-1]], position + end


@dataclass
class FloodWatch:
    """Finds devices that send far more than their interval says.

    What fills an outage is no flood: messages count over the time that they measured, where that is longer than the time in
    which they came; so do the first ones of a device that kept them until it was registered. A device's clock may run ahead
    by minutes at most, so a flood gains little by false times.
    """

    before: Mapping[str, tuple[int, datetime | None]] | None = None
    at: datetime | None = None

    def look(
        self, counts: Mapping[str, tuple[int, datetime | None]], now: datetime,
        expected: Callable[[Sequence[str]], Mapping[str, Sender]],
    ) -> list[SecurityEvent]:  # fmt: skip
        """Compares messages and newest time of each device with the last look; the first look only remembers.

        Args:
            counts: messages so far and newest time, by device.
            now: later than at the last look.
            expected: what is known of some devices; asked about those that sent much.
        """
        before, since = self.before, self.at
        self.before, self.at = dict(counts), now
        if before is None or since is None or now <= since:
            return []
        seconds = (now - since).total_seconds()
        came = {device: total - before.get(device, (0, None))[0] for device, (total, _) in counts.items()}
        many = [device for device, number in came.items() if number > FLOOD_LEAST_PER_S * seconds]
        known = expected(many) if many else {}
        events = []
        for device in many:
            sender = known.get(device, _STRANGER)
            newest, last = counts[device][1], before.get(device, (0, None))[1] or sender.first_time
            measured = (newest - last).total_seconds() if newest is not None and last is not None else 0.0
            rate, allowed = came[device] / max(seconds, measured), max(FLOOD_LEAST_PER_S, FLOOD_FACTOR / sender.interval_s)
            if rate > allowed:
                detail = {"messages_per_s": round(rate, 1), "allowed_per_s": round(allowed, 1)}
                events.append(SecurityEvent(now, "flood", device, device, detail))
        return events


class Watch:
    """Looks at the broker's log and at message counts, records events and bars devices that flood for a while."""

    def __init__(self, pool: Pool, log: Path) -> None:
        self._pool = pool
        self._log = log
        self._floods = FloodWatch()

    def look(self, now: datetime) -> tuple[list[SecurityEvent], bool]:
        """New events, recorded; and whether the broker's accounts changed (a device was barred, or its time is over)."""
        with self._pool.connection() as connection:
            read = devices.hold_log_position(connection, str(self._log))
            lines, end = fresh_lines(self._log, read)
            events = list(read_events(lines))
            devices.move_log_position(connection, str(self._log), end)
            floods = self._floods.look(devices.message_counts(connection), now, partial(devices.senders, connection))
            barred = [devices.block_until(connection, event.device_id, now + BLOCK) for event in floods]
            freed = devices.blocks_ended(connection, now)
            devices.write_security_events(connection, [*events, *floods])
        return [*events, *floods], any(barred) or freed > 0
