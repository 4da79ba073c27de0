"""`collateral score` as a person calls it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from collateral import cli
from collateral.db import reference
from collateral.db.observations import write_observations
from collateral.db.pool import Pool, Role
from collateral.domain import Portfolio, SiteKind
from tests.scoring_support import FIRST, POLICY, factory, local, make_site


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
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
    code, refused = run(capsys, "--replay", "--site", "X01", "--site", "x01")
    assert code == 1 and "no stored score of site x01 to replay; run `collateral score`" in str(refused["error"])
    changed = tmp_path / "policy.toml"
    changed.write_text(POLICY.body.replace("A = 80.0", "A = 99.0"))
    code, refused = run(capsys, "--from", first.isoformat(), "--policy", str(changed))
    assert code == 1 and "new version" in str(refused["error"])
    mixed = ("--replay", "--policy", str(changed))
    for wrong in (("--to", "2026-07-01"), ("--from", "1 July"), ("--from", "2099-01-01"), mixed):
        assert run(capsys, *wrong)[0] == 2


def test_an_auditor_gets_any_past_score_with_what_its_number_is_made_of(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is learnt afterwards changes neither the number nor what it rests on."""
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(tmp_path))
    with Pool(database, Role.APP, size=1) as pool, pool.connection() as connection:
        reference.write_portfolio(connection, Portfolio(sites=(make_site(SiteKind.FACTORY),)), local(FIRST), "test")
        rows = [row for row in factory().rows if row.valid_from < local(date(2026, 7, 1))]
        write_observations(connection, rows)
    assert run(capsys, "--from", "2026-06-28", "--to", "2026-07-02")[0] == 0
    code, told = run(capsys, "--replay", "--from", "2026-06-30", "--to", "2026-07-01")
    assert code == 0 and (told["replayed"], told["same"], told["differing"]) == (2, 2, {})
    for score in told["scores"]:
        assert score["same"] and score["at"] in ("2026-06-29T22:00:00+00:00", "2026-06-30T22:00:00+00:00")
        points = sum(part["points"] for part in score["contributions"])
        exact = sum(part["weight"] * part["expected_shortfall"] for part in score["contributions"])
        assert score["value"] == pytest.approx(100 - points) and points == pytest.approx(exact, abs=0.01)
        assert 0 < points < 100 and score["inputs"]["used"]
    with Pool(database, Role.APP, size=1) as pool, pool.connection() as connection:
        late = datetime(2026, 7, 20, tzinfo=UTC)
        halves = (replace(one, value=one.value / 2, lower=one.lower / 2, upper=one.upper / 2) for one in rows)
        assert write_observations(connection, [replace(one, known_at=late) for one in halves]).written > 0
    assert run(capsys, "--replay", "--from", "2026-06-30", "--to", "2026-07-01") == (0, told)
    assert run(capsys, "--from", "2026-06-30", "--to", "2026-07-01")[1]["scores"] == 0, "as it was known then"
    code, refused = run(capsys, "--replay", "--from", "2026-06-01")
    assert code == 1 and "no stored score" in str(refused["error"])
    assert "swap them" in str(run(capsys, "--replay", "--from", "2026-07-01", "--to", "2026-06-30")[1]["error"])


@pytest.mark.parametrize("words", [("score",), ("score", "--areas"), ("observe",), ("observe", "--trackers")])
def test_nothing_is_judged_by_a_clock_that_is_wrong(
    database: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    assert cli.main([*words, "--json"]) == 0
    capsys.readouterr()
    monkeypatch.setattr("collateral.db.clock.TOLERANCE", timedelta(microseconds=-1))
    assert cli.main([*words, "--json"]) == 1
    assert "nothing was judged" in orjson.loads(capsys.readouterr().out)["error"]
