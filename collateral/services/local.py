"""The door to the private services: `ensure` starts what is missing, `down` stops it, `status` looks.

State is kept in RUNTIME/services.json (ports, processes, versions, addresses) and RUNTIME/secrets.json (passwords), both
readable by their owner only. A lock makes concurrent callers take turns.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from collateral.errors import ServiceError
from collateral.services import mosquitto, postgres
from collateral.services.prefix import DATABASE_AND_BROKER, Prefix, cache_folders, provision
from collateral.services.system import (
    Account,
    answers,
    can_read,
    end_process,
    file_lock,
    free_port,
    make_folder,
    port_is_free,
    process_birth,
    say,
    server_account,
    server_home,
    write_private,
)

STATE = "services.json"
SECRETS = "secrets.json"
LOCK_TIMEOUT_SECONDS = 900.0
PORT_ATTEMPTS = 5

REMEDY = (
    "Either start the servers of compose.yaml with Docker (`docker compose up -d`) or use servers of your own, and in both "
    "cases name them in COLLATERAL_DATABASE_URL (postgresql://user:password@host:port/name) and COLLATERAL_MQTT_URL "
    "(mqtt://user:password@host:port)."
)


@dataclass(frozen=True)
class ServiceEndpoints:
    """Where the servers are, passwords included: never log it unmasked."""

    database_url: str
    mqtt_url: str
    """For the ingest service: reads every device's topics."""
    mqtt_fleet_url: str
    """For the simulated fleet and the replay tool: writes every device's topics. Own brokers: same as `mqtt_url`."""


@dataclass(frozen=True)
class ServerState:
    """One server as last started."""

    port: int
    pid: int
    birth: str | None
    version: str
    origin: str


@dataclass(frozen=True)
class State:
    """Content of services.json."""

    home: str | None = None
    """Folder of the server data; the runtime folder unless its account cannot enter that."""
    servers: Mapping[str, ServerState] = field(default_factory=dict)
    """`database` and `broker`; kept after a stop, so that ports stay the same."""
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """Only while the servers run."""
    tls: mosquitto.Tls | None = None
    """The broker's listener for devices, kept for its next start."""


def ensure(
    runtime: Path,
    *,
    database_url: str | None = None,
    mqtt_url: str | None = None,
    profile: postgres.Profile | None = None,
    tls: mosquitto.Tls | None = None,
) -> ServiceEndpoints:
    """Makes sure that a TimescaleDB and a Mosquitto run, and says where.

    With `database_url` or `mqtt_url` given, that server is taken as it is. What is not given is found or provisioned,
    and started, under `runtime`. Calling it again is cheap and changes nothing. `tls` adds a listener to the broker, which
    must not run yet without it; it is remembered.

    Raises:
        ServiceError: it cannot be done; the message names compose.yaml and the two environment variables.
    """
    if database_url is not None and mqtt_url is not None:
        return ServiceEndpoints(database_url, mqtt_url, mqtt_url)
    runtime = runtime.resolve()
    try:
        with file_lock(runtime / "services.lock", timeout=LOCK_TIMEOUT_SECONDS):
            services = _Services(runtime, profile or postgres.Profile())
            services.listen(tls)
            endpoints = services.up(database=database_url is None, broker=mqtt_url is None)
    except ServiceError as error:
        raise ServiceError(f"The private services under {runtime} cannot be had: {error} {REMEDY}") from error
    return ServiceEndpoints(
        database_url or endpoints["database_url"],
        mqtt_url or endpoints["mqtt_url"],
        mqtt_url or endpoints["mqtt_fleet_url"],
    )


def down(runtime: Path) -> tuple[str, ...]:
    """Stops the private servers of `runtime`; returns the names of those that were running."""
    runtime = runtime.resolve()
    if not (runtime / STATE).is_file():
        return ()
    with file_lock(runtime / "services.lock", timeout=LOCK_TIMEOUT_SECONDS):
        return _Services(runtime, postgres.Profile()).down()


