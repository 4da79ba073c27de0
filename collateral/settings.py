"""The settings tree: built once in the entry point from the environment and the runtime folder, then passed down.

Environment variables (all optional) are listed in `ENVIRONMENT`; a test checks that docs/operations.md names each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from collateral.errors import InvalidInputError, ServiceError

ENVIRONMENT: Mapping[str, str] = {
    "COLLATERAL_HOME": "folder that holds .runtime; default: the current folder",
    "COLLATERAL_RUNTIME": "folder of private services, evidence and logs; default: HOME/.runtime",
    "COLLATERAL_DATABASE_URL": "postgresql://user:password@host:port/name of a TimescaleDB; nothing is provisioned",
    "COLLATERAL_MQTT_URL": "mqtt://user:password@host:port of a broker; nothing is provisioned",
    "COLLATERAL_DATA": "folder of labelled data for train, evaluate and the tests that need it",
    "COLLATERAL_DASHBOARD_HOST": "address the dashboard listens on; default 127.0.0.1",
    "COLLATERAL_DASHBOARD_PORT": "port of the dashboard; default 8050, 0 takes a free one",
    "COLLATERAL_DASHBOARD_HTTPS": "1 when people reach the dashboard by HTTPS only: its cookies are then marked Secure",
    "COLLATERAL_SECRET_KEY": "signs dashboard sessions; default: made once and kept in the runtime folder",
    "COLLATERAL_THREADS": "threads of the CNN runtime; default: the number of cores",
}


@dataclass(frozen=True)
class DashboardSettings:
    """Where the dashboard listens."""

    host: str = "127.0.0.1"
    port: int = 8050
    secret_key: str | None = None
    https: bool = False
    """People reach it through a TLS proxy only: cookies are marked Secure."""


@dataclass(frozen=True)
class Settings:
    """Everything that differs between installations."""

    home: Path
    runtime: Path
    database_url: str | None = None
    """Given by the environment, else by the private services that run; None when there are none."""
    mqtt_url: str | None = None
    external_services: bool = False
    """True when both addresses came from the environment: nothing is provisioned."""
    data: Path | None = None
    threads: int = 0
    """Threads of the CNN runtime; 0 means the number of cores."""
    dashboard: DashboardSettings = field(default_factory=DashboardSettings)

    @property
    def evidence(self) -> Path:
        """Folder of evidence pictures and detections."""
        return self.runtime / "evidence"

    def require_database(self) -> str:
        """The database address.

        Raises:
            ServiceError: there is none; the message says how to get one.
            InvalidInputError: it cannot be read as one; the message does not repeat it, a password may be in it.
        """
        if self.database_url is None:
            raise ServiceError(
                "No database: COLLATERAL_DATABASE_URL is not set and no private service runs under "
                f"{self.runtime}. Run `collateral services up` first."
            )
        _check_database_url(self.database_url)
        return self.database_url

    def require_mqtt(self) -> str:
        """The broker address, or a `ServiceError` that says how to get one."""
        if self.mqtt_url is None:
            raise ServiceError(
                "No broker: COLLATERAL_MQTT_URL is not set and no private service runs under "
                f"{self.runtime}. Run `collateral services up` first."
            )
        return self.mqtt_url


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Builds the tree from `environment` and, where it names no address, from RUNTIME/services.json."""
    home = Path(environment.get("COLLATERAL_HOME") or Path.cwd()).resolve()
    runtime = Path(environment.get("COLLATERAL_RUNTIME") or home / ".runtime").resolve()
    private = _private_endpoints(runtime)
    database_url = environment.get("COLLATERAL_DATABASE_URL")
    mqtt_url = environment.get("COLLATERAL_MQTT_URL")
    data = environment.get("COLLATERAL_DATA")
    return Settings(
        home=home,
        runtime=runtime,
        database_url=database_url or private.get("database_url"),
        mqtt_url=mqtt_url or private.get("mqtt_url"),
        external_services=bool(database_url and mqtt_url),
        data=Path(data).resolve() if data else None,
        threads=_integer(environment, "COLLATERAL_THREADS", 0),
        dashboard=DashboardSettings(
            host=environment.get("COLLATERAL_DASHBOARD_HOST", "127.0.0.1"),
            port=_integer(environment, "COLLATERAL_DASHBOARD_PORT", 8050),
            secret_key=environment.get("COLLATERAL_SECRET_KEY"),
            https=_integer(environment, "COLLATERAL_DASHBOARD_HTTPS", 0, other=1) == 1,
        ),
    )


def _check_database_url(url: str) -> None:
    """Refuses what the client library would take apart elsewhere and then quote, parts of the password with it."""
    scheme, _, rest = url.partition("://")
    place, _, path = rest.partition("/")
    if scheme not in ("postgresql", "postgres") or place.count("@") > 1 or "@" in path.partition("?")[0]:
        raise InvalidInputError(
            "COLLATERAL_DATABASE_URL is not of the form postgresql://user:password@host:port/name; write @, / and other "
            "signs of the password as %40, %2F and so on."
        )


def _integer(environment: Mapping[str, str], name: str, default: int, other: int | None = None) -> int:
    text = environment.get(name)
    if not text:
        return default
    try:
        number = int(text)
    except ValueError:
        raise InvalidInputError(f"{name}={text!r} is not a whole number; set it to one or unset it.") from None
    if number < 0 or (other is not None and number not in (0, other)):
        allowed = "more" if other is None else str(other)
        raise InvalidInputError(f"{name}={text!r} is not 0 or {allowed}; correct it or unset it.")
    return number


def _private_endpoints(runtime: Path) -> Mapping[str, str]:
    state = runtime / "services.json"
    if not state.is_file():
        return {}
    try:
        endpoints = json.loads(state.read_text()).get("endpoints", {})
    except (OSError, json.JSONDecodeError) as error:
        raise ServiceError(f"{state} cannot be read ({error}); run `collateral services up` to write it anew.") from error
    return {key: str(value) for key, value in endpoints.items()}
