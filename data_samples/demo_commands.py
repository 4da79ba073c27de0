"""`collateral demo up` and `collateral demo check`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from collateral.command import Command, Outcome
from collateral.db.pool import Role, connect
from collateral.db.reference import users
from collateral.errors import ServiceError
from collateral.services.browser import ensure_chromium
from collateral.services.system import file_lock, free_port
from collateral.settings import Settings
from data_samples.demo import DEMO_PASSWORD, Demo
from data_samples.demo_check import counts, failures, healthy_false_alerts, judge_storylines, read_storylines
from data_samples.screenshots import Shot, take

LIVE_WITHIN_S = 90.0
"""Every device must have been heard over MQTT within this time of the fleet's start."""


def _say_since(began: float, label: str) -> Any:
    def say(message: str) -> None:
        sys.stderr.write(f"{label} [{time.monotonic() - began:4.0f} s] {message}\n")
        sys.stderr.flush()

    return say


@contextmanager
def _alone(runtime: Path, seed: int) -> Iterator[None]:
    """One demo in a folder at a time: a second would make the world of the first anew, and stop its servers at its end."""
    with ExitStack() as held:
        try:
            held.enter_context(file_lock(runtime.with_name(f"{runtime.name}.lock"), timeout=0.0))
        except ServiceError as error:
            raise ServiceError(
                f"The sample world of seed {seed} under {runtime} is in use: end that demo first, or take another ({error})"
            ) from error
        yield


def _up(args: argparse.Namespace, settings: Settings) -> Outcome:
    with _alone(settings.runtime / f"demo-{args.seed}", args.seed):
        return _run_demo(args, settings)


def _run_demo(args: argparse.Namespace, settings: Settings) -> Outcome:
    say = _say_since(time.monotonic(), "demo")
    demo = Demo(settings.runtime / f"demo-{args.seed}", args.seed, settings.dashboard.port, say)
    supervisor = None
    try:
        demo.prepare()
        say("starting ingest, the device fleet, the scheduler and the dashboard")
        supervisor = demo.start()
        url = demo.dashboard_url()
        with closing(connect(demo.database_url(), Role.APP)) as connection:
            people = users(connection)
        say(f"dashboard ready: {url}")
        say(f"sign in with the password {DEMO_PASSWORD!r} as one of:")
        for person in people:
            where = person.branch or "all branches"
            say(f"  {person.username:<12} {person.display_name} ({person.role}, {where}, {person.locale})")
        say(f"logs: {supervisor.logs}   Ctrl-C stops all")
        if not args.once:
            supervisor.run_until_signal()
    finally:
        say("stopping")
        if supervisor is not None:
            supervisor.stop()
        demo.stop_services()
    return Outcome({"url": url, "runtime": str(demo.runtime), "steps": demo.steps}, "stopped")


def _configure_up(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1, help="which sample world (default 1)")
    parser.add_argument("--once", action="store_true", help="stop as soon as the dashboard answers")


def _check(args: argparse.Namespace, settings: Settings) -> Outcome:
    with _alone(settings.runtime / f"check-{args.seed}", args.seed):
        return _run_check(args, settings)


def _run_check(args: argparse.Namespace, settings: Settings) -> Outcome:
    say = _say_since(time.monotonic(), "demo-check")
    runtime = settings.runtime / f"check-{args.seed}"
    demo = Demo(runtime, args.seed, free_port(), say)
    supervisor = None
    try:
        demo.prepare()
        live_since = datetime.now(UTC)
        say("starting ingest, the device fleet, the scheduler and the dashboard")
        supervisor = demo.start()
        report = _verify(demo, live_since)
        report["runtime"] = str(runtime)
    finally:
        say("stopping")
        if supervisor is not None:
            supervisor.stop()
        demo.stop_services()
    report["steps"] = demo.steps
    report["failures"] = failures(report)
    for failure in report["failures"]:
        say(f"does not hold: {failure}")
    if not args.keep:
        screenshots = settings.runtime / "screenshots"
        shutil.rmtree(screenshots, ignore_errors=True)
        shutil.move(runtime / "screenshots", screenshots)
        report["screenshots"] = [str(path) for path in sorted(screenshots.glob("*.png"))]
        shutil.rmtree(runtime)
    return Outcome(report, json.dumps(report, indent=2, default=str), ok=not report["failures"])


def _verify(demo: Demo, live_since: datetime) -> dict[str, Any]:
    storylines = read_storylines(demo.world)
    url = demo.dashboard_url()
    with closing(connect(demo.database_url(), Role.APP)) as connection:
        connection.autocommit = True
        demo.say("waiting until every device was heard over MQTT")
        deadline = time.monotonic() + LIVE_WITHIN_S
        report = counts(connection, live_since)
        while report["sites_heard_via_mqtt"] < report["sites_with_devices"] and time.monotonic() < deadline:
            time.sleep(1.0)
            report = counts(connection, live_since)
        report["storylines"] = judge_storylines(connection, storylines)
        false_alerts = healthy_false_alerts(connection, storylines)
    report["healthy_false_alerts"] = len(false_alerts)
    report["false_alerts"] = false_alerts
    demo.say("dashboard and screenshots")
    report["dashboard_http"] = requests.get(f"{url}/login", timeout=10).status_code
    browser = ensure_chromium(demo.runtime)
    shots = (
        Shot("map", "/", "#site-map .leaflet-container, .leaflet-container"),
        Shot("site", f"/site/{storylines[0].site}", "#site-score"),
    )
    report["screenshots"] = [
        str(path)
        for path in take(
            url, _viewer(demo), DEMO_PASSWORD, shots, demo.runtime / "screenshots", browser
        )
    ]
    return report


def _viewer(demo: Demo) -> str:
    with closing(connect(demo.database_url(), Role.APP)) as connection:
        return next(person.username for person in users(connection) if person.branch == "")


def _configure_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1, help="which sample world (default 1)")
    parser.add_argument("--keep", action="store_true", help="leave the database and the world for a look")


COMMANDS = {
    "demo up": Command(
        "Prepare a sample world and run the whole system on it until Ctrl-C.",
        "collateral demo up --seed 1", _up, _configure_up,
    ),
    "demo check": Command(
        "Run the demo unattended on free ports and verify it.",
        "collateral demo check --seed 7 --json", _check, _configure_check,
    ),
}
