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


def test_every_folder_of_data_is_listed() -> None:
    data = PROJECT["tool"]["setuptools"]["package-data"]
    assert set(data) <= LISTED
    for package, patterns in data.items():
        folder = ROOT.joinpath(*package.split("."))
        assert any(any(folder.glob(pattern)) for pattern in patterns), package
    migrations = {path.name for path in (ROOT / "collateral/db/migrations").glob("*.sql")}
    assert migrations and data["collateral.db.migrations"] == ["*.sql"]


def test_the_kernel_needs_neither_torch_nor_geopandas() -> None:
    names = {line.split(">")[0].split("=")[0].strip().lower() for line in PROJECT["project"]["dependencies"]}
    assert names.isdisjoint({"torch", "torchvision", "geopandas", "pandas", "dash", "rasterio"})
