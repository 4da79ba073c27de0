"""What the change detector found between pictures of a site, as rows for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from collateral.db.scenes import SiteScene
from collateral.domain import Observation
from scoring.evidence import Change, changes_of

KINDS = ("stock", "roof", "construction", "vehicles", "other")
DETECTOR = "ground"
QUANTITY = "changed_area_m2"


@dataclass(frozen=True)
class Found:
    """What of one kind went one way between two pictures."""

    since: datetime | None
    """When the picture before was taken; None when the evidence does not say it."""
    taken_at: datetime
    kind: str
    direction: str
    """`appeared`, `vanished`, `moved` or `altered`."""
    places: int
    area_m2: float
    """Of all places together."""
    confidence: float
    """0 to 1, mean over the area."""
    before: str | None
    """Evidence picture of the earlier date, relative to the evidence folder; None when there is none."""
    after: str | None


@dataclass(frozen=True)
class Comparisons:
    """What came of comparing the pictures of a site."""

    found: Sequence[Found]
    """Newest first; of a date goods and buildings before vehicles and what has no kind."""
    pairs: int
    """Pairs of pictures that were compared."""
    skipped: str
    """Why the newest picture was not compared; empty when it was, or nothing was tried."""


def comparisons(observations: Sequence[Observation], scenes: Sequence[SiteScene]) -> Comparisons:
    """Changes listed in the newest revision of each comparison.

    Args:
        observations: of the site, newest revision of each.
        scenes: of the site, newest first: for the pictures before, and why nothing was compared.
    """
    compared = [one for one in observations if one.quantity == QUANTITY]
    compared.sort(key=lambda one: one.valid_from, reverse=True)
    pictures = {scene.scene.scene_id: picture for scene in scenes if (picture := _picture(scene))}
    found = [
        Found(
            _moment(one.evidence.get("since")), one.valid_from, kind, direction, len(parts), area,
            sum(part.area_m2 * part.confidence for part in parts) / area,
            pictures.get(str(one.evidence.get("since_scene"))), _text(one.evidence.get("png")),
        )
        for one in compared
        for (kind, direction), parts in _grouped(changes_of(one))
        if (area := sum(part.area_m2 for part in parts)) > 0
    ]  # fmt: skip
    return Comparisons(found, len(compared), _skipped(scenes))


def _grouped(changes: Sequence[Change]) -> list[tuple[tuple[str, str], list[Change]]]:
    groups: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.kind, change.direction), []).append(change)
    order = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(groups.items(), key=lambda group: (order.get(group[0][0], len(KINDS)), group[0]))


def _picture(scene: SiteScene) -> str | None:
    """The detector's own picture first: it has the goods drawn on it."""
    shown = sorted(scene.results, key=lambda result: result.detector != DETECTOR)
    return next((path for result in shown if (path := _text(result.figures.get("png")))), None)


def _skipped(scenes: Sequence[SiteScene]) -> str:
    for scene in scenes:
        for result in scene.results:
            if result.detector == DETECTOR and result.status == "done":
                return str(result.figures.get("not_compared") or "")
    return ""


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _moment(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
