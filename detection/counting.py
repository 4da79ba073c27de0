"""From detections to the number that is there: corrected for misses, with an interval that holds on places never seen.

Of n detections above the threshold with calibrated confidences p_i, T are right: T is Poisson-binomial. Of the N objects
there, each is found with the recall r of that ground sampling distance: given T and a flat prior on N, N - T is negative
binomial (T + 1, r). The expectation is ratio * sum(p) / r; `ratio` is what the confidences of this label leave (1 for
vehicles of any kind, because confidences are calibrated).

With more than a few vehicles that is not what the error consists of: places differ. Where pictures are dark, confidences and
recall sink together and the count is too small twice. So the whole estimate is multiplied by exp(place_spread * t): the
spread of log(true / estimated) between groups that were not trained on, beyond what chance explains, and t Student with
`freedom` degrees, because few groups say little about a spread. The interval is taken from draws of all three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.arrays import Floats
from detection.bootstrap import bootstrap, ratio_of
from detection.metrics import wilson
from detection.weightfile import Card

ANY, HEAVY = "any", "heavy"
LEVEL = 0.95
_DRAWS = 2000
_LEAST_OBJECTS = 20
"""Rows that rest on fewer are not kept."""
_FREEDOM = (3, 5)
"""Least and most degrees of freedom of the spread between places."""
_TYPICAL_SPREAD = 0.1
"""Of log counts between places; only weighs large groups against small ones."""
_MOST = math.log(4.0)
"""No place is taken to be further off than a factor of four."""
_EXACT = 400
"""Above this number of detections the Poisson-binomial is drawn as a normal variable."""


@dataclass(frozen=True)
class CountRow:
    """What was measured about counting one kind of object in pictures of one ground sampling distance."""

    label: str
    """'any' or 'heavy'."""
    gsd_m: float
    recall: float
    """Share of what is there that is found above the threshold."""
    recall95: tuple[float, float] = (0.0, 1.0)
    """Its interval, groups drawn anew where there are several."""
    ratio: float = 1.0
    """Right detections / sum of confidences."""
    place_spread: float = 0.0
    """Standard deviation of log(true number / estimate) between places."""
    freedom: int = 1000
    """Degrees of freedom of that spread: groups - 1, at most 5 because single places lie far off (measured)."""
    groups: int = 0
    pictures: int = 0
    objects: int = 0


@dataclass(frozen=True)
class Tally:
    """One labelled picture: what was there and what was found above the threshold."""

    group: str
    gsd_m: float
    objects: int
    confidence: Floats
    right: NDArray[np.bool_]


def fit_rows(label: str, tallies: Sequence[Tally], corrected: bool = False) -> list[CountRow]:
    """Rows by ground sampling distance, from groups that were not trained on.

    The spread between places is taken over all distances together: few groups say little about a spread. `corrected`
    keeps the ratio of right detections to confidences (for labels whose confidence is not that of the label).
    """
    cells = _cells(tallies)
    if sum(cell.objects for cell in cells) < _LEAST_OBJECTS:
        return []
    ratio = _total(cells, "right") / max(1e-9, _total(cells, "expected")) if corrected else 1.0
    rows = []
    for gsd in sorted({cell.gsd_m for cell in cells}):
        part = [cell for cell in cells if cell.gsd_m == gsd]
        objects, right = int(_total(part, "objects")), int(_total(part, "right"))
        if objects >= _LEAST_OBJECTS and right:
            sums = np.array([[cell.right, cell.objects] for cell in part], np.float64)
            limits = bootstrap(sums, ratio_of(0, 1)) if len(part) > 2 else wilson(right, objects)
            pictures = sum(cell.pictures for cell in part)
            row = CountRow(label, gsd, right / objects, (limits[0], limits[1]), ratio)
            rows.append(replace(row, groups=len(part), pictures=pictures, objects=objects))
    spread, groups = _place_spread(cells, rows)
    return [replace(row, place_spread=spread, freedom=min(max(_FREEDOM[0], groups - 1), _FREEDOM[1])) for row in rows]


@dataclass(frozen=True)
class _Cell:
    """Sums over the pictures of one group at one ground sampling distance."""

    group: str
    gsd_m: float
    pictures: int
    objects: int
    right: int
    expected: float
    variance: float


def _cells(tallies: Sequence[Tally]) -> list[_Cell]:
    keys = sorted({(t.group, round(t.gsd_m, 2)) for t in tallies})
    cells = []
    for group, gsd in keys:
        part = [t for t in tallies if t.group == group and round(t.gsd_m, 2) == gsd]
        p = np.concatenate([t.confidence for t in part]).astype(np.float64)
        right = int(sum(t.right.sum() for t in part))
        objects = sum(t.objects for t in part)
        cells.append(_Cell(group, gsd, len(part), objects, right, float(p.sum()), float((p * (1 - p)).sum())))
    return cells


def _total(cells: Sequence[_Cell], name: str) -> float:
    return float(sum(getattr(cell, name) for cell in cells))


def _place_spread(cells: Sequence[_Cell], rows: Sequence[CountRow]) -> tuple[float, int]:
    """Spread of log(true / estimated) between groups beyond chance, by moments, and the number of groups it rests on.

    The same place at several distances counts as one group. The factor 1 + 1 / groups makes it that of a further place.
    """
    by_group: dict[str, list[tuple[float, float]]] = {}
    for cell in cells:
        if rows and cell.objects and cell.expected > 1:
            row = row_at(rows, cell.gsd_m)
            estimate = row.ratio * cell.expected / row.recall
            chance = (row.ratio**2 * cell.variance + estimate * row.recall * (1 - row.recall)) / row.recall**2 / estimate**2
            by_group.setdefault(cell.group, []).append((math.log(cell.objects / estimate) ** 2, chance))
    if not by_group:
        return 0.0, 0
    means = np.array([np.mean(values, axis=0) for values in by_group.values()])
    weights = 1 / (means[:, 1] + _TYPICAL_SPREAD**2)
    surplus = float((weights * (means[:, 0] - means[:, 1])).sum() / weights.sum())
    return math.sqrt(max(0.0, surplus) * (1 + 1 / len(means))), len(means)


def rows_of(card: Card, label: str = ANY) -> tuple[CountRow, ...]:
    """The rows of a card about `label`, else about vehicles of any kind; empty on older cards."""
    rows = [_row(kept) for kept in card.counting]
    own = [row for row in rows if row.label == label]
    return tuple(sorted(own or [row for row in rows if row.label == ANY], key=lambda row: row.gsd_m))


def _row(kept: Mapping[str, Any]) -> CountRow:
    low, high = kept.get("recall95", (0.0, 1.0))
    return CountRow(**{**kept, "recall95": (float(low), float(high))})


def as_rows(rows: Sequence[CountRow]) -> tuple[Mapping[str, object], ...]:
    """As a card keeps them."""
    return tuple({**asdict(row), "recall95": list(row.recall95)} for row in rows)


def row_at(rows: Sequence[CountRow], gsd_m: float) -> CountRow:
    """The row for pictures of `gsd_m`: interpolated on the log scale; beyond what was measured the spread is widened."""
    at = np.log([row.gsd_m for row in rows])
    x = math.log(gsd_m)

    def between(name: str) -> float:
        return float(np.interp(x, at, [float(getattr(row, name)) for row in rows]))

    beyond = 1 + max(0.0, float(at[0]) - x, x - float(at[-1]))
    nearest = rows[int(np.abs(at - x).argmin())]
    spread = between("place_spread") * beyond
    return replace(nearest, gsd_m=gsd_m, recall=between("recall"), ratio=between("ratio"), place_spread=spread)


def draw_counts(confidences: Sequence[float], row: CountRow, draws: int = _DRAWS) -> NDArray[np.float64]:
    """Draws of the number that is there; the same every time for the same detections."""
    rng = np.random.default_rng(len(confidences))
    p = np.clip(np.asarray(confidences, np.float64), 0.0, 1.0)
    if len(p) <= _EXACT:
        right = (rng.random((draws, len(p))) < p).sum(axis=1).astype(np.float64)
    else:
        right = np.clip(np.round(rng.normal(p.sum(), math.sqrt((p * (1 - p)).sum()), draws)), 0, len(p))
    missed = rng.negative_binomial(right + 1, row.recall) if row.recall < 1 else np.zeros(draws)
    place = np.exp(np.clip(row.place_spread * rng.standard_t(row.freedom, draws), -_MOST, _MOST))
    return np.asarray((row.ratio * right + missed) * place)
