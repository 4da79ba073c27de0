"""What the fault tests share: a database of their own, a line that can be cut, load that runs meanwhile."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from collateral.db.devices import RegisteredDevice
from collateral.db.migrate import migrate
from collateral.services import local, postgres
from iot.simulate import SimulationPlan, SimulationReport, Simulator, Troubles
from tests.iot_support import device, number, register, wait_for

CALM = Troubles()
QUANTITIES = ("active_power_kw", "energy_total_kwh", "temperature_degc")


@dataclass
class OwnDatabase:
    """A TimescaleDB of one test: may be stopped and started again on the same port."""

    folder: Path
    profile: postgres.Profile = postgres.TEST_PROFILE
    url: str = ""

    def start(self) -> None:
        """Starts it and, the first time, makes the schema."""
        self.url = local.ensure(self.folder, mqtt_url="mqtt://unused", profile=self.profile).database_url
        migrate(self.url)

    def stop(self) -> None:
        """Orderly stop; open transactions are rolled back."""
        local.down(self.folder)


@contextmanager
def own_database(size_mb: int = 0) -> Iterator[OwnDatabase]:
    """A database in a folder of its own; with `size_mb` on a file system that is no larger (needs root)."""
    folder = Path(tempfile.mkdtemp(prefix="fault-"))
    folder.chmod(0o755)
    if size_mb:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=755", "none", str(folder)], check=True)
    made = OwnDatabase(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        if size_mb:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


class Line:
    """A way through to the broker that can be cut: every connection on it breaks at once."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 1883)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = url.replace(f":{self._target[1]}", f":{self._server.getsockname()[1]}")
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._open = True
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Breaks what is connected now; new connections are let through."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Lets nothing through any more."""
        self._open = False
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        for thread in self._threads:
            thread.join(timeout=10)

    def _accept(self) -> None:
        while self._open:
            try:
                near, _ = self._server.accept()
            except OSError:
                continue
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._pairs.append((near, far))
            thread = threading.Thread(target=self._carry, args=(near, far), daemon=True)
            self._threads.append(thread)
            thread.start()

    @staticmethod
    def _carry(near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with near, far, suppress(OSError):
            while True:
                readable, _, _ = select.select(list(other), [], [], 30)
                for end in readable:
                    data = end.recv(65_536)
                    if not data:
                        return
                    other[end].sendall(data)


@dataclass
class Load:
    """Simulated devices in a thread, and what they report at the end."""

    plan: SimulationPlan
    listen_s: float = 0.0
    report: SimulationReport = field(default_factory=SimulationReport)
    failed: BaseException | None = None

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(timeout=self.plan.seconds + self.listen_s + 90)
        assert not self._thread.is_alive(), "the simulated devices did not end"
        if self.failed is not None:
            raise self.failed

    def _run(self) -> None:
        try:
            with closing(Simulator(self.plan)) as simulator:
                self.report = simulator.run()
                if self.listen_s:
                    self.report = simulator.listen(self.listen_s)
        except BaseException as error:  # handed to the test's thread
            self.failed = error


def fleet(database: str, count: int = 40) -> tuple[RegisteredDevice, ...]:
    """Registers `count` devices of site S1 that report every second or so."""
    names = [f"sim{n:03d}" for n in range(count)]
    register(database, [device(name, QUANTITIES, interval_s=1.0) for name in names])
    return tuple(RegisteredDevice(name, "S1", QUANTITIES) for name in names)


def plan(
    url: str, devices: tuple[RegisteredDevice, ...], rate: float, seconds: float, troubles: Troubles = CALM
) -> SimulationPlan:
    """A plan of a few connections."""
    return SimulationPlan(url, devices, rate, seconds, connections=3, troubles=troubles)


def settled(database: str, report: SimulationReport, timeout_s: float = 120.0) -> None:
    """Waits until everything sent is in the tables, and holds the accounts: nothing missing, nothing twice."""
    kept = "SELECT (SELECT count(*) FROM reading) + (SELECT count(*) FROM reading_conflict)"
    awaited = report.values + report.conflicting
    try:
        wait_for(lambda: number(database, kept) >= awaited, timeout_s, f"{awaited} values")
    except AssertionError as error:
        stored = number(database, "SELECT count(*) FROM reading")
        raise AssertionError(f"{stored} stored, {number(database, kept) - stored} conflicts; {report}") from error
    assert report.not_acknowledged == 0
    assert number(database, "SELECT count(*) FROM reading") == report.values
    assert number(database, "SELECT count(*) FROM reading_conflict") == report.conflicting
    assert number(database, "SELECT count(*) FROM quarantine") == 0
    assert number(database, "SELECT count(*) FROM (SELECT DISTINCT series_id, time FROM reading) AS keys") == report.values


def throttled(pid: int, share: float, seconds: float, while_: Callable[[], None] = lambda: None) -> None:
    """Lets the processes of `pid` and its children run `share` of the time for `seconds`."""
    family = [pid, *(int(child) for child in _children(pid))]
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            _signal(family, signal.SIGSTOP)
            time.sleep(0.1 * (1 - share))
            _signal(family, signal.SIGCONT)
            time.sleep(0.1 * share)
            while_()
    finally:
        _signal(family, signal.SIGCONT)


def memory_mb(pid: int) -> float:
    """Resident memory of a process and its children, megabytes."""
    total = 0
    for one in [str(pid), *_children(pid)]:
        with suppress(OSError):
            status = Path(f"/proc/{one}/status").read_text()
            total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return total / 1024


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
