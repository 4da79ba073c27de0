"""What a command is: the contract between the command line and the packages' `commands.py`."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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


def acting(given: str | None) -> str:
    """Who does it: as given, else the login name, else `unknown` (an account without a name, as in containers)."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
