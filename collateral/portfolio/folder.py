"""A portfolio folder in and out: `read_folder` checks everything before anything is used, `write_folder` writes it again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import shapely

from collateral.domain import Portfolio
from collateral.errors import InvalidInputError, UsageError
from collateral.portfolio.checks import check_folder
from collateral.portfolio.parsing import Parsed, parse_file, place_corridors
from collateral.portfolio.problems import Problem
from collateral.portfolio.reading import guarded, read_file
from collateral.portfolio.schema import FILES, FileSpec


@dataclass(frozen=True)
class Checked:
    """A folder that was read."""

    portfolio: Portfolio
    """Only complete when no problem is an error."""
    problems: tuple[Problem, ...]
    absent: frozenset[str] = frozenset()
    """Parts whose optional file is not in the folder: nothing is said about them, so what is stored of them stays."""


def read_folder(folder: Path) -> Checked:
    """Reads and checks all files of `folder`; never raises for what they hold.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name the folder that holds {FILES[0].name} and the other files.")
    parsed: dict[str, Parsed] = {spec.part: parse_file(read_file(folder, spec)) for spec in FILES}
    parsed["assets"] = place_corridors(parsed["assets"], parsed["sites"].file)
    problems = [one for spec in FILES for one in parsed[spec.part].file.problems]
    problems += check_folder(parsed)
    portfolio = Portfolio(**{part: tuple(record.value for record in one.records) for part, one in parsed.items()})
    absent = frozenset(spec.part for spec in FILES if spec.optional and not (folder / spec.name).exists())
    return Checked(portfolio, tuple(problems), absent)


def write_folder(portfolio: Portfolio, folder: Path) -> dict[str, int]:
    """Writes `portfolio` as files, WGS 84, rows in order of their keys; `read_folder` reads the same again.

    Returns:
        Rows per part.

    Raises:
        InvalidInputError: the folder cannot be written.
    """
    texts = {spec: _map(spec, portfolio) if spec.is_map else _table(spec, portfolio) for spec in FILES}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for spec, text in texts.items():
            unfinished = folder / f".{spec.name}.part"
            unfinished.write_bytes(text)
            unfinished.replace(folder / spec.name)
    except OSError as error:
        raise InvalidInputError(f"{folder} cannot be written ({error.strerror}); name a folder of your own.") from error
    return {spec.part: len(getattr(portfolio, spec.part)) for spec in FILES}


def table_bytes(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A CSV that people open in spreadsheets: UTF-8 with a byte order mark, without which Excel reads Chinese names in the
    code page of its Windows; no cell begins a formula. (Files that only programs read have neither.)"""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([guarded(cell) for cell in row] for row in rows)
    return text.getvalue().encode("utf-8-sig")


def _rows(spec: FileSpec, portfolio: Portfolio) -> Iterable[Any]:
    return sorted(getattr(portfolio, spec.part), key=lambda row: tuple(getattr(row, name) for name in spec.key))


def _table(spec: FileSpec, portfolio: Portfolio) -> bytes:
    rows = ([one.text(getattr(row, one.target)) for one in spec.columns] for row in _rows(spec, portfolio))
    return table_bytes([one.name for one in spec.columns], rows)


def _map(spec: FileSpec, portfolio: Portfolio) -> bytes:
    features = [_feature(spec, row) for row in _rows(spec, portfolio)]
    head = orjson.dumps({"type": "FeatureCollection", "coordinate_system": "WGS84"})[:-1]
    return head + b',"features":[\n' + b",\n".join(features) + b"\n]}\n"


def _feature(spec: FileSpec, row: Any) -> bytes:
    properties: Mapping[str, object] = {one.name: _property(getattr(row, one.target)) for one in spec.columns}
    geometry = shapely.geometry.mapping(row.geometry)
    return orjson.dumps({"type": "Feature", "properties": properties, "geometry": geometry})


def _property(value: object) -> object:
    """A value as JSON has it; empty texts and missing numbers are null."""
    return None if value == "" else value
