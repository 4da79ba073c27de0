"""The private servers as a user meets them: up, down, killed, moved, side by side, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from collateral.errors import ServiceError
from collateral.services import local, mosquitto, postgres
from collateral.services.system import free_port, process_birth, server_account

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder that every account can reach; its servers are stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="cw-services-"))
    folder.chmod(0o755)
    yield folder / "run"
    for state in folder.rglob(local.STATE):
        home = local.read_state(state.parent).home
        local.down(state.parent)
        if home and not Path(home).is_relative_to(folder):
            shutil.rmtree(home)
    shutil.rmtree(folder)


def _up(runtime: Path) -> local.ServiceEndpoints:
    return local.ensure(runtime, profile=postgres.TEST_PROFILE)


def _query(url: str, statement: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def _running(runtime: Path) -> dict[str, object]:
    report = local.status(runtime)
    return {name: entry["running"] for name, entry in report.items() if isinstance(entry, dict)}


def _kill_everything(runtime: Path) -> None:
    """kill -9 of both servers and all their children, at once."""
    pids = [server.pid for server in local.read_state(runtime).servers.values()]
    for pid in list(pids):
        pids += [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    _kill(pids)


def _kill(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(process_birth(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)


def test_up_twice_down_up_keeps_data_ports_and_passwords(runtime: Path) -> None:
    first = _up(runtime)
    _query(first.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert _up(runtime) == first
    assert _running(runtime) == {"database": True, "broker": True}

    assert set(local.down(runtime)) == {"database", "broker"}
    assert _running(runtime) == {"database": False, "broker": False}
    assert local.down(runtime) == ()

    assert _up(runtime) == first
    assert _query(first.database_url, "SELECT answer FROM kept") == [(42,)]


def test_kill_9_of_everything_then_up(runtime: Path) -> None:
    first = _up(runtime)
    _query(first.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    _kill_everything(runtime)
    assert _running(runtime) == {"database": False, "broker": False}
    assert _up(runtime) == first
    assert _query(first.database_url, "SELECT answer FROM kept") == [(42,)]

    _kill([local.read_state(runtime).servers["database"].pid])  # its children notice a moment later
    assert _up(runtime) == first
    assert _query(first.database_url, "SELECT answer FROM kept") == [(42,)]


def test_a_process_id_reused_by_a_stranger_does_not_block_the_start(runtime: Path) -> None:
    _up(runtime)
    local.down(runtime)
    account = server_account()
    identity = {} if account.is_current else {"user": account.uid, "group": account.gid}
    with subprocess.Popen(["sleep", "60"], cwd="/", **identity) as stranger:  # type: ignore[call-overload]
        data = runtime / "postgres" / "data"
        (data / "postmaster.pid").write_text(f"{stranger.pid}\n{data}\n1\n1\n\n127.0.0.1\n\nready\n")
        url = _up(runtime).database_url
        alive = stranger.poll() is None
        stranger.kill()
    assert alive
    assert _query(url, "SELECT 1") == [(1,)]


def test_a_taken_port_is_given_up(runtime: Path) -> None:
    before = _up(runtime)
    port = local.read_state(runtime).servers["database"].port
    local.down(runtime)
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        after = _up(runtime)
        assert after.database_url != before.database_url
        assert _query(after.database_url, "SELECT 1") == [(1,)]


def test_two_checkouts_side_by_side_under_a_long_path(runtime: Path) -> None:
    one = runtime / ("a-folder-with-a-long-name-" * 5) / ("and-another-below-it-" * 5)
    other = runtime / "other"
    first, second = _up(one), _up(other)
    assert len(str(one)) > 230
    assert first.database_url != second.database_url
    assert first.mqtt_url != second.mqtt_url
    _query(first.database_url, "CREATE TABLE mine (x int)")
    assert _query(second.database_url, "SELECT to_regclass('mine')") == [(None,)]
    local.down(one)
    assert _running(other) == {"database": True, "broker": True}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be above a folder that the server account cannot enter")
def test_root_in_a_closed_folder_keeps_the_data_where_the_server_can_reach_it(runtime: Path) -> None:
    runtime.mkdir()
    runtime.chmod(0o700)
    closed = runtime / "run"
    endpoints = _up(closed)
    home = local.read_state(closed).home
    assert home is not None
    assert not Path(home).is_relative_to(runtime)
    local.down(closed)
    assert _up(closed) == endpoints


def _ordinary_command() -> list[str]:
    """A Python of this version that an ordinary user can start, with the packages of this one."""
    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", python]
        if subprocess.run([*command, "-c", ""], cwd="/", check=False, capture_output=True).returncode == 0:
            return command
    pytest.skip("NOT RUN AS AN ORDINARY USER: no Python here that the account nobody can start")


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests of this file run as an ordinary user already")
def test_an_ordinary_user_provisions_starts_and_stops(runtime: Path) -> None:
    command = _ordinary_command()
    shutil.chown(runtime.parent, "nobody")
    program = (
        "import json, sys; from pathlib import Path; from collateral.services import local, prefix, postgres\n"
        "tiny = prefix.Recipe('tiny', ('netbase',), (), ())\n"
        "root = prefix.provision(tiny, [Path(sys.argv[2])]).root\n"
        "first = local.ensure(Path(sys.argv[1]), profile=postgres.TEST_PROFILE)\n"
        "second = local.ensure(Path(sys.argv[1]), profile=postgres.TEST_PROFILE)\n"
        "stopped = local.down(Path(sys.argv[1]))\n"
        "print(json.dumps([(root / 'etc/services').is_file(), first == second, sorted(stopped)]))\n"
    )
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [*command, "-c", program, str(runtime), str(runtime.parent / "cache")],
        cwd="/", env=environment, text=True, capture_output=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, True, ["broker", "database"]]
    assert (runtime / "postgres").stat().st_uid != 0


def test_secrets_are_readable_by_their_owner_only_and_random(database_server: str, services_runtime: Path) -> None:
    for name in (local.SECRETS, local.STATE):
        assert (services_runtime / name).stat().st_mode & 0o777 == 0o600
    content = json.loads((services_runtime / local.SECRETS).read_text())
    words = [*content["database"].values(), *content["broker"].values()]
    assert len(set(words)) == 4
    assert all(len(word) >= 24 for word in words)
    report = json.dumps(local.status(services_runtime))
    assert [word for word in words if word in report] == []


def test_the_database_refuses_a_wrong_password_and_keeps_its_settings(database_server: str, services_runtime: Path) -> None:
    head, _, tail = database_server.partition("@")
    wrong = head.rsplit(":", 1)[0] + ":wrong@" + tail
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(wrong)
    passwords = postgres.Passwords(**json.loads((services_runtime / local.SECRETS).read_text())["database"])
    superuser = postgres.superuser_url(local.read_state(services_runtime).servers["database"].port, passwords)
    shown = {
        name: _query(superuser, f"SHOW {name}")[0][0]
        for name in ("timescaledb.telemetry_level", "listen_addresses", "unix_socket_directories", "data_checksums")
    }
    assert shown == {
        "timescaledb.telemetry_level": "off",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "data_checksums": "on",
    }


def test_given_addresses_provision_nothing(tmp_path: Path) -> None:
    given = local.ensure(tmp_path / "run", database_url="postgresql://db", mqtt_url="mqtt://broker")
    assert given == local.ServiceEndpoints("postgresql://db", "mqtt://broker", "mqtt://broker")
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_done_names_the_ways_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError) as caught:
        local.ensure(tmp_path / "file" / "run")
    for word in ("compose.yaml", "COLLATERAL_DATABASE_URL", "COLLATERAL_MQTT_URL", str(tmp_path)):
        assert word in str(caught.value)


def test_the_command_line_starts_reports_and_stops(runtime: Path) -> None:
    environment = {**os.environ, "COLLATERAL_RUNTIME": str(runtime), "PYTHONPATH": str(ROOT)}
    environment.pop("COLLATERAL_DATABASE_URL", None)
    environment.pop("COLLATERAL_MQTT_URL", None)

    def command(*words: str) -> tuple[int, dict[str, object]]:
        done = subprocess.run(
            [sys.executable, "-m", "collateral.cli", "services", *words, "--json"],
            env=environment, text=True, capture_output=True, check=False, timeout=200,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout)

    assert command("status")[0] == 1
    assert command("up")[0] == 0
    code, report = command("status")
    assert code == 0
    assert report["running"] is True
    code, report = command("down")
    assert (code, report["stopped"]) == (0, ["broker", "database"])
    assert command("status")[0] == 1


def test_a_broker_that_cannot_start_says_why(runtime: Path) -> None:
    runtime.mkdir()
    runtime.chmod(0o755)
    port = free_port()
    binaries = local.broker_binaries(runtime)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        with pytest.raises(ServiceError, match=str(port)):
            mosquitto.Mosquitto(runtime, binaries, server_account()).start(port, mosquitto.new_passwords())
