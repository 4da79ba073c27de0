"""One private Mosquitto 2 broker: accounts, access list, queue and persistence set so that acknowledged data stays.

With its defaults the broker drops messages beyond 1,000 queued per client and saves its state every 30 minutes; both lose
messages it has acknowledged. What remains here: after a kill -9 of the broker, messages acknowledged since the last
save (`AUTOSAVE_SECONDS`) and not yet delivered are gone; per-device sequence numbers show the gap.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from collateral.errors import ServiceError
from collateral.services.door import build
from collateral.services.prefix import Prefix
from collateral.services.system import (
    POLL_SECONDS,
    Account,
    answers,
    end_process,
    make_folder,
    port_is_free,
    process_birth,
    run_as,
    say,
    write_private,
)

AUTOSAVE_SECONDS = 5
"""The window of loss after a kill -9 of the broker."""
MAX_QUEUED_BYTES = 256 * 1024 * 1024
"""Payload bytes per absent client; half an hour of 1,000 messages/s of 140 bytes."""
HASH_ROUNDS = 1_000
"""Half a millisecond of the broker's time for each device that signs in."""
START_TIMEOUT_SECONDS = 20.0
PID_FILE_SECONDS = 5.0
"""The broker writes its pid file before it listens."""
SYSTEM_PROGRAMS = ("/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin")

LOG_BYTES = 64 * 1024 * 1024
"""Of the broker's log before a new one is started; there are two."""
AUDIT = """# publications that the access list denies are told of at this level only
log_type debug
"""

INGEST = "ingest"
FLEET = "fleet"

ACCESS_LIST = """\
# The ingest service reads every device and the broker's own figures, and asks devices for what is missing.
user ingest
topic read cw/v1/#
topic write cw/v1/+/+/request
topic read spBv1.0/#
topic write spBv1.0/+/NCMD/+
topic read $SYS/#

# The simulated fleet and the replay tool speak for every device and read what these are asked for.
user fleet
topic write cw/v1/+/+/telemetry
topic write cw/v1/+/+/status
topic read cw/v1/+/+/request
topic write spBv1.0/#
topic read spBv1.0/+/NCMD/+

# A device signs in with its own id, and writes and reads under its own id only.
pattern write cw/v1/+/%u/telemetry
pattern write cw/v1/+/%u/status
pattern read cw/v1/+/%u/request

# A Sparkplug edge node signs in with its own id too; ingest checks which devices are registered behind it.
pattern write spBv1.0/+/NBIRTH/%u
pattern write spBv1.0/+/NDATA/%u
pattern write spBv1.0/+/NDEATH/%u
pattern write spBv1.0/+/DBIRTH/%u/+
pattern write spBv1.0/+/DDATA/%u/+
pattern write spBv1.0/+/DDEATH/%u/+
pattern read spBv1.0/+/NCMD/%u
pattern read spBv1.0/+/DCMD/%u/+
"""


@dataclass(frozen=True)
class BrokerBinaries:
    """The broker's program."""

    broker: Path
    origin: str
    """`system` or the private prefix."""


@dataclass(frozen=True)
class Setting:
    """One line of mosquitto.conf and why it is there."""

    line: str
    reason: str


@dataclass(frozen=True)
class Tls:
    """A second listener for devices, over TLS."""

    folder: Path
    """Holds `ca.crt`, `server.crt`, `server.key` and, where certificates are revoked, `crl.pem`; the server's account must
    be able to read them."""
    port: int
    host: str = "127.0.0.1"
    client_certificates: bool = False
    """True: a device must show a certificate of the authority besides its password."""

    def settings(self) -> tuple[Setting, ...]:
        """Lines of the listener."""
        revoked = self.folder / "crl.pem"
        return (
            Setting(f"listener {self.port} {self.host}", "devices connect here"),
            Setting(f"cafile {self.folder / 'ca.crt'}", "the bank's own authority"),
            Setting(f"certfile {self.folder / 'server.crt'}", "what the broker shows"),
            Setting(f"keyfile {self.folder / 'server.key'}", "and its key"),
            Setting("tls_version tlsv1.2", "nothing older"),
            Setting(f"require_certificate {str(self.client_certificates).lower()}", "optional client certificates"),
            Setting("use_identity_as_username false", "besides the password, which can be taken away"),
            *([Setting(f"crlfile {revoked}", "revoked certificates are refused")] if revoked.is_file() else []),
        )


