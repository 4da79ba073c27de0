"""Command `collateral simulate`: many devices with the troubles of the field."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

from collateral.command import Command, Outcome
from collateral.db.devices import registered_devices
from collateral.db.pool import Pool, Role
from collateral.errors import InvalidInputError, UsageError
from collateral.services.local import fleet_url
from collateral.settings import Settings
from iot.mqtt import with_password
from iot.simulate import SimulationPlan, Simulator, Troubles

MOST_CONNECTIONS = 300
"""`select` takes file descriptors below 1024, of which a connection has up to three."""
_HELP = {
    "jitter": "of the interval, either way",
    "loss": "share of messages that never reach the broker",
    "outage": "chance per message of a silence, after which the past comes in one message",
    "outage_s": "seconds of a silence",
    "skew": "share of devices whose clock is off",
    "skew_s": "seconds a clock is off at most",
    "set_back": "share of devices whose clock is set back half-way",
    "set_back_s": "seconds it is set back",
    "replay": "chance per message that an old one is sent again word for word",
    "tamper": "chance per message that an old one is sent again with another value",
}


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--devices", type=int, default=100, metavar="N", help="how many of the registered devices speak")
    parser.add_argument("--rate", type=float, default=50.0, metavar="R", help="messages a second, all together")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long")
    parser.add_argument("--connections", type=int, default=4, help="connections the devices share")
    parser.add_argument("--site", default="", metavar="ID", help="only devices of this site")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn")
    parser.add_argument("--broker", default="", metavar="URL", help="another broker than the settings name")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="password for --broker")
    usual = Troubles()
    for row in fields(Troubles):
        flag = "--" + row.name.replace("_", "-")
        parser.add_argument(flag, type=float, default=getattr(usual, row.name), help=_HELP[row.name])


def _simulate(args: argparse.Namespace, settings: Settings) -> Outcome:
    troubles = Troubles(**{row.name: getattr(args, row.name) for row in fields(Troubles)})
    _check(args, troubles)
    with Pool(settings.require_database(), Role.APP, size=1) as pool, pool.connection() as connection:
        devices = tuple(registered_devices(connection, args.site, args.devices))
    if len(devices) < args.devices:
        where = f"site {args.site}" if args.site else "the portfolio"
        raise InvalidInputError(
            f"--devices {args.devices}: {where} has {len(devices)} registered devices; ask for fewer or register more "
            "(`collateral portfolio import`)."
        )
    if args.broker:
        url = with_password(args.broker, args.password_file)
    else:
        url = fleet_url(settings.runtime, settings.require_mqtt())
    plan = SimulationPlan(
        url, devices, args.rate, args.seconds, connections=args.connections, troubles=troubles, seed=args.seed
    )
    simulator = Simulator(plan)
    try:
        report = simulator.run()
    finally:
        simulator.close()
    return Outcome({**asdict(report), "devices": len(devices)}, ok=report.not_acknowledged == 0)


def _check(args: argparse.Namespace, troubles: Troubles) -> None:
    for name, value in (("devices", args.devices), ("rate", args.rate), ("seconds", args.seconds)):
        if not 0 < value < math.inf:
            raise UsageError(f"--{name} {value} is not a number above 0.")
    if not 1 <= args.connections <= MOST_CONNECTIONS:
        raise UsageError(f"--connections {args.connections} is not between 1 and {MOST_CONNECTIONS}.")
    for row in fields(Troubles):
        value = getattr(troubles, row.name)
        if not 0 <= value < math.inf or (value > 1 and not row.name.endswith("_s")):
            raise UsageError(f"--{row.name.replace('_', '-')} {value} is not between 0 and 1.")


COMMANDS: Mapping[str, Command] = {
    "simulate": Command(
        "Speaks for registered devices, with jitter, loss, outages, wrong clocks, replays and tampering.",
        "collateral simulate --devices 500 --rate 200 --seconds 60 --loss 0.01 --outage 0.001",
        _simulate,
        _configure,
    ),
}
