"""Signed Debian packages of one suite, resolved and fetched by apt into a folder of its own, without root.

apt gets its own `Dir`, an empty list of installed packages (so that the whole closure is resolved, down to the C
library) and one source: the Debian mirror this machine already uses. Signatures are checked against the Debian archive
keyring as always.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from collateral.errors import ServiceError

SUITE = "trixie"
"""Debian 13: the first to carry PostgreSQL 17 with TimescaleDB."""

DEBIAN_SUITES = frozenset(
    ("bullseye", "bookworm", "trixie", "forky", "duke", "sid", "oldoldstable", "oldstable", "stable", "testing", "unstable")
)  # fmt: skip
KEYRINGS = tuple(Path("/usr/share/keyrings") / f"debian-archive-keyring.{ending}" for ending in ("pgp", "gpg"))
FETCH_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Package:
    """One package as apt resolved it."""

    name: str
    version: str


@dataclass(frozen=True)
class Mirror:
    """Where this machine gets Debian from."""

    uri: str
    signed_by: Path


@dataclass(frozen=True)
class AptRoot:
    """A private apt folder bound to one mirror and suite."""

    folder: Path
    mirror: Mirror
    architecture: str

    def prepare(self) -> None:
        """Writes the configuration and reads the mirror's package lists. Raises `ServiceError` when that fails."""
        for part in ("state/lists/partial", "cache/archives/partial", "etc/parts", "etc/preferences.d"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").write_text("")
        (self.folder / "etc/sources.list").write_text(
            f"deb [signed-by={self.mirror.signed_by}] {self.mirror.uri} {SUITE} main\n"
        )
        (self.folder / "apt.conf").write_text(self._configuration())
        self._run(["apt-get", "update", "--error-on=any"])

    def resolve(self, packages: Sequence[str]) -> tuple[Package, ...]:
        """`packages` and everything they need, recommendations left out."""
        text = self._run(["apt-get", "install", "--simulate", *packages])
        found = re.findall(r"^Inst (\S+) \((\S+) ", text, flags=re.MULTILINE)
        if not found:
            raise ServiceError(f"apt resolved nothing for {' '.join(packages)}; it said: {text[-500:]}")
        return tuple(Package(name, version) for name, version in found)

    def download(self, packages: Sequence[Package]) -> tuple[Path, ...]:
        """The verified package files, in the order of their names."""
        target = self.folder / "packages"
        target.mkdir(exist_ok=True)
        self._run(["apt-get", "download", *(f"{package.name}={package.version}" for package in packages)], target)
        files = tuple(sorted(target.glob("*.deb")))
        if len(files) != len(packages):
            raise ServiceError(f"apt fetched {len(files)} of {len(packages)} packages into {target}; try again.")
        return files

    def _configuration(self) -> str:
        lines = [
            f'Dir "{self.folder}/";',
            'Dir::State "state"; Dir::Cache "cache"; Dir::Etc "etc"; Dir::Etc::parts "parts"; Dir::Log "log";',
            f'Dir::State::status "{self.folder}/status";',
            f'APT::Architecture "{self.architecture}"; APT::Architectures {{ "{self.architecture}"; }};',
            'APT::Install-Recommends "false"; APT::Sandbox::User "root";',
            'Acquire::Languages "none"; Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";',
            'Acquire::Retries "3";',
        ]
        return "\n".join([*lines, *_machine_acquire_settings()]) + "\n"

    def _run(self, command: Sequence[str], cwd: Path | None = None) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C.UTF-8"}
        try:
            done = subprocess.run(
                command,
                cwd=cwd or self.folder,
                env=environment,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=FETCH_TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServiceError(f"{' '.join(command[:2])} failed: {error}.") from error
        if done.returncode != 0:
            raise ServiceError(f"{' '.join(command[:2])} failed ({done.returncode}): {done.stdout.strip()[-800:]}")
        return done.stdout


def open_apt(folder: Path, apt_etc: Path = Path("/etc/apt")) -> AptRoot:
    """A prepared private apt in `folder`, fed by the mirror this machine's own sources name.

    Raises `ServiceError` where there is no apt, no Debian mirror among the sources, or no archive keyring.
    """
    for program in ("apt-get", "dpkg-deb", "dpkg"):
        if shutil.which(program) is None:
            raise ServiceError(f"{program} is not on this machine, so Debian packages cannot be unpacked privately.")
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], text=True, capture_output=True, check=True
    ).stdout.strip()
    if architecture not in ("amd64", "arm64"):
        raise ServiceError(f"Private packages are tried on amd64 and arm64 only, and this machine is {architecture}.")
    root = AptRoot(folder, find_mirror(apt_etc), architecture)
    root.prepare()
    return root


def find_mirror(apt_etc: Path) -> Mirror:
    """The first Debian main archive among the sources under `apt_etc` (`*.sources` and `*.list` alike)."""
    for uri, suites, components, signed_by in _entries(apt_etc):
        if "main" in components and DEBIAN_SUITES.intersection(suites):
            return Mirror(uri, _keyring(signed_by))
    raise ServiceError(f"No Debian archive is named in the apt sources under {apt_etc}.")


def _keyring(signed_by: str | None) -> Path:
    candidates = [*KEYRINGS, *([Path(signed_by)] if signed_by and signed_by.startswith("/") else [])]
    for path in candidates:
        if path.is_file():
            return path
    raise ServiceError("The Debian archive keyring is missing; install debian-archive-keyring.")


_Entry = tuple[str, list[str], list[str], str | None]


def _entries(apt_etc: Path) -> Iterator[_Entry]:
    for path in sorted((apt_etc / "sources.list.d").glob("*.sources")):
        yield from _deb822_entries(path.read_text(errors="replace"))
    for path in (apt_etc / "sources.list", *sorted((apt_etc / "sources.list.d").glob("*.list"))):
        if path.is_file():
            yield from _one_line_entries(path.read_text(errors="replace"))


def _deb822_entries(text: str) -> Iterator[_Entry]:
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for paragraph in re.split(r"\n\s*\n", kept):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1] in (" ", "\t"):
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        suites, components = fields.get("suites", "").split(), fields.get("components", "").split()
        for uri in fields.get("uris", "").split():
            yield uri, suites, components, fields.get("signed-by")


def _one_line_entries(text: str) -> Iterator[_Entry]:
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line.strip())
        if match:
            options, uri, suite, components = match.groups()
            signed = re.search(r"signed-by=(\S+)", options or "")
            yield uri, [suite], components.split(), signed.group(1) if signed else None


def _machine_acquire_settings() -> list[str]:
    """How this machine reaches its mirror (proxies, certificates, time-outs): our own `Dir` would hide it from apt."""
    done = subprocess.run(["apt-config", "dump"], text=True, capture_output=True, check=False)
    wanted = re.compile(r'Acquire::(?!IndexTargets|Languages|Changelogs|cdrom|Retries)\S+ ".+";$')
    return [line for line in done.stdout.splitlines() if wanted.match(line)]
