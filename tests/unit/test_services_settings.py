"""Server settings: each with its reason, and compose.yaml says the same as the code."""

from __future__ import annotations

import re
from pathlib import Path

from collateral.services import mosquitto
from collateral.services.postgres import Profile
from collateral.services.postgres import settings as database_settings
from collateral.services.system import Account

COMPOSE = (Path(__file__).resolve().parents[2] / "compose.yaml").read_text()
OWN_PLACES = (
    "listener",
    "password_file",
    "acl_file",
    "user",
    "persistence_location",
    "pid_file",
    "log_dest",
    "log_timestamp_format",
)


def test_every_database_setting_has_a_reason_and_none_is_written_twice() -> None:
    rows = database_settings(5432, Profile())
    assert all(row.reason for row in rows)
    assert len({row.name for row in rows}) == len(rows)
    values = {row.name: row.value for row in rows}
    assert values["listen_addresses"] == "127.0.0.1"
    assert values["timescaledb.telemetry_level"] == "off"
    assert values["fsync"] == values["synchronous_commit"] == "on"


def test_compose_runs_the_broker_with_the_same_settings() -> None:
    rows = mosquitto.settings(Path("/m"), 1883, Account("nobody", 65534, 65534))
    lines = [row.line for row in rows if row.line.split()[0] not in OWN_PLACES]
    assert len(lines) > 8
    assert all(row.reason for row in rows)
    assert [line for line in lines if f"      {line}\n" not in COMPOSE] == []


def test_compose_hands_no_password_to_a_process_as_an_argument() -> None:
    """Arguments can be read by everybody; mosquitto_sub finds its options in a file written before the server runs."""
    checks = re.findall(r"^    healthcheck:\n((?:      .*\n)+)", COMPOSE, flags=re.MULTILINE)
    assert len(checks) == 2
    assert [text for text in checks if "PASSWORD" in text or " -P" in text] == []
    folder = re.findall(r"XDG_CONFIG_HOME=(\S+) mosquitto_sub ", checks[1])
    assert len(folder) == 1
    start = COMPOSE[: COMPOSE.index("exec mosquitto ")]
    assert f"printf -- '-P %s\\n' \"$$MQTT_PASSWORD\" > {folder[0]}/mosquitto_sub\n" in start
    assert start.index("umask 077") < start.index(f"mkdir -p {folder[0]}\n")


def test_compose_publishes_on_loopback_only_and_has_no_default_password() -> None:
    ports = re.findall(r"^ +- \"(.*:\d+)\"$", COMPOSE, flags=re.MULTILINE)
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)
    passwords = re.findall(r"\$\{(\w*PASSWORD)([^}]*)\}", COMPOSE)
    assert len(passwords) == 2
    assert all(rule.startswith(":?") for _, rule in passwords)
    assert "timescaledb.telemetry_level=off" in COMPOSE
