"""Commands of the anomaly detectors: `collateral anomalies` and `collateral evaluate anomalies`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from collateral.command import Command, Outcome
from collateral.db.pool import Pool, Role
from collateral.errors import UsageError
from collateral.settings import Settings
from iot.anomaly_evaluate import evaluate_nab, evaluate_skab
from iot.anomaly_watch import watch


def _configure(parser: argparse.ArgumentParser) -> None:
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--nab", type=Path, metavar="DIR", help="Numenta Anomaly Benchmark: folder with data/ and labels/")
    data.add_argument("--skab", type=Path, metavar="DIR", help="SKAB: folder of labelled CSVs such as valve1/")
    parser.add_argument(
        "--write-results", type=Path, metavar="DIR", help="also write the results in the benchmark's own layout (--nab)"
    )


def _evaluate(args: argparse.Namespace, settings: Settings) -> Outcome:
    folder: Path = args.nab or args.skab
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name the one that holds the benchmark's files.")
    if args.skab is not None:
        if args.write_results is not None:
            raise UsageError("--write-results goes with --nab: SKAB has no result layout of its own.")
        return Outcome(evaluate_skab(folder))
    return Outcome(evaluate_nab(folder, args.write_results))


def _watch(args: argparse.Namespace, settings: Settings) -> Outcome:
    with Pool(settings.require_database(), Role.APP, size=2) as pool:
        summary = watch(pool, datetime.now(UTC))
    return Outcome({**asdict(summary), "seconds": round(summary.seconds, 2)}, ok=not summary.failed)


COMMANDS: Mapping[str, Command] = {
    "anomalies": Command(
        "Reads every series on from where it stopped and keeps what is unusual.",
        "collateral anomalies --json",
        _watch,
    ),
    "evaluate anomalies": Command(
        "Anomaly detectors against public benchmarks, at the shipped threshold.",
        "collateral evaluate anomalies --nab DATA/telemetry/nab --json",
        _evaluate,
        _configure,
    ),
}
