"""Files into rows of text: the encodings, separators and habits of spreadsheets and map tools are met here, once."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import geopandas
import orjson
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from collateral.coordinates import CoordinateSystem, geometries_to_wgs84
from collateral.portfolio.problems import Problem, Severity
from collateral.portfolio.schema import FileSpec

_SYSTEM_REMEDY = (
    'Add a member "coordinate_system" beside "features" with the value "WGS84", "GCJ02" (AMap, Tencent) or "BD09" (Baidu), '
    "as the source of the map says."
)
_FORMULA = re.compile(r"'*[=+\-@＝＋－＠]")
"""So begins a formula (CWE-1236), also in the wide letters of Chinese, and so one that was guarded, however often."""
_ALIASES = {"WGS84": "WGS84", "EPSG4326": "WGS84", "GCJ02": "GCJ02", "BD09": "BD09", "BD09LL": "BD09"}


@dataclass(frozen=True)
class RawRow:
    """One row as text."""

    row: int
    """As `Problem.row`."""
    cells: Mapping[str, str]
    geometry: BaseGeometry | None = None
    """WGS 84."""


@dataclass
class RawFile:
    """What could be read of one file."""

    spec: FileSpec
    rows: list[RawRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    readable: bool = True
    """False when the rows are missing or without meaning: other files' references to them are not judged."""
    system: CoordinateSystem = CoordinateSystem.WGS84
    """Coordinate system that a GeoJSON file named."""

    def refuse(self, problem: str, remedy: str) -> RawFile:
        """Gives up on the whole file."""
        self.problems.append(Problem(self.spec.name, None, problem, remedy))
        self.readable = False
        self.rows = []
        return self

    def complain(self, row: int | None, problem: str, remedy: str, severity: Severity = Severity.ERROR) -> None:
        """Notes a problem and goes on."""
        self.problems.append(Problem(self.spec.name, row, problem, remedy, severity))


def read_file(folder: Path, spec: FileSpec) -> RawFile:
    """The rows of one file of the folder, or the problems that keep it from being read. Never raises for its content."""
    found = RawFile(spec)
    path = folder / spec.name
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if spec.optional:
            return found
        empty = (
            'an empty list of features and a "coordinate_system"' if spec.is_map
            else "only the header line " + ",".join(one.name for one in spec.columns)
        )
        return found.refuse("The file is missing.", f"Add it; if there is nothing to say, with {empty}.")
    except OSError as error:
        return found.refuse(f"The file cannot be read: {error.strerror}.", "Check the folder and its permissions.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return found.refuse(
            f"Byte {error.start + 1} is not UTF-8.", 'Save the file as "CSV UTF-8" (GBK and UTF-16 are not read).'
        )
    if not text.strip(" \t\r\n,;"):
        return found.refuse("The file is empty.", "Write at least its header line." if not spec.is_map else _SYSTEM_REMEDY)
    if "\x00" in text:
        return found.refuse("The file holds NUL characters.", "Save it again as UTF-8 text.")
    return _read_map(found, text) if spec.is_map else _read_table(found, text)


