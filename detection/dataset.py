"""Reads labelled folders (boxes, chips, masks, slots) into memory. Formats: see docs of `collateral evaluate`.

Everything read here is checked at the door, and every message names file, row and remedy; behind it arrays have the
documented axes. What is wrong with the index stops the reading. What is wrong with one picture or its labels stops it too,
unless the caller collects `problems`: then that picture is left out and the rest goes on.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

from collateral.domain import PARKING_BAY, SLOT_KINDS
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

T = TypeVar("T")
_MOST_RELATIVE = 1.5
"""Boxes of cut-off vehicles may reach a little over the picture's border."""
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

    @property
    def rendered(self) -> bool:
        """Whether it shows a rendered place."""
        return self.source.startswith(_RENDERED)


@dataclass(frozen=True)
class Chip:
    """One picture with one class."""

    name: str
    gsd_m: float
    image: Picture
    label: int
    group: str = ""
    """Place or flight it belongs to; empty where index.csv has no such column."""
    kind: str = PARKING_BAY
    """Of a slot: what it is for; a parking bay where index.csv has no such column."""
    goods: str = ""
    """Of a slot: what stands there; empty where nothing does or index.csv has no such column."""


@dataclass(frozen=True)
class MaskedImage:
    """One picture with a class mask of the same size."""

    name: str
    gsd_m: float
    image: Picture
    mask: NDArray[np.bool_]
    group: str = ""
    """Place or flight it belongs to; empty where index.csv has no such column."""


class LabelledDataError(InvalidInputError):
    """One thing wrong with a labelled folder: where, what, and what to do."""

    def __init__(self, file: Path, row: int | None, problem: str, remedy: str) -> None:
        """`row`: as a spreadsheet counts it (the header of a CSV is 1); None for the whole file."""
        super().__init__(f"{file}{'' if row is None else f', row {row}'}: {problem}; {remedy}.")
        self.as_dict: dict[str, object] = {"file": str(file), "row": row, "problem": problem, "remedy": remedy}


_RENDERED = "rendered"
"""How the source of rendered pictures begins."""
Problems = list[dict[str, object]]
"""Rows of file, row, problem and remedy, as commands report them."""
Row = Mapping[str, str]
"""A row of index.csv; under ROW its number as a spreadsheet counts it."""
ROW = "(row)"


def gather(rows: Sequence[Row], read: Callable[[Row], T], label: str, unit: str, problems: Problems | None) -> list[T]:
    """What `read` gives for each row, with a progress bar; rows it refuses go to `problems` where that is given.

    Raises `LabelledDataError` of the first refused row without `problems`, or when every row was refused.
    """
    out: list[T] = []
    for row in progress(rows, f"reading {label}", unit=unit):
        try:
            out.append(read(row))
        except LabelledDataError as error:
            if problems is None or (len(problems) + 1 >= len(rows) and not out):
                raise
            problems.append(error.as_dict)
    return out


def read_picture(path: Path) -> Picture:
    """Decodes a picture as RGB. Raises `InvalidInputError` when it cannot be read."""
    data = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.is_file() and path.stat().st_size else None
    if data is None:
        raise LabelledDataError(path, None, "missing or no readable picture", "supply it or drop it from index.csv")
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
    remedy = f"supply it ({', '.join(SUFFIXES)}) or drop it from index.csv"
    raise LabelledDataError(folder, None, f"{folder.name} has no picture {stem!r}", remedy)


def read_index(root: Path, split: str | None, numbers: Sequence[str] = ()) -> list[Row]:
    """Rows of ROOT/index.csv whose split is `split` (None: all), each with a name and the `numbers` asked for.

    Raises `LabelledDataError` when there are none, one lacks a name or a number, or two have the same name.
    """
    path = root / "index.csv"
    if not path.is_file():
        raise InvalidInputError(f"{path} is missing; a labelled folder needs an index.csv that names its pictures.")
    rows = _csv_rows(path)
    known = sorted({str(row.get("split") or "") for row in rows})
    chosen = [row for row in rows if split is None or row.get("split") == split]
    if not chosen:
        said = f"has no row of split {split!r}; it has {known}" if rows else "has a header and no rows"
        raise InvalidInputError(f"{path} {said}; name one of them with --split, or add rows.")
    first: dict[str, str] = {}
    for row in chosen:
        name = row.get("name") or ""
        if not name:
            columns = sorted(key for key in row if key and key != ROW)
            raise LabelledDataError(path, int(row[ROW]), f"without name; the columns are {columns}", "fill the column name")
        if name in first:
            problem = f"the name {name!r} is already in row {first[name]}"
            raise LabelledDataError(path, int(row[ROW]), problem, "names are unique in a split: drop or rename one")
        first[name] = row[ROW]
        for column in numbers:
            _check_number(path, row, column)
    return chosen


