"""A list of a site that nobody knows is a mistake in the name, not an empty list."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from collateral.cli import main
from tests.iot_support import START, register, site

LISTS = [("devices", "list"), ("geofences", "list"), ("geofences", "export", "areas.geojson")]


@pytest.mark.parametrize("words", LISTS)
def test_an_unknown_site_is_named_with_a_remedy_and_one_that_left_is_answered(
    words: tuple[str, ...], database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    register(database, [], sites=[site(), site("S2")])
    register(database, [], sites=[site()], known_at=START + timedelta(days=1))
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--site", "s1", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)["error"]
    assert said == "Site s1 is not in the portfolio; import it, or name a site that is."
    assert not (tmp_path / "areas.geojson").exists()
    assert main([*words, "--site", "S1", "--json"]) == 0
    assert main([*words, "--site", "S2", "--json"]) == 0
