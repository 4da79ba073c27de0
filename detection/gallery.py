"""Pages of what a detector got wrong or was unsure about: one self-contained folder, pictures beside an index.html.

Galleries of real pictures stay on the machine they were made on: licences and privacy of the pictures are not ours to give.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

from collateral.errors import InvalidInputError, UsageError
from detection.dataset import Picture

FALSE_POSITIVE, FALSE_NEGATIVE, UNCERTAIN = "false positive", "false negative", "uncertain"
KINDS: Mapping[str, str] = {
    FALSE_POSITIVE: "found, but not labelled: most confident first",
    FALSE_NEGATIVE: "labelled, but not found: furthest from the threshold first",
    UNCERTAIN: "answers nearest the threshold, right or wrong",
}
_EDGE = 224
"""Longest side of a picture, pixels."""
_LEAST_PX = 40
_CONTEXT = 2.5
"""A cut-out is this many times as large as what it is about."""
RED, GREEN, GREY = (235, 60, 40), (40, 190, 90), (170, 170, 170)
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem;color:#1b2430;background:#fff}
h1{margin:0 0 .3rem}h2{margin:2rem 0 .2rem}p{margin:.2rem 0 1rem;color:#4a5768}
section>div{display:grid;grid-template-columns:repeat(auto-fill,minmax(224px,1fr));gap:14px}
figure{margin:0;border:1px solid #d5dce5;border-radius:6px;overflow:hidden;background:#f6f8fa}
figure img{display:block;width:100%;aspect-ratio:1;object-fit:contain;background:#0f141a}
figcaption{padding:6px 9px;font-size:13px;overflow-wrap:anywhere}figcaption b{float:right;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:3px 12px 3px 0;text-align:left;font-variant-numeric:tabular-nums}
nav a{margin-right:1rem}
@media(prefers-color-scheme:dark){body{color:#dfe6ee;background:#12171d}p{color:#9fb0c2}
figure{background:#1b222b;border-color:#2c3744}}
"""


@dataclass(frozen=True, order=True)
class _Shown:
    strength: float
    turn: int
    confidence: float
    name: str
    group: str
    text: str
    jpeg: bytes


class Gallery:
    """Collects the strongest cases of each kind and writes them as one folder."""

    def __init__(self, title: str, most: int = 80) -> None:
        """`most`: pictures kept of each kind; all are counted."""
        self._title, self._most = title, most
        self._kept: dict[str, list[_Shown]] = {kind: [] for kind in KINDS}
        self._count: Counter[str] = Counter()
        self._turn = itertools.count()

    def add(
        self, kind: str, strength: float, confidence: float, where: tuple[str, str], picture: Picture, text: str = ""
    ) -> None:
        """One case: `strength` orders it, `where` is (picture name, group), `picture` the cut-out to show."""
        self._count[kind] += 1
        shown = _Shown(strength, -next(self._turn), confidence, where[0], where[1], text, b"")
        kept = self._kept[kind]
        if len(kept) == self._most and shown < kept[0]:
            return
        shown = _Shown(**{**vars(shown), "jpeg": _jpeg(picture)})
        if len(kept) == self._most:
            heapq.heapreplace(kept, shown)
        else:
            heapq.heappush(kept, shown)

    def write(self, folder: Path, figures: Mapping[str, object], rendered: bool = False) -> dict[str, object]:
        """Writes index.html, gallery.json and pictures/ into `folder`; returns counts by kind and the page's path.

        `rendered`: every picture is of a rendered place and may be given away.

        Raises `UsageError` when the folder holds something else.
        """
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / "gallery.json").is_file()):
            raise UsageError(f"{folder} holds something else than a gallery; name a new folder for it.")
        pictures = folder / "pictures"
        pictures.mkdir(parents=True, exist_ok=True)
        for old in pictures.glob("*.jpg"):
            old.unlink()
        rows = []
        for kind, kept in self._kept.items():
            for number, item in enumerate(sorted(kept, reverse=True)):
                file = f"{kind.replace(' ', '-')}-{number:03d}.jpg"
                (pictures / file).write_bytes(item.jpeg)
                rows.append({
                    "kind": kind, "file": f"pictures/{file}", "confidence": round(item.confidence, 4), "name": item.name,
                    "group": item.group, "text": item.text,
                })  # fmt: skip
        content = orjson.dumps({"title": self._title, "rendered": rendered, "cases": rows}, option=orjson.OPT_INDENT_2)
        (folder / "gallery.json").write_bytes(content)
        page = folder / "index.html"
        page.write_text("".join(_page(self._title, figures, rows, self._count)), encoding="utf-8")
        return {"page": str(page), **{kind: self._count[kind] for kind in KINDS}}


