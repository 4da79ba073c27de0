"""The scheduler: runs the jobs of `collateral.db.jobs` as processes, none silently skipped, none twice at a time."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import jobs
from collateral.db.jobs import Job, Run
from collateral.db.pool import Role, connect, in_words
from collateral.errors import ServiceError
from collateral.log import mask_secrets

log = logging.getLogger(__name__)

TICK_S = 1.0
GRACE_S = 15.0
"""Between asking a job to end and ending it."""
MOST_BACKOFF_S = 30.0

DEFAULT_JOBS = (
    Job("scan", ("scan", "{inbox}"), every_s=900),
    Job("observe", ("observe",), every_s=900),
    Job("trackers", ("observe", "--trackers"), every_s=120),
    Job("areas", ("score", "--areas"), every_s=120),
    Job("anomalies", ("anomalies",), every_s=900),
    Job("score", ("score",), every_s=300),
    Job("housekeeping", ("housekeeping",), every_s=86_400, timeout_s=3_600),
)


@dataclass(frozen=True)
class Folders:
    """Where the scheduler keeps things."""

    inbox: Path
    """New scenes are put here; takes the place of `{inbox}` in a job's command."""
    logs: Path
    """Output of running and of failed jobs."""

    @staticmethod
    def under(runtime: Path) -> Folders:
        """The usual places."""
        return Folders(runtime / "inbox", runtime / "jobs")

    def make(self) -> None:
        """Makes both."""
        for folder in (self.inbox, self.logs):
            folder.mkdir(parents=True, exist_ok=True)


@dataclass
class _Child:
    run: Run
    process: subprocess.Popen[bytes]
    output: Path
    deadline: float
    """On the monotonic clock; after it the child is asked to end, and GRACE_S later ended."""
    timed_out: bool = False


@dataclass(frozen=True)
class SchedulerStats:
    """Counters since the start."""

    done: int
    failed: int
    lost: int
    running: int
    reconnects: int


