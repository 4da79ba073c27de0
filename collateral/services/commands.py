"""`collateral services up|down|status`."""

from __future__ import annotations

import argparse
from pathlib import Path

from collateral.command import Command, Outcome
from collateral.log import mask_secrets
from collateral.services import local
from collateral.services.mosquitto import Tls
from collateral.settings import Settings


def _given(settings: Settings) -> tuple[str | None, str | None]:
    """Addresses that came from the environment; those of the private services are not given, but ours to keep up."""
    recorded = local.read_state(settings.runtime).endpoints
    database_url = settings.database_url if settings.database_url != recorded.get("database_url") else None
    mqtt_url = settings.mqtt_url if settings.mqtt_url != recorded.get("mqtt_url") else None
    return database_url, mqtt_url


def _report(settings: Settings, given: tuple[str | None, str | None]) -> dict[str, object]:
    report: dict[str, object] = {"runtime": str(settings.runtime), **local.status(settings.runtime)}
    for name, url in zip(("database", "broker"), given, strict=True):
        if url is not None:
            report[name] = {"external": True, "url": mask_secrets(url)}
    return report


def _text(report: dict[str, object]) -> str:
    lines = []
    for name in ("database", "broker"):
        entry = report[name]
        if not isinstance(entry, dict):
            continue
        if entry.get("external"):
            lines.append(f"{name}: given from outside, {entry['url']}")
        elif entry["running"]:
            lines.append(f"{name}: running on 127.0.0.1:{entry['port']} (process {entry['pid']}, {entry['version']})")
        else:
            lines.append(f"{name}: not running")
    return "\n".join(lines)


def _configure_up(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tls", type=Path, metavar="DIR",
        help="a second listener of the broker, for devices, over TLS: ca.crt, server.crt, server.key, perhaps crl.pem; kept",
    )  # fmt: skip
    parser.add_argument("--tls-port", type=int, default=8883, metavar="PORT")
    parser.add_argument("--tls-host", default="127.0.0.1", metavar="ADDRESS", help="0.0.0.0 for all networks")
    parser.add_argument("--client-certificates", action="store_true", help="a device must show one besides its password")


def _up(arguments: argparse.Namespace, settings: Settings) -> Outcome:
    database_url, mqtt_url = _given(settings)
    tls = None
    if arguments.tls is not None:
        tls = Tls(arguments.tls.resolve(), arguments.tls_port, arguments.tls_host, arguments.client_certificates)
    local.ensure(settings.runtime, database_url=database_url, mqtt_url=mqtt_url, tls=tls)
    report = _report(settings, (database_url, mqtt_url))
    return Outcome(report, _text(report))


def _down(arguments: argparse.Namespace, settings: Settings) -> Outcome:
    given = _given(settings)  # before the private addresses are forgotten, which would look like given ones then
    stopped = local.down(settings.runtime)
    return Outcome(
        {"stopped": list(stopped), **_report(settings, given)},
        f"stopped: {', '.join(stopped)}" if stopped else "nothing was running",
    )


def _status(arguments: argparse.Namespace, settings: Settings) -> Outcome:
    report = _report(settings, _given(settings))
    entries = [report["database"], report["broker"]]
    running = all(isinstance(entry, dict) and (entry.get("external") or entry["running"]) for entry in entries)
    return Outcome({**report, "running": running}, _text(report), ok=running)


COMMANDS: dict[str, Command] = {
    "services up": Command(
        "Start the private database and broker, unpacking them first where the machine has none.",
        "collateral services up --tls /etc/bank-tls --tls-host 0.0.0.0",
        _up,
        _configure_up,
    ),
    "services down": Command("Stop the private database and broker.", "collateral services down", _down),
    "services status": Command(
        "Say which services run and where; exit 1 unless all do.", "collateral services status --json", _status
    ),
}
