"""The command line: exit codes, one JSON object on standard output, nothing secret, help with an example."""

from __future__ import annotations

import argparse
import errno
import io
import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collateral.cli import TABLE, load_command, main
from collateral.command import parse_day, parse_time
from collateral.errors import ServiceError, UsageError
from collateral.log import configure_logging, mask_secrets


@pytest.fixture(autouse=True)
def quiet_root() -> Iterator[None]:
    """`main` configures the log of the whole process; undone here."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before[0], before[1]


@pytest.fixture
def no_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("COLLATERAL_DATABASE_URL", "COLLATERAL_MQTT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(tmp_path))
    return tmp_path


def test_without_words_it_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(" ".join(filter(None, key)) in shown.err for key in TABLE)
    assert main(["--help"]) == 0
    assert "portfolio import" in capsys.readouterr().out


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["portfolio", "burn"]) == 2
    shown = capsys.readouterr()
    assert "no command 'portfolio burn'" in shown.err and shown.out == ""
    assert main(["portfolio", "burn", "--json"]) == 2
    assert "no command 'portfolio burn'" in json.loads(capsys.readouterr().out)["error"]


def test_a_wrong_option_is_a_usage_error_also_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["portfolio", "schema", "--colour"]) == 2
    shown = capsys.readouterr()
    assert "--colour" in shown.err and shown.out == ""
    assert main(["portfolio", "import", "--json"]) == 2
    assert "required: folder" in json.loads(capsys.readouterr().out)["error"]


def test_every_example_is_a_command_line() -> None:
    for key in TABLE:
        command = load_command(key)
        words = shlex.split(command.example.partition(">")[0])
        parser = argparse.ArgumentParser()
        for option in ("--json", "--verbose"):
            parser.add_argument(option, action="store_true")
        command.configure(parser)
        length = len([word for word in key if word])
        assert words[: length + 1] == ["collateral", *filter(None, key)]
        parser.parse_args(words[length + 1 :])


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["portfolio", "import", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "example:\n  collateral portfolio import" in shown and "--json" in shown


def test_json_is_one_object_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["portfolio", "schema", "--json"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    assert {one["file"] for one in json.loads(shown)["files"]} >= {"borrowers.csv", "sites.geojson"}


def test_a_failure_is_exit_code_1_with_its_reason(no_services: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["database", "migrate", "--json"]) == 1
    shown = capsys.readouterr()
    assert "No database" in json.loads(shown.out)["error"]
    assert "No database" in shown.err


def test_a_folder_that_is_none_is_a_usage_error(no_services: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["portfolio", "import", str(no_services / "nowhere"), "--json"]) == 2
    assert "is not a folder" in json.loads(capsys.readouterr().out)["error"]
    assert main(["evaluate", "clouds", "--data", str(no_services / "nowhere"), "--json"]) == 2
    assert "is not a folder" in json.loads(capsys.readouterr().out)["error"]


def test_status_without_services_says_so(no_services: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["services"]["database"]["running"] is False and "services up" in told["error"]


def test_a_mistake_in_the_program_still_ends_as_json(
    no_services: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collateral.portfolio.commands.schema_json", lambda: 1 / 0)
    assert main(["portfolio", "schema", "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"error": "ZeroDivisionError: division by zero"}
    assert "Traceback" in shown.err


@pytest.mark.parametrize(("error", "said"), [
    (OSError(errno.ENOSPC, "No space left on device"), "A file cannot be written (No space left on device); make room on"),
    (OSError(errno.EROFS, "Read-only file system", "/srv/x"), "/srv/x cannot be used (Read-only file system); make its"),
    (PermissionError(errno.EACCES, "Permission denied", "/srv/x"), "/srv/x cannot be used (Permission denied); give this"),
])  # fmt: skip
def test_a_full_disk_and_a_closed_folder_end_in_a_sentence(
    no_services: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("collateral.portfolio.commands.schema_json", fail)
    assert main(["portfolio", "schema", "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"].startswith(said) and "COLLATERAL_RUNTIME" in shown.err
    assert "Traceback" not in shown.err


def test_ctrl_c_while_packages_are_loaded_ends_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("collateral.cli.importlib.import_module", interrupt)
    assert main(["models", "verify", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"error": "Interrupted."}


@pytest.mark.parametrize("words", [("portfolio", "schema"), ("portfolio", "schema", "--json"), ("--help",)])
def test_a_reader_that_went_away_is_no_traceback(words: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-m", "collateral.cli", *words], stdout=writer, stderr=subprocess.PIPE,
                              check=False, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_answer_that_finds_no_room_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "collateral.cli", "portfolio", "schema"], stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "Standard output cannot be written: No space left" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["0206-01-01", "2999-01-01", "2026-13-01", "1.2.2026", ""])
def test_a_day_that_cannot_be_meant_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_day(text)


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00", "2026-01-01", "now"]
)
def test_a_time_that_cannot_be_meant_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        parse_time(text, "--since")


def test_what_is_to_come_cannot_be_observed(no_services: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--until", "2199-01-01T00:00:00Z"), ("--since", "2099-01-01")):
        assert main(["observe", *words, "--json"]) == 2
        assert "lies in the future" in json.loads(capsys.readouterr().out)["error"]


def test_a_number_of_more_than_64_bits_is_still_one_object(
    no_services: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collateral.portfolio.commands.schema_json", lambda: 10**30)
    assert main(["portfolio", "schema", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": 10**30}


@pytest.mark.parametrize("as_json", [False, True])
def test_letters_that_standard_output_lacks_are_written_as_in_json(
    no_services: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    held = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(held, encoding="ascii"))
    assert main(["portfolio", "schema", *(["--json"] if as_json else [])]) == 0
    text = held.getvalue().decode("ascii")
    assert r"tonne, \u5428" in text
    assert not as_json or "tonne, 吨" in str(json.loads(text))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ModuleNotFoundError("No module named 'paho'", name="paho.mqtt")

    monkeypatch.setattr("collateral.cli.importlib.import_module", refuse)
    with pytest.raises(ServiceError, match="`collateral ingest` needs the package 'paho'"):
        load_command(("ingest", ""))


def test_passwords_in_addresses_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    assert mask_secrets("at postgresql://me:s3cret@host:5/x!") == "at postgresql://me:***@host:5/x!"
    assert mask_secrets("mqtt://:pw@h and https://a/b:c@d") == "mqtt://:***@h and https://a/b:c@d"
    assert mask_secrets("mqtt://me:s3c@r@t@host:5 answers") == "mqtt://me:***@host:5 answers"
    assert mask_secrets("y" * 200_000).endswith("y")  # in linear time: minutes otherwise
    configure_logging()
    logging.getLogger("x").warning("no answer from %s", "mqtt://fleet:hunter2@127.0.0.1:1883")
    told = capsys.readouterr().err
    assert "hunter2" not in told and "fleet:***@127.0.0.1" in told and told[10] == "T" and "Z WARNING x " in told


def test_a_calibration_that_was_not_made_yet_is_refused(
    no_services: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert main(["devices", "passport", "S1-meter", "--calibrated", "2199-01-01", "--json"]) == 2
    assert "lies in the future" in json.loads(capsys.readouterr().out)["error"]
