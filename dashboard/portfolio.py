"""Ranking, filtering and paging of the sites a person may see, and the map's GeoJSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode

import orjson

from collateral.domain import SiteKind
from dashboard.formats import GRADES
from dashboard.model import SiteRow

PAGE_ROWS = 20
_BADNESS = {grade: place for place, grade in enumerate(reversed(GRADES))}


@dataclass(frozen=True)
class Choice:
    """What the person looks for; empty parts leave all in."""

    text: str = ""
    kind: str = ""
    grades: frozenset[str] = field(default_factory=frozenset)
    branch: str = ""

    def query(self) -> str:
        """As the query part of an address; the same choice gives the same text."""
        parts = {"text": self.text, "kind": self.kind, "grade": "".join(sorted(self.grades)), "branch": self.branch}
        return urlencode({key: value for key, value in parts.items() if value})


def choice(text: object = "", kind: object = "", grades: object = (), branch: object = "") -> Choice:
    """Takes what a browser sends: unknown kinds and grades are left out, long texts cut."""
    chosen = [str(grade) for grade in grades] if isinstance(grades, (list, tuple, str)) else []
    return Choice(
        text=str(text or "").strip()[:80],
        kind=str(kind) if kind in set(SiteKind) else "",
        grades=frozenset(chosen) & frozenset(GRADES),
        branch=str(branch or "")[:80],
    )


def choice_from_query(query: str) -> Choice:
    """The reverse of `Choice.query`."""
    parts = {key: values[0] for key, values in parse_qs(query).items()}
    return choice(parts.get("text"), parts.get("kind"), parts.get("grade", ""), parts.get("branch"))


def ranked(rows: Iterable[SiteRow]) -> tuple[SiteRow, ...]:
    """Worst first: unknown, then by grade, then by urgent alerts, then by the lower end of the interval."""
    return tuple(
        sorted(rows, key=lambda row: (_BADNESS[row.grade], -row.high, -1 if row.lower is None else row.lower, row.site_id))
    )


def chosen(rows: Sequence[SiteRow], wanted: Choice) -> Sequence[SiteRow]:
    """The rows that fit, in the same order."""
    if wanted == Choice():
        return rows
    text = wanted.text.casefold()
    return [
        row
        for row in rows
        if (not wanted.kind or row.kind == wanted.kind)
        and (not wanted.grades or row.grade in wanted.grades)
        and (not wanted.branch or wanted.branch in row.branches)
        and (not text or _has(row, text))
    ]


def _has(row: SiteRow, text: str) -> bool:
    return any(
        text in part.casefold() for part in (row.site_id, row.name, row.name_en, row.borrower, row.borrower_en)
    )


def page_of(rows: Sequence[SiteRow], page: int) -> tuple[Sequence[SiteRow], int, int]:
    """The rows of one page (counted from 0, brought into range), its number and the number of pages."""
    pages = max(1, -(-len(rows) // PAGE_ROWS))
    page = min(max(page, 0), pages - 1)
    return rows[page * PAGE_ROWS : (page + 1) * PAGE_ROWS], page, pages


def grade_counts(rows: Iterable[SiteRow]) -> Mapping[str, int]:
    """Sites per grade, every grade named."""
    counts = dict.fromkeys(GRADES, 0)
    for row in rows:
        counts[row.grade] += 1
    return counts


def to_geojson(rows: Iterable[SiteRow]) -> bytes:
    """Points for the map.

    Short property names keep 100,000 of them small: `g` grade, `v` score in points, `n` and `e` names, `k` kind, `a` urgent
    alerts that wait.
    """
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [round(row.lon, 6), round(row.lat, 6)]},
            "properties": {
                "id": row.site_id,
                "g": row.grade,
                "v": None if row.value is None else row.value / 100,
                "n": row.name,
                "e": row.name_en,
                "k": row.kind,
                "a": row.high,
            },
        }
        for row in rows
    ]
    return orjson.dumps({"type": "FeatureCollection", "features": features})


def bounds(rows: Iterable[SiteRow]) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """South-west and north-east corner (latitude, longitude) with a margin; None without sites."""
    points = [(row.lat, row.lon) for row in rows]
    if not points:
        return None
    lats, lons = [lat for lat, _ in points], [lon for _, lon in points]
    margin = max(0.02, 0.06 * max(max(lats) - min(lats), max(lons) - min(lons)))
    return (min(lats) - margin, min(lons) - margin), (max(lats) + margin, max(lons) + margin)
