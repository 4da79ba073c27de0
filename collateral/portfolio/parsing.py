"""Rows of text into the frozen dataclasses of the domain, cell by cell along the column table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from shapely.geometry.base import BaseGeometry

from collateral.coordinates import geometries_to_wgs84
from collateral.domain import Asset, Site
from collateral.portfolio.kinds import BadValueError
from collateral.portfolio.reading import RawFile, RawRow
from collateral.portfolio.schema import Column
from collateral.portfolio.shapes import LIMITS, check_polygon, check_utm, flat_polygon, utm_epsg


@dataclass(frozen=True)
class Record:
    """One row that could be understood."""

    row: int
    value: Any
    """A dataclass of `collateral.domain`."""


@dataclass(frozen=True)
class Parsed:
    """One file, understood as far as possible."""

    file: RawFile
    records: Sequence[Record] = field(default_factory=tuple)

    @cached_property
    def named(self) -> frozenset[str]:
        """Ids that stand in the file, also of rows with mistakes: a mistake elsewhere in a row makes no second problem."""
        return frozenset(row.cells.get(self.file.spec.key[0], "") for row in self.file.rows)


def parse_file(found: RawFile) -> Parsed:
    """Every row whose cells are all good; the problems of the others are noted on the file."""
    records = []
    for row in found.rows:
        values = read_cells(found, row)
        if values is None:
            continue
        if found.spec.is_map and not _place(found, row, values):
            continue
        records.append(Record(row.row, found.spec.row(**values)))
    return Parsed(found, records)


def place_corridors(assets: Parsed, sites: RawFile) -> Parsed:
    """The same assets with their corridors moved from the coordinate system of sites.geojson to WGS 84 and checked."""
    owners = [record for record in assets.records if record.value.corridor is not None]
    moved = dict(
        zip(
            (record.row for record in owners),
            geometries_to_wgs84([record.value.corridor for record in owners], sites.system),
            strict=True,
        )
    )
    records = []
    for record in assets.records:
        asset = record.value
        assert isinstance(asset, Asset)
        if record.row in moved:
            shape = _polygon(assets.file, record.row, f"The corridor of asset {asset.asset_id}", moved[record.row])
            if shape is None:
                continue
            asset = replace(asset, corridor=shape)
        records.append(Record(record.row, asset))
    return Parsed(assets.file, records)


def read_cells(found: RawFile, row: RawRow) -> dict[str, Any] | None:
    """Every cell of a row as its column reads it; None, with the problems noted on the file, where one cannot be."""
    values: dict[str, Any] = {}
    good = True
    for column in found.spec.columns:
        try:
            values[column.target] = _value(column, row.cells)
        except BadValueError as error:
            found.complain(row.row, f"{column.name} {error.problem}.", error.remedy)
            good = False
    return values if good else None


def _value(column: Column, cells: Mapping[str, str]) -> object:
    text = cells.get(column.name, "")
    if text:
        return column.kind.parse(text)
    if column.required:
        raise BadValueError("is empty", f"Fill it in: {column.meaning} ({column.kind.says}).")
    return column.default


def _place(found: RawFile, row: RawRow, values: dict[str, Any]) -> bool:
    """Puts the checked polygon, and a site's UTM zone, into `values`; False when that fails."""
    name = f"{found.spec.key[0].removesuffix('_id')} {values[found.spec.key[0]]}"
    shape = _polygon(found, row.row, name, row.geometry)
    if shape is None:
        return False
    values["geometry"] = shape
    if found.spec.row is Site:
        try:
            values["utm_epsg"] = values["utm_epsg"] or utm_epsg(shape)
            check_utm(values["utm_epsg"], shape)
        except BadValueError as error:
            found.complain(row.row, f"utm_epsg {error.problem}.", error.remedy)
            return False
    return True


def _polygon(found: RawFile, row: int, name: str, shape: BaseGeometry | None) -> BaseGeometry | None:
    try:
        flat = flat_polygon(shape)
        check_polygon(flat, LIMITS[found.spec.part])
    except BadValueError as error:
        found.complain(row, f"{name} {error.problem}.", error.remedy)
        return None
    return flat
