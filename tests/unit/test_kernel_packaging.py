"""What an installed copy holds: every package and every file beside the code that is read at run time."""

from __future__ import annotations

import tomllib
from pathlib import Path

from collateral.cli import FIRST_PARTY

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LISTED = set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_package_is_listed() -> None:
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for name in FIRST_PARTY
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert found == LISTED


def test_every_file_beside_the_code_is_listed() -> None:
    """The sample and benchmark packages are run from a checkout and are left out."""
    data = PROJECT["tool"]["setuptools"]["package-data"]
    listed = {
        path for name, patterns in data.items() for one in patterns for path in ROOT.joinpath(*name.split(".")).glob(one)
    }
    beside = {
        path
        for name in FIRST_PARTY - {"data_samples", "benchmarks"}
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".md")
    }
    assert set(data) <= LISTED
    assert sorted(map(str, beside - listed)) == []
    assert any(path.suffix == ".sql" for path in listed)


def test_the_kernel_needs_neither_torch_nor_geopandas() -> None:
    names = {line.split(">")[0].split("=")[0].strip().lower() for line in PROJECT["project"]["dependencies"]}
    assert names.isdisjoint({"torch", "torchvision", "geopandas", "pandas", "dash", "rasterio"})
