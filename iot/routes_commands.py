"""Command of journeys: `collateral evaluate tracks`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from collateral.command import Command, Outcome
from collateral.errors import UsageError
from collateral.settings import Settings
from iot.routes_evaluate import evaluate_tracks


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of CSVs of real trips")
    parser.add_argument("--seed", type=int, default=1, help="of the injected detours")


def _evaluate(args: argparse.Namespace, settings: Settings) -> Outcome:
    if not args.data.exists():
        raise UsageError(f"{args.data} does not exist; name the folder of recorded trips.")
    return Outcome(evaluate_tracks(args.data, args.seed))


COMMANDS: Mapping[str, Command] = {
    "evaluate tracks": Command(
        "Route deviations on real trips, each left out of what is learnt, with detours put in.",
        "collateral evaluate tracks --data DATA/telemetry/trajectories --json",
        _evaluate,
        _configure,
    ),
}
