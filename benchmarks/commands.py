"""Commands of the benchmarks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from benchmarks import fuzz, ingest, scan
from collateral.command import Command, Outcome
from collateral.db.pool import Pool, Role
from collateral.errors import UsageError
from collateral.settings import Settings


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="small: a look, not a measurement")


def _ingest(args: argparse.Namespace, settings: Settings) -> Outcome:
    figures = ingest.run(args.quick)
    return Outcome(figures, ok=figures["lost"] == 0)


def _configure_fuzz(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many, one in ten of them sound")
    parser.add_argument("--seed", type=int, default=1, help="of the damage")


def _fuzz(args: argparse.Namespace, settings: Settings) -> Outcome:
    if args.messages < 1:
        raise UsageError(f"--messages {args.messages} is not a number of messages; 1 or more.")
    with ingest.servers() as bench, Pool(bench.database_url, Role.INGEST, size=1) as pool:
        devices = [f"d{n:03d}" for n in range(ingest.DEVICES)]
        quantities = [name for name in ingest.QUANTITIES if name != fuzz.SOUND_QUANTITY]
        figures = fuzz.report(fuzz.fuzz(pool, devices, args.messages, args.seed, quantities))
    return Outcome(figures, ok=bool(figures["exact"]))


def _scan(args: argparse.Namespace, settings: Settings) -> Outcome:
    return Outcome(scan.run(args.quick, settings))


COMMANDS: Mapping[str, Command] = {
    "bench ingest": Command(
        "Measures ingest against a bare consumer and raw COPY, with servers and load on this machine.",
        "collateral bench ingest --quick",
        _ingest,
        _configure,
    ),
    "bench fuzz": Command(
        "Writes broken messages beside sound ones and accounts for every one.",
        "collateral bench fuzz --messages 1000000 --seed 1",
        _fuzz,
        _configure_fuzz,
    ),
    "bench scan": Command(
        "Measures a whole-scene scan against bare forward passes, SAHI and MobileNetV3, and its memory.",
        "collateral bench scan --quick",
        _scan,
        _configure,
    ),
}