def settings(
    folder: Path, port: int, account: Account, tls: Tls | None = None, plugin: Path | None = None
) -> tuple[Setting, ...]:
    """Every broker setting, each beside its reason."""
    return (
        Setting(f"listener {port} 127.0.0.1", "nobody outside this machine may connect"),
        *(tls.settings() if tls is not None else ()),
        Setting("allow_anonymous false", "every device and service has its own account"),
        Setting(f"password_file {folder / 'passwords'}", "salted hashes"),
        Setting(f"acl_file {folder / 'access'}", "a device may write its own topics only"),
        *(
            [
                Setting(f"plugin {plugin}", "tells who tries a topic of another device (collateral/services/door.py)"),
                Setting(f"plugin_opt_services {INGEST},{FLEET}", "these have no topic of their own"),
            ]
            if plugin is not None
            else []
        ),
        Setting(f"user {account.name}", "used only when started as root"),
        Setting("persistence true", "queued messages and sessions outlive a restart"),
        Setting(f"persistence_location {folder}/", "beside the rest of the private services"),
        Setting(f"autosave_interval {AUTOSAVE_SECONDS}", "the default of 30 minutes is the window of loss after kill -9"),
        Setting("autosave_on_changes false", "the interval counts seconds, not changes"),
        # Not 0, which also means unlimited: 2.0 then disconnects a client at its first refused message ("Quota exceeded").
        Setting("max_queued_messages 100000000", "the default of 1,000 drops acknowledged messages silently"),
        Setting(f"max_queued_bytes {MAX_QUEUED_BYTES}", "the queue is bounded by memory instead"),
        Setting("max_inflight_messages 20000", "ingest acknowledges after a commit of many messages, not one by one"),
        Setting("max_packet_size 1048576", "a device cannot fill the broker's memory with one message"),
        Setting("persistent_client_expiration 30d", "forgotten sessions do not hold a queue for ever"),
        Setting("max_keepalive 3600", "a client that asks for more would never be found dead"),
        Setting("set_tcp_nodelay false", "under load many small packets leave as one, at 0.8 of the cost; alone none waits"),
        Setting("sys_interval 5", "queue and drop counters are fresh for whoever watches $SYS"),
        Setting(f"pid_file {folder / 'pid'}", "the broker leaves its parent, so its id is read from here"),
        Setting(f"log_dest file {folder / 'broker.log'}", "one log beside the rest"),
        Setting("log_type error", "what went wrong"),
        Setting("log_type warning", "what may go wrong"),
        Setting("log_type notice", "who connects and leaves"),
        Setting("log_timestamp_format %Y-%m-%dT%H:%M:%S", "readable beside the other logs"),
    )


def find_system_broker() -> BrokerBinaries | None:
    """Mosquitto 2 as installed on this machine, or None."""
    path = ":".join(SYSTEM_PROGRAMS)
    broker = shutil.which("mosquitto", path=path)
    if broker is None:
        return None
    found = BrokerBinaries(Path(broker), "system")
    return found if _version(found.broker).startswith("2.") else None


def prefix_broker(prefix: Prefix) -> BrokerBinaries:
    """The programs inside a private prefix."""
    return BrokerBinaries(prefix.root / "usr/sbin/mosquitto", str(prefix.root))


def hash_password(password: str, salt: bytes | None = None) -> str:
    """As the broker keeps it: PBKDF2 with SHA-512. Device passwords are random, so that few rounds do no harm."""
    salt = secrets.token_bytes(12) if salt is None else salt
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, HASH_ROUNDS)
    return f"$7${HASH_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def new_passwords() -> dict[str, str]:
    """A random password for each account of the services themselves."""
    return {INGEST: secrets.token_urlsafe(24), FLEET: secrets.token_urlsafe(24)}