def status(runtime: Path) -> dict[str, object]:
    """What runs, per server: running, port, pid, version, origin and log. Starts nothing."""
    runtime = runtime.resolve()
    state = read_state(runtime)
    home = Path(state.home or runtime)
    logs = {"database": home / "postgres/server.log", "broker": home / "mosquitto/broker.log"}
    report: dict[str, object] = {}
    for name in ("database", "broker"):
        server = state.servers.get(name)
        if server is None:
            report[name] = {"running": False, "provisioned": False}
            continue
        report[name] = {
            "running": _runs(server),
            "provisioned": True,
            "port": server.port,
            "pid": server.pid,
            "version": server.version,
            "origin": server.origin,
            "log": str(logs[name]),
        }
    return report


def read_state(runtime: Path) -> State:
    """The recorded state; an empty one when nothing was started yet."""
    path = runtime / STATE
    try:
        content = json.loads(path.read_text())
        servers = {name: ServerState(**entry) for name, entry in content["servers"].items()}
        tls = content.get("tls")
        listener = None if tls is None else mosquitto.Tls(**{**tls, "folder": Path(tls["folder"])})
        return State(content["home"], servers, content["endpoints"], listener)
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServiceError(f"{path} cannot be read ({error}); remove it, the data stays.") from error


def broker_binaries(runtime: Path) -> mosquitto.BrokerBinaries:
    """The broker this machine has, else the privately unpacked one: for tests and benchmarks with a broker of their own."""
    found = mosquitto.find_system_broker()
    return found or mosquitto.prefix_broker(provision(DATABASE_AND_BROKER, cache_folders(runtime)))


def private_broker(runtime: Path) -> tuple[mosquitto.Mosquitto, int | None] | None:
    """The private broker of a runtime folder, and its process where it runs; None when none was ever started there."""
    state = read_state(runtime)
    server = state.servers.get("broker")
    if server is None:
        return None
    home = Path(state.home or runtime)
    broker = mosquitto.Mosquitto(home, broker_binaries(runtime), server_account(home / "postgres"))
    runs = server.birth is not None and process_birth(server.pid) == server.birth
    return broker, server.pid if runs else None


def turn_broker_log(runtime: Path) -> bool:
    """Starts a new log of the private broker where the present one is long; returns whether it did."""
    found = private_broker(runtime.resolve())
    return found is not None and found[1] is not None and found[0].turn_log(found[1])


def _runs(server: ServerState) -> bool:
    return server.birth is not None and process_birth(server.pid) == server.birth and answers(server.port)


