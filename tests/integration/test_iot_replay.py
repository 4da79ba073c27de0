"""`collateral replay`: a wrong argument is told apart from bad data, and what was published before bad data is told."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from collateral.cli import main
from tests.services_support import Broker

WORDS = {"--map": "kw=active_power_kw", "--site": "S1", "--device": "m1", "--time-column": "when"}
GOOD = "when,kw\n" + "".join(f"2024-01-01 {hour:02}:00,{hour}\n" for hour in range(5))


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(tmp_path / "runtime"))
    monkeypatch.delenv("COLLATERAL_MQTT_URL", raising=False)
    path = tmp_path / "r.csv"
    path.write_text(GOOD, encoding="utf-8")
    return path


def words(path: Path, **changed: str) -> list[str]:
    given = {**WORDS, **{f"--{name.replace('_', '-')}": value for name, value in changed.items()}}
    return ["replay", str(path), *(word for pair in given.items() for word in pair if pair[1]), "--json"]


@pytest.mark.parametrize(
    "changed",
    [
        {"map": "kw"}, {"map": "kw=nothing"}, {"speed": "fast"}, {"speed": "-1"}, {"time_zone": "Nowhere/Land"},
        {"site": "a b"}, {"device": "a/b"}, {"broker": "http://127.0.0.1"}, {"time_step": "15m"},
        {"time_column": "", "time_start": "yesterday", "time_step": "15m"},
        {"time_column": "", "time_start": "2024-01-01T00:00", "time_step": "soon"},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_argument_is_a_usage_error(recording: Path, changed: dict[str, str]) -> None:
    assert main(words(recording, **{"broker": "mqtt://127.0.0.1:1", **changed})) == 2


def test_a_file_that_is_not_there_is_a_wrong_argument(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where no broker is set up."""
    assert main(words(recording.with_name("gone.csv"))) == 2
    assert "gone.csv" in orjson.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize("bad", ["2024-01-01 05:00,much", "someday,5"])
def test_bad_data_says_where_and_how_much_was_published(
    broker: Broker, recording: Path, capsys: pytest.CaptureFixture[str], bad: str
) -> None:
    url = urlsplit(broker.mqtt_fleet_url)
    secret = recording.with_name("password")
    secret.write_text(f"{url.password}\n")
    fleet = {"broker": f"mqtt://{url.username}@{url.hostname}:{url.port}", "password_file": str(secret)}
    assert main(words(recording, broker=broker.mqtt_fleet_url)) == 1
    refused = orjson.loads(capsys.readouterr().out)["error"]
    assert "--password-file" in refused and str(url.password) not in refused
    assert main(words(recording, **fleet)) == 0
    assert orjson.loads(capsys.readouterr().out)["acknowledged"] == 5
    recording.write_text(GOOD + bad + "\n2024-01-01 06:00,6\n", encoding="utf-8")
    assert main(words(recording, **fleet)) == 1
    error = orjson.loads(capsys.readouterr().out)["error"]
    assert "r.csv line 7" in error and "Rows published before that: 5;" in error
    assert main(words(recording, **fleet, map="other=active_power_kw")) == 1
    assert orjson.loads(capsys.readouterr().out)["error"].endswith("Rows published before that: 0.")