@dataclass(frozen=True)
class Mosquitto:
    """One broker in one folder."""

    home: Path
    """Holds `mosquitto/`; the account must be able to enter it."""
    binaries: BrokerBinaries
    account: Account

    @property
    def folder(self) -> Path:
        """Configuration, passwords, saved state and log."""
        return self.home / "mosquitto"

    @property
    def log(self) -> Path:
        """The broker's log."""
        return self.folder / "broker.log"

    def start(self, port: int, passwords: Mapping[str, str], tls: Tls | None = None, plugin: bool = True) -> int:
        """Writes the configuration, starts the broker on `port` and returns its process id once it accepts connections.

        `passwords` maps account names (`ingest`, `fleet`, or a device id) to passwords; devices of `set_devices` stay.
        `plugin`: as on a machine without a C compiler where False.
        """
        if not port_is_free(port):
            raise ServiceError(f"Mosquitto cannot listen on 127.0.0.1:{port}: another program does.")
        make_folder(self.folder, self.account, 0o700)
        self._write_passwords(passwords)
        write_private(self.folder / "access", ACCESS_LIST, self.account)
        door = build(self.folder / "plugin", self.account) if plugin else None
        pid, said = self._launch(port, tls, door)
        if pid is None and door is not None and "plugin" in said:
            say(f"the broker cannot load {door} and starts without it; remove the file to have it built again")
            pid, said = self._launch(port, tls, None)
        if pid is None:
            raise ServiceError(f"Mosquitto did not start on 127.0.0.1:{port}: {said}")
        return pid

    def _launch(self, port: int, tls: Tls | None, plugin: Path | None) -> tuple[int | None, str]:
        """The process id once it accepts connections; None, and what was said, when it does not."""
        begin = self.log.stat().st_size if self.log.is_file() else 0
        lines = [f"# {row.reason}\n{row.line}\n" for row in settings(self.folder, port, self.account, tls, plugin)]
        write_private(self.folder / "mosquitto.conf", "".join(lines), self.account)
        pid_file = self.folder / "pid"
        pid_file.unlink(missing_ok=True)
        done = run_as(
            self.account,
            [self.binaries.broker, "-d", "-c", self.folder / "mosquitto.conf"],
            timeout=START_TIMEOUT_SECONDS,
            output=self.folder / "start.log",
        )
        pid = _await_listener(pid_file, port) if done.returncode == 0 else None
        if pid is not None:
            return pid, ""
        return None, f"{done.stdout.strip()[-300:]} {self.log} says: {self._logged(begin)}"

    def version(self) -> str:
        """Version number of the broker."""
        return _version(self.binaries.broker)

    def _logged(self, begin: int) -> str:
        """The last lines of the log that begin after so many bytes."""
        try:
            return self.log.read_bytes()[begin:].decode(errors="replace")[-700:].strip()
        except OSError as error:
            return f"({error.strerror})"

    def audit(self, on: bool, pid: int) -> bool:
        """Turns the log of every packet on or off where the plugin does not tell of foreign topics; True where it did.

        The log tells of every message then, at nearly double the broker's work: only while somebody reads and turns it.
        """
        path = self.folder / "mosquitto.conf"
        text = path.read_text()
        if "\nplugin " in text or (AUDIT in text) == on:
            return False
        write_private(path, text + AUDIT if on else text.replace(AUDIT, ""), self.account)
        os.kill(pid, signal.SIGHUP)
        return True

    def turn_log(self, pid: int, least: int = LOG_BYTES) -> bool:
        """Starts a new log where the present one has `least` bytes; the one before it goes. Returns whether it did."""
        if not self.log.is_file() or self.log.stat().st_size < least:
            return False
        self.log.replace(self.log.with_name(self.log.name + ".1"))
        os.kill(pid, signal.SIGHUP)
        return True

    def set_devices(self, hashes: Mapping[str, str], pid: int | None) -> None:
        """Says which devices may sign in (id to password hash), from now on where the broker runs as `pid`.

        A device that is connected and no longer named is disconnected by the broker.
        """
        make_folder(self.folder, self.account, 0o700)
        write_private(self.folder / "devices", _lines(hashes), self.account)
        services = [line for line in self._read("passwords").splitlines() if line.split(":")[0] in (INGEST, FLEET)]
        write_private(self.folder / "passwords", "".join(f"{line}\n" for line in services) + _lines(hashes), self.account)
        if pid is not None:
            os.kill(pid, signal.SIGHUP)

    def _write_passwords(self, passwords: Mapping[str, str]) -> None:
        hashed = _lines({name: hash_password(word) for name, word in passwords.items()})
        write_private(self.folder / "passwords", hashed + self._read("devices"), self.account)

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text()
        except FileNotFoundError:
            return ""


def _lines(hashes: Mapping[str, str]) -> str:
    return "".join(f"{name}:{value}\n" for name, value in hashes.items())


def _await_listener(pid_file: Path, port: int) -> int | None:
    """Process id of the broker once it accepts connections; None when it ended or never does."""
    started = time.monotonic()
    pid = 0
    while time.monotonic() - started < START_TIMEOUT_SECONDS:
        if not pid:
            pid = _read_pid(pid_file)
            if not pid and time.monotonic() - started > PID_FILE_SECONDS:
                return None  # it ended and took its pid file along
        elif process_birth(pid) is None:
            return None
        elif answers(port):
            return pid
        time.sleep(POLL_SECONDS)
    if pid:
        end_process(pid, process_birth(pid), timeout=2.0)
    return None


def _read_pid(pid_file: Path) -> int:
    try:
        return int(pid_file.read_text().strip() or 0)
    except FileNotFoundError:
        return 0


def url(port: int, name: str, password: str) -> str:
    """Address of the broker for one account."""
    return f"mqtt://{name}:{password}@127.0.0.1:{port}"


def _version(broker: Path) -> str:
    done = subprocess.run([str(broker), "-h"], text=True, capture_output=True, check=False, timeout=20)
    words = done.stdout.split(maxsplit=3)
    return words[2] if len(words) > 2 and words[1] == "version" else "unknown"
