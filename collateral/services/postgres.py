"""One private PostgreSQL 17 with TimescaleDB: made, started and stopped in a folder of its own.

It listens on 127.0.0.1 alone, and on no Unix socket, so the length limit of socket paths never matters.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import psycopg2.sql

from collateral.errors import ServiceError
from collateral.services.prefix import Prefix
from collateral.services.system import (
    POLL_SECONDS,
    Account,
    answers,
    make_folder,
    process_birth,
    run_as,
    write_private,
)

DATABASE = "collateral"
OWNER = "collateral"
SUPERUSER = "postgres"
MAJOR = "17"
SYSTEM_BINARIES = Path(f"/usr/lib/postgresql/{MAJOR}/bin")
START_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Profile:
    """What differs between a server that keeps data and one that serves a test run."""

    durable: bool = True
    """False turns fsync off: for data that is thrown away."""
    background_workers: int = 4
    """TimescaleDB's own workers; 0 in tests, because they hold connections to databases that are being cloned."""
    shared_buffers_mb: int = 256
    max_connections: int = 100


TEST_PROFILE = Profile(durable=False, background_workers=0, shared_buffers_mb=128, max_connections=200)


@dataclass(frozen=True)
class Binaries:
    """Where the server's programs are and what they are."""

    folder: Path
    origin: str
    """`system` or the private prefix."""


@dataclass(frozen=True)
class Passwords:
    """Random, made once, kept in RUNTIME/secrets.json."""

    superuser: str
    owner: str


@dataclass(frozen=True)
class Setting:
    """One line of postgresql.conf and why it is there."""

    name: str
    value: str
    reason: str


def settings(port: int, profile: Profile) -> tuple[Setting, ...]:
    """Every server setting that is not PostgreSQL's default, each beside its reason."""
    on = "on" if profile.durable else "off"
    buffers = profile.shared_buffers_mb
    return (
        Setting("listen_addresses", "127.0.0.1", "nobody outside this machine may connect"),
        Setting("port", str(port), "picked once among the free ports, remembered in services.json"),
        Setting("unix_socket_directories", "", "socket paths have a length limit; loopback has none"),
        Setting("max_connections", str(profile.max_connections), "ingest, dashboard pool, scheduler and jobs together"),
        Setting("password_encryption", "scram-sha-256", "no password is stored or sent in a readable form"),
        Setting("shared_preload_libraries", "timescaledb", "TimescaleDB must be loaded by the postmaster"),
        Setting("timescaledb.telemetry_level", "off", "it reports home by default"),
        Setting(
            "timescaledb.max_background_workers",
            str(profile.background_workers),
            "our own scheduler does roll-ups and retention; tests need 0 to clone databases",
        ),
        Setting("max_worker_processes", str(8 + profile.background_workers), "parallel queries and those workers"),
        Setting("shared_buffers", f"{buffers}MB", "a laptop with two cores shares its memory with the detectors"),
        Setting("effective_cache_size", f"{buffers * 4}MB", "what the page cache may be counted on for"),
        Setting("work_mem", "16MB", "sorts of one site's year stay in memory"),
        Setting("maintenance_work_mem", "64MB", "index builds of one chunk stay in memory"),
        Setting("max_parallel_workers_per_gather", "1", "two cores: more workers only take turns"),
        Setting("jit", "off", "short queries; the compiler's library is left out of the private prefix"),
        Setting("random_page_cost", "1.1", "solid-state disks"),
        Setting("max_wal_size", "1GB", "fewer checkpoints under bulk COPY"),
        Setting("wal_compression", "lz4", "full pages after a checkpoint are most of the write-ahead log"),
        Setting("fsync", on, "off only for data that is thrown away"),
        Setting("synchronous_commit", "on", "ingest acknowledges after the commit: it must mean durable"),
        Setting("full_page_writes", on, "guards against torn pages; off only with fsync"),
        Setting("max_locks_per_transaction", "256", "a query over years of chunks locks each of them"),
        Setting("timezone", "UTC", "times are UTC in storage"),
        Setting("log_timezone", "UTC", "logs are read beside those of other services"),
        Setting("lc_messages", "C", "messages that can be searched for"),
        Setting("log_line_prefix", "%m [%p] %q%u@%d ", "which role did it"),
        Setting("log_min_duration_statement", "2s", "slow queries name themselves"),
        Setting("log_min_error_statement", "panic", "statements may carry personal data and never reach the log"),
        Setting("cluster_name", "collateral", "recognisable in the process list"),
    )


