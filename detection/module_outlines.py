"""Outlines of PV modules from GeoJSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from collateral.errors import InvalidInputError

_ID_KEYS = ("module_id", "id", "name")


@dataclass(frozen=True)
class Outline:
    """One module."""

    module_id: str
    polygon: BaseGeometry


@dataclass(frozen=True)
class Outlines:
    """The modules of one file."""

    modules: tuple[Outline, ...]
    lonlat: bool
    """True for WGS 84 longitude and latitude, False for the coordinate system of the mosaic."""


def read_outlines(path: Path, mosaic_crs: str) -> Outlines:
    """Polygons of a FeatureCollection, in WGS 84 or in the mosaic's coordinate system.

    The member `crs` of older GeoJSON says which; without it, coordinates that cannot be degrees are taken for the mosaic's.
    Names come from `module_id`, `id` or `name` of the properties, the feature's `id`, else its number.

    Raises:
        InvalidInputError: with file, number of the feature and remedy.
    """
    content = _content(path)
    features = content.get("features")
    if content.get("type") != "FeatureCollection" or not isinstance(features, list) or not features:
        raise InvalidInputError(f"{path} is no FeatureCollection with features; write one polygon for each module.")
    modules = tuple(_outline(path, number, feature) for number, feature in enumerate(features, start=1))
    name, count = Counter(module.module_id for module in modules).most_common(1)[0]
    if count > 1:
        raise InvalidInputError(f"{path} names {count} modules {name!r}; give each its own module_id.")
    return Outlines(modules, _is_lonlat(path, content, modules, mosaic_crs))


def _content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InvalidInputError(f"{path} is missing; name the GeoJSON file with the modules' outlines.")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidInputError(f"{path} is no JSON in UTF-8 ({error}); write the outlines as GeoJSON.") from None
    return content if isinstance(content, dict) else {}


def _outline(path: Path, number: int, feature: object) -> Outline:
    what = f"{path}, feature {number}"
    if not isinstance(feature, Mapping) or not isinstance(feature.get("geometry"), Mapping):
        raise InvalidInputError(f"{what} has no geometry; draw the module's outline or leave the feature out.")
    try:
        geometry = shape(feature["geometry"])
    except (ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise InvalidInputError(f"{what} has a geometry that cannot be read ({error}); draw it anew.") from None
    parts = shapely.get_parts(geometry)
    if len(parts) != 1 or parts[0].geom_type != "Polygon" or not parts[0].area > 0:
        raise InvalidInputError(f"{what} is a {geometry.geom_type}; wanted is one polygon with an area.")
    if not np.isfinite(shapely.get_coordinates(parts[0])).all():
        raise InvalidInputError(f"{what} has coordinates that are no numbers; draw it anew.")
    properties = feature.get("properties")
    told = properties if isinstance(properties, Mapping) else {}
    candidates = [*(told.get(key) for key in _ID_KEYS), feature.get("id")]
    name = next((str(value) for value in candidates if value not in (None, "")), str(number))
    return Outline(name, parts[0])


def _is_lonlat(path: Path, content: Mapping[str, Any], modules: tuple[Outline, ...], mosaic_crs: str) -> bool:
    west, south, east, north = shapely.total_bounds([module.polygon for module in modules])
    degrees = bool(west >= -180 and east <= 180 and south >= -90 and north <= 90)
    named = _named_crs(path, content)
    if named is None:
        return degrees
    if named.is_geographic and degrees:
        return True
    if bool(named.equals(CRS.from_user_input(mosaic_crs), ignore_axis_order=True)):
        return False
    raise InvalidInputError(
        f"{path} says its coordinates are {named.name}; write them in WGS 84 (longitude, latitude) or in the coordinate "
        "system of the orthomosaic."
    )


def _named_crs(path: Path, content: Mapping[str, Any]) -> CRS | None:
    crs = content.get("crs")
    if not isinstance(crs, Mapping):
        return None
    properties = crs.get("properties")
    name = str(properties.get("name", "")) if isinstance(properties, Mapping) else ""
    code = re.search(r"EPSG:+(\d+)$", name)
    try:
        return CRS.from_epsg(int(code.group(1))) if code else CRS.from_user_input(name.replace("urn:ogc:def:crs:", ""))
    except CRSError:
        raise InvalidInputError(f"{path} names the coordinate system {name!r}, which is unknown; write EPSG:4326.") from None

