"""Opens a raster and checks that it can be read: format, size, bands, type, coordinate system, completeness."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from pyproj.exceptions import CRSError, ProjError
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from collateral.errors import InvalidInputError
from imagery.gdal_env import DRIVER, damage_is_an_error, gdal_environment
from imagery.grid import PixelSize, apply_affine
from imagery.spectral import COARSE_M, COARSEST_M, HOW, Spectral, band_names, spectral_of

MAX_EDGE_PX = 200_000
"""A longer edge is taken for a broken or hostile header."""
MIN_EDGE_PX = 16
GSD_RANGE_M = (0.01, 30.0)
"""Finer than any drone flown for this, coarser than any public satellite in the visible: a wrong unit."""
_GEOD = Geod(ellps="WGS84")
_PROBE_PX = 256
_MAX_BLOCKS_CHECKED = 60_000
_BLACK = 2
"""A picture's pixel that is no brighter holds no data."""
_MOST_OBLONG = 3.0
"""Longest edge of a pixel on the ground over its shortest: degrees, as wide as high, reach it at 70 degrees of latitude."""
_TURNED_PX = 0.5
"""Rows or columns that lean by less than this over the whole picture run along the map's axes."""
_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
_COLOUR_WORD = re.compile(
    r"(?<![a-z])(near.?infrared|infrared|nir|swir|red.?edge|red|green|blue)(?![a-z])", re.IGNORECASE
)
_SEE_THROUGH = 0.5
"""A transparency band with a larger share neither clear nor opaque is infrared under a wrong name: so aerial surveys of four
bands are written, and the colours before it are what they are said to be."""
_PICK_BANDS = (
    "write the three colours only; where they lie in the order blue, green, red: "
    "gdal_translate -b 3 -b 2 -b 1 -colorinterp red,green,blue"
)


class Reason(StrEnum):
    """Why a file cannot become a scene."""

    EMPTY_FILE = "empty_file"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    WRONG_BANDS = "wrong_bands"
    WRONG_TYPE = "wrong_type"
    NO_CRS = "no_crs"
    ROTATED = "rotated"
    NO_TIME = "no_time"
    IMPOSSIBLE_TIME = "impossible_time"
    ABSURD_SIZE = "absurd_size"
    ABSURD_GSD = "absurd_gsd"
    ALL_NODATA = "all_nodata"


class RasterRejectedError(InvalidInputError):
    """A file that cannot become a scene; the message ends with the remedy."""

    def __init__(self, path: Path, reason: Reason, detail: str, sha256: str = "") -> None:
        super().__init__(f"{path.name}: {detail}")
        self.path = path
        self.reason = reason
        self.detail = detail
        self.sha256 = sha256


@dataclass(frozen=True)
class RasterFacts:
    """What a readable raster says about itself."""

    path: Path
    sha256: str
    bytes: int
    size: PixelSize
    crs: str
    """WKT of the coordinate system."""
    epsg: int
    """EPSG code; 0 when the system has none."""
    affine: Affine
    """(column, row) -> coordinates of `crs`."""
    gsd_m: float
    """Edge of a pixel on the ground at the centre, metres."""
    bands: tuple[int, int, int]
    """Band numbers (from 1) of red, green and blue."""
    has_mask: bool
    """True when the file says by nodata value, alpha or mask which pixels are valid."""
    tags: Mapping[str, str]
    spectral: Spectral | None = None
    """Named bands of a satellite, in place of colours."""


def inspect_scene(path: Path) -> RasterFacts:
    """As `inspect`; a satellite's scene of named bands (`imagery.spectral`) is taken too."""
    return inspect(path, spectral=True)


