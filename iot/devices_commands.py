"""Commands of devices and of the door: `devices ...`, `security watch|list`."""

from __future__ import annotations

import argparse
import logging
import math
import signal
import threading
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg2

from collateral.command import Command, Outcome, acting, parse_day, parse_time
from collateral.db import devices, reference
from collateral.db.passports import Passport
from collateral.db.pool import Pool, Role
from collateral.domain import Device
from collateral.errors import CollateralError, ServiceError, UsageError
from collateral.quantities import READING_QUANTITIES
from collateral.services import local
from collateral.services.system import write_private
from collateral.settings import Settings
from iot.conformance import Listener, check
from iot.devices import BrokerAccounts, export_accounts, issue, note_passport, register, revoke
from iot.mqtt import with_password
from iot.security import Watch

_LOG = logging.getLogger("iot.security")
OWNERS = ("borrower", "bank", "third_party")


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", help="device id, which is also its account at the broker")
    parser.add_argument("--by", help="who does it, for the audit trail (default: the login name)")


def _passport(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calibrated", type=parse_day, metavar="DATE", help="last calibration")
    parser.add_argument("--calibration-expires", type=parse_day, metavar="DATE", help="until when it holds")
    parser.add_argument("--ct-ratio", type=float, metavar="R", help="current-transformer ratio, primary over secondary")
    parser.add_argument("--scale", type=float, metavar="F", help="factor from the device's numbers to the unit")
    parser.add_argument(
        "--valid-from", type=partial(parse_time, option="--valid-from"), metavar="ISO",
        help="since when ratio and scale hold (default: from now on)",
    )
    parser.add_argument("--firmware", default="", help="version")
    parser.add_argument("--place", default="", help="where it is mounted")


def _secret(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the password to FILE (mode 0600), do not print it")


def _configure_rotate(parser: argparse.ArgumentParser) -> None:
    _device(parser)
    _secret(parser)


def _configure_passport(parser: argparse.ArgumentParser) -> None:
    _device(parser)
    _passport(parser)


def _configure_add(parser: argparse.ArgumentParser) -> None:
    _device(parser)
    parser.add_argument("--site", required=True, metavar="ID")
    parser.add_argument("--owner", required=True, choices=OWNERS, help="who owns it: how far it is trusted")
    parser.add_argument("--quantities", required=True, metavar="A,B", help="what it reports")
    parser.add_argument("--interval", type=float, default=900.0, metavar="S", help="expected seconds between messages")
    parser.add_argument("--asset", default="", metavar="ID", help="asset it measures")
    parser.add_argument("--model", default="")
    parser.add_argument("--gateway", default="", metavar="ID")


def _configure_commission(parser: argparse.ArgumentParser) -> None:
    _device(parser)
    _passport(parser)
    _secret(parser)


def _configure_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", default="", metavar="ID", help="only devices of this site")


def _configure_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="password file to write, mode 0600")


def _configure_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--every", type=float, default=10.0, metavar="S", help="seconds between looks")
    parser.add_argument("--looks", type=int, default=0, metavar="N", help="end after N looks; 0 never")


def _configure_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", help="device id")
    parser.add_argument(
        "--broker", required=True, metavar="URL", help="test broker, with an account that may read the device"
    )
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="password of that account")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to listen")
    parser.add_argument("--interval", type=float, metavar="S", help="seconds between messages that the maker promises")