def _read_table(found: RawFile, text: str) -> RawFile:
    header_line = text.lstrip("\r\n").splitlines()[0]
    separator = max(",;\t", key=header_line.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        return found.refuse(f"The quotation marks do not match ({error}).", "Save the file again from a spreadsheet as CSV.")
    first = next((position for position, line in enumerate(lines) if any(cell.strip() for cell in line)), None)
    if first is None:
        return found.refuse("The file is empty.", "Write at least its header line.")
    header = [cell.strip().casefold() for cell in lines[first]]
    while header and not header[-1]:
        header.pop()
    if not _check_columns(found, header):
        return found
    for position, line in enumerate(lines[first + 1:], start=first + 2):
        cells = [unguarded(cell.strip()) for cell in line]
        if not any(cells):
            continue
        if len(cells) < len(header) or any(cells[len(header):]):
            found.complain(
                position, f"The row has {len(cells)} cells, the header {len(header)}.",
                "Quote cells that hold the separator, and give every row the same number of cells.",
            )
            continue
        found.rows.append(RawRow(position, dict(zip(header, cells, strict=False))))
    return found


def guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe stands before what would begin one."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """The reverse of `guarded`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _check_columns(found: RawFile, names: Sequence[str]) -> bool:
    known = {one.name for one in found.spec.columns}
    listed = ", ".join(one.name for one in found.spec.columns)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    missing = [one.name for one in found.spec.columns if one.name not in names]
    if twice:
        found.refuse(f"The column {', '.join(twice)} stands there twice.", f"Keep one; the columns are {listed}.")
        return False
    if missing:
        found.refuse(f"The column {', '.join(missing)} is missing.", f"Add it to the header; the columns are {listed}.")
        return False
    for name in names:
        if name not in known:
            found.complain(None, f"The column {name!r} is not known and is left out.", f"The columns are {listed}.",
                           Severity.WARNING)
    return True


def _read_map(found: RawFile, text: str) -> RawFile:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return found.refuse(f"The file is not JSON: {error}.", "Export it again as GeoJSON.")
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list):
        return found.refuse('The file has no list "features".', "Export it as a GeoJSON FeatureCollection.")
    rows: list[RawRow] = []
    unknown: set[str] = set()
    for position, feature in enumerate(features, start=1):
        properties = feature.get("properties") if isinstance(feature, dict) else None
        if not isinstance(properties, dict):
            found.complain(position, "The feature has no properties.", "See `collateral portfolio schema`.")
            continue
        cells = {str(name).strip().casefold(): _plain(value) for name, value in properties.items()}
        unknown.update(cells)
        rows.append(RawRow(position, cells, _shape(feature.get("geometry"))))
    for name in sorted(unknown - {one.name for one in found.spec.columns}):
        found.complain(None, f"The property {name!r} is not known and is left out.", "See `collateral portfolio schema`.",
                       Severity.WARNING)
    return _to_wgs84(found, document, rows)


def _plain(value: object) -> str:
    """A JSON value as a cell would hold it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return value.strip()
    return orjson.dumps(value).decode()


def _shape(value: object) -> BaseGeometry | None:
    """The geometry, or None for anything that is none; the check of polygons says so."""
    if not isinstance(value, dict):
        return None
    try:
        shape: BaseGeometry | None = shapely.from_geojson(orjson.dumps(value))
    except (shapely.errors.ShapelyError, orjson.JSONEncodeError):
        return None
    return shape


def _to_wgs84(found: RawFile, document: Mapping[str, object], rows: list[RawRow]) -> RawFile:
    named = document.get("coordinate_system")
    crs = document.get("crs")
    shapes: list[BaseGeometry | None] = [row.geometry for row in rows]
    if named is not None:
        word = "".join(letter for letter in str(named).upper() if letter.isalnum())
        if word not in _ALIASES:
            return found.refuse(f"The coordinate_system {named!r} is not known.", _SYSTEM_REMEDY)
        found.system = CoordinateSystem(_ALIASES[word])
        shapes = geometries_to_wgs84(shapes, found.system)
    elif crs is not None:
        properties = crs.get("properties") if isinstance(crs, dict) else None
        name = properties.get("name") if isinstance(properties, dict) else None
        try:
            system = pyproj.CRS.from_user_input(name)
            shapes = list(geopandas.GeoSeries(shapes, crs=system).to_crs(4326))
        except (pyproj.exceptions.ProjError, ValueError, TypeError) as error:
            return found.refuse(f"The crs {name!r} cannot be used: {error}.", _SYSTEM_REMEDY)
    else:
        return found.refuse("The file does not name its coordinate system.", _SYSTEM_REMEDY)
    found.rows = [RawRow(row.row, row.cells, shape) for row, shape in zip(rows, shapes, strict=True)]
    return found
