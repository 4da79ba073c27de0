"""What the alert rules about pictures measure: stock seen less, panels and modules lost, buildings changed. Pure.

Every figure is what remains after 1.28 standard deviations (what one picture in ten shows by chance) are taken off, so that
a small and noisy move raises nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta

from collateral.domain import AssetKind, Slot, SubjectKind
from scoring.context import Ratio, SiteContext
from scoring.evidence import Datum
from scoring.findings import Finding, Sample, ids
from scoring.indicators import INDICATORS, YARD, figure_of, likelihood
from scoring.policy import BaselinePolicy, RulePolicy

_ONE_IN_TEN = 1.28
_Z95 = 1.96
_BACK = timedelta(days=60)
"""Pictures older than this raise and clear nothing; flights with an infrared camera are looked for a year back."""
_FLIGHTS = timedelta(days=365)
_VANISHED = 0.5
"""This part of what is missing must have been seen to vanish to count as a second witness."""
_METRES_PER_DEGREE = 111_195.0
_ROW = {row.key: row for row in INDICATORS}


def stock_seen_less(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """Fall of pledged stock against its normal: marked places together, each yard; all ground where nothing is drawn."""
    found = []
    for row_key, kind, subject_id, ground_m2 in _places_of_stock(context):
        row = _ROW[row_key]
        subject = f"{kind}:{subject_id}"
        least = context.policy.indicators[row_key].least_normal
        samples = []
        for part in context.scene_ratios(row.quantity, subject, _stock(context), context.at - _BACK, False):
            if part.baseline is not None and part.baseline.median >= least:
                samples += _fallen(context, policy, part, part.baseline.median, ground_m2)
        found.append(Finding(kind, subject_id, tuple(samples[-2 * policy.window :])))
    return found


def _stock(context: SiteContext) -> BaselinePolicy:
    """The scatter of stock: of marked places too, whose indicator also meets vehicles and tags in `agreement`."""
    return context.policy.indicators["stock_cover"].baseline


def _places_of_stock(context: SiteContext) -> list[tuple[str, SubjectKind, str, float]]:
    """Indicator, kind, id and ground (m2, yards only) of what shows pledged stock here."""
    lots = {one.asset_id for one in context.assets if one.kind is AssetKind.STOCK_LOT and one.quantity > 0}
    if not lots:
        return []
    site = context.site.site_id
    pledged = [slot for slot in context.slots if slot.asset_id in lots]
    yards = [slot for slot in pledged if slot.kind == YARD]
    found = [("stock_cover", SubjectKind.SLOT, slot.slot_id, _ground_m2(slot)) for slot in yards]
    if len(yards) < len(pledged):
        found.append(("stock_slots", SubjectKind.SITE, site, 0.0))
    return found if pledged else [("stock_cover", SubjectKind.SITE, site, 0.0)]


def _ground_m2(slot: Slot) -> float:
    """Area of a small polygon, within half a percent."""
    latitude = math.radians(slot.geometry.centroid.y)
    return float(slot.geometry.area) * _METRES_PER_DEGREE**2 * math.cos(latitude)


def _fallen(context: SiteContext, policy: RulePolicy, part: Ratio, normal: float, ground_m2: float) -> list[Sample]:
    """One sample, or two where goods were seen to vanish as well."""
    measured = (part.upper - part.lower) / (2 * _Z95)
    figure = max(0.0, 1.0 - part.value - _ONE_IN_TEN * math.hypot(measured, part.spread))
    held = part.datum
    gone = _vanished_m2(context, held)
    facts = {**_facts(held), "normal": normal, "share_of_normal": part.value, "stock_vanished_m2": gone}
    sample = Sample(held.valid_from, figure, ids(held), {"above": facts})
    missing = max(0.0, normal - held.value) * ground_m2
    twice = figure >= policy.raise_at and gone is not None and missing > 0 and gone >= _VANISHED * missing
    return [sample, sample] if twice else [sample]


def _vanished_m2(context: SiteContext, held: Datum) -> float | None:
    """Goods that vanished since the picture before; None where nothing was compared."""
    compared = context.scenes("changed_area_m2", f"site:{context.site.site_id}", held.valid_from)
    same = [one for one in compared if one.valid_from == held.valid_from]
    return _area(same[0], frozenset({"stock"}), "vanished") if same else None


def _area(held: Datum, kinds: frozenset[str], direction: str = "") -> float:
    """Square metres of changes of these kinds, each by its likelihood."""
    listed = (one for one in held.changes if one.kind in kinds and direction in ("", one.direction))
    return round(math.fsum(one.area_m2 * likelihood(one) for one in listed), 1)


def panels_missing(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """Share of the reference's panels that are gone."""
    return _figures(context, policy, "panels_missing", _BACK)


def modules_faulty(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """Share of faulty modules among those judged."""
    return _figures(context, policy, "faulty_modules", _FLIGHTS)


def buildings_changed(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """Square metres of roofs and building work that changed since the picture before."""
    return _figures(context, policy, "buildings", _BACK)


def _figures(context: SiteContext, policy: RulePolicy, key: str, back: timedelta) -> list[Finding]:
    row = _ROW[key]
    held = context.scenes(row.quantity, f"site:{context.site.site_id}", context.at - back)[-policy.window :]
    samples = []
    for part in filter(None, (figure_of(row, one) for one in held)):
        figure = max(0.0, part.value - _ONE_IN_TEN * (part.upper - part.lower) / (2 * _Z95))
        facts = _facts(part.datum)
        facts |= {f"{kind}_m2": _area(part.datum, frozenset({kind})) for kind in sorted(row.changed)}
        samples.append(Sample(part.datum.valid_from, figure, ids(part.datum), {"above": facts}))
    return [Finding(SubjectKind.SITE, context.site.site_id, tuple(samples))]


def _facts(held: Datum) -> dict[str, object]:
    return {"quantity": held.quantity, "value": held.value, "observation_id": held.observation_id}
