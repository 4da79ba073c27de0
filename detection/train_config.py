"""The file of `collateral train NAME --config FILE`: TOML, checked before any picture is read.

    data = "../labelled"          # folder of labelled data; paths are relative to the file
    rendered = "../rendered"      # rendered scenes in the labelled formats, where the recipe mixes them in
    out = "vehicles.safetensors"  # weights file to write, its card beside it
    start = "old.safetensors"     # weights to begin with instead of the recipe's own

    [schedule]                    # each replaces the recipe's value
    steps = 2500
    batch = 12
    rate = 1.2e-3
    seed = 7

Words on the command line go before those of the file.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from collateral.errors import InvalidInputError
from collateral.progress import progress
from detection.train import Schedule

_PATHS = ("data", "rendered", "out", "start")
_LEAST: Mapping[str, float] = {"steps": 1, "batch": 1, "rate": 1e-9, "warmup": 1, "checkpoint_every": 1}
"""Smallest value of each number of a schedule; 0 of those not named."""
_MOST: Mapping[str, float] = {"rate": 1.0, "backbone_rate": 10.0, "decay": 1.0, "ema": 0.99999}
_PACKAGES = ("torch", "numpy", "opencv-python-headless", "safetensors")


@dataclass(frozen=True)
class TrainConfig:
    """What a file asks for; None and missing keys leave the recipe's choice."""

    data: Path | None = None
    rendered: Path | None = None
    out: Path | None = None
    start: Path | None = None
    schedule: Mapping[str, int | float] = field(default_factory=dict)


def read_train_config(path: Path) -> TrainConfig:
    """Reads and checks a file. Raises `InvalidInputError` that names the key, its value and what may be there."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read ({error}); name a TOML file in UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"{path} is no TOML ({error}); see `collateral train --help`.") from None
    allowed = (*_PATHS, "schedule")
    for key in table:
        if key not in allowed:
            raise InvalidInputError(f"{path} has the key {key!r}; there may be {', '.join(allowed)}.")
    paths = {key: _path(path, key, table[key]) for key in _PATHS if key in table}
    schedule = table.get("schedule", {})
    if not isinstance(schedule, dict):
        raise InvalidInputError(f"{path}: schedule is {schedule!r}; wanted is a table [schedule].")
    return TrainConfig(**paths, schedule=checked_schedule(schedule, str(path)))


def _path(file: Path, key: str, value: object) -> Path:
    if not isinstance(value, str) or not value:
        raise InvalidInputError(f"{file}: {key} is {value!r}; a path in quotes is wanted.")
    path = file.parent / value
    if key in ("data", "rendered") and not path.is_dir():
        raise InvalidInputError(f"{file}: {key} names {path}, which is no folder; paths are relative to the file.")
    if key == "start" and not path.is_file():
        raise InvalidInputError(f"{file}: start names {path}, which is missing; name a .safetensors with its card.")
    if key == "out" and path.suffix != ".safetensors":
        raise InvalidInputError(f"{file}: out names {path.name}; weights are written as .safetensors.")
    return path


def checked_schedule(values: Mapping[str, object], where: str) -> Mapping[str, int | float]:
    """Values of a schedule, each of the right type and in its range. Raises `InvalidInputError`."""
    whole = {item.name: item.type == "int" for item in fields(Schedule)}
    out: dict[str, int | float] = {}
    for key, value in values.items():
        if key not in whole:
            raise InvalidInputError(f"{where}: the schedule has {key!r}; there may be {', '.join(whole)}.")
        kind = "a whole number" if whole[key] else "a number"
        right = isinstance(value, int if whole[key] else int | float) and not isinstance(value, bool)
        low, high = _LEAST.get(key, 0), _MOST.get(key, float("inf"))
        if not right or not low <= float(str(value)) <= high:
            span = f"from {low:g} on" if high == float("inf") else f"from {low:g} to {high:g}"
            raise InvalidInputError(f"{where}: {key} is {value!r}; {kind} {span} is wanted.")
        out[key] = value if whole[key] else float(value)  # type: ignore[arg-type,assignment]
    return out


def versions() -> dict[str, str]:
    """Packages and machine that weights come from."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "processor": platform.machine()}


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and contents of every file in a folder, in order of name."""
    total = hashlib.sha256()
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in progress(paths, f"digest of {folder.name}", unit="file"):
        total.update(path.relative_to(folder).as_posix().encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
