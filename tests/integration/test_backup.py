"""Backup and restore as docs/operations.md says: a dump goes into an empty database and everything is as it was."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import psycopg2
import pytest

from collateral import cli
from collateral.db.migrate import migrate
from collateral.db.observations import write_observations
from collateral.db.pool import Pool, Role
from collateral.db.reference import write_portfolio
from collateral.domain import Portfolio, SiteKind
from collateral.services.local import SECRETS, read_state
from collateral.services.postgres import Passwords, superuser_url
from iot.observe import observe
from tests.conftest import drop_database, execute, with_database
from tests.iot_support import START, device, register, rows, store
from tests.scoring_support import FIRST, factory, local, make_site

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def superuser(services_runtime: Path, database: str) -> str:
    """Address of `database` for the superuser of the private server."""
    words = Passwords(**json.loads((services_runtime / SECRETS).read_text())["database"])
    return superuser_url(read_state(services_runtime).servers["database"].port, words, database.rpartition("/")[2])


@pytest.fixture
def programs(services_runtime: Path) -> Path:
    """Folder of pg_dump and pg_restore of the server's own version."""
    origin = read_state(services_runtime).servers["database"].origin
    root = Path("/") if origin == "system" else Path(origin)
    return root / "usr/lib/postgresql/17/bin"


@pytest.fixture
def restored(database: str) -> Iterator[str]:
    name = f"restored_{uuid.uuid4().hex[:16]}"
    execute(database, "CREATE DATABASE {}", name)
    yield with_database(database, name)
    drop_database(database, name)


def documented() -> list[str]:
    """The statements of the page, in order."""
    chapter = OPERATIONS.read_text().partition("## Backup and restore")[2].partition("\n## ")[0]
    return re.findall(r'psql .* -c "(.+?)"', chapter)


def test_what_was_dumped_is_restored_and_goes_on(
    database: str, superuser: str, restored: str, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    register(database, [device("m1", ("active_power_kw",))])
    step_us = 900_000_000
    first_us = int(START.timestamp()) * 1_000_000
    times_us = range(first_us, first_us + 960 * step_us, step_us)
    store(database, [("m1", "active_power_kw", time_us, float(time_us % 97), time_us) for time_us in times_us])
    with Pool(database, Role.APP, size=2) as pool:
        observe(pool, START + timedelta(days=12))
        with pool.connection() as connection:
            judged = Portfolio(sites=(make_site(SiteKind.FACTORY),))
            write_portfolio(connection, judged, local(FIRST), "test", allow_removal=True)
            write_observations(connection, [row for row in factory().rows if row.valid_from < local(date(2026, 7, 1))])
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    assert cli.main(["score", "--site", "X01", "--from", "2026-06-28", "--to", "2026-06-30"]) == 0

    dump = tmp_path / "collateral.dump"
    subprocess.run([programs / "pg_dump", "-Fc", "-f", dump, database], check=True, capture_output=True)
    before, after = documented()
    target = with_database(superuser, restored.rpartition("/")[2])
    run_as_superuser(target, before)
    subprocess.run([programs / "pg_restore", "-d", target, dump], check=True, capture_output=True)
    run_as_superuser(target, after)

    assert migrate(restored) == (), "the schema came with it"
    for table in ("reading", "rollup", "observation", "score", "site_version", "schema_migration", "audit"):
        query = f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"  # noqa: S608
        assert rows(restored, query) == rows(database, query), table
    assert rows(restored, "SELECT count(*) FROM reading") == [(960,)]
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", restored)
    capsys.readouterr()
    assert cli.main(["score", "--replay", "--from", "2026-06-28", "--to", "2026-06-30", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["replayed"] == 3
    store(restored, [("m1", "active_power_kw", first_us + 960 * step_us, 1.0, first_us + 960 * step_us)])
    with pytest.raises(psycopg2.Error, match="append-only"):
        run_as_superuser(target, "UPDATE score SET value = 0")


def run_as_superuser(url: str, statements: str) -> None:
    for statement in statements.rstrip(";").split("; "):
        execute(url, statement)