class _Services:
    """The servers of one runtime folder; the caller holds the lock."""

    def __init__(self, runtime: Path, profile: postgres.Profile) -> None:
        self.runtime = runtime
        self.profile = profile
        self.state = read_state(runtime)
        self.account: Account = server_account(Path(self.state.home or runtime) / "postgres")
        self._prefix: Prefix | None = None

    def listen(self, tls: mosquitto.Tls | None) -> None:
        """Remembers the listener for devices, for the broker's next start."""
        if tls is None or tls == self.state.tls:
            return
        broker = self.state.servers.get("broker")
        if broker is not None and _runs(broker):
            raise ServiceError("the broker runs with another listener for devices; `collateral services down` first.")
        for name in ("ca.crt", "server.crt", "server.key"):
            if not can_read(self.account, tls.folder / name):
                raise ServiceError(f"{tls.folder / name} is not there, or the account {self.account.name} cannot read it.")
        self.state = replace(self.state, tls=tls)

    def up(self, *, database: bool, broker: bool) -> Mapping[str, str]:
        wanted = [name for name, asked in (("database", database), ("broker", broker)) if asked]
        if all(name in self.state.servers and _runs(self.state.servers[name]) for name in wanted):
            needed = (["database_url"] if database else []) + (["mqtt_url", "mqtt_fleet_url"] if broker else [])
            if all(key in self.state.endpoints for key in needed):
                return self.state.endpoints
        home = server_home(self.runtime, self.account)
        passwords = self._passwords()
        servers, endpoints = dict(self.state.servers), dict(self.state.endpoints)
        if database:
            servers["database"], endpoints["database_url"] = self._database_up(home, passwords)
            self._write(home, servers, endpoints)
        if broker:
            words: Mapping[str, str] = passwords["broker"]
            servers["broker"] = self._broker_up(home, words)
            port = servers["broker"].port
            endpoints["mqtt_url"] = mosquitto.url(port, mosquitto.INGEST, words[mosquitto.INGEST])
            endpoints["mqtt_fleet_url"] = mosquitto.url(port, mosquitto.FLEET, words[mosquitto.FLEET])
            self._write(home, servers, endpoints)
        return endpoints

    def down(self) -> tuple[str, ...]:
        stopped = []
        home = Path(self.state.home or self.runtime)
        broker, database = self.state.servers.get("broker"), self.state.servers.get("database")
        if broker is not None and _runs(broker):
            end_process(broker.pid, broker.birth, timeout=20.0)
            stopped.append("broker")
        if database is not None:
            server = self._postgres(home)
            if server.running_pid() is not None:
                server.stop()
                stopped.append("database")
        self._write(home, self.state.servers, {})
        return tuple(stopped)

    def _database_up(self, home: Path, passwords: Mapping[str, Any]) -> tuple[ServerState, str]:
        server = self._postgres(home)
        words = postgres.Passwords(**passwords["database"])
        before = self.state.servers.get("database")
        if before is not None and _runs(before) and server.running_pid() == before.pid:
            return before, postgres.owner_url(before.port, words)
        started = time.monotonic()
        if server.create(words):
            say(f"made a database cluster in {server.data}")
        server.stop()
        port, pid = _start_on_a_port(before.port if before else None, server.start)
        server.prepare(port, words)
        say(f"TimescaleDB listens on 127.0.0.1:{port} ({time.monotonic() - started:.1f} s)")
        state = ServerState(port, pid, process_birth(pid), server.version(), server.binaries.origin)
        return state, postgres.owner_url(port, words)

    def _broker_up(self, home: Path, words: Mapping[str, str]) -> ServerState:
        before = self.state.servers.get("broker")
        if before is not None and _runs(before):
            return before
        binaries = mosquitto.find_system_broker() or mosquitto.prefix_broker(self._private_prefix())
        server = mosquitto.Mosquitto(home, binaries, self.account)
        port, pid = _start_on_a_port(before.port if before else None, lambda port: server.start(port, words, self.state.tls))
        devices = f", and for devices with TLS on {self.state.tls.host}:{self.state.tls.port}" if self.state.tls else ""
        say(f"Mosquitto listens on 127.0.0.1:{port}{devices}")
        return ServerState(port, pid, process_birth(pid), server.version(), binaries.origin)

    def _postgres(self, home: Path) -> postgres.Postgres:
        binaries = postgres.find_system_binaries() or postgres.prefix_binaries(self._private_prefix())
        return postgres.Postgres(home, binaries, self.account, self.profile)

    def _private_prefix(self) -> Prefix:
        if self._prefix is None:
            self._prefix = provision(DATABASE_AND_BROKER, cache_folders(self.runtime))
        return self._prefix

    def _passwords(self) -> dict[str, Any]:
        path = self.runtime / SECRETS
        try:
            content: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            content = {}
        except (OSError, ValueError) as error:
            raise ServiceError(f"{path} cannot be read ({error}); it holds the passwords of the data beside it.") from error
        if "database" not in content or "broker" not in content:
            content.setdefault("database", asdict(postgres.new_passwords()))
            content.setdefault("broker", mosquitto.new_passwords())
            write_private(path, json.dumps(content, indent=1))
        return content

    def _write(self, home: Path, servers: Mapping[str, ServerState], endpoints: Mapping[str, str]) -> None:
        self.state = State(str(home), servers, endpoints, self.state.tls)
        make_folder(self.runtime)
        write_private(self.runtime / STATE, json.dumps(asdict(self.state), indent=1, default=str))


def _start_on_a_port(remembered: int | None, start: Callable[[int], int]) -> tuple[int, int]:
    """Starts a server on the remembered port, or on a free one; tries others when somebody takes it in between."""
    port = remembered if remembered is not None and port_is_free(remembered) else free_port()
    for attempt in range(PORT_ATTEMPTS):
        try:
            return port, start(port)
        except ServiceError:
            if attempt == PORT_ATTEMPTS - 1 or port_is_free(port):
                raise
            port = free_port()
    raise AssertionError("unreachable")


def fleet_url(runtime: Path, mqtt_url: str) -> str:
    """Address for those who publish as devices: the private broker's fleet account, or `mqtt_url` of an own broker."""
    endpoints = read_state(runtime.resolve()).endpoints
    return endpoints["mqtt_fleet_url"] if endpoints.get("mqtt_url") == mqtt_url else mqtt_url
