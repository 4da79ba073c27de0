"""What the collateral is worth against the balance: verified quantity x price x (1 - haircut), and the covenant. Pure.

A lot's quantity is verified from above (occupied slots x capacity) while the picture is fresh, else from inside (tags, then
scales, as a share of what is pledged), else not at all. A covenant counts as broken only when it is broken by the
witness that sees most: a detector's error alone must not call a loan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from collateral.domain import Asset, AssetKind, Loan, Price, SubjectKind
from collateral.pledges import pledged_once
from scoring.context import SiteContext
from scoring.evidence import Datum
from scoring.findings import Finding, Sample
from scoring.indicators import YARD
from scoring.policy import CoveragePolicy

UNVERIFIED = "unverified"
"""Basis of what no witness speaks of."""
_TONNES = {
    "t": 1.0, "tonne": 1.0, "tonnes": 1.0, "吨": 1.0, "公吨": 1.0, "kg": 0.001, "千克": 0.001, "公斤": 0.001,
}  # fmt: skip
"""Units of prices by which scales can be compared with what is pledged."""
_SEEN_SHARE = 0.8
"""At least this share of a lot's slots must have been judged."""
_UNDECIDED = 0.15
"""A classifier whose probabilities lie further than this from 0 and 1 on average verifies nothing."""


@dataclass(frozen=True)
class Verified:
    """How much of one pledged thing is there."""

    asset: Asset
    share: float
    """Verified quantity / pledged quantity, 0 to 1, by the preferred witness."""
    most: float
    """The same by the witness that sees most."""
    basis: str
    """`slots`, `yards`, `tags`, `scales`, `appraised`, `pledged elsewhere` or `unverified`."""
    observations: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Line:
    """One asset's part in a loan's collateral, in the loan's currency."""

    asset_id: str
    basis: str
    share: float
    unit_price: float | None
    haircut: float
    value: float
    most: float


@dataclass(frozen=True)
class Coverage:
    """A loan's collateral at a time, in its currency."""

    loan_id: str
    at: datetime
    outstanding: float
    value: float
    most: float
    """Value by the witness that sees most."""
    covenant: float | None
    """Smallest allowed value / outstanding."""
    lines: tuple[Line, ...]
    observations: tuple[tuple[int, int], ...]

    @property
    def ratio(self) -> float | None:
        """Value / outstanding; None when nothing is owed."""
        return self.value / self.outstanding if self.outstanding > 0 else None

    @property
    def pledge_ratio(self) -> float | None:
        """Outstanding / value, the bank's usual figure; None when nothing of value is verified."""
        return self.outstanding / self.value if self.value > 0 else None


def verify(context: SiteContext) -> list[Verified]:
    """Every asset of the site pledged by now, and how much of it is there."""
    today = context.calendar.local_day(context.at)
    return [_verify(context, asset, today) for asset in context.assets if asset.pledged_on <= today]


def _verify(context: SiteContext, asset: Asset, today: date) -> Verified:
    if context.pledges.before(asset):
        return Verified(asset, 0.0, 0.0, "pledged elsewhere")
    if asset.kind is not AssetKind.STOCK_LOT:
        return Verified(asset, 1.0, 1.0, "appraised")
    above = (_by_slots(context, asset), *_by_yards(context, asset))
    found = [part for part in (*above, *_by_devices(context)) if part is not None]
    if not found:
        return Verified(asset, 0.0, 1.0, UNVERIFIED)
    basis, share, data = found[0]
    used = tuple(sorted({(item.observation_id, item.revision) for _, _, items in found for item in items}))
    return Verified(asset, share, max(part[1] for part in found), basis, used if data else ())


_Part = tuple[str, float, list[Datum]]


def _by_slots(context: SiteContext, asset: Asset) -> _Part | None:
    slots = [slot for slot in context.slots if slot.asset_id == asset.asset_id]
    if any(slot.kind == YARD for slot in slots):
        return None  # what stands beside the marked places would be missing
    since = context.at - timedelta(days=context.policy.coverage.slots_valid_days)
    held: list[Datum] = []
    amount, capacity = 0.0, 0.0
    for slot in slots:
        series = context.series("slot_occupied", f"slot:{slot.slot_id}")
        recent = series.until(context.at, 1) if series is not None else []
        if recent and recent[0].valid_from >= since:
            held.append(recent[0])
            amount += recent[0].value * slot.capacity
            capacity += slot.capacity
    if not slots or capacity <= 0 or len(held) < _SEEN_SHARE * len(slots) or asset.quantity <= 0:
        return None
    if sum(min(item.value, 1.0 - item.value) for item in held) > _UNDECIDED * len(held):
        return None
    total = sum(slot.capacity for slot in slots)
    share = amount * total / capacity / asset.quantity * _left_since(context, min(item.day for item in held))
    return "slots", min(1.0, share), held


def _by_yards(context: SiteContext, asset: Asset) -> list[_Part]:
    """What stands on the yards of a lot without marked places (share of the ground under goods x capacity), and at most."""
    slots = [slot for slot in context.slots if slot.asset_id == asset.asset_id]
    if not slots or asset.quantity <= 0 or any(slot.kind != YARD or slot.capacity <= 0 for slot in slots):
        return []
    since = context.at - timedelta(days=context.policy.coverage.slots_valid_days)
    seen = [context.scenes("stock_cover", f"slot:{slot.slot_id}", since)[-1:] for slot in slots]
    held = [one[0] for one in seen if one]
    if len(held) < len(slots):
        return []
    left = _left_since(context, min(item.day for item in held)) / asset.quantity
    likely = sum(item.value * slot.capacity for item, slot in zip(held, slots, strict=True))
    most = sum(item.upper * slot.capacity for item, slot in zip(held, slots, strict=True))
    return [("yards", min(1.0, amount * left), held) for amount in (likely, most)]


