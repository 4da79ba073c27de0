"""What changed between two scenes by their truth files, and how many of the changes found are right.

A true change counts as found when at least `_COVERED` of it lies under changes found of its kind; a change found is right
when at least `_COVERED` of it lies on true changes of its kind. Places that hold goods or a vehicle on both dates, not
the same, count neither way: whether that is a change is a matter of words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shapely.affinity import translate
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

OTHER = "other"
"""Found without a class: right on a true change of any kind, and recall is not asked of it."""
KINDS = ("stock", "vehicles", "roof", "construction")
_COVERED = 0.4
_SLACK_M = 0.6
"""True outlines are grown by this much before changes found are held against them."""
_SAME_IOU = 0.5
_VISIBLE = 0.5


@dataclass(frozen=True)
class Outline:
    """Something of a kind on the map."""

    kind: str
    geometry: BaseGeometry
    """Metres of the scene's system, misregistration put right."""


@dataclass(frozen=True)
class TrueChanges:
    """Between two dates."""

    changed: tuple[Outline, ...]
    undecided: BaseGeometry
    """Where changes found count neither way."""


@dataclass
class ChangeTally:
    """Right, found and true changes of each kind while they grow."""

    true: dict[str, int] = field(default_factory=dict)
    recalled: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)

    def add(self, truth: TrueChanges, found: Sequence[Outline]) -> None:
        """One pair of dates."""
        for kind in {*KINDS, *(item.kind for item in found)}:
            true = [item.geometry for item in truth.changed if kind in (item.kind, OTHER)]
            said = [item.geometry for item in found if item.kind == kind]
            all_true, all_said = unary_union([g.buffer(_SLACK_M) for g in true]), unary_union(said)
            right = sum(_share(geometry, all_true) >= _COVERED for geometry in said)
            decided = truth.undecided.union(all_true)
            open_to_doubt = sum(_share(g, all_true) < _COVERED <= _share(g, decided) for g in said)
            for counts, number in (
                (self.true, len(true)), (self.recalled, sum(_share(geometry, all_said) >= _COVERED for geometry in true)),
                (self.found, len(said) - open_to_doubt), (self.right, right),
            ):
                counts[kind] = counts.get(kind, 0) + number

    def figures(self) -> dict[str, dict[str, float | int | None]]:
        """Precision, recall and numbers of each kind; null where nothing was there to measure."""
        return {
            kind: {
                "precision": _ratio(self.right.get(kind, 0), self.found.get(kind, 0)),
                "recall": None if kind == OTHER else _ratio(self.recalled.get(kind, 0), self.true.get(kind, 0)),
                "n": None if kind == OTHER else self.true.get(kind, 0),
                "found": self.found.get(kind, 0),
            }
            for kind in sorted({*KINDS, *self.found})
        }


def _share(part: BaseGeometry, whole: BaseGeometry) -> float:
    return float(part.intersection(whole).area / part.area) if part.area > 0 else 0.0


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def true_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> TrueChanges | None:
    """From two truth documents of one site; None when one says nothing about goods (written by an older version)."""
    if "goods" not in before or "goods" not in after:
        return None
    goods, doubt_goods = _exchanged(_placed(before, "goods"), _placed(after, "goods"))
    vehicles, doubt_vehicles = _exchanged(_vehicles(before), _vehicles(after))
    works = _works(before, after)
    hidden = [*_hidden(before), *_hidden(after)]
    changed = [Outline("stock", g) for g in goods] + [Outline("vehicles", g) for g in vehicles] + works
    return TrueChanges(tuple(changed), unary_union([g.buffer(_SLACK_M) for g in (*doubt_goods, *doubt_vehicles, *hidden)]))


def _exchanged(
    before: Sequence[BaseGeometry], after: Sequence[BaseGeometry]
) -> tuple[list[BaseGeometry], list[BaseGeometry]]:
    """What stands only on one of the dates, and what stands there on both but not the same."""
    changed: list[BaseGeometry] = []
    doubtful: list[BaseGeometry] = []
    for items, others in ((before, after), (after, before)):
        union = unary_union(list(others))
        for item in items:
            if any(item.intersection(o).area > _SAME_IOU * item.union(o).area for o in others if o.intersects(item)):
                doubtful += [] if any(item.equals_exact(o, 0.05) for o in others) else [item]
            elif _share(item, union) > 0.15:
                doubtful.append(item)
            else:
                changed.append(item)
    return changed, doubtful


def _works(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Outline]:
    known = [{work["work_id"]: work for work in truth.get("works", ())} for truth in (before, after)]
    only = [(work, before) for key, work in known[0].items() if key not in known[1]]
    only += [(work, after) for key, work in known[1].items() if key not in known[0]]
    return [Outline(work["kind"], _placed_shape(work["polygon"], truth)) for work, truth in only]


def _placed(truth: Mapping[str, Any], key: str) -> list[BaseGeometry]:
    return [_placed_shape(item["polygon"], truth) for item in truth[key]]


def _vehicles(truth: Mapping[str, Any]) -> list[BaseGeometry]:
    return [_placed_shape(v["polygon"], truth) for v in truth["vehicles"] if v["visible_fraction"] >= _VISIBLE]


def _hidden(truth: Mapping[str, Any]) -> list[BaseGeometry]:
    return [_placed_shape(v["polygon"], truth) for v in truth["vehicles"] if v["visible_fraction"] < _VISIBLE]


def _placed_shape(geometry: Mapping[str, Any], truth: Mapping[str, Any]) -> BaseGeometry:
    """A polygon of a truth file with the scene's misregistration put right."""
    return translate(shape(dict(geometry)), -truth["shift_m"]["east"], -truth["shift_m"]["north"])
