"""Commands of the ingest service and of what it stored. Apart from the others, whose imports are as large as the service."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from collateral.command import Command, Outcome
from collateral.db import arrivals, telemetry
from collateral.db.pool import Pool, Role
from collateral.settings import Settings
from iot.ingest import IngestPlan, serve
from iot.retention import Policy, read_policy, retain


def _configure_ingest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--client-id", default="collateral-ingest", help="session the broker keeps; one per service")
    parser.add_argument("--share", default="", metavar="GROUP", help="split the load with the other members of GROUP")
    parser.add_argument("--no-sparkplug", action="store_true", help="leave Sparkplug topics to other members of GROUP")
    parser.add_argument("--stats", action="store_true", help="print what ingest did so far and end")
    parser.add_argument(
        "--metrics-port", type=int, default=0, metavar="PORT", help="figures for Prometheus at http://127.0.0.1:PORT/metrics"
    )


def _ingest(args: argparse.Namespace, settings: Settings) -> Outcome:
    database_url = settings.require_database()
    if args.stats:
        return _ingest_stats(database_url)
    plan = IngestPlan(
        settings.require_mqtt(), database_url, client_id=args.client_id, share=args.share, verbose=args.verbose,
        metrics_port=args.metrics_port, sparkplug=not args.no_sparkplug,
    )  # fmt: skip
    stats = serve(plan)
    payload = {**asdict(stats.counts), "acknowledged": stats.acknowledged, "batches": stats.batches}
    return Outcome(payload)


def _ingest_stats(database_url: str) -> Outcome:
    with Pool(database_url, Role.INGEST, size=1) as pool, pool.connection() as connection:
        rows = telemetry.tallies(connection)
        reasons = telemetry.quarantine_reasons(connection)
        numbers = arrivals.numbering(connection)
    total = {
        key: sum(int(row[key]) for row in rows)
        for key in ("messages", "points", "stored", "duplicates", "conflicts", "quarantined")
    }
    return Outcome({**total, "runs": rows, "quarantine": reasons, "numbers": numbers})


def _configure_retention(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", type=Path, metavar="FILE", help="policy.toml (default: the built-in policy)")


def _retention(args: argparse.Namespace, settings: Settings) -> Outcome:
    policy = read_policy(args.policy) if args.policy else Policy()
    summary = retain(settings.require_database(), policy, datetime.now(UTC))
    return Outcome({**asdict(summary), "policy": asdict(policy)})


COMMANDS: Mapping[str, Command] = {
    "ingest": Command(
        "Takes telemetry from the broker to the database until SIGTERM; acknowledged only after the commit.",
        "collateral ingest --client-id ingest-1 --share cw",
        _ingest,
        _configure_ingest,
    ),
    "retention": Command(
        "Drops, deletes and compresses old telemetry as a policy file says.",
        "collateral retention --policy policy.toml",
        _retention,
        _configure_retention,
    ),
}
