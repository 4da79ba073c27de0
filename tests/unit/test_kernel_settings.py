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
    (tmp_path / "services.json").write_text(json.dumps({"endpoints": {"database_url": "pg://p", "mqtt_url": "mqtt://p"}}))
    private = load_settings({"COLLATERAL_RUNTIME": str(tmp_path)})
    assert (private.require_database(), private.require_mqtt(), private.external_services) == ("pg://p", "mqtt://p", False)
    given = load_settings(
        {
            "COLLATERAL_RUNTIME": str(tmp_path),
            "COLLATERAL_DATABASE_URL": "pg://own",
            "COLLATERAL_MQTT_URL": "mqtt://own",
            "COLLATERAL_DATA": str(tmp_path),
            "COLLATERAL_DASHBOARD_HOST": "10.0.0.1",
            "COLLATERAL_DASHBOARD_PORT": "0",
            "COLLATERAL_SECRET_KEY": "k",
            "COLLATERAL_THREADS": "3",
        }
    )
    assert (given.require_database(), given.require_mqtt(), given.external_services) == ("pg://own", "mqtt://own", True)
    assert (given.dashboard.host, given.dashboard.port, given.dashboard.secret_key) == ("10.0.0.1", 0, "k")
    assert (given.threads, given.data) == (3, tmp_path)


def test_one_address_alone_still_needs_the_private_services(tmp_path: Path) -> None:
    found = load_settings({"COLLATERAL_RUNTIME": str(tmp_path), "COLLATERAL_DATABASE_URL": "pg://own"})
    assert not found.external_services


def test_a_number_that_is_none_is_named() -> None:
    with pytest.raises(InvalidInputError, match="COLLATERAL_THREADS='many'"):
        load_settings({"COLLATERAL_THREADS": "many"})


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
