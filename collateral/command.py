"""What a command is: the contract between the command line and the packages' `commands.py`."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from collateral.errors import UsageError
from collateral.settings import Settings


@dataclass(frozen=True)
class Outcome:
    """What a command leaves behind."""

    payload: Mapping[str, object]
    """Printed as one JSON object with `--json`."""
    text: str = ""
    """Printed for people otherwise; empty prints the payload line by line."""
    ok: bool = True
    """False gives exit code 1."""


@dataclass(frozen=True)
class Command:
    """One verb (and noun) of the command line."""

    summary: str
    """One line for the list of commands."""
    example: str
    """A full command line that works, shown by `--help`."""
    run: Callable[[argparse.Namespace, Settings], Outcome]
    configure: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    """Adds the command's own arguments."""


DAYS = (date(1950, 1, 1), date(2200, 12, 31))
"""Days outside are slips of the pen; so are times."""


def parse_day(text: str) -> date:
    """A day of an option; for `type=` of argparse too.

    Raises:
        UsageError: it is none, or lies outside `DAYS`.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a day; write it as 2026-09-01.") from None
    if not DAYS[0] <= day <= DAYS[1]:
        raise UsageError(f"{text!r} lies outside the years {DAYS[0].year} to {DAYS[1].year}; correct it.")
    return day


def parse_time(text: str, option: str) -> datetime:
    """A moment with its zone, from ISO 8601, in UTC.

    Raises:
        UsageError: it is none, names no zone, or lies outside `DAYS`.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a time; write 2025-01-31T00:00:00Z.") from None
    if time.tzinfo is None:
        raise UsageError(f"{option} {text!r} names no time zone; add Z or an offset such as +08:00.")
    if not DAYS[0] <= time.date() <= DAYS[1]:
        raise UsageError(f"{option} {text!r} lies outside the years {DAYS[0].year} to {DAYS[1].year}; correct it.")
    return time.astimezone(UTC)


def acting(given: str | None) -> str:
    """Who does it: as given, else the login name, else `unknown` (an account without a name, as in containers)."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
