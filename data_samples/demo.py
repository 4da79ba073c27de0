"""The whole system on a sample world: prepared once, then run as supervised processes until told to stop.

Every step is the product's own command, run as a process, so that the demo shows what an installation does.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests

from collateral.db.pool import Role, connect
from collateral.db.reference import users
from collateral.errors import CollateralError, ServiceError
from collateral.passwords import set_password
from collateral.services import local
from collateral.supervise import Program, Supervisor

log = logging.getLogger(__name__)

DEMO_PASSWORD = "collateral-demo"  # noqa: S105  (sample people on loopback only; an installation has no default)
SCORED_DAYS = 64
"""Days before the end of the sample world that are scored one by one."""
WORLD_AGE_LIMIT = timedelta(days=2)
"""An older sample world is made anew, because the live fleet bridges at most this gap."""
FLEET_INTERVAL_S = 10
READY_WITHIN_S = 60.0


@dataclass
class Demo:
    """One sample world with services, data and processes of its own."""

    runtime: Path
    seed: int
    dashboard_port: int
    say: Callable[[str], None]
    steps: dict[str, Mapping[str, object]] = field(default_factory=dict)
    """What each preparing command printed with --json."""

    @property
    def world(self) -> Path:
        """Folder of the sample world."""
        return self.runtime / "world"

    @property
    def _done_mark(self) -> Path:
        return self.runtime / "prepared.json"

    @property
    def environment(self) -> Mapping[str, str]:
        """What the processes get on top of ours: this demo's runtime folder and none of the caller's servers."""
        return {
            "COLLATERAL_RUNTIME": str(self.runtime),
            "COLLATERAL_DATABASE_URL": "",  # empty is as good as unset: the sample world never enters the caller's database
            "COLLATERAL_MQTT_URL": "",
            "COLLATERAL_DASHBOARD_PORT": str(self.dashboard_port),
            "COLLATERAL_DASHBOARD_HOST": "127.0.0.1",
        }

    def prepare(self) -> None:
        """Services, world, portfolio, history, pictures read, scores: each step once; what is done is skipped.

        Raises:
            CollateralError: a step failed; the message names it and its log.
        """
        self._forget_old_world()
        self.say("starting TimescaleDB and Mosquitto (unpacked privately where the machine has none)")
        local.ensure(self.runtime)
        if self._done_mark.is_file():
            self.steps = json.loads(self._done_mark.read_text())["steps"]
            self.say("the sample world is already loaded")
            return
        self.say("database schema")
        self._run("migrate", "database", "migrate")
        self.say(f"writing the sample world of seed {self.seed}: portfolio, a year of telemetry, rendered scenes")
        self._run("world", "sample", "write", str(self.world), "--seed", str(self.seed))
        facts = json.loads((self.world / "world.json").read_text())
        self.say("importing the portfolio")
        self._run("portfolio", "portfolio", "import", str(self.world / "portfolio"), "--known-at", facts["start"])
        self._set_passwords()
        self.say("reading the scenes with the detectors, and loading a year of telemetry beside it")
        with ThreadPoolExecutor(2) as together:
            scan = together.submit(self._run, "scan", "scan", str(self.world / "scenes"), "--history")
            history = together.submit(self._load_history)
            history.result()
            scan.result()
        self.say(f"scoring every site for each of the last {SCORED_DAYS} days, as it was known then")
        end = datetime.fromisoformat(facts["end"])
        first = (end - timedelta(days=SCORED_DAYS)).date()
        last = (end + timedelta(hours=8)).date()
        self._run("score", "score", "--from", first.isoformat(), "--to", last.isoformat())
        self._done_mark.write_text(json.dumps({"seed": self.seed, "steps": self.steps}, default=str))

    def start(self) -> Supervisor:
        """Starts ingest, fleet, scheduler, security watch and dashboard; returns once the dashboard answers."""
        supervisor = Supervisor(self.runtime / "logs", self.environment)
        inbox = self.runtime / "inbox"
        inbox.mkdir(parents=True, exist_ok=True)
        ingest_log = supervisor.log_path("ingest")
        before = ingest_log.stat().st_size if ingest_log.is_file() else 0
        try:
            supervisor.start(Program("ingest", ("ingest",)))
            self._await_subscription(ingest_log, before)
            supervisor.start(
                Program("fleet", ("fleet", "--world", str(self.world), "--interval", str(FLEET_INTERVAL_S)))
            )
            supervisor.start(Program("schedule", ("schedule",)))
            supervisor.start(Program("security", ("security", "watch")))
            (self.runtime / "dashboard.json").unlink(missing_ok=True)
            supervisor.start(Program("dashboard", ("dashboard",)))
            self.dashboard_url(wait_s=READY_WITHIN_S)
        except BaseException:
            supervisor.stop()
            raise
        return supervisor

    def dashboard_url(self, wait_s: float = 0.0) -> str:
        """Address of the dashboard once it answers.

        Raises:
            ServiceError: it does not answer in time; the message names its log.
        """
        state = self.runtime / "dashboard.json"
        deadline = time.monotonic() + wait_s
        while True:
            try:
                url = str(json.loads(state.read_text())["url"])
                if requests.get(f"{url}/healthz", timeout=5).status_code == 200:
                    return url
            except (OSError, ValueError, requests.RequestException):
                pass  # not written yet, or not listening yet
            if time.monotonic() >= deadline:
                raise ServiceError(
                    f"The dashboard did not answer within {wait_s:.0f} s; see {self.runtime / 'logs' / 'dashboard.log'}."
                )
            time.sleep(0.2)

    def _await_subscription(self, ingest_log: Path, began: int) -> None:
        """Waits until ingest has subscribed: a new broker keeps nothing for a subscriber it has never seen."""
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            with ingest_log.open("rb") as stream:
                stream.seek(began)
                if b"subscribed" in stream.read():
                    return
            time.sleep(0.2)
        raise ServiceError(f"Ingest did not subscribe within {READY_WITHIN_S:.0f} s; see {ingest_log}.")

    def stop_services(self) -> None:
        """Stops the private database and broker."""
        local.down(self.runtime)

    def database_url(self) -> str:
        """Address of this demo's database."""
        return local.ensure(self.runtime).database_url

    def _forget_old_world(self) -> None:
        marker = self.world / "world.json"
        if not marker.is_file():
            return
        end = datetime.fromisoformat(json.loads(marker.read_text())["end"])
        if datetime.now(UTC) - end <= WORLD_AGE_LIMIT and self._done_mark.is_file():
            return
        self.say(f"the sample world ends {end:%Y-%m-%d %H:%M} UTC or was left half made: making it anew")
        local.down(self.runtime)
        shutil.rmtree(self.runtime)

    def _load_history(self) -> None:
        self._run("backfill", "backfill", str(self.world))
        self._run("observe", "observe")

    def _set_passwords(self) -> None:
        with closing(connect(self.database_url(), Role.APP)) as connection, connection:
            for person in users(connection):
                set_password(connection, person.username, DEMO_PASSWORD)

    def _run(self, step: str, *arguments: str) -> None:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "collateral.cli", *arguments, "--json"],
            env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
        )
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        if done.returncode != 0:
            raise CollateralError(
                f"`collateral {' '.join(arguments)}` ended with exit code {done.returncode}: {lines[-1] if lines else ''}"
            )
        self.steps[step] = {**json.loads(lines[-1]), "step_seconds": round(time.monotonic() - began, 1)}
        self.say(f"  {step} done in {time.monotonic() - began:.0f} s")
