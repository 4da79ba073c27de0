"""Reads labelled folders (boxes, chips, masks, slots) into memory. Formats: see docs of `collateral evaluate`.

Everything read here is checked at the door: names that do not exist and splits that are empty raise
`InvalidInputError`; behind it arrays have the documented axes.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from collateral.progress import progress
from detection.arrays import floats
from detection.orient import orient_boxes

Picture = NDArray[np.uint8]
"""Rows x columns x 3, RGB."""
Boxes = NDArray[np.float32]
"""N x 4: x0, y0, x1, y1 in pixels, origin at the outer corner of the first pixel."""
Oriented = NDArray[np.float32]
"""N x 5: centre x, centre y, length, width in pixels, heading in radians (x axis towards y axis)."""

SUFFIXES = (".webp", ".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True)
class LabelledImage:
    """One picture with vehicle boxes."""

    name: str
    source: str
    group: str
    gsd_m: float
    """Ground sampling distance, metres per pixel."""
    image: Picture
    boxes: Boxes
    ignore: Boxes
    """Regions that count neither way."""
    oriented: Oriented
    """The same vehicles as turned rectangles: given by oriented/NAME.txt, else estimated from box and picture."""


@dataclass(frozen=True)
class Chip:
    """One picture with one class."""

    name: str
    gsd_m: float
    image: Picture
    label: int
    group: str = ""
    """Place or flight it belongs to; empty where index.csv has no such column."""


@dataclass(frozen=True)
class MaskedImage:
    """One picture with a class mask of the same size."""

    name: str
    gsd_m: float
    image: Picture
    mask: NDArray[np.bool_]
    group: str = ""
    """Place or flight it belongs to; empty where index.csv has no such column."""


def read_picture(path: Path) -> Picture:
    """Decodes a picture as RGB. Raises `InvalidInputError` when it cannot be read."""
    data = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.is_file() else None
    if data is None:
        raise InvalidInputError(f"{path} is missing or no readable picture; supply it or drop it from index.csv.")
    return np.ascontiguousarray(data[:, :, ::-1]).astype(np.uint8, copy=False)


def picture_path(folder: Path, stem: str) -> Path:
    """The picture of that name, whatever its suffix. Raises `InvalidInputError` when there is none."""
    direct = folder / stem
    if direct.suffix.lower() in SUFFIXES and direct.is_file():
        return direct
    for suffix in SUFFIXES:
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    raise InvalidInputError(f"{folder} has no picture {stem!r} ({', '.join(SUFFIXES)}).")


def read_index(root: Path, split: str | None, numbers: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of ROOT/index.csv whose split is `split` (None: all), each with a name and the `numbers` asked for.

    Raises `InvalidInputError` when there are none, or one lacks a name or a number.
    """
    path = root / "index.csv"
    if not path.is_file():
        raise InvalidInputError(f"{path} is missing; a labelled folder needs an index.csv that names its pictures.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path} cannot be read as CSV in UTF-8 ({error}); save it as such.") from None
    chosen = [row for row in rows if split is None or row.get("split") == split]
    if not chosen:
        known = sorted({row.get("split", "") for row in rows})
        raise InvalidInputError(f"{path} has no row of split {split!r}; it has {known}.")
    for row in chosen:
        if not row.get("name"):
            raise InvalidInputError(f"{path} has a row without name; its columns are {sorted(map(str, rows[0]))}.")
        for column in numbers:
            _check_number(path, row, column)
    return chosen


def _check_number(path: Path, row: Mapping[str, str], column: str) -> None:
    try:
        number = float(row.get(column) or "nan")
    except ValueError:
        number = math.nan
    least = 0.0 if column == "label" else 1e-6
    if not (math.isfinite(number) and number >= least and (column != "label" or number.is_integer())):
        kind = "a whole number from 0 on" if column == "label" else "a number above 0"
        raise InvalidInputError(f"{path}: {row['name']!r} has {column} {row.get(column)!r}; {kind} is needed.")


def resample(image: Picture, scale: float) -> Picture:
    """The picture `scale` times as large (area means when shrinking, bilinear when growing); 1 returns it as it is."""
    if abs(scale - 1.0) < 1e-3:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR).astype(np.uint8)


def read_boxes_folder(root: Path, split: str | None, groups: Sequence[str] | None = None) -> list[LabelledImage]:
    """Reads a Boxes folder; `groups` keeps only those groups."""
    index = read_index(root, split, ("gsd_m",))
    rows = [row for row in index if groups is None or row.get("group") in groups]
    if not rows:
        raise InvalidInputError(f"{root / 'index.csv'} has no row of split {split!r} in the groups {groups}.")
    return [_labelled(root, row) for row in progress(rows, f"reading {root.name}", unit="image")]


