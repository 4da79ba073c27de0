"""GeoTIFFs with one fault each, by name, and the reason for which each must be refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from imagery.raster import Reason

UTM = 32651
ORIGIN = Affine(0.3, 0, 350_000, 0, -0.3, 3_450_000)


def write_tif(path: Path, pixels: np.ndarray | None = None, tags: dict[str, str] | None = None, **profile: object) -> Path:
    """A sound GeoTIFF but for what is asked for; None takes an entry of the profile away."""
    if pixels is None:
        pixels = np.random.default_rng(1).integers(40, 200, (3, 200, 300), dtype=np.uint8)
    given = {"crs": f"EPSG:{UTM}", "transform": ORIGIN, "compress": "deflate", "tiled": True, "blockxsize": 128}
    given |= {"blockysize": 128} | profile
    with rasterio.open(path, "w", driver="GTiff", count=pixels.shape[0], height=pixels.shape[1], width=pixels.shape[2],
                       dtype=pixels.dtype, **{key: value for key, value in given.items() if value is not None}) as dataset:
        dataset.write(pixels)
        dataset.update_tags(**({"ACQUIRED_AT": "2026-05-04T02:30:00Z"} if tags is None else tags))
    return path


def spoil_block(path: Path, column: int, row: int, share: tuple[float, float] = (0.0, 1.0)) -> Path:
    """Overwrites a part of one stored block with zeros."""
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=1))
        length = int(dataset.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    first, last = offset + int(share[0] * length), offset + int(share[1] * length)
    content[first:last] = bytes(last - first)
    path.write_bytes(content)
    return path


def _cut(path: Path) -> Path:
    whole = write_tif(path).read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    return path


def _header_only(path: Path) -> Path:
    path.write_bytes(write_tif(path).read_bytes()[:60])
    return path


def _empty(path: Path) -> Path:
    path.touch()
    return path


def _text(path: Path) -> Path:
    path.write_text("not a picture")
    return path


def _pixels(bands: int, kind: str = "uint8", fill: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(2)
    return (np.full((bands, 64, 64), fill) if fill is not None else rng.integers(1, 200, (bands, 64, 64))).astype(kind)


def _palette(path: Path) -> Path:
    write_tif(path, _pixels(1))
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {value: (value, 255 - value, 0, 255) for value in range(256)})
        dataset.colorinterp = [ColorInterp.palette]
    return path


def in_colours(path: Path, kinds: str, names: tuple[str, ...] = (), pixels: np.ndarray | None = None) -> Path:
    """A picture whose bands say what they show: one letter each (r g b, a transparency, - nothing), and their names."""
    meaning = {"r": ColorInterp.red, "g": ColorInterp.green, "b": ColorInterp.blue, "a": ColorInterp.alpha}
    write_tif(path, _pixels(len(kinds)) if pixels is None else pixels, photometric="minisblack", alpha="no")
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [meaning.get(kind, ColorInterp.undefined) for kind in kinds]
        if names:
            dataset.descriptions = names
    return path


def _claims(path: Path) -> Path:
    """The header says 1,000,000 x 1,000,000 px; the file holds 300 x 200."""
    content = bytearray(write_tif(path).read_bytes())
    (directory,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, directory)
    for number in range(entries):
        at = directory + 2 + 12 * number
        if struct.unpack_from("<H", content, at)[0] in (256, 257):  # ImageWidth, ImageLength
            struct.pack_into("<HII", content, at + 2, 4, 1, 1_000_000)
    path.write_bytes(content)
    return path


BAD: dict[str, tuple[Reason, Callable[[Path], Path]]] = {
    "empty": (Reason.EMPTY_FILE, _empty),
    "text": (Reason.UNREADABLE, _text),
    "cut": (Reason.TRUNCATED, _cut),
    "header_only": (Reason.TRUNCATED, _header_only),
    "one_band": (Reason.WRONG_BANDS, lambda path: write_tif(path, _pixels(1))),
    "eight_bands": (Reason.WRONG_BANDS, lambda path: write_tif(path, _pixels(8))),
    "palette": (Reason.WRONG_BANDS, _palette),
    "four_bands_that_say_nothing": (Reason.WRONG_BANDS, lambda path: in_colours(path, "----")),
    "two_bands_and_transparency": (
        Reason.WRONG_BANDS,
        lambda path: in_colours(path, "--a", pixels=np.concatenate([_pixels(2), _pixels(1, fill=255)])),
    ),
    "infrared_shown_as_red": (Reason.WRONG_BANDS, lambda path: in_colours(path, "rgb", ("NIR", "Red", "Green"))),
    "sixteen_bit": (Reason.WRONG_TYPE, lambda path: write_tif(path, _pixels(3, "uint16"))),
    "float": (Reason.WRONG_TYPE, lambda path: write_tif(path, _pixels(3, "float32"))),
    "complex": (Reason.WRONG_TYPE, lambda path: write_tif(path, _pixels(3, "complex64"))),
    "no_crs": (Reason.NO_CRS, lambda path: write_tif(path, crs=None)),
    "no_transform": (Reason.NO_CRS, lambda path: write_tif(path, transform=None)),
    "local_crs": (Reason.NO_CRS, lambda path: write_tif(path, crs='LOCAL_CS["site grid",UNIT["metre",1]]')),
    "far_off_the_earth": (Reason.NO_CRS, lambda path: write_tif(path, transform=Affine(0.3, 0, 9e12, 0, -0.3, 9e12))),
    "rotated": (Reason.ROTATED, lambda path: write_tif(path, transform=Affine(0.3, 0.1, 350_000, 0.1, -0.3, 3_450_000))),
    "sheared": (Reason.ROTATED, lambda path: write_tif(path, transform=Affine(0.3, 0.1, 350_000, 0, -0.3, 3_450_000))),
    "turned_by_a_pixel": (
        Reason.ROTATED, lambda path: write_tif(path, transform=Affine(0.3, 0, 350_000, 0.001, -0.3, 3_450_000))
    ),
    "no_time_but_that_of_writing": (
        Reason.NO_TIME,
        lambda path: write_tif(path, tags={"ACQUIRED_AT": "04.05.2026 10:30", "TIFFTAG_DATETIME": "2026:08:01 12:00:00"}),
    ),
    "no_time": (Reason.NO_TIME, lambda path: write_tif(path, tags={"OTHER": "x"})),
    "future": (Reason.IMPOSSIBLE_TIME, lambda path: write_tif(path, tags={"ACQUIRED_AT": "2126-05-04T02:30:00Z"})),
    "epoch": (Reason.IMPOSSIBLE_TIME, lambda path: write_tif(path, tags={"ACQUIRED_AT": "1970-01-01T00:00:00Z"})),
    "pixels_of_300_m": (
        Reason.ABSURD_GSD, lambda path: write_tif(path, transform=Affine(300, 0, 350_000, 0, -300, 3_450_000))
    ),
    "pixels_four_times_as_long": (
        Reason.ABSURD_GSD, lambda path: write_tif(path, transform=Affine(0.3, 0, 350_000, 0, -1.2, 3_450_000))
    ),
    "pixels_of_no_size": (Reason.ABSURD_GSD, lambda path: write_tif(path, transform=Affine(0, 0, 350_000, 0, 0, 3_450_000))),
    "metres_said_to_be_degrees": (
        Reason.ABSURD_GSD, lambda path: write_tif(path, crs="EPSG:4326", transform=Affine(0.3, 0, 20, 0, -0.3, 40))
    ),
    "tiny": (Reason.ABSURD_SIZE, lambda path: write_tif(path, np.full((3, 4, 4), 9, np.uint8))),
    "claims_a_million": (Reason.ABSURD_SIZE, _claims),
    "nothing": (Reason.ALL_NODATA, lambda path: write_tif(path, _pixels(3, fill=0), nodata=0)),
    "hole": (Reason.DAMAGED, lambda path: spoil_block(write_tif(path), 1, 0)),
    "half_jpeg": (
        Reason.DAMAGED,
        lambda path: spoil_block(
            write_tif(path, compress="jpeg", photometric="ycbcr", interleave="pixel"), 1, 0, (0.5, 1.0)
        ),
    ),
}  # fmt: skip