def _configure_events(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hours", type=float, default=24.0, help="how far back")


def _add(args: argparse.Namespace, settings: Settings) -> Outcome:
    quantities = tuple(name.strip() for name in args.quantities.split(",") if name.strip())
    unknown = [name for name in quantities if name not in READING_QUANTITIES]
    if unknown or not quantities:
        raise UsageError(
            f"--quantities {args.quantities!r}: {unknown or 'nothing'} is none of {', '.join(READING_QUANTITIES)}."
        )
    if not args.interval > 0:
        raise UsageError(f"--interval {args.interval} is not a number of seconds above 0.")
    device = Device(args.device, args.site, args.asset, args.model, args.owner, quantities, args.interval, args.gateway)
    with Pool(settings.require_database(), Role.APP, size=1) as pool:
        register(pool, device, acting(args.by))
    return Outcome({"device": args.device, "site": args.site, "registered": True})


def _commission(args: argparse.Namespace, settings: Settings) -> Outcome:
    return _issue(args, settings, _given_passport(args), again=False)


def _given_passport(args: argparse.Namespace) -> Passport:
    for name in ("ct_ratio", "scale"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} {value} is not a number above 0.")
    begin, end = args.calibrated, args.calibration_expires
    if begin is not None and end is not None and end < begin:
        raise UsageError(f"--calibration-expires {end} lies before --calibrated {begin}.")
    if begin is not None and begin > datetime.now(UTC).date() + timedelta(days=1):  # a day, for zones ahead of UTC
        raise UsageError(f"--calibrated {begin} lies in the future; name the last calibration that was made.")
    return Passport(begin, end, args.ct_ratio, args.scale, args.firmware, args.place, args.valid_from)


def _rotate(args: argparse.Namespace, settings: Settings) -> Outcome:
    return _issue(args, settings, None, again=True)


def _issue(args: argparse.Namespace, settings: Settings, passport: Passport | None, again: bool) -> Outcome:
    """The password is in nobody's hands but ours once it is committed: whatever fails then, it is handed over."""
    with Pool(settings.require_database(), Role.APP, size=1) as pool:
        if args.out is not None:
            _try(args.out)  # what cannot be written is known before the password is
        password = issue(pool, args.device, acting(args.by), passport, again)
        told, problem = _tell(pool, settings)
    payload: dict[str, object] = {"device": args.device, "username": args.device}
    if args.out is None:
        payload |= {"password": password, "note": "shown once and kept nowhere"}
    else:
        try:
            write_private(args.out, f"{password}\n")
            payload["password_file"] = str(args.out)
        except ServiceError as error:
            payload |= {"password": password, "note": f"shown once and kept nowhere; {error}"}
    return Outcome({**payload, "broker_told": told, **problem}, ok=not problem)


def _try(path: Path) -> None:
    """Writes an empty file there and takes it away; beside it where there is one, which may hold a password that is kept
    nowhere else."""
    if not path.is_file():
        write_private(path, "")
        path.unlink()
        return
    spare = path.with_name(f".{path.name}.try")
    write_private(spare, "")
    spare.unlink()


def _revoke(args: argparse.Namespace, settings: Settings) -> Outcome:
    with Pool(settings.require_database(), Role.APP, size=1) as pool:
        revoke(pool, args.device, acting(args.by))
        told, problem = _tell(pool, settings)
    return Outcome({"device": args.device, "revoked": True, "broker_told": told, **problem}, ok=not problem)


def _tell(pool: Pool, settings: Settings) -> tuple[bool, dict[str, object]]:
    """Tells the private broker where there is one (a broker of the bank's own takes the exported file); and what failed."""
    try:
        if local.read_state(settings.runtime.resolve()).servers.get("broker") is None:
            return False, {}
        BrokerAccounts(settings.runtime).sync(pool)
    except (CollateralError, OSError, psycopg2.Error) as error:
        return False, {"problem": f"The broker does not know of it yet ({error}). `collateral devices tell` tries again."}
    return True, {}


def _tell_again(args: argparse.Namespace, settings: Settings) -> Outcome:
    with Pool(settings.require_database(), Role.APP, size=1) as pool:
        return Outcome({"devices": BrokerAccounts(settings.runtime).sync(pool)})


def _note(args: argparse.Namespace, settings: Settings) -> Outcome:
    with Pool(settings.require_database(), Role.APP, size=1) as pool:
        held = note_passport(pool, args.device, _given_passport(args), acting(args.by))
    return Outcome({"device": args.device, "passport": asdict(held)})


def _list(args: argparse.Namespace, settings: Settings) -> Outcome:
    with Pool(settings.require_database(), Role.APP, size=1) as pool, pool.connection() as connection:
        if args.site:
            reference.require_site(connection, args.site)
        rows = devices.device_list(connection, args.site)
    return Outcome({"devices": rows, "count": len(rows)})


def _export(args: argparse.Namespace, settings: Settings) -> Outcome:
    with Pool(settings.require_database(), Role.APP, size=1) as pool:
        return Outcome({"file": str(args.file), "devices": export_accounts(pool, args.file)})


def _watch(args: argparse.Namespace, settings: Settings) -> Outcome:
    if not 0.1 <= args.every <= 86_400:
        raise UsageError(f"--every {args.every} is not between 0.1 and 86400 seconds.")
    runtime = settings.runtime.resolve()
    state = local.read_state(runtime)
    if state.servers.get("broker") is None:
        raise UsageError(f"No private broker is known under {runtime}; this command reads its log.")
    log = Path(state.home or runtime) / "mosquitto" / "broker.log"
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    recorded = looks = 0
    audited = untold = False
    with Pool(settings.require_database(), Role.APP, size=1) as pool:
        watch, accounts = Watch(pool, log), BrokerAccounts(runtime)
        try:
            while not stop.is_set():
                looks += 1
                try:
                    events, changed = watch.look(datetime.now(UTC))
                    recorded += len(events)
                    audited |= accounts.audit(on=True)  # each time: a broker started anew knows nothing of it
                    untold |= changed
                    if untold:
                        accounts.sync(pool)
                        untold = False
                    accounts.turn_log()
                except (ServiceError, OSError, psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                    _LOG.warning("this look failed (%s); the next one reads on from where the last good one ended", error)
                if looks == args.looks:
                    break
                stop.wait(args.every)
        finally:
            if audited:
                accounts.audit(on=False)
    return Outcome({"looks": looks, "events": recorded})


def _events(args: argparse.Namespace, settings: Settings) -> Outcome:
    if not 0 < args.hours <= 1_000_000:
        raise UsageError(f"--hours {args.hours} is not between 0 and 1000000.")
    since = datetime.now(UTC) - timedelta(hours=args.hours)
    with Pool(settings.require_database(), Role.APP, size=1) as pool, pool.connection() as connection:
        rows = devices.security_events(connection, since)
    counts: dict[str, int] = {}
    for row in rows:
        counts[str(row["kind"])] = counts.get(str(row["kind"]), 0) + int(row["times"])
    return Outcome({"events": rows, "counts": counts})


def _check(args: argparse.Namespace, settings: Settings) -> Outcome:
    if not args.seconds > 0:
        raise UsageError(f"--seconds {args.seconds} is not above 0.")
    points = check(Listener(with_password(args.broker, args.password_file), args.device).listen(args.seconds), args.interval)
    failed = [point.name for point in points if point.passed is False]
    return Outcome({"device": args.device, "points": [asdict(point) for point in points], "failed": failed}, ok=not failed)


COMMANDS: Mapping[str, Command] = {
    "devices add": Command(
        "Registers a device in the portfolio.",
        "collateral devices add S1-meter-2 --site S1 --owner third_party --quantities active_power_kw,energy_total_kwh",
        _add,
        _configure_add,
    ),
    "devices commission": Command(
        "Gives a device its password, shown once, and notes its passport.",
        "collateral devices commission S1-meter-2 --ct-ratio 40 --calibrated 2026-05-01 --calibration-expires 2028-05-01",
        _commission,
        _configure_commission,
    ),
    "devices rotate": Command(
        "Renews a device's password; the old one ends at once.",
        "collateral devices rotate S1-meter-2 --out ./S1-meter-2.password",
        _rotate,
        _configure_rotate,
    ),
    "devices passport": Command(
        "Notes a calibration, another transformer or a move; what is not said stays as it was.",
        "collateral devices passport S1-meter-2 --ct-ratio 60 --place 'hall 2'",
        _note,
        _configure_passport,
    ),
    "devices tell": Command(
        "Writes all valid credentials to the private broker again.", "collateral devices tell", _tell_again
    ),
    "devices revoke": Command(
        "Takes a device's password away and disconnects it.", "collateral devices revoke S1-meter-2", _revoke, _device
    ),
    "devices list": Command(
        "Devices with owner, passport, credential and when they were last heard.",
        "collateral devices list --site S1 --json",
        _list,
        _configure_list,
    ),
    "devices export": Command(
        "Writes the password file for a broker of your own.",
        "collateral devices export ./passwords",
        _export,
        _configure_export,
    ),
    "devices check": Command(
        "Listens to a device on a test broker and judges every point of docs/mqtt.md: for its maker.",
        "collateral devices check meter-7 --broker mqtt://tester@127.0.0.1:1883 --password-file ./tester --seconds 120",
        _check,
        _configure_check,
    ),
    "security watch": Command(
        "Records what the broker refuses and bars devices that flood, until SIGTERM.",
        "collateral security watch --every 10",
        _watch,
        _configure_watch,
    ),
    "security list": Command(
        "What was refused, newest first.", "collateral security list --hours 24 --json", _events, _configure_events
    ),
}
