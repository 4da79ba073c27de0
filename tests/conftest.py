"""Real services for tests: one private TimescaleDB for the whole run, a database per test, a broker per test, a Chromium.

The server is shared by all workers of a parallel run: the controlling process names a folder, the first worker that needs
the server starts it there, the controlling process stops it. A service that cannot be had fails the test; only a missing
Chromium skips, and only without root.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg2
import psycopg2.errors
import psycopg2.sql
import pytest
from playwright.sync_api import Page, sync_playwright

from collateral.db.migrate import available, migrate
from collateral.errors import ServiceError
from collateral.services import local, postgres
from collateral.services.browser import Chromium, ensure_chromium
from collateral.services.system import file_lock, process_birth
from collateral.settings import Settings
from tests.services_support import Broker

RUNTIME_VARIABLE = "COLLATERAL_TEST_RUNTIME"
RUNTIME_PREFIX = "collateral-tests-"


def pytest_configure(config: pytest.Config) -> None:
    """In the controlling process: names the folder of this run's services and clears those of runs that were killed."""
    if hasattr(config, "workerinput"):
        return
    for old in Path(tempfile.gettempdir()).glob(f"{RUNTIME_PREFIX}*"):
        pid = old.name.removeprefix(RUNTIME_PREFIX).split("-")[0]
        with suppress(OSError, ServiceError):  # another run may be clearing it at this moment
            if old.stat().st_uid == os.geteuid() and pid.isdigit() and process_birth(int(pid)) is None:
                _remove_runtime(old)
    folder = Path(tempfile.mkdtemp(prefix=f"{RUNTIME_PREFIX}{os.getpid()}-"))
    folder.chmod(0o755)
    os.environ[RUNTIME_VARIABLE] = str(folder)
    os.environ.setdefault("OMP_NUM_THREADS", str(_threads(config)))


def _threads(config: pytest.Config) -> int:
    """A worker's share of the cores: threads beyond them wait for each other, and a training takes eight times as long."""
    workers = config.getoption("numprocesses", default=None) or 1
    return max(1, len(os.sched_getaffinity(0)) // workers)


def pytest_unconfigure(config: pytest.Config) -> None:
    """In the controlling process, after all workers: stops the shared services."""
    if hasattr(config, "workerinput"):
        return
    folder = os.environ.pop(RUNTIME_VARIABLE, None)
    if folder is not None:
        _remove_runtime(Path(folder))


def _remove_runtime(folder: Path) -> None:
    local.down(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def services_runtime() -> Path:
    """Folder of the services shared by the whole run."""
    return Path(os.environ[RUNTIME_VARIABLE])


@pytest.fixture(scope="session")
def database_server(services_runtime: Path) -> str:
    """Address of the empty owner database of the shared server (role with CREATEDB): tests rarely need it themselves."""
    # The broker of the shared server is never used: each test starts its own, so none is started here.
    return local.ensure(services_runtime, mqtt_url="mqtt://unused", profile=postgres.TEST_PROFILE).database_url


@pytest.fixture(scope="session")
def database_template(database_server: str, services_runtime: Path) -> str:
    """Name of a database with all migrations applied, made once per run."""
    name = f"template_{len(available())}"
    with file_lock(services_runtime / "template.lock", timeout=120):
        if not _exists(database_server, name):
            making = f"{name}_making"
            execute(database_server, "DROP DATABASE IF EXISTS {}", making)
            execute(database_server, "CREATE DATABASE {}", making)
            migrate(with_database(database_server, making))
            execute(database_server, "ALTER DATABASE {} RENAME TO {}", making, name)
    return name


@pytest.fixture
def database(database_server: str, database_template: str) -> Iterator[str]:
    """Address of a fresh migrated database of this test alone."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    execute(database_server, "CREATE DATABASE {} TEMPLATE {}", name, database_template)
    yield with_database(database_server, name)
    drop_database(database_server, name)


@pytest.fixture
def empty_database(database_server: str) -> Iterator[str]:
    """Address of a fresh database of this test alone without any migration."""
    name = f"empty_{uuid.uuid4().hex[:16]}"
    execute(database_server, "CREATE DATABASE {}", name)
    yield with_database(database_server, name)
    drop_database(database_server, name)


@pytest.fixture
def broker(services_runtime: Path) -> Iterator[Broker]:
    """A Mosquitto of this test alone; `.mqtt_url`, `.mqtt_fleet_url`, `.kill()`, `.start()`, `.stop()`."""
    home = Path(tempfile.mkdtemp(prefix="broker-", dir=services_runtime))
    home.chmod(0o755)
    server = Broker(home, services_runtime)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path, database: str) -> Settings:
    """Settings of an installation in `tmp_path` with this test's database, and its broker where the test asks for one."""
    broker = request.getfixturevalue("broker") if "broker" in request.fixturenames else None
    data = os.environ.get("COLLATERAL_DATA")
    return Settings(
        home=tmp_path,
        runtime=tmp_path / ".runtime",
        database_url=database,
        mqtt_url=broker.mqtt_url if broker else None,
        external_services=broker is not None,
        data=Path(data) if data else None,
    )


@pytest.fixture(scope="session")
def labelled_data() -> Path:
    """Folder of labelled data; skips where COLLATERAL_DATA names none."""
    folder = os.environ.get("COLLATERAL_DATA")
    if not folder:
        pytest.skip("COLLATERAL_DATA is not set: labelled data is needed here")
    return Path(folder)


@pytest.fixture(scope="session")
def chromium(services_runtime: Path) -> Chromium:
    """A headless Chromium: `.executable`, `.arguments`, `.environment`. Skips only where root rights are missing too."""
    try:
        with file_lock(services_runtime / "chromium.lock", timeout=600):
            return ensure_chromium(services_runtime)
    except ServiceError as error:
        if os.geteuid() == 0 or os.environ.get("CI"):
            raise
        pytest.skip(f"BROWSER TEST NOT RUN: {error}")


@pytest.fixture
def page(chromium: Chromium) -> Iterator[Page]:
    """A fresh Playwright page of 1280 x 800 in a browser of this test alone."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.executable,
            args=list(chromium.arguments),
            env=dict(chromium.environment),
        )
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


def drop_database(url: str, name: str) -> None:
    """Drops a test's database; a maintenance worker of the server, which only its own kind may end, is waited for."""
    for attempt in range(20):
        try:
            execute(url, "DROP DATABASE {} WITH (FORCE)", name)
        except psycopg2.errors.InsufficientPrivilege:
            if attempt == 19:
                raise
            time.sleep(0.5)
        else:
            return


def with_database(url: str, name: str) -> str:
    """The same server and role, another database."""
    return url.rsplit("/", 1)[0] + "/" + name


def execute(url: str, statement: str, *names: str) -> None:
    """Runs one statement outside a transaction; `names` fill the `{}` as quoted identifiers."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            identifiers = [psycopg2.sql.Identifier(name) for name in names]
            cursor.execute(psycopg2.sql.SQL(statement).format(*identifiers))


def _exists(url: str, name: str) -> bool:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        return cursor.fetchone() is not None
