"""`collateral portfolio import|export|schema` and `collateral user password`."""

from __future__ import annotations

import argparse
import getpass
import sys
from datetime import UTC, datetime
from pathlib import Path

from collateral.command import Command, Outcome, acting, parse_time
from collateral.db import audit, reference
from collateral.db.pool import Pool
from collateral.errors import InvalidInputError
from collateral.passwords import generate_password, set_password
from collateral.portfolio.folder import read_folder, write_folder
from collateral.portfolio.problems import as_json, as_text, errors
from collateral.portfolio.schema import schema_json, schema_text
from collateral.settings import Settings


def _import(args: argparse.Namespace, settings: Settings) -> Outcome:
    known_at = parse_time(args.known_at, "--known-at") if args.known_at else datetime.now(UTC)
    checked = read_folder(Path(args.folder))
    stopping = errors(checked.problems)
    listed = as_json(checked.problems)
    text = as_text(checked.problems)
    if stopping:
        counted = f"{len(stopping)} error(s), {len(listed) - len(stopping)} warning(s): nothing was written."
        return Outcome({"written": {}, "problems": listed}, f"{text}\n{counted}", ok=False)
    if args.check:
        return Outcome({"written": {}, "problems": listed}, f"{text}\nNo error; nothing was written.".lstrip())
    by = acting(args.by)
    with Pool(settings.require_database(), size=1) as pool, pool.connection() as connection:
        written = reference.write_portfolio(
            connection, checked.portfolio, known_at, by, args.allow_removal, untouched=checked.absent
        )
        audit.record(connection, by, "portfolio import", Path(args.folder).name,
                     {"known_at": known_at.isoformat(), "written": written, "warnings": len(listed)})
    summary = ", ".join(f"{part} {count}" for part, count in written.items())
    return Outcome({"written": written, "problems": listed}, f"{text}\nRevisions written: {summary}".lstrip())


def _export(args: argparse.Namespace, settings: Settings) -> Outcome:
    as_known = parse_time(args.as_known, "--as-known") if args.as_known else None
    with Pool(settings.require_database(), size=1) as pool, pool.connection() as connection:
        portfolio = reference.portfolio(connection, as_known)
    written = write_folder(portfolio, Path(args.folder))
    summary = ", ".join(f"{part} {count}" for part, count in written.items())
    return Outcome({"written": written, "problems": [], "folder": args.folder}, f"Rows written: {summary}")


def _schema(args: argparse.Namespace, settings: Settings) -> Outcome:
    return Outcome({"files": schema_json()}, schema_text())


def _password(args: argparse.Namespace, settings: Settings) -> Outcome:
    password = generate_password() if args.generate else _ask()
    by = acting(args.by)
    with Pool(settings.require_database(), size=1) as pool, pool.connection() as connection:
        set_password(connection, args.username, password)
        audit.record(connection, by, "password set", args.username, {})
    payload: dict[str, object] = {"username": args.username, "changed": True}
    if args.generate:
        payload["password"] = password
        return Outcome(payload, f"The password of {args.username} is {password}\nIt is not shown again.")
    return Outcome(payload, f"The password of {args.username} was changed.")


def _ask() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("New password: ")
    if getpass.getpass("Again: ") != password:
        raise InvalidInputError("The two passwords differ; try again.")
    return password


def _configure_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="folder with the files of `collateral portfolio schema`")
    parser.add_argument("--known-at", metavar="ISO", help="when this was known, for history; default now")
    parser.add_argument("--by", metavar="NAME", help="who imports it; default the login name")
    parser.add_argument("--allow-removal", action="store_true", help="even if more than half of a file's rows are gone")
    parser.add_argument("--check", action="store_true", help="only look for problems, write nothing")


def _configure_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="folder to write into; files of the same names are replaced")
    parser.add_argument("--as-known", metavar="ISO", help="the portfolio as it was known then; default now")


def _configure_password(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("username", help="a username of users.csv")
    parser.add_argument("--generate", action="store_true", help="make one and print it, instead of reading standard input")
    parser.add_argument("--by", metavar="NAME", help="who does it; default the login name")


COMMANDS: dict[str, Command] = {
    "portfolio import": Command(
        "validate a portfolio folder and write it, all or nothing",
        "collateral portfolio import ./portfolio --by 'Zhang San'", _import, _configure_import,
    ),
    "portfolio export": Command(
        "write the portfolio as files that import reads again",
        "collateral portfolio export ./out", _export, _configure_export,
    ),
    "portfolio schema": Command("describe every file and column", "collateral portfolio schema > portfolio.md", _schema),
    "user password": Command(
        "set a person's password, read from standard input", "collateral user password officer_a --generate",
        _password, _configure_password,
    ),
}