def inspect(path: Path, driver: str = DRIVER, spectral: bool = False) -> RasterFacts:
    """Checks one file without decoding more than a thumbnail of it.

    Args:
        path: the file.
        driver: GDAL's name of the only format that is accepted.
        spectral: take a satellite's scene of named bands as well as a picture in colour.

    Raises:
        RasterRejectedError: with one of `Reason` and a sentence for the operator.
    """
    if not path.is_file():
        raise RasterRejectedError(path, Reason.UNREADABLE, "the file is not there; check the path and its rights.")
    length = path.stat().st_size
    if length == 0:
        raise RasterRejectedError(path, Reason.EMPTY_FILE, "the file has 0 bytes; copy it again.")
    sha256 = file_sha256(path)
    try:
        with gdal_environment(), rasterio.open(path, driver=driver) as dataset:
            named = spectral_of(dataset) if spectral else None
            if named is None:
                _check_colours(path, dataset, sha256, spectral)
            _check_header(path, dataset, sha256)
            _check_blocks(path, dataset, length, sha256)
            allowed = GSD_RANGE_M if named is None else (COARSE_M, COARSEST_M)
            remedy = "check the unit of the transform" + (
                "" if named is None else "; a finer picture is read as red, green, blue of 8 bit"
            )
            gsd_m = _ground_sampling_distance(path, dataset, sha256, allowed, remedy)
            if named is not None:
                bands = (named.bands["red"], named.bands["green"], named.bands["blue"])
            else:
                bands = _colour_bands(path, dataset, sha256)
            try:
                with damage_is_an_error():
                    masked = _has_mask(dataset)
                    _check_content(path, dataset, bands, 0.0 if named is not None else _BLACK, masked, sha256)
            except (RasterioError, RasterioIOError) as error:
                detail = f"pixels in it cannot be decoded ({_short(error.__cause__ or error)}); copy it again."
                raise RasterRejectedError(path, Reason.DAMAGED, detail, sha256) from error
            return RasterFacts(
                path=path,
                sha256=sha256,
                bytes=length,
                size=PixelSize(dataset.width, dataset.height),
                crs=dataset.crs.to_wkt(),
                epsg=dataset.crs.to_epsg() or 0,
                affine=dataset.transform,
                gsd_m=gsd_m,
                bands=bands,
                has_mask=masked,
                tags={str(key): str(value) for key, value in dataset.tags().items()},
                spectral=named,
            )
    except (RasterioError, RasterioIOError, CRSError, OSError) as error:
        reason = Reason.TRUNCATED if _begins_like_tiff(path) else Reason.UNREADABLE
        detail = f"it cannot be read ({_short(error)}); copy it again."
        raise RasterRejectedError(path, reason, detail, sha256) from error


