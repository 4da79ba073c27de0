"""`collateral score` as a person calls it."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest

from collateral import cli
from collateral.db import reference
from collateral.db.observations import write_observations
from collateral.db.pool import Pool, Role
from collateral.domain import Portfolio, SiteKind
from tests.scoring_support import FIRST, POLICY, factory, local, make_site


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, object]]:
    code = cli.main(["score", *words, "--json"])
    answer = orjson.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    return code, answer


def test_score_replay_and_usage(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(tmp_path))
    assert run(capsys, "--replay")[0] == 1, "nothing is stored yet"
    first = date(2026, 7, 1)
    with Pool(database, Role.APP, size=1) as pool, pool.connection() as connection:
        reference.write_portfolio(connection, Portfolio(sites=(make_site(SiteKind.FACTORY),)), local(FIRST), "test")
        write_observations(connection, [row for row in factory().rows if row.valid_from < local(first)])
    code, done = run(capsys, "--from", first.isoformat(), "--to", (first + timedelta(days=4)).isoformat())
    assert code == 0
    assert {"sites": 1, "scores": 5, "alerts": {}}.items() <= done.items() and done["seconds"] is not None
    assert run(capsys, "--replay", "--site", "X01") == (0, {"replayed": 1, "same": 1, "differing": {}})
    changed = tmp_path / "policy.toml"
    changed.write_text(POLICY.body.replace("A = 80.0", "A = 99.0"))
    code, refused = run(capsys, "--from", first.isoformat(), "--policy", str(changed))
    assert code == 1 and "new version" in str(refused["error"])
    for wrong in (("--to", "2026-07-01"), ("--from", "1 July")):
        assert run(capsys, *wrong)[0] == 2
