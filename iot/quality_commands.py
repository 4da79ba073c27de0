"""Command of the quality rules: `collateral evaluate quality`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from collateral.command import Command, Outcome
from collateral.errors import UsageError
from collateral.settings import Settings
from iot.quality_evaluate import evaluate_quality


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of telemetry with `pvanalytics`")
    parser.add_argument("--seed", type=int, default=1, help="of the injected faults")


def _evaluate(args: argparse.Namespace, settings: Settings) -> Outcome:
    if not args.data.is_dir():
        raise UsageError(f"{args.data} is not a folder; name the one that holds `pvanalytics` and the other telemetry.")
    return Outcome(evaluate_quality(args.data, args.seed))


COMMANDS: Mapping[str, Command] = {
    "evaluate quality": Command(
        "Quality of readings: labelled spans found, and precision and recall of faults put into real series.",
        "collateral evaluate quality --data DATA/telemetry --json",
        _evaluate,
        _configure,
    ),
}
