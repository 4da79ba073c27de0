"""Where scenes come from: a file, a folder or a pattern."""

from __future__ import annotations

import glob
from pathlib import Path

from collateral.errors import UsageError

SUFFIXES = (".tif", ".tiff")


def find_scenes(source: str) -> list[Path]:
    """Files that may be scenes, absolute and sorted; whether they are is for `imagery.scenes` to say.

    Args:
        source: a file (any name), a folder (searched to the bottom for .tif and .tiff) or a glob pattern.

    Raises:
        UsageError: nothing is there under that name.
    """
    path = Path(source)
    if path.is_file():
        return [path.resolve()]
    if path.is_dir():
        found = (entry for entry in path.rglob("*") if entry.suffix.lower() in SUFFIXES and entry.is_file())
        return sorted(entry.resolve() for entry in found if not entry.name.startswith("."))
    matches = sorted(Path(match).resolve() for match in glob.glob(source, recursive=True) if Path(match).is_file())  # noqa: PTH207
    if not matches:
        raise UsageError(f"No scene at {source!r}: it is no file, no folder and no pattern that matches one.")
    return matches