ACCESS = "# Only this machine, only with a password.\nhost all all 127.0.0.1/32 scram-sha-256\n"


def find_system_binaries() -> Binaries | None:
    """PostgreSQL 17 with TimescaleDB as Debian 13 installs them, or None."""
    library = SYSTEM_BINARIES.parent / "lib" / "timescaledb.so"
    if library.is_file() and (SYSTEM_BINARIES / "postgres").is_file() and (SYSTEM_BINARIES / "initdb").is_file():
        return Binaries(SYSTEM_BINARIES, "system")
    return None


def prefix_binaries(prefix: Prefix) -> Binaries:
    """The programs inside a private prefix."""
    return Binaries(prefix.root / "usr/lib/postgresql" / MAJOR / "bin", str(prefix.root))


def new_passwords() -> Passwords:
    """Fresh random passwords."""
    return Passwords(secrets.token_urlsafe(24), secrets.token_urlsafe(24))


@dataclass(frozen=True)
class Postgres:
    """One cluster in one folder."""

    home: Path
    """Holds `postgres/data` and `postgres/server.log`; the account must be able to enter it."""
    binaries: Binaries
    account: Account
    profile: Profile = Profile()

    @property
    def data(self) -> Path:
        """The cluster's data folder."""
        return self.home / "postgres" / "data"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.home / "postgres" / "server.log"

    def create(self, passwords: Passwords) -> bool:
        """Makes the cluster unless it is there; True when it was made now. Half-made clusters are never left behind."""
        folder = self.home / "postgres"
        make_folder(folder, self.account, 0o700)
        if (self.data / "PG_VERSION").is_file():
            return False
        making = folder / "making"
        password_file = folder / "initial-password"
        run_as(self.account, ["/bin/rm", "-rf", making, self.data], timeout=60)
        write_private(password_file, passwords.superuser + "\n", self.account)
        try:
            done = run_as(
                self.account,
                [
                    self.binaries.folder / "initdb",
                    "--pgdata",
                    making,
                    "--username",
                    SUPERUSER,
                    "--pwfile",
                    password_file,
                    "--auth",
                    "scram-sha-256",
                    "--encoding",
                    "UTF8",
                    "--locale-provider",
                    "builtin",
                    "--builtin-locale",
                    "C.UTF-8",
                    "--locale",
                    "C",
                    "--data-checksums",
                    *([] if self.profile.durable else ["--no-sync"]),
                ],
                timeout=120,
            )
        finally:
            password_file.unlink(missing_ok=True)
        if done.returncode != 0:
            raise ServiceError(f"initdb failed in {making}: {done.stdout.strip()[-600:]}")
        moved = run_as(self.account, ["/bin/mv", making, self.data], timeout=60)
        if moved.returncode != 0:
            raise ServiceError(f"{making} cannot be renamed to {self.data}: {moved.stdout.strip()}")
        return True

    def start(self, port: int) -> int:
        """Starts the server on `port` and returns the postmaster's process id.

        Survives what kill -9 leaves behind: a stale postmaster.pid, and children that still hold the shared memory for
        a moment. Raises `ServiceError` with the end of the log when the server does not come up.
        """
        self._configure(port)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            self._drop_stale_pid_file()
            done = run_as(
                self.account,
                [
                    self.binaries.folder / "pg_ctl",
                    "start",
                    "--pgdata",
                    self.data,
                    "--log",
                    self.log,
                    "--wait",
                    "--timeout",
                    str(int(START_TIMEOUT_SECONDS)),
                    "--silent",
                ],
                timeout=START_TIMEOUT_SECONDS + 10,
                output=self._control_log(),
            )
            pid = self.running_pid()
            if done.returncode == 0 and pid is not None:
                return pid
            tail = self.log_tail()
            held_a_moment = "pre-existing shared memory block" in tail or "is another postmaster" in tail
            if not held_a_moment or time.monotonic() > deadline:
                raise ServiceError(f"PostgreSQL did not start on 127.0.0.1:{port}; {self.log} ends: {tail}")
            time.sleep(10 * POLL_SECONDS)

    def stop(self) -> None:
        """Stops the server (open transactions are rolled back); does nothing when it does not run."""
        if self.running_pid() is None:
            return
        done = run_as(
            self.account,
            [self.binaries.folder / "pg_ctl", "stop", "--pgdata", self.data, "--mode", "fast", "--timeout", "60"],
            timeout=70,
        )
        if done.returncode != 0 and self.running_pid() is not None:
            raise ServiceError(f"PostgreSQL in {self.data} did not stop: {done.stdout.strip()[-300:]}")

    def prepare(self, port: int, passwords: Passwords) -> None:
        """Makes the owner role, its database and the extension; what is there already is left, the password renewed."""
        identifier, literal = psycopg2.sql.Identifier, psycopg2.sql.Literal
        connection = psycopg2.connect(superuser_url(port, passwords))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (OWNER,))
                verb = "ALTER" if cursor.fetchone() else "CREATE"
                cursor.execute(
                    psycopg2.sql.SQL(verb + " ROLE {} LOGIN CREATEDB CREATEROLE PASSWORD {}").format(
                        identifier(OWNER), literal(passwords.owner)
                    )
                )
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if cursor.fetchone() is None:
                    cursor.execute(
                        psycopg2.sql.SQL("CREATE DATABASE {} OWNER {}").format(identifier(DATABASE), identifier(OWNER))
                    )
        except psycopg2.Error as error:
            raise ServiceError(f"The database cannot be prepared on port {port}: {error}") from error
        finally:
            connection.close()
        self._add_extension(port, passwords)

    def _add_extension(self, port: int, passwords: Passwords) -> None:
        connection = psycopg2.connect(superuser_url(port, passwords, DATABASE))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        except psycopg2.Error as error:
            raise ServiceError(f"The TimescaleDB extension cannot be created on port {port}: {error}") from error
        finally:
            connection.close()

    def running_pid(self) -> int | None:
        """Process id of the postmaster that serves this folder, None when there is none."""
        content = self._pid_file()
        if content is None:
            return None
        pid = int(content[0])
        port = int(content[3]) if len(content) > 3 and content[3].isdigit() else 0
        return pid if _is_postgres(pid, self.data) and port and answers(port) else None

    def version(self) -> str:
        """What the server calls itself."""
        done = run_as(self.account, [self.binaries.folder / "postgres", "--version"], timeout=20)
        return done.stdout.strip()

    def log_tail(self) -> str:
        """The last lines of the server's log and of pg_ctl's answer."""
        parts = []
        for path in (self.log, self._control_log()):
            try:
                parts.append(path.read_text(errors="replace")[-700:].strip())
            except OSError as error:
                parts.append(f"({path.name}: {error.strerror})")
        return " | ".join(parts)

    def _control_log(self) -> Path:
        return self.home / "postgres" / "pg_ctl.log"

    def _configure(self, port: int) -> None:
        lines = [f"{row.name} = '{row.value}'  # {row.reason}" for row in settings(port, self.profile)]
        header = "# Written anew at each start by collateral.services.postgres.\n"
        write_private(self.data / "postgresql.conf", header + "\n".join(lines) + "\n", self.account)
        write_private(self.data / "pg_hba.conf", ACCESS, self.account)

    def _pid_file(self) -> list[str] | None:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ServiceError(
                f"{self.data} cannot be read ({error.strerror}): it belongs to another user who ran this before; "
                "choose another folder with COLLATERAL_RUNTIME or act as that user."
            ) from error
        return lines if lines and lines[0].isdigit() else None

    def _drop_stale_pid_file(self) -> None:
        """PostgreSQL believes a pid file whose number now belongs to any process of the same account."""
        content = self._pid_file()
        if content is not None and not _is_postgres(int(content[0]), self.data):
            (self.data / "postmaster.pid").unlink(missing_ok=True)


def owner_url(port: int, passwords: Passwords, database: str = DATABASE) -> str:
    """Address of `database` for its owner."""
    return f"postgresql://{OWNER}:{passwords.owner}@127.0.0.1:{port}/{database}"


def superuser_url(port: int, passwords: Passwords, database: str = "postgres") -> str:
    """Address for what only the superuser may do."""
    return f"postgresql://{SUPERUSER}:{passwords.superuser}@127.0.0.1:{port}/{database}"


def _is_postgres(pid: int, data: Path) -> bool:
    if process_birth(pid) is None:
        return False
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return str(data).encode() in command or b"postgres" in Path(command[0].decode(errors="replace")).name.encode()
