"""Which Debian mirror a machine's apt sources name."""

from __future__ import annotations

from pathlib import Path

import pytest

from collateral.errors import ServiceError
from collateral.services.apt import find_mirror, open_apt

DEB822 = """\
# a comment in front
Types: deb deb-src
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main

Types: deb
# a comment inside
URIs: https://mirror.example/debian
Suites: bookworm
 bookworm-updates
Components: main contrib
"""

VENDOR = "Types: deb\nURIs: https://v.example\nSuites: nodistro\nComponents: main\n"


def _etc(folder: Path, **files: str) -> Path:
    (folder / "sources.list.d").mkdir()
    for name, text in files.items():
        path = folder / "sources.list" if name == "main" else folder / "sources.list.d" / name.replace("_", ".")
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "uri"),
    [
        ({"debian_sources": DEB822}, "https://mirror.example/debian"),
        ({"main": "deb http://one.example/debian bookworm main\n"}, "http://one.example/debian"),
        (
            {
                "main": "# deb http://no.example/debian sid main\n"
                "deb [arch=amd64 signed-by=/k.gpg] http://b.example/d stable main non-free # x\n"
            },
            "http://b.example/d",
        ),
        ({"main": "deb-src http://s.example/debian sid main\n", "own_list": "deb http://l.example/debian trixie main"}, "http://l.example/debian"),
        ({"vendor_sources": VENDOR, "debian_sources": DEB822}, "https://mirror.example/debian"),
    ],
    ids=["deb822", "one line", "options and comment", "list folder", "other vendors beside it"],
)  # fmt: skip
def test_the_debian_archive_is_found(tmp_path: Path, files: dict[str, str], uri: str) -> None:
    assert find_mirror(_etc(tmp_path, **files)).uri == uri


def test_without_a_debian_archive_the_folder_is_named(tmp_path: Path) -> None:
    etc = _etc(tmp_path, main="deb http://archive.example/ubuntu noble main universe\n")
    with pytest.raises(ServiceError, match=str(etc)):
        open_apt(tmp_path / "apt", etc)
    assert not (tmp_path / "apt").exists()
