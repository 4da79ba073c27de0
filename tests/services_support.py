"""What the service fixtures of conftest.py are made of."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from collateral.errors import ServiceError
from collateral.services import local, mosquitto
from collateral.services.system import end_process, free_port, process_birth, server_account


@dataclass
class Broker:
    """A real Mosquitto of one test: may be killed and started again on the same port and state."""

    home: Path
    runtime: Path
    port: int = field(default_factory=free_port)
    passwords: Mapping[str, str] = field(default_factory=mosquitto.new_passwords)
    pid: int = 0
    birth: str | None = None
    tls: mosquitto.Tls | None = None
    plugin: bool = True

    @property
    def mqtt_url(self) -> str:
        """Address for the ingest account: reads every device."""
        return self.url_of(mosquitto.INGEST)

    @property
    def mqtt_fleet_url(self) -> str:
        """Address for the fleet account: writes for every device."""
        return self.url_of(mosquitto.FLEET)

    def url_of(self, name: str) -> str:
        """Address for any account named in `passwords`."""
        return mosquitto.url(self.port, name, self.passwords[name])

    @property
    def server(self) -> mosquitto.Mosquitto:
        """The broker's files and program."""
        return mosquitto.Mosquitto(self.home, local.broker_binaries(self.runtime), server_account())

    def start(self) -> None:
        """Starts the broker on its port and saved state; before its first start a port that was just taken is changed."""
        server = self.server
        for attempt in range(3):
            try:
                self.pid = server.start(self.port, self.passwords, self.tls, self.plugin)
                break
            except ServiceError:
                if self.birth is not None or attempt == 2:
                    raise
                self.port = free_port()
        self.birth = process_birth(self.pid)

    def kill(self) -> None:
        """kill -9: nothing is saved."""
        if self.birth is not None and process_birth(self.pid) == self.birth:
            os.kill(self.pid, signal.SIGKILL)
        end_process(self.pid, self.birth, timeout=5.0)

    def stop(self) -> None:
        """Orderly end: sessions and queues are saved."""
        end_process(self.pid, self.birth, timeout=10.0)