def file_sha256(path: Path) -> str:
    """Checksum of the whole file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _begins_like_tiff(path: Path) -> bool:
    """A file that begins as a TIFF and does not open lost its directory: cut off or damaged."""
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _check_colours(path: Path, dataset: Any, sha256: str, spectral: bool) -> None:
    satellite = f"; for a satellite's scene of {COARSE_M:.0f} m or coarser: {HOW}" if spectral else ""
    if dataset.count == 1 and dataset.colorinterp[0] is ColorInterp.palette:
        raise RasterRejectedError(
            path, Reason.WRONG_BANDS, "its colours are a palette; expand them (gdal_translate -expand rgb).", sha256
        )
    if dataset.count not in (3, 4):
        raise RasterRejectedError(
            path, Reason.WRONG_BANDS,
            f"it has {dataset.count} band(s); red, green, blue (and one more) are needed{satellite}.", sha256,
        )
    kinds = set(dataset.dtypes)
    if kinds != {"uint8"}:
        raise RasterRejectedError(
            path, Reason.WRONG_TYPE,
            f"its pixels are {', '.join(sorted(kinds))}; write 8-bit colour (uint8; gdal_translate -ot Byte "
            f"-scale LOW HIGH 0 255 with limits that are the same for every scene){satellite}.", sha256,
        )


def _check_header(path: Path, dataset: Any, sha256: str) -> None:
    width, height = dataset.width, dataset.height
    if max(width, height) > MAX_EDGE_PX or min(width, height) < MIN_EDGE_PX:
        raise RasterRejectedError(
            path, Reason.ABSURD_SIZE,
            f"it is {width} x {height} px; edges from {MIN_EDGE_PX} to {MAX_EDGE_PX} px are read: cut it into scenes.",
            sha256,
        )
    if dataset.crs is None or dataset.transform == Affine.identity():
        raise RasterRejectedError(
            path, Reason.NO_CRS, "it does not say where on Earth it lies; write its coordinate system and transform.", sha256
        )
    if not all(math.isfinite(value) for value in dataset.transform) or dataset.transform.determinant == 0:
        raise RasterRejectedError(
            path, Reason.ABSURD_GSD, "its transform gives pixels no size; write it again as it was delivered.", sha256
        )
    a, b, _, d, e, _ = dataset.transform[:6]
    if abs(d) * width > _TURNED_PX * abs(e) or abs(b) * height > _TURNED_PX * abs(a):
        turn = math.degrees(math.atan2(d, a))
        detail = f"its grid is rotated against the map (its rows by {turn:.4g} degrees); warp it north up (gdalwarp) first."
        raise RasterRejectedError(path, Reason.ROTATED, detail, sha256)


def _check_blocks(path: Path, dataset: Any, length: int, sha256: str) -> None:
    """Every block of the full resolution must lie inside the file: finds a cut copy without decoding it."""
    for number, (row, column) in enumerate(block_indices(dataset)):
        if number >= _MAX_BLOCKS_CHECKED:
            return
        extent = block_extent(dataset, column, row, band=dataset.count)
        if extent is not None and extent[0] + extent[1] > length:
            raise RasterRejectedError(
                path, Reason.TRUNCATED,
                f"pixels should end at byte {extent[0] + extent[1]}, the file ends at {length}; copy it again.", sha256,
            )


def block_indices(dataset: Any) -> Iterator[tuple[int, int]]:
    """(row, column) of every block of band 1."""
    block_height, block_width = dataset.block_shapes[0]
    for row in range(math.ceil(dataset.height / block_height)):
        for column in range(math.ceil(dataset.width / block_width)):
            yield row, column


def block_extent(
    dataset: Any, column: int, row: int, overview: int | None = None, band: int = 1
) -> tuple[int, int] | None:
    """(offset, length) in bytes of one block of a band in the file; None when it is sparse or the format does not say."""
    offset = dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band, ovr=overview)
    length = dataset.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=band, ovr=overview)
    return None if offset is None or length is None else (int(offset), int(length))


def _ground_sampling_distance(
    path: Path, dataset: Any, sha256: str, allowed: tuple[float, float], remedy: str
) -> float:
    try:
        to_lonlat = Transformer.from_crs(dataset.crs.to_wkt(), "EPSG:4326", always_xy=True)
    except (CRSError, ProjError) as error:
        detail = f"its coordinate system has no known place on Earth ({_short(error)}); write a geodetic or projected one."
        raise RasterRejectedError(path, Reason.NO_CRS, detail, sha256) from error
    middle_column, middle_row = dataset.width / 2, dataset.height / 2
    steps = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    corners = apply_affine(dataset.transform, steps + np.array([middle_column, middle_row]))
    places = [to_lonlat.transform(float(x), float(y)) for x, y in corners]
    if not all(math.isfinite(value) for place in places for value in place):
        raise RasterRejectedError(
            path, Reason.NO_CRS, "its coordinates lie outside its coordinate system; check the EPSG code.", sha256
        )
    across, down = (_GEOD.inv(*places[0], *place)[2] for place in places[1:])
    gsd_m = math.sqrt(across * down)
    if not allowed[0] <= gsd_m <= allowed[1]:
        raise RasterRejectedError(
            path, Reason.ABSURD_GSD,
            f"a pixel is {across:.4g} x {down:.4g} m on the ground; {allowed[0]} to {allowed[1]} m is read: "
            f"{remedy}.", sha256,
        )
    if max(across, down) > _MOST_OBLONG * min(across, down):
        raise RasterRejectedError(
            path, Reason.ABSURD_GSD,
            f"a pixel is {across:.4g} x {down:.4g} m on the ground, one edge more than {_MOST_OBLONG:g} times the other: "
            "warp it to UTM (gdalwarp -t_srs).", sha256,
        )
    return gsd_m


def _check_content(
    path: Path, dataset: Any, colours: tuple[int, int, int], black: float, masked: bool, sha256: str
) -> None:
    """Looks for any valid pixel."""
    if not any(_probe(dataset, list(colours), black, masked, *where).any() for where in _probes(dataset)):
        raise RasterRejectedError(path, Reason.ALL_NODATA, "not one pixel holds data; leave it out.", sha256)


def _probes(dataset: Any) -> list[tuple[Window | None, tuple[int, ...] | None]]:
    """Windows and their shapes to look at: a thumbnail where one is cheap, else blocks spread over the file."""
    if dataset.overviews(1) or dataset.width * dataset.height <= 16 << 20:
        return [(None, tuple(max(1, min(_PROBE_PX, edge)) for edge in (dataset.height, dataset.width)))]
    blocks = list(block_indices(dataset))
    rows, columns = dataset.block_shapes[0]
    corners = [(r * rows, c * columns) for r, c in blocks[:: max(1, len(blocks) // 16)]]
    width, height = dataset.width, dataset.height
    return [(Window(left, top, min(columns, width - left), min(rows, height - top)), None) for top, left in corners]


def _probe(
    dataset: Any, bands: list[int], black: float, masked: bool, window: Window | None, shape: tuple[int, ...] | None
) -> NDArray[np.bool_]:
    out_shape = None if shape is None else (len(bands), *shape)
    pixels = dataset.read(bands, window=window, out_shape=out_shape, resampling=Resampling.nearest)
    valid: NDArray[np.bool_] = pixels.max(axis=0) > black
    if masked:
        valid &= dataset.dataset_mask(window=window, out_shape=None if shape is None else shape) > 0
    return valid


def _colour_bands(path: Path, dataset: Any, sha256: str) -> tuple[int, int, int]:
    """Numbers of red, green and blue: by the bands' names, else by their colour interpretation.

    Three bands (and transparency) that say nothing are taken to lie in that order, four are not: as many deliveries begin
    with blue.
    """
    names = band_names(dataset)
    shown = [found[1].lower() if (found := _COLOUR_WORD.search(name)) else "" for name in names]
    kinds = list(dataset.colorinterp)
    if all(shown.count(colour.name) == 1 for colour in _COLOURS):
        bands = [shown.index(colour.name) + 1 for colour in _COLOURS]
    elif all(colour in kinds for colour in _COLOURS):
        bands = [kinds.index(colour) + 1 for colour in _COLOURS]
    elif ColorInterp.alpha not in kinds[:3] and (dataset.count == 3 or kinds[3] is ColorInterp.alpha):
        bands = [1, 2, 3]
    else:
        detail = f"its {dataset.count} bands do not say which are red, green and blue; {_PICK_BANDS}."
        raise RasterRejectedError(path, Reason.WRONG_BANDS, detail, sha256)
    if any(shown[number - 1] not in ("", colour.name) for number, colour in zip(bands, _COLOURS, strict=True)):
        called = ", ".join(name or "-" for name in names)
        detail = f"its bands are called {called}; red, green and blue are needed, in any order (gdal_translate -b)."
        raise RasterRejectedError(path, Reason.WRONG_BANDS, detail, sha256)
    red, green, blue = bands
    return red, green, blue


def _has_mask(dataset: Any) -> bool:
    """Whether the file says which pixels hold data. Infrared in a transparency band says it of none: water is dark in it."""
    flags = dataset.mask_flag_enums
    if any(MaskFlags.alpha in own for own in flags) and _transparency_is_infrared(dataset):
        return False
    return any(MaskFlags.all_valid not in own for own in flags)


def _transparency_is_infrared(dataset: Any) -> bool:
    number = list(dataset.colorinterp).index(ColorInterp.alpha) + 1
    values = np.concatenate([
        dataset.read(number, window=window, out_shape=shape, resampling=Resampling.nearest).ravel()
        for window, shape in _probes(dataset)
    ])  # fmt: skip
    return bool(np.mean((values > 0) & (values < 255)) > _SEE_THROUGH)
