"""A second demo of one seed must not touch the world and the servers of the first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collateral.cli import main
from collateral.services.system import file_lock


@pytest.mark.parametrize(("command", "folder"), [("up", "demo-9"), ("check", "check-9")])
def test_a_demo_that_runs_is_left_alone(
    command: str, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(tmp_path))
    (tmp_path / folder / "world").mkdir(parents=True)
    (tmp_path / folder / "world" / "world.json").write_text('{"end": "2020-01-01T00:00:00+00:00"}')
    with file_lock(tmp_path / f"{folder}.lock", timeout=0.0):
        assert main(["demo", command, "--seed", "9", "--json"]) == 1
    assert "end that demo first" in json.loads(capsys.readouterr().out)["error"]
    assert (tmp_path / folder / "world" / "world.json").is_file()