def is_rendered(root: Path, split: str | None) -> bool:
    """Whether every picture of the split is of a rendered place (column source)."""
    rows = read_index(root, split) if (root / "index.csv").is_file() else []
    return bool(rows) and all((row.get("source") or "").startswith(_RENDERED) for row in rows)


def _csv_rows(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            return [{**row, ROW: str(reader.line_num)} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path} cannot be read as CSV in UTF-8 ({error}); save it as such.") from None


def _check_number(path: Path, row: Row, column: str) -> None:
    try:
        number = float(row.get(column) or "nan")
    except ValueError:
        number = math.nan
    wanted, right = "a number above 0 is needed", math.isfinite(number) and number >= 1e-6
    if column == "label":
        wanted, right = "0 or 1 is needed", number in (0.0, 1.0)
    if not right:
        raise LabelledDataError(path, int(row[ROW]), f"{row['name']!r} has {column} {row.get(column)!r}", wanted)


def resample(image: Picture, scale: float) -> Picture:
    """The picture `scale` times as large (area means when shrinking, bilinear when growing); 1 returns it as it is."""
    if abs(scale - 1.0) < 1e-3:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR).astype(np.uint8)


def read_boxes_folder(
    root: Path, split: str | None, groups: Sequence[str] | None = None, problems: Problems | None = None
) -> list[LabelledImage]:
    """Reads a Boxes folder; `groups` keeps only those groups."""
    index = read_index(root, split, ("gsd_m",))
    rows = [row for row in index if groups is None or row.get("group") in groups]
    if not rows:
        raise InvalidInputError(f"{root / 'index.csv'} has no row of split {split!r} in the groups {groups}.")
    classes = _classes(root)
    return gather(rows, lambda row: _labelled(root, row, classes), root.name, "image", problems)