def _labelled(root: Path, row: dict[str, str]) -> LabelledImage:
    name = row["name"]
    image = read_picture(picture_path(root / "images", name))
    height, width = image.shape[:2]
    boxes = _yolo(root / "labels" / f"{name}.txt", width, height)
    ignore_path = root / "ignore" / f"{name}.txt"
    gsd = float(row["gsd_m"])
    given = root / "oriented" / f"{name}.txt"
    oriented = _numbers(given, 5) if given.is_file() else orient_boxes(image, boxes, gsd)
    if len(oriented) != len(boxes):
        raise InvalidInputError(f"{given} has {len(oriented)} rows and its label file {len(boxes)}; they must agree.")
    return LabelledImage(
        name=name,
        source=row.get("source") or "unnamed",
        group=row.get("group") or "unnamed",
        gsd_m=gsd,
        image=image,
        boxes=boxes,
        ignore=_yolo(ignore_path, width, height) if ignore_path.is_file() else np.zeros((0, 4), np.float32),
        oriented=oriented,
    )


def _numbers(path: Path, columns: int) -> NDArray[np.float32]:
    if not path.is_file():
        raise InvalidInputError(f"{path} is missing; a picture without objects has an empty label file.")
    try:
        rows = [[float(word) for word in line.split()] for line in path.read_text().splitlines() if line.strip()]
        table = np.asarray(rows, np.float32).reshape(-1, columns)
        if not np.isfinite(table).all():
            raise ValueError("nan or infinite")
        return table
    except ValueError as error:
        raise InvalidInputError(f"{path} is not a table of {columns} numbers ({error}).") from None


def _yolo(path: Path, width: int, height: int) -> Boxes:
    rows = _numbers(path, 5)
    centre = rows[:, 1:3] * floats([width, height])
    half = rows[:, 3:5] * floats([width, height]) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def _label(row: Mapping[str, str]) -> int:
    return int(float(row["label"]))


def read_chips_folder(root: Path, split: str | None) -> list[Chip]:
    """Reads a Chips folder (index.csv: name, split, gsd_m, label)."""
    return [
        Chip(
            name=row["name"],
            gsd_m=float(row["gsd_m"]),
            image=read_picture(picture_path(root / "images", row["name"])),
            label=_label(row),
            group=row.get("group") or "",
        )
        for row in progress(read_index(root, split, ("gsd_m", "label")), f"reading {root.name}", unit="chip")
    ]


def read_slots_folder(root: Path, split: str | None) -> list[Chip]:
    """Reads a Slots folder (class folders; index.csv: name with folder, split, label 1 = occupied)."""
    return [
        Chip(name=row["name"], gsd_m=0.0, image=read_picture(picture_path(root, row["name"])), label=_label(row),
             group=row.get("group") or "")  # fmt: skip
        for row in progress(read_index(root, split, ("label",)), f"reading {root.name}", unit="chip")
    ]


def read_masks_folder(root: Path, split: str | None, gsd_m: float | None = None) -> list[MaskedImage]:
    """Reads a Masks folder; `gsd_m` stands in where index.csv names none. Non-zero mask pixels are the class."""
    if (root / "index.csv").is_file():
        rows = read_index(root, split)
    else:
        rows = [{"name": path.stem} for path in sorted((root / "images").glob("*")) if path.suffix.lower() in SUFFIXES]
    if not rows:
        raise InvalidInputError(f"{root} has neither index.csv nor pictures in images/; name a folder of labelled masks.")
    images = []
    for row in progress(rows, f"reading {root.name}", unit="image"):
        stem = Path(row["name"]).stem if Path(row["name"]).suffix in SUFFIXES else row["name"]
        mask = cv2.imread(str(_mask_path(root / "masks", stem)), cv2.IMREAD_GRAYSCALE)
        image = read_picture(picture_path(root / "images", stem))
        if mask is None or mask.shape != image.shape[:2]:
            raise InvalidInputError(f"The mask of {stem!r} in {root} is unreadable or not of the picture's size.")
        gsd = float(row.get("gsd_m") or gsd_m or 0.0)
        if gsd <= 0:
            raise InvalidInputError(f"{stem!r} in {root} has no gsd_m; add the column to index.csv.")
        images.append(MaskedImage(name=stem, gsd_m=gsd, image=image, mask=mask > 0, group=row.get("group") or ""))
    return images


def _mask_path(folder: Path, stem: str) -> Path:
    try:
        return picture_path(folder, stem)
    except InvalidInputError:
        return picture_path(folder, f"{stem}_label")
