"""`collateral evaluate registration`."""

from __future__ import annotations

import argparse
from pathlib import Path

from collateral.command import Command, Outcome
from collateral.errors import InvalidInputError
from collateral.settings import Settings
from imagery.evaluate_registration import evaluate_registration


def _registration(args: argparse.Namespace, settings: Settings) -> Outcome:
    data = Path(args.data) if args.data else settings.data
    if data is None:
        raise InvalidInputError("No pictures: name a folder of dates with --data DIR, or set COLLATERAL_DATA.")
    return Outcome(evaluate_registration(data, args.seed))


def _configure_registration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", help="folder with GeoTIFFs of one place; default: COLLATERAL_DATA/time_series/naip")
    parser.add_argument("--seed", type=int, default=0, help="of the motions applied; default 0")


COMMANDS = {
    "evaluate registration": Command(
        "Known shifts, turns and stretches applied across dates of one place: how well they are found.",
        "collateral evaluate registration --data DATA/time_series/naip --json",
        _registration,
        _configure_registration,
    ),
}
