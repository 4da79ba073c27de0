"""Small facts about this machine: accounts, ports, processes, locks, folders another account can reach."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from collateral.errors import ServiceError

POLL_SECONDS = 0.05
"""Pause between two looks at a process or port that cannot be waited for."""

ROOT_HOMES = Path("/var/lib/collateral-watch")
"""Where root keeps server data whose own folder the servers' account cannot enter."""


def say(message: str) -> None:
    """Prints one line of progress where people look and `--json` does not."""
    sys.stderr.write(f"services: {message}\n")
    sys.stderr.flush()


@dataclass(frozen=True)
class Account:
    """The user that servers run as. PostgreSQL refuses root, so root hands over to an unprivileged account."""

    name: str
    uid: int
    gid: int

    @property
    def is_current(self) -> bool:
        """True when no change of user is needed."""
        return self.uid == os.geteuid()


def server_account(data: Path | None = None) -> Account:
    """The current user; for root the owner of existing `data`, else `postgres` where it exists, else `nobody`."""
    if os.geteuid() != 0:
        return _account(os.geteuid(), os.getegid())
    if data is not None and data.exists() and data.stat().st_uid != 0:
        return _account(data.stat().st_uid, data.stat().st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise ServiceError(
        "Running as root, and neither the account postgres nor nobody exists to run the database as "
        "(PostgreSQL refuses root); create one or run as an ordinary user."
    )


def _account(uid: int, gid: int) -> Account:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Account(name, uid, gid)


def run_as(
    account: Account,
    command: Sequence[str | Path],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    output: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs `command` as `account` from /, waits at most `timeout` seconds, and gives back its text output.

    With `output` the text goes to that file, so that a daemon left behind holds no pipe of ours.
    """
    identity = {} if account.is_current else {"user": account.uid, "group": account.gid, "extra_groups": []}
    arguments = [str(part) for part in command]
    try:
        if output is None:
            return subprocess.run(  # type: ignore[call-overload, no-any-return]
                arguments,
                cwd="/",
                env=dict(environment or plain_environment()),
                text=True,
                timeout=timeout,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                **identity,
            )
        with output.open("w") as sink:
            done = subprocess.run(  # type: ignore[call-overload]
                arguments,
                cwd="/",
                env=dict(environment or plain_environment()),
                text=True,
                timeout=timeout,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                check=False,
                **identity,
            )
        return subprocess.CompletedProcess(arguments, int(done.returncode), output.read_text(errors="replace"))
    except subprocess.TimeoutExpired:
        raise ServiceError(f"{arguments[0]} did not finish within {timeout:.0f} s; look at the logs beside it.") from None
    except OSError as error:
        raise ServiceError(f"{arguments[0]} cannot be run as {account.name}: {error}.") from error


def plain_environment() -> dict[str, str]:
    """An environment that is the same everywhere: server messages in English, nothing of the caller's PG* or LD_*."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "HOME": "/"}


def can_enter(account: Account, folder: Path) -> bool:
    """Whether `account` can reach `folder` (search permission on it and all its parents)."""
    if account.is_current:
        return os.access(folder, os.X_OK)
    return run_as(account, ["/usr/bin/test", "-x", folder], timeout=10).returncode == 0


def can_read(account: Account, file: Path) -> bool:
    """Whether `account` can read `file`."""
    if account.is_current:
        return os.access(file, os.R_OK)
    return run_as(account, ["/usr/bin/test", "-r", file], timeout=10).returncode == 0


def server_home(runtime: Path, account: Account) -> Path:
    """The folder for server data: `runtime`, or for root a folder its account can reach when that one cannot be."""
    make_folder(runtime)
    if can_enter(account, runtime):
        return runtime
    key = hashlib.sha256(str(runtime).encode()).hexdigest()[:16]
    home = ROOT_HOMES / key
    make_folder(home)
    if not can_enter(account, home):
        raise ServiceError(
            f"Neither {runtime} nor {home} can be entered by the account {account.name}, which runs the servers; "
            "open one of them to it (chmod o+x on each parent folder) or run as an ordinary user."
        )
    return home


def make_folder(folder: Path, account: Account | None = None, mode: int = 0o755) -> None:
    """Makes `folder` and its missing parents enterable whatever the umask, and hands it to `account`."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
        if missing or account is not None:
            folder.chmod(mode)
        if account is not None and not account.is_current:
            os.chown(folder, account.uid, account.gid)
    except OSError as error:
        raise ServiceError(
            f"{folder} cannot be prepared ({error.strerror}): it may belong to another user who ran this before; "
            "choose another folder with COLLATERAL_RUNTIME or remove that one."
        ) from error


def write_private(path: Path, text: str, account: Account | None = None, mode: int = 0o600) -> None:
    """Writes `text` to `path` atomically with `mode`, never readable by others in between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w") as stream:
            os.fchmod(stream.fileno(), mode)
            if account is not None and not account.is_current:
                os.fchown(stream.fileno(), account.uid, account.gid)
            stream.write(text)
        temporary.replace(path)
    except OSError as error:
        raise ServiceError(
            f"{path} cannot be written ({error.strerror}); check that its folder is there and who owns it."
        ) from error


@contextmanager
def file_lock(path: Path, *, timeout: float) -> Iterator[None]:
    """Holds an exclusive lock on `path` across processes; gives up with a `ServiceError` after `timeout` seconds."""
    make_folder(path.parent)
    try:
        stream = path.open("a")
    except OSError as error:
        raise ServiceError(f"{path} cannot be opened ({error.strerror}); check who owns its folder.") from error
    with stream:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServiceError(
                        f"Another process has held {path} for {timeout:.0f} s; wait for it or end it."
                    ) from None
                time.sleep(POLL_SECONDS)
        yield


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether `port` of 127.0.0.1 can be listened on now (connections in TIME_WAIT do not count)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def answers(port: int) -> bool:
    """Whether something accepts connections at `port` of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(2.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def process_birth(pid: int) -> str | None:
    """Start time of a living process in clock ticks since boot, None when there is none: tells reused ids apart."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def end_process(pid: int, birth: str | None, *, timeout: float) -> None:
    """Asks the process to stop, waits at most `timeout` seconds, then kills it; does nothing to a reused id."""
    for number, wait in ((signal.SIGTERM, timeout), (signal.SIGKILL, 5.0)):
        if birth is None or process_birth(pid) != birth:
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + wait
        while process_birth(pid) == birth and time.monotonic() < deadline:
            _reap(pid)
            time.sleep(POLL_SECONDS)


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
