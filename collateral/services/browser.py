"""A headless Chromium that shows Chinese: the machine's own, else one unpacked privately with fonts.

It serves browser tests and the screenshots of the demo check. Nothing of it listens on the network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from collateral.errors import ServiceError
from collateral.services.prefix import CHROMIUM, FONTS, cache_folders, provision
from collateral.services.system import make_folder, write_private

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

ARGUMENTS: tuple[str, ...] = (
    "--no-sandbox",  # root and containers have no user namespaces
    "--disable-gpu",  # no graphics card
    "--disable-dev-shm-usage",  # containers give /dev/shm 64 MB only
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Start options of every headless run."""

FONT_CONFIGURATION = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{fonts}</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{cache}</cachedir>
  <alias><family>sans-serif</family><prefer><family>DejaVu Sans</family><family>WenQuanYi Micro Hei</family></prefer></alias>
  <alias><family>monospace</family>
    <prefer><family>DejaVu Sans Mono</family><family>WenQuanYi Micro Hei Mono</family></prefer></alias>
</fontconfig>
"""


@dataclass(frozen=True)
class Chromium:
    """What Playwright's `chromium.launch` needs."""

    executable: Path
    version: str
    origin: str
    """`system` or the private prefix."""
    arguments: tuple[str, ...] = ARGUMENTS
    environment: Mapping[str, str] = field(default_factory=dict)
    """The whole environment of the browser process."""


def ensure_chromium(runtime: Path) -> Chromium:
    """A Chromium that starts: found on this machine, else unpacked privately (about 25 s, once per machine).

    Raises:
        ServiceError: neither worked; the message names the package to install.
    """
    try:
        environment = _environment(runtime)
        for name in NAMES:
            found = shutil.which(name)
            version = _version(Path(found), environment) if found else None
            if found and version:
                return Chromium(Path(found), version, "system", environment=environment)
        prefix = provision(CHROMIUM, cache_folders(runtime))
        executable = prefix.root / "usr/lib/chromium/chromium"
        version = _version(executable, environment)
        if version is None:
            raise ServiceError(f"{executable} does not start.")
    except ServiceError as error:
        raise ServiceError(
            f"No Chromium can be had: {error} Install the package chromium of this machine's distribution."
        ) from error
    return Chromium(executable, version, str(prefix.root), environment=environment)


def _environment(runtime: Path) -> dict[str, str]:
    """The caller's environment with our fonts in front; a home that can be written, whoever runs it."""
    fonts = provision(FONTS, cache_folders(runtime))
    home = runtime.resolve() / "chromium"
    make_folder(home, mode=0o700)
    configuration = home / "fonts.conf"
    text = FONT_CONFIGURATION.format(fonts=fonts.root / "usr/share/fonts", cache=home / "font-cache")
    write_private(configuration, text, mode=0o644)
    return {**os.environ, "FONTCONFIG_FILE": str(configuration), "HOME": str(home), "XDG_CONFIG_HOME": str(home)}


def _version(executable: Path, environment: Mapping[str, str]) -> str | None:
    try:
        done = subprocess.run(
            [str(executable), "--version"],
            text=True, capture_output=True, check=False, timeout=30, env=dict(environment),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else None
