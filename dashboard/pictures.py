"""Which pictures of a site there are, and which two show best what has changed. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from collateral.db.scenes import SiteScene
from collateral.domain import SiteKind

BEFORE = timedelta(days=60)
"""The earlier picture is chosen near this long before the later one."""
OLD = timedelta(days=21)
"""A newest picture older than this is pointed out."""
_DETECTORS: Mapping[SiteKind, Sequence[str]] = {
    SiteKind.FACTORY: ("vehicles", "slots", "panels"),
    SiteKind.WAREHOUSE: ("slots", "vehicles", "panels"),
    SiteKind.SOLAR: ("panels", "vehicles", "slots"),
}


@dataclass(frozen=True)
class Picture:
    """One evidence picture."""

    path: str
    """Relative to the evidence folder."""
    taken_at: datetime
    detector: str
    gsd_m: float
    figures: Mapping[str, object]


@dataclass(frozen=True)
class Sight:
    """How well a site is seen."""

    newest: datetime | None
    """The newest usable picture; None when there never was one."""
    refused: Mapping[str, int]
    """Newer pictures that could not be used, by reason."""
    stale: bool


def pictures(scenes: Sequence[SiteScene], kind: SiteKind) -> list[Picture]:
    """Evidence pictures, newest first, the detector that matters most for the kind of site first."""
    order = _DETECTORS[kind]
    found = [
        Picture(str(result.figures["png"]), one.scene.acquired_at, result.detector, one.scene.gsd_m, result.figures)
        for one in scenes
        for result in one.results
        if result.status == "done" and isinstance(result.figures.get("png"), str)
    ]
    unique = {picture.path: picture for picture in found}
    return sorted(
        unique.values(),
        key=lambda one: (-one.taken_at.timestamp(), order.index(one.detector) if one.detector in order else len(order)),
    )


def before_and_after(found: Sequence[Picture]) -> tuple[Picture | None, Picture | None]:
    """The newest picture and one of the same detector from about `BEFORE` earlier."""
    if not found:
        return None, None
    after = found[0]
    earlier = [one for one in found if one.detector == after.detector and one.taken_at < after.taken_at]
    wanted = after.taken_at - BEFORE
    return min(earlier, key=lambda one: abs(one.taken_at - wanted), default=None), after


def sight(scenes: Sequence[SiteScene], now: datetime) -> Sight:
    """Since when there is no usable picture, and why newer ones were refused.

    Satellite scenes too coarse for every detector neither begin that state nor end it: they are named where it holds.
    """
    newest = max((one.scene.acquired_at for one in scenes if one.usable), default=None)
    stale = newest is not None and now - newest > OLD
    newer = [one for one in scenes if not one.usable and (newest is None or one.scene.acquired_at > newest)]
    if newest is not None and not stale and all(one.coarse for one in newer):
        newer = []
    refused = Counter(  # the newest word of a detector comes last
        next((result.reason for result in reversed(one.results) if result.reason), "unknown") for one in newer
    )
    return Sight(newest, refused, stale)
