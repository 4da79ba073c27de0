"""Who may import whom (docs/design.md): read from the syntax trees, so that nothing is loaded and nothing can hide."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from collateral.cli import FIRST_PARTY, TABLE, load_command

ROOT = Path(__file__).resolve().parents[2]

ALLOWED: dict[str, frozenset[str]] = {
    "collateral": frozenset(),
    "imagery": frozenset({"collateral"}),
    "detection": frozenset({"collateral", "imagery"}),
    "iot": frozenset({"collateral"}),
    "scoring": frozenset({"collateral"}),
    "dashboard": frozenset({"collateral", "scoring"}),
    "data_samples": FIRST_PARTY - {"benchmarks"},
    "benchmarks": FIRST_PARTY,
}
HEAVY = {"torch", "torchvision", "rasterio", "dash", "geopandas", "pandas", "matplotlib"}


@dataclass(frozen=True)
class Import:
    """One first-party import."""

    file: Path
    line: int
    module: str
    in_function: bool

    @property
    def package(self) -> str:
        """Who imports."""
        return self.file.relative_to(ROOT).parts[0]

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def source_files(package: str) -> list[Path]:
    """Of the project itself: the throw-away environment of a benchmark lies in a hidden folder."""
    files = (ROOT / package).rglob("*.py")
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(ROOT).parts))


def imported(node: ast.AST, file: Path) -> Iterator[str]:
    """Full names that a statement loads; `from package import module` counts as the module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            own = module_name(file).split(".")
            keep = len(own) - node.level + (file.name == "__init__.py")
            base = ".".join([*own[:keep], *([base] if base else [])])
        for alias in node.names:
            submodule = ROOT.joinpath(*base.split("."), alias.name)
            is_module = submodule.with_suffix(".py").exists() or (submodule / "__init__.py").exists()
            yield f"{base}.{alias.name}" if is_module else base
    elif isinstance(node, ast.Call):  # importlib.import_module("name") and __import__("name")
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)


def walk(node: ast.AST, in_function: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield child, inside
        yield from walk(child, inside)


def first_party(file: Path) -> list[Import]:
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    return [
        Import(file, getattr(node, "lineno", 0), name, in_function)
        for node, in_function in walk(tree)
        for name in imported(node, file)
        if name.partition(".")[0] in FIRST_PARTY
    ]


EVERY = [one for package in sorted(FIRST_PARTY) for file in source_files(package) for one in first_party(file)]


def forbidden(one: Import) -> bool:
    target = one.module.partition(".")[0]
    return target != one.package and target not in ALLOWED[one.package]


def test_the_packages_are_those_of_the_table() -> None:
    with_code = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert with_code == set(FIRST_PARTY) == set(ALLOWED)


def test_imports_go_one_way() -> None:
    assert [str(one) for one in EVERY if forbidden(one)] == []


def test_no_module_imports_itself_in_a_circle() -> None:
    edges: dict[str, set[str]] = {}
    for one in EVERY:
        edges.setdefault(module_name(one.file), set()).add(one.module)
    done: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> None:
        assert module not in path, f"circle: {' -> '.join([*path[path.index(module):], module])}"
        if module in done:
            return
        path.append(module)
        for target in sorted(edges.get(module, ())):
            visit(target)
        path.pop()
        done.add(module)

    for module in sorted(edges):
        visit(module)


def test_no_first_party_import_hides_in_a_function() -> None:
    assert [str(one) for one in EVERY if one.in_function and module_name(one.file) != "collateral.cli"] == []


def test_the_test_sees_what_it_forbids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "iot").mkdir()
    bad = tmp_path / "iot" / "bad.py"
    bad.write_text("def f():\n    from scoring import score\nimport importlib\nimportlib.import_module('detection.infer')\n")
    found = first_party(bad)
    assert [(one.module, one.in_function, forbidden(one)) for one in found] == [
        ("scoring", True, True), ("detection.infer", False, True),
    ]


def test_the_kernel_loads_without_the_heavy_packages() -> None:
    for name in ("collateral.cli", "collateral.commands", "collateral.schedule", "collateral.db.reference"):
        file = Path(importlib.import_module(name).__file__ or "")
        seen, waiting = set(), [file]
        while waiting:
            current = waiting.pop()
            seen.add(current)
            tree = ast.parse(current.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                for target in imported(node, current):
                    assert target.partition(".")[0] not in HEAVY, f"{name} loads {target} through {current}"
                    found = ROOT.joinpath(*target.split(".")).with_suffix(".py")
                    if target.partition(".")[0] in FIRST_PARTY and found.exists() and found not in seen:
                        waiting.append(found)


@pytest.mark.parametrize("key", sorted(TABLE), ids=lambda key: " ".join(filter(None, key)))
def test_every_command_of_the_table_loads(key: tuple[str, str]) -> None:
    command = load_command(key)
    assert command.summary and command.example.startswith(("collateral ", "COLLATERAL_"))