class Scheduler:
    """Plans due times, takes due runs, starts each as a process and records how it ended.

    Not thread-safe: `tick` or `run` is called from one thread.
    """

    def __init__(
        self, url: str, folders: Folders, parallel: int = 2, environment: Mapping[str, str] | None = None
    ) -> None:
        self._url = url
        self._folders = folders
        self._parallel = parallel
        self._environment = None if environment is None else dict(environment)
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._session: Connection | None = None
        self._children: dict[int, _Child] = {}
        self._done = self._failed = self._lost = self._reconnects = 0

    def stats(self) -> SchedulerStats:
        """Counters since the start."""
        return SchedulerStats(self._done, self._failed, self._lost, len(self._children), self._reconnects)

    def prepare(self, wanted: Sequence[Job] = DEFAULT_JOBS, intervals: Mapping[str, int] | None = None) -> None:
        """Makes folders and missing jobs, and sets the intervals asked for."""
        self._folders.make()
        session = self._connected()
        with in_words(session):
            jobs.ensure_jobs(session, wanted, datetime.now(UTC))
            for name, every_s in (intervals or {}).items():
                jobs.set_interval(session, name, every_s)

    def tick(self) -> bool:
        """One look: what ended, what died with another scheduler, what is due. True while anything runs or waits.

        Raises:
            ServiceError: the database is away, full, only reads or was not migrated.
        """
        session = self._connected()
        with in_words(session):
            return self._look(session)

    def _look(self, session: Connection) -> bool:
        now = datetime.now(UTC)
        self._reap(session)
        lost = jobs.recover(session, self._children.keys(), now)
        self._lost += len(lost)
        session.autocommit = False
        with session:
            jobs.plan(session, now)
        session.autocommit = True
        taken = jobs.claim(session, self._name, now, self._parallel - len(self._children))
        for run in taken:
            self._start(session, run)
        return bool(self._children)

    def run(self, stop: threading.Event, once: bool = False) -> SchedulerStats:
        """Ticks until `stop` is set, or with `once` until nothing is due; outlives restarts of the database."""
        backoff = TICK_S
        while not stop.is_set():
            try:
                busy = self.tick()
                backoff = TICK_S
                if once and not busy:
                    break
            except (psycopg2.OperationalError, psycopg2.InterfaceError, ServiceError) as error:
                self._disconnect(str(error))
                backoff = min(backoff * 2, MOST_BACKOFF_S)
            self._wait(stop, backoff)
        self.close()
        return self.stats()

    def close(self) -> None:
        """Ends what runs, marks it as lost so that it is done again, and lets go of the database."""
        self._end_children()
        session = self._session
        if session is not None:
            with suppress(psycopg2.Error):
                for run_id in self._children:
                    self._lost += jobs.lose(session, run_id, datetime.now(UTC), "[its scheduler was stopped]")
                    jobs.release(session, run_id)
            session.close()
            self._session = None
        self._children.clear()

    def _wait(self, stop: threading.Event, seconds: float) -> None:
        """Until the time is over or, sooner, a child ends or `stop` is set."""
        deadline = time.monotonic() + seconds
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            if any(child.process.poll() is not None for child in self._children.values()):
                return
            stop.wait(min(left, 0.1 if self._children else left))

    def _connected(self) -> Connection:
        if self._session is None or self._session.closed:
            self._session = connect(self._url, Role.APP)
            self._session.autocommit = True
        return self._session

    def _disconnect(self, reason: str) -> None:
        """The session and with it the locks are gone: another scheduler may take our runs, so they must not go on."""
        log.warning("The scheduler lost the database (%s); its jobs are ended and will be run again.", reason.strip())
        self._reconnects += 1
        self._end_children()
        self._children.clear()  # recovered as lost once the database is back
        if self._session is not None:
            self._session.close()
            self._session = None

    def _start(self, session: Connection, run: Run) -> None:
        words = [str(self._folders.inbox) if word == "{inbox}" else word for word in run.command]
        output = self._folders.logs / f"{run.job_name}-{run.run_id}.log"
        try:
            with output.open("wb") as sink:
                process = subprocess.Popen(
                    [sys.executable, "-m", "collateral.follow", str(os.getpid()), *words],
                    stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, env=self._environment,
                    start_new_session=True,  # Ctrl-C reaches the scheduler alone, which then ends its jobs
                )
        except OSError as error:
            log.error("Job %s cannot be started: %s", run.job_name, error)
            jobs.finish(session, run.run_id, datetime.now(UTC), 126, f"cannot be started: {error}")
            self._failed += 1
            return
        log.info("Job %s started (run %d, attempt %d)", run.job_name, run.run_id, run.attempt)
        self._children[run.run_id] = _Child(run, process, output, time.monotonic() + run.timeout_s)

    def _reap(self, session: Connection) -> None:
        for run_id, child in list(self._children.items()):
            code = child.process.poll()
            if code is None:
                self._check_time(child)
                continue
            tail = read_tail(child.output)
            if child.timed_out:
                tail += f"\n[ended after {child.run.timeout_s} s]"
                code = code or 124
            jobs.finish(session, run_id, datetime.now(UTC), code, tail)
            del self._children[run_id]
            self._done += code == 0
            self._failed += code != 0
            log.log(logging.INFO if code == 0 else logging.WARNING, "Job %s ended with %d", child.run.job_name, code)
            if code == 0:
                child.output.unlink(missing_ok=True)

    def _check_time(self, child: _Child) -> None:
        if time.monotonic() < child.deadline:
            return
        _signal(child.process, signal.SIGKILL if child.timed_out else signal.SIGTERM)
        child.timed_out = True
        child.deadline = time.monotonic() + GRACE_S

    def _end_children(self) -> None:
        for child in self._children.values():
            _signal(child.process, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        for child in self._children.values():
            try:
                child.process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                _signal(child.process, signal.SIGKILL)
                child.process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signals the child's whole process group, which is its own."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def read_tail(path: Path, characters: int = jobs.TAIL_CHARACTERS) -> str:
    """The end of an output file: progress bars as last drawn, secrets masked, whatever the bytes."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(stream.tell() - 16 * characters, 0))
            text = stream.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.replace("\x00", "").split("\n"))
    return mask_secrets("\n".join(lines).strip())[-characters:]
