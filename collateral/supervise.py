"""Child processes with one log each: started, watched, started again when they fall, and ended by id.

Where the system can, they end with their supervisor even when that is killed (`collateral.follow`): two ingests under one
name would throw each other out of the broker for ever.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

log = logging.getLogger(__name__)

MAX_BACKOFF_S = 30.0


@dataclass(frozen=True)
class Program:
    """One supervised command."""

    name: str
    arguments: Sequence[str]
    """Words after `collateral`."""
    restart: bool = True


@dataclass
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    started: float
    restarts: int = 0
    due: float | None = None


@dataclass
class Supervisor:
    """Runs programs until told to stop; every child's output goes to LOGS/NAME.log."""

    logs: Path
    environment: Mapping[str, str]
    _children: dict[str, _Child] = field(default_factory=dict)
    _stopping: bool = False

    def start(self, program: Program) -> None:
        """Starts one program in a process group of its own, so that Ctrl-C reaches only the supervisor."""
        self._children[program.name] = _Child(program, self._spawn(program), time.monotonic())

    def running(self) -> Mapping[str, int]:
        """Name -> process id of what lives."""
        return {name: c.process.pid for name, c in self._children.items() if c.process.poll() is None}

    def check(self) -> None:
        """Starts fallen programs again, waiting longer each time; called about once a second."""
        now = time.monotonic()
        for child in self._children.values():
            if self._stopping or child.process.poll() is None or not child.program.restart:
                continue
            if child.due is None:
                wait = min(MAX_BACKOFF_S, 2.0**child.restarts)
                log.warning(
                    "%s ended with %s; starting it again in %.0f s (log: %s)",
                    child.program.name, child.process.returncode, wait, self.log_path(child.program.name),
                )
                child.due = now + wait
            elif now >= child.due:
                child.restarts += 1
                child.process, child.started, child.due = self._spawn(child.program), now, None

    def run_until_signal(self, on_tick: Callable[[], None] = lambda: None) -> None:
        """Watches the children until Ctrl-C or a termination signal arrives."""

        def stop(number: int, frame: FrameType | None) -> None:
            self._stopping = True

        previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while not self._stopping:
                self.check()
                on_tick()
                time.sleep(0.5)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def stop(self, wait_s: float = 15.0) -> None:
        """Ends the children in reverse order of starting: asks, waits, then kills."""
        self._stopping = True
        children = [c for c in reversed(self._children.values()) if c.process.poll() is None]
        for child in children:
            child.process.terminate()
        deadline = time.monotonic() + wait_s
        for child in children:
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop within %.0f s and is killed", child.program.name, wait_s)
                child.process.kill()
                child.process.wait()

    def log_path(self, name: str) -> Path:
        """Where the output of `name` goes."""
        return self.logs / f"{name}.log"

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        self.logs.mkdir(parents=True, exist_ok=True)
        with self.log_path(program.name).open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "collateral.follow", str(os.getpid()), *program.arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment}, start_new_session=True,
            )