@dataclass(frozen=True)
class Written:
    """A gallery read back."""

    folder: Path
    rendered: bool
    cases: tuple[Mapping[str, object], ...]

    def worst(self, most: int) -> list[Mapping[str, object]]:
        """The strongest false positives and false negatives, half of `most` each."""
        kinds = ([c for c in self.cases if c["kind"] == kind][: most // 2] for kind in (FALSE_POSITIVE, FALSE_NEGATIVE))
        return [case for kind in kinds for case in kind]


def read_gallery(folder: Path) -> Written:
    """Reads a folder that `Gallery.write` wrote. Raises `InvalidInputError` when it is none."""
    try:
        content = orjson.loads((folder / "gallery.json").read_bytes())
        return Written(folder, bool(content["rendered"]), tuple(content["cases"]))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        raise InvalidInputError(f"{folder} is no gallery; write it with `collateral evaluate ... --gallery DIR`.") from None


def _page(
    title: str, figures: Mapping[str, object], rows: Sequence[Mapping[str, object]], count: Mapping[str, int]
) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    yield f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>"
    yield "<p>Red: what was found. Green: what is labelled. Names are those of the labelled folder.</p><table>"
    for key, value in figures.items():
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            yield f"<tr><th>{escape(key)}<td>{escape(f'{value:.4g}' if isinstance(value, float) else str(value))}"
    yield "</table><nav>"
    yield from (f'<a href="#{kind.replace(" ", "-")}">{kind} ({count.get(kind, 0)})</a>' for kind in KINDS)
    yield "</nav>"
    for kind, meaning in KINDS.items():
        own = [row for row in rows if row["kind"] == kind]
        yield f'<section id="{kind.replace(" ", "-")}"><h2>{kind}</h2>'
        yield f"<p>{len(own)} of {count.get(kind, 0)}: {meaning}.</p><div>"
        for row in own:
            name, group, text = (escape(str(row[key])) for key in ("name", "group", "text"))
            yield (
                f'<figure><img loading="lazy" src="{row["file"]}" alt="{kind} in {name}"><figcaption>'
                f'<b>{float(str(row["confidence"])):.2f}</b>{name}<br>{group} {text}</figcaption></figure>'
            )
        yield "</div></section>"
    yield "</html>\n"


def cut_out(
    image: Picture,
    box: NDArray[np.float32],
    found: NDArray[np.float32] | None = None,
    labelled: NDArray[np.float32] | None = None,
) -> Picture:
    """The surroundings of `box` (x0, y0, x1, y1), enlarged, with boxes found (red) and labelled (green) drawn in."""
    x0, y0, x1, y1 = (float(v) for v in box)
    half = max(x1 - x0, y1 - y0, _LEAST_PX / _CONTEXT) * _CONTEXT / 2
    height, width = image.shape[:2]
    left, top = int(max(0, (x0 + x1) / 2 - half)), int(max(0, (y0 + y1) / 2 - half))
    right, bottom = int(min(width, (x0 + x1) / 2 + half)) + 1, int(min(height, (y0 + y1) / 2 + half)) + 1
    part = np.ascontiguousarray(image[top:bottom, left:right])
    scale = _EDGE / max(part.shape[:2])
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    shown = cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    for boxes, colour in ((labelled, GREEN), (found, RED)):
        for a, b, c, d in np.zeros((0, 4)) if boxes is None else boxes:
            corners = np.round((np.array([[a, b], [c, d]]) - [left, top]) * scale).astype(int)
            cv2.rectangle(shown, tuple(corners[0].tolist()), tuple(corners[1].tolist()), colour, 1, cv2.LINE_AA)
    return shown.astype(np.uint8)


def outlined(image: Picture, *layers: tuple[NDArray[np.bool_], tuple[int, int, int]]) -> Picture:
    """The picture with the outlines of masks of its size drawn in their colours."""
    shown = image.copy()
    for mask, colour in layers:
        lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(shown, lines, -1, colour, 1)
    return shown


def _jpeg(picture: Picture) -> bytes:
    scale = min(1.0, 2 * _EDGE / max(picture.shape[:2]))
    if scale < 1:
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 86])[1].tobytes()