def _classes(root: Path) -> int | None:
    """Number of classes that dataset.json names; None without such a file."""
    path = root / "dataset.json"
    if not path.is_file():
        return None
    try:
        return len(orjson.loads(path.read_bytes())["classes"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise LabelledDataError(path, None, "no JSON object with a list `classes`", 'write {"classes": [...]}') from None


def _labelled(root: Path, row: Row, classes: int | None) -> LabelledImage:
    name = row["name"]
    image = read_picture(picture_path(root / "images", name))
    height, width = image.shape[:2]
    boxes = _yolo(root / "labels" / f"{name}.txt", width, height, classes)
    ignore_path = root / "ignore" / f"{name}.txt"
    gsd = float(row["gsd_m"])
    given = root / "oriented" / f"{name}.txt"
    oriented = _numbers(given, 5) if given.is_file() else orient_boxes(image, boxes, gsd)
    if len(oriented) != len(boxes):
        problem = f"has {len(oriented)} rows and its label file {len(boxes)}"
        raise LabelledDataError(given, None, problem, "they must agree: one turned rectangle per label")
    return LabelledImage(
        name=name,
        source=row.get("source") or "unnamed",
        group=row.get("group") or "unnamed",
        gsd_m=gsd,
        image=image,
        boxes=boxes,
        ignore=_yolo(ignore_path, width, height, None) if ignore_path.is_file() else np.zeros((0, 4), np.float32),
        oriented=oriented,
    )


def _numbers(path: Path, columns: int) -> NDArray[np.float32]:
    if not path.is_file():
        raise LabelledDataError(path, None, "missing", "a picture without objects has an empty label file")
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            row = []
        if len(row) != columns or not all(math.isfinite(value) for value in row):
            problem = f"{line.strip()[:60]!r}: not a table of {columns} numbers"
            raise LabelledDataError(path, number, problem, f"each line has {columns} finite numbers, blanks between")
        rows.append(row)
    return np.asarray(rows, np.float32).reshape(-1, columns)


def _yolo(path: Path, width: int, height: int, classes: int | None) -> Boxes:
    rows = _numbers(path, 5)
    for number, row in enumerate(rows.tolist(), start=1):
        if not float(row[0]).is_integer() or row[0] < 0 or (classes is not None and row[0] >= classes):
            allowed = "a whole number from 0 on" if classes is None else f"0 to {classes - 1}, as dataset.json names"
            raise LabelledDataError(path, number, f"class {row[0]:g} is out of range", f"classes are {allowed}")
        if min(row[3:5]) <= 0 or max(row[3:5]) > _MOST_RELATIVE or not all(-0.5 <= v <= 1.5 for v in row[1:3]):
            remedy = "centre and size are fractions of the picture: cx cy w h, each 0 to 1"
            raise LabelledDataError(path, number, f"the box {[round(v, 4) for v in row[1:]]} is not in the picture", remedy)
    centre = rows[:, 1:3] * floats([width, height])
    half = rows[:, 3:5] * floats([width, height]) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def read_chips_folder(root: Path, split: str | None, problems: Problems | None = None) -> list[Chip]:
    """Reads a Chips folder (index.csv: name, split, gsd_m, label)."""
    rows = read_index(root, split, ("gsd_m", "label"))
    return gather(rows, lambda row: _chip(row, root / "images", float(row["gsd_m"])), root.name, "chip", problems)


def read_slots_folder(root: Path, split: str | None, problems: Problems | None = None) -> list[Chip]:
    """Reads a Slots folder (class folders; index.csv: name with folder, split, label 1 = occupied; where there are such
    columns also `kind`, one of `SLOT_KINDS`, and `goods`, what stands there in one word)."""
    rows = read_index(root, split, ("label",))
    return gather(rows, lambda row: _slot(row, root), root.name, "chip", problems)


def _slot(row: Row, root: Path) -> Chip:
    kind = row.get("kind") or PARKING_BAY
    if kind not in SLOT_KINDS:
        remedy = f"it is one of {', '.join(SLOT_KINDS)}, or empty for a parking bay"
        raise LabelledDataError(root / "index.csv", int(row[ROW]), f"the kind {kind!r} is unknown", remedy)
    return _chip(row, root, 0.0, kind)


def _chip(row: Row, folder: Path, gsd_m: float, kind: str = PARKING_BAY) -> Chip:
    picture = read_picture(picture_path(folder, row["name"]))
    return Chip(row["name"], gsd_m, picture, int(float(row["label"])), row.get("group") or "", kind, row.get("goods") or "")


def read_masks_folder(
    root: Path, split: str | None, gsd_m: float | None = None, problems: Problems | None = None
) -> list[MaskedImage]:
    """Reads a Masks folder; `gsd_m` stands in where index.csv names none. Non-zero mask pixels are the class."""
    rows: list[Row] = []
    if (root / "index.csv").is_file():
        rows = read_index(root, split)
    elif (root / "images").is_dir():
        rows = [{"name": path.stem} for path in sorted((root / "images").iterdir()) if path.suffix.lower() in SUFFIXES]
    if not rows:
        raise InvalidInputError(f"{root} has neither index.csv nor pictures in images/; name a folder of labelled masks.")
    return gather(rows, lambda row: _masked(root, row, gsd_m), root.name, "image", problems)


def _masked(root: Path, row: Row, gsd_m: float | None) -> MaskedImage:
    stem = Path(row["name"]).stem if Path(row["name"]).suffix in SUFFIXES else row["name"]
    path = _mask_path(root / "masks", stem)
    image = read_picture(picture_path(root / "images", stem))
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.stat().st_size else None
    if mask is None or mask.shape != image.shape[:2]:
        problem = f"the mask of {stem!r} is unreadable or not of the picture's size {image.shape[1]} x {image.shape[0]}"
        raise LabelledDataError(path, None, problem, "supply one of that size")
    try:
        gsd = float(row.get("gsd_m") or gsd_m or 0.0)
    except ValueError:
        gsd = 0.0
    if not (math.isfinite(gsd) and gsd > 0):
        number = int(row[ROW]) if ROW in row else None
        raise LabelledDataError(root / "index.csv", number, f"{stem!r} has no gsd_m above 0", "add it, metres per pixel")
    return MaskedImage(stem, gsd, image, mask > 0, row.get("group") or "")


def _mask_path(folder: Path, stem: str) -> Path:
    try:
        return picture_path(folder, stem)
    except InvalidInputError:
        return picture_path(folder, f"{stem}_label")
