"""`collateral database migrate`, `status`, `schedule` and `housekeeping`."""

from __future__ import annotations

import argparse
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from collateral.command import Command, Outcome
from collateral.db import jobs, status
from collateral.db.migrate import available, migrate
from collateral.db.pool import Pool
from collateral.errors import ServiceError, UsageError
from collateral.log import mask_secrets
from collateral.schedule import DEFAULT_JOBS, Folders, Scheduler
from collateral.services import local
from collateral.settings import Settings

KEEP_RUNS = timedelta(days=90)
KEEP_OUTPUTS = timedelta(days=14)
MOST_EVERY_S = 366 * 86_400


def _migrate(args: argparse.Namespace, settings: Settings) -> Outcome:
    applied = migrate(settings.require_database())
    newest = available()[-1]
    version = f"{newest.version:04d}_{newest.name}"
    text = "\n".join([*(f"applied {name}" for name in applied), f"The schema is at {version}."])
    return Outcome({"applied": list(applied), "version": version}, text)


def _status(args: argparse.Namespace, settings: Settings) -> Outcome:
    payload: dict[str, object] = {"services": _services(settings), "dashboard_http": _dashboard_answer(settings)}
    problem = None
    try:
        with Pool(settings.require_database(), size=1) as pool, pool.connection() as connection:
            payload |= status.counts(connection)
            behind = status.lag(connection)
            states = jobs.states(connection)
        payload |= {"lag_s": behind.work_s, "last_reading_s": behind.reading_s}
        payload["jobs"] = {one.name: {k: v for k, v in asdict(one).items() if k != "name"} for one in states}
    except ServiceError as error:
        problem = mask_secrets(str(error))
    if problem is not None:
        payload["error"] = problem
    return Outcome(payload, _status_text(payload), ok=problem is None)


def _services(settings: Settings) -> dict[str, object]:
    report: dict[str, object] = {**local.status(settings.runtime)}
    recorded = local.read_state(settings.runtime).endpoints
    for name, key, url in (
        ("database", "database_url", settings.database_url),
        ("broker", "mqtt_url", settings.mqtt_url),
    ):
        if url is not None and url != recorded.get(key):
            report[name] = {"external": True, "url": mask_secrets(url)}
    return report


def _dashboard_answer(settings: Settings) -> int | None:
    """HTTP status of the dashboard's health page, None when nothing answers."""
    if settings.dashboard.port == 0:
        return None
    url = f"http://{settings.dashboard.host}:{settings.dashboard.port}/healthz"
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError):
        return None


def _status_text(payload: Mapping[str, object]) -> str:
    lines = []
    for key, value in payload.items():
        if key == "jobs" and isinstance(value, dict):
            lines += [
                f"job {name}: every {job['every_s']} s, last {job['status'] or 'never run'}"
                f"{'' if job['finished_at'] is None else ' ' + job['finished_at'].isoformat(timespec='seconds')}, "
                f"next {job['next_due_at'].isoformat(timespec='seconds')}, "
                f"{job['failed']} failed and {job['missed']} missed in 24 h"
                for name, job in value.items()
            ]
        elif key == "services" and isinstance(value, dict):
            lines += [f"{name}: {_service_text(one)}" for name, one in value.items()]
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)


def _service_text(one: Mapping[str, object]) -> str:
    if one.get("external"):
        return f"given from outside, {one['url']}"
    return f"running on port {one['port']}" if one.get("running") else "not running"


def _schedule(args: argparse.Namespace, settings: Settings) -> Outcome:
    url = settings.require_database()
    intervals = _intervals(args.every)
    if args.parallel < 1:
        raise UsageError(f"--parallel {args.parallel} would run nothing; use 1 or more.")
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    scheduler = Scheduler(url, Folders.under(settings.runtime), parallel=args.parallel)
    scheduler.prepare(DEFAULT_JOBS, intervals)
    counted = asdict(scheduler.run(stop, once=args.once))
    return Outcome(counted, ok=not (args.once and counted["failed"]))


def _intervals(given: Sequence[str]) -> dict[str, int]:
    found = {}
    for text in given:
        name, _, seconds = text.partition("=")
        if not seconds.isdecimal():
            raise UsageError(f"--every {text!r} is not NAME=SECONDS, e.g. --every score=60.")
        if not 1 <= int(seconds) <= MOST_EVERY_S:
            raise UsageError(f"--every {text!r}: use 1 to {MOST_EVERY_S} seconds.")
        found[name] = int(seconds)
    return found


def _housekeeping(args: argparse.Namespace, settings: Settings) -> Outcome:
    now = datetime.now(UTC)
    with Pool(settings.require_database(), size=1) as pool, pool.connection() as connection:
        pruned = jobs.prune(connection, now - KEEP_RUNS, now - KEEP_OUTPUTS)
    logs = Folders.under(settings.runtime).logs
    turned = local.turn_broker_log(settings.runtime)
    return Outcome({
        "runs_removed": pruned["runs"], "outputs_cleared": pruned["outputs"], "logs_removed": _old_logs(logs),
        "broker_log_turned": turned,
    })  # fmt: skip


def _old_logs(folder: Path) -> int:
    """Removes the output files of failed jobs once nobody will look at them any more."""
    if not folder.is_dir():
        return 0
    before = time.time() - KEEP_OUTPUTS.total_seconds()
    old = [path for path in folder.glob("*.log") if path.stat().st_mtime < before]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def _configure_schedule(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="run what is due, wait for it, and end")
    parser.add_argument("--parallel", type=int, default=2, metavar="N", help="jobs at a time (default 2)")
    parser.add_argument(
        "--every", action="append", default=[], metavar="NAME=SECONDS", help="change a job's interval; may be repeated"
    )


COMMANDS: dict[str, Command] = {
    "database migrate": Command(
        "bring the schema to the newest version", "collateral database migrate", _migrate
    ),
    "status": Command("counts of the running system, services, lag and jobs", "collateral status --json", _status),
    "schedule": Command(
        "run scan, observe, score and housekeeping on time until stopped",
        "collateral schedule --every score=60", _schedule, _configure_schedule,
    ),
    "housekeeping": Command(
        "remove old job runs and their output", "collateral housekeeping", _housekeeping
    ),
}
