"""Commands of the benchmarks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from benchmarks import ingest
from collateral.command import Command, Outcome
from collateral.settings import Settings


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="small: a look, not a measurement")


def _ingest(args: argparse.Namespace, settings: Settings) -> Outcome:
    figures = ingest.run(args.quick)
    return Outcome(figures, ok=figures["lost"] == 0)


COMMANDS: Mapping[str, Command] = {
    "bench ingest": Command(
        "Measures ingest against a bare consumer and raw COPY, with servers and load on this machine.",
        "collateral bench ingest --quick",
        _ingest,
        _configure,
    ),
}