def _left_since(context: SiteContext, day: date) -> float:
    """What devices say is left of that day's stock, at most 1: a picture knows nothing of what went after it."""
    subject = f"site:{context.site.site_id}"
    for quantity in ("tags_present_share", "stock_weight_kg"):
        told = sorted(context.by_day(quantity, subject, day, context.last_due).items())
        if told and told[0][0] == day and told[0][1].value > 0:
            return min(1.0, told[-1][1].value / told[0][1].value)
    return 1.0


def _by_devices(context: SiteContext) -> list[_Part | None]:
    last = context.last_due
    first = last - timedelta(days=int(context.policy.coverage.tags_valid_days))
    subject = f"site:{context.site.site_id}"
    found: list[_Part | None] = []
    tags = sorted(context.by_day("tags_present_share", subject, first, last).items())
    if tags:
        found.append(("tags", min(1.0, tags[-1][1].value), [tags[-1][1]]))
    scales = sorted(context.by_day("stock_weight_kg", subject, first, last).items())
    pledged_t = _pledged_t(context)
    if scales and pledged_t > 0:
        found.append(("scales", min(1.0, scales[-1][1].value / 1000.0 / pledged_t), [scales[-1][1]]))
    return found


def _pledged_t(context: SiteContext) -> float:
    """Tonnes of all lots pledged by now, each thing once; 0 where one is not priced by weight: scales then say nothing."""
    today = context.calendar.local_day(context.at)
    lots = [one for one in context.assets if one.kind is AssetKind.STOCK_LOT and one.pledged_on <= today]
    if any(lot.commodity not in context.tonnes for lot in lots):
        return 0.0
    return float(sum(lot.quantity * context.tonnes[lot.commodity] for lot in pledged_once(lots)))


def tonnes_per_unit(prices: Iterable[Price]) -> dict[str, float]:
    """Tonnes in one unit of each commodity whose unit is a weight."""
    known = ((price.commodity, _TONNES.get(price.unit.casefold())) for price in prices)
    return {commodity: tonnes for commodity, tonnes in known if tonnes is not None}


def cover(
    loan: Loan, at: datetime, today: date, verified: Sequence[Verified], prices: Sequence[Price], policy: CoveragePolicy
) -> Coverage:
    """The loan's collateral from the verified assets pledged to it; what has no price in its currency counts nothing."""
    mine = sorted((part for part in verified if part.asset.loan_id == loan.loan_id), key=lambda part: part.asset.asset_id)
    lines = tuple(_line(part, loan, today, prices, policy.appraised_haircut) for part in mine)
    return Coverage(
        loan_id=loan.loan_id,
        at=at,
        outstanding=float(loan.outstanding),
        value=sum(line.value for line in lines),
        most=sum(line.most for line in lines),
        covenant=None if loan.covenant_min_coverage is None else float(loan.covenant_min_coverage),
        lines=lines,
        observations=tuple(sorted({pair for part in mine for pair in part.observations})),
    )


def _line(
    part: Verified, loan: Loan, today: date, prices: Sequence[Price], haircuts: Mapping[str, float]
) -> Line:
    asset = part.asset
    if asset.commodity:
        price = price_on(prices, asset.commodity, loan.currency, today)
        unit = None if price is None else float(price.price)
        haircut = 0.0 if price is None else float(price.haircut)
        full = 0.0 if unit is None else asset.quantity * unit * (1.0 - haircut)
    else:
        unit, haircut = None, haircuts.get(asset.kind.value, 0.5)
        full = float(asset.value or 0) * (1.0 - haircut)
    return Line(asset.asset_id, part.basis, part.share, unit, haircut, part.share * full, part.most * full)


def price_on(prices: Iterable[Price], commodity: str, currency: str, day: date) -> Price | None:
    """The price that holds on `day`: the latest that begins by then."""
    fitting = [
        price
        for price in prices
        if price.commodity == commodity and price.currency == currency and price.valid_from <= day
    ]
    return max(fitting, key=lambda price: price.valid_from, default=None)


def covenant_finding(coverage: Coverage) -> Finding | None:
    """How far the coverage lies below the covenant, as a share of it; None without covenant or debt.

    What no witness verifies may all be there, so it breaks no covenant; nor does it keep one: where the covenant holds only
    because of it, nothing is found, and an alert that stands is not cleared by silence.
    """
    if not coverage.covenant or coverage.outstanding <= 0:
        return None
    most = coverage.most / coverage.outstanding
    proven = sum(line.most for line in coverage.lines if line.basis != UNVERIFIED) / coverage.outstanding
    if proven < coverage.covenant <= most:
        return None
    facts: dict[str, object] = {
        "loan": {
            "outstanding": coverage.outstanding,
            "value": coverage.value,
            "coverage": coverage.ratio,
            "pledge_ratio": coverage.pledge_ratio,
            "coverage_by_most_favourable_witness": most,
            "covenant": coverage.covenant,
        },
        "lines": [line.__dict__ for line in coverage.lines],
    }
    sample = Sample(coverage.at, 1.0 - most / coverage.covenant, coverage.observations, facts)
    return Finding(SubjectKind.LOAN, coverage.loan_id, (sample,))
