"""Settings: defaults, the environment, the private services' state, and that each variable is documented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collateral.errors import InvalidInputError, ServiceError
from collateral.settings import ENVIRONMENT, load_settings

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def test_defaults_need_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load_settings({})
    assert (found.home, found.runtime, found.evidence) == (
        tmp_path, tmp_path / ".runtime", tmp_path / ".runtime" / "evidence"
    )
    assert (found.database_url, found.mqtt_url, found.data, found.external_services) == (None, None, None, False)
    assert (found.dashboard.host, found.dashboard.port, found.threads) == ("127.0.0.1", 8050, 0)
    with pytest.raises(ServiceError, match="services up"):
        found.require_database()
    with pytest.raises(ServiceError, match="services up"):
        found.require_mqtt()


def test_the_environment_goes_before_the_private_services(tmp_path: Path) -> None:
    endpoints = {"database_url": "postgres://p", "mqtt_url": "mqtt://p"}
    (tmp_path / "services.json").write_text(json.dumps({"endpoints": endpoints}))
    private = load_settings({"COLLATERAL_RUNTIME": str(tmp_path)})
    assert (private.require_database(), private.require_mqtt()) == ("postgres://p", "mqtt://p")
    assert private.external_services is False
    given = load_settings(
        {
            "COLLATERAL_RUNTIME": str(tmp_path),
            "COLLATERAL_DATABASE_URL": "postgres://own",
            "COLLATERAL_MQTT_URL": "mqtt://own",
            "COLLATERAL_DATA": str(tmp_path),
            "COLLATERAL_DASHBOARD_HOST": "10.0.0.1",
            "COLLATERAL_DASHBOARD_PORT": "0",
            "COLLATERAL_SECRET_KEY": "k",
            "COLLATERAL_THREADS": "3",
        }
    )
    assert (given.require_database(), given.require_mqtt()) == ("postgres://own", "mqtt://own")
    assert given.external_services is True
    assert (given.dashboard.host, given.dashboard.port, given.dashboard.secret_key) == ("10.0.0.1", 0, "k")
    assert (given.threads, given.data) == (3, tmp_path)


def test_one_address_alone_still_needs_the_private_services(tmp_path: Path) -> None:
    found = load_settings({"COLLATERAL_RUNTIME": str(tmp_path), "COLLATERAL_DATABASE_URL": "postgres://own"})
    assert not found.external_services


def test_a_number_that_is_none_is_named() -> None:
    with pytest.raises(InvalidInputError, match="COLLATERAL_THREADS='many'"):
        load_settings({"COLLATERAL_THREADS": "many"})
    with pytest.raises(InvalidInputError, match="COLLATERAL_THREADS='-1' is not 0 or more"):
        load_settings({"COLLATERAL_THREADS": "-1"})
    with pytest.raises(InvalidInputError, match="COLLATERAL_DASHBOARD_HTTPS='2' is not 0 or 1"):
        load_settings({"COLLATERAL_DASHBOARD_HTTPS": "2"})  # it would be taken for plain HTTP


def test_a_damaged_state_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "services.json").write_text("{")
    with pytest.raises(ServiceError, match=r"services\.json cannot be read"):
        load_settings({"COLLATERAL_RUNTIME": str(tmp_path)})


@pytest.mark.parametrize("name", sorted(ENVIRONMENT))
def test_each_setting_is_documented(name: str) -> None:
    assert f"| `{name}` |" in OPERATIONS.read_text(encoding="utf-8")


def test_no_setting_is_documented_that_does_not_exist() -> None:
    lines = OPERATIONS.read_text(encoding="utf-8").splitlines()
    named = {line.split("`")[1] for line in lines if line.startswith("| `COLLATERAL_")}
    assert named == set(ENVIRONMENT)


@pytest.mark.parametrize(
    "url", ["nonsense:secret", "mysql://u:secret@h/n", "postgresql://u:sec@ret@h/n", "postgresql://u:sec/ret@h/n"]
)
def test_an_address_that_is_none_is_refused_without_being_repeated(tmp_path: Path, url: str) -> None:
    given = load_settings({"COLLATERAL_HOME": str(tmp_path), "COLLATERAL_DATABASE_URL": url})
    with pytest.raises(InvalidInputError, match="%40") as told:
        given.require_database()
    assert "sec" not in str(told.value)


@pytest.mark.parametrize("url", ["postgresql://u:p%40%2F@h:5432/n", "postgres:///n?host=/tmp", "postgresql://h/n?user=a@b"])
def test_addresses_of_other_shapes_are_taken(tmp_path: Path, url: str) -> None:
    assert load_settings({"COLLATERAL_HOME": str(tmp_path), "COLLATERAL_DATABASE_URL": url}).require_database() == url
