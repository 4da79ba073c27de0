"""Indicators: one frozen row each, and the expected shortfall with interval that each gets from the evidence. Pure.

An indicator looks back on a fixed number of slots (local days, or stretches between pictures), laid out by the calendar
alone. A slot with evidence has the shortfall of that evidence; a slot without has the policy's prior, anywhere between 0 and
1. So taking evidence away can only raise the upper end of the shortfall: silence never pays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from statistics import fmean

from collateral.domain import SLOT_KINDS, Quality, SiteKind
from scoring.calendar import DayClass
from scoring.context import Ratio, SiteContext, against
from scoring.evidence import Change, Datum
from scoring.policy import Curve, IndicatorPolicy


class Normal(StrEnum):
    """What a quantity is compared with."""

    OWN_PAST = "own past"
    ONE = "one"
    PLEDGED = "own past, at least what is pledged"
    NONE = "none of it"


class Cadence(StrEnum):
    """How evidence arrives."""

    DAILY = "daily"
    SCENE = "scene"
    PAIR = "pair"


@dataclass(frozen=True)
class Indicator:
    """One row of the table."""

    key: str
    """Name in the policy and in the breakdown."""
    quantity: str
    """Key of OBSERVATION_QUANTITIES."""
    subject_kind: str
    """`site`, or `asset`: then the mean over the assets."""
    cadence: Cadence
    normal: Normal
    by_class: bool
    """True for activity: working days are compared with working days, holidays with nothing."""
    meaning: str
    widen_only: bool = False
    """True for reporting: silence widens the interval and says nothing about health."""
    witness: Mapping[SiteKind, tuple[str, str]] | None = None
    """For pairs: quantity from above and quantity from inside, by kind of site."""
    measured_by: frozenset[str] = frozenset()
    """Device quantities: an asset whose device measures one of them counts, also when nothing was ever observed of it."""
    slot_kinds: frozenset[str] = frozenset()
    """Kinds of storage places of which a site must have one for this to be seen; empty: nothing is needed."""
    changed: frozenset[str] = frozenset()
    """For changes: the kinds that count, as square metres."""


YARD = "yard"
"""Kind of a slot that is ground without marked places."""
BUILDINGS = frozenset({"roof", "construction"})
"""Kinds of change that touch buildings."""

INDICATORS: tuple[Indicator, ...] = (
    Indicator("energy", "energy_kwh_per_day", "site", Cadence.DAILY, Normal.OWN_PAST, True, "electricity used"),
    Indicator("running_hours", "running_hours_per_day", "any", Cadence.DAILY, Normal.OWN_PAST, True, "machines producing"),
    Indicator("vehicles", "vehicle_count", "site", Cadence.SCENE, Normal.OWN_PAST, True, "vehicles in the yard"),
    Indicator(
        "stock_slots", "slot_occupancy", "site", Cadence.SCENE, Normal.OWN_PAST, False, "storage places occupied",
        slot_kinds=frozenset(SLOT_KINDS),
    ),
    Indicator(
        "stock_cover", "stock_cover", "site", Cadence.SCENE, Normal.OWN_PAST, False, "open ground under goods",
        slot_kinds=frozenset({YARD}),
    ),
    Indicator("stock_weight", "stock_weight_kg", "any", Cadence.DAILY, Normal.OWN_PAST, False, "stock on scales"),
    Indicator("stock_tags", "tags_present_share", "any", Cadence.DAILY, Normal.ONE, False, "pledged tags that answer"),
    Indicator("gate_activity", "door_openings_per_day", "any", Cadence.DAILY, Normal.OWN_PAST, True, "gate openings"),
    Indicator(
        "performance_ratio", "performance_ratio", "site", Cadence.DAILY, Normal.OWN_PAST, False,
        "energy against irradiation",
    ),
    Indicator(
        "inverters", "inverter_yield_ratio", "asset", Cadence.DAILY, Normal.ONE, False, "inverters against the plant",
        measured_by=frozenset({"ac_power_kw", "ac_energy_total_kwh"}),
    ),
    Indicator("panel_area", "panel_area_m2", "site", Cadence.SCENE, Normal.PLEDGED, False, "panel area seen"),
    Indicator("panels_missing", "panel_missing_share", "site", Cadence.SCENE, Normal.NONE, False, "panels gone"),
    Indicator("panels_covered", "panel_covered_share", "site", Cadence.SCENE, Normal.NONE, False, "panels under dust"),
    Indicator("panels_dark", "panel_dark_share", "site", Cadence.SCENE, Normal.NONE, False, "panels darkened"),
    Indicator("faulty_modules", "faulty_module_share", "site", Cadence.SCENE, Normal.NONE, False, "modules with a fault"),
    Indicator(
        "buildings", "changed_area_m2", "site", Cadence.SCENE, Normal.NONE, False, "roofs and building work",
        changed=BUILDINGS,
    ),
    Indicator(
        "reporting", "reporting_ratio", "site", Cadence.DAILY, Normal.ONE, False, "readings received", widen_only=True
    ),
    Indicator(
        "agreement", "", "site", Cadence.PAIR, Normal.OWN_PAST, False, "both sides tell the same",
        witness={
            SiteKind.FACTORY: ("vehicle_count", "energy_kwh_per_day"),
            SiteKind.WAREHOUSE: ("slot_occupancy", "tags_present_share"),
        },
    ),
)


@dataclass(frozen=True)
class Shortfall:
    """0 (normal) to 1 (nothing left), with a 95 % interval."""

    lower: float
    expected: float
    upper: float


@dataclass(frozen=True)
class SlotState:
    """One place for evidence."""

    age_days: float
    shortfall: Shortfall | None
    """None without evidence."""
    ratio: float | None
    observation_ids: tuple[tuple[int, int], ...]
    """Observation id and revision."""


@dataclass(frozen=True)
class Assessment:
    """What the evidence says about one indicator."""

    key: str
    weight: float
    """Points of 100."""
    shortfall: Shortfall
    support: float
    """Share of slot weight that rests on evidence, 0 to 1."""
    detail: Mapping[str, object]
    used: tuple[tuple[int, int], ...]
    """Observation id and revision of the evidence."""


BOTH_REST = 0.4
"""Below this share of a working day on both sides a site rests."""
LEAST_PLEDGED = 0.8
"""A detector may see this much less than what is pledged before the pledge itself becomes the normal."""
ALTERED_IS_REAL, SEEN_IS_REAL = 0.65, 0.9
"""What looks different, and what appeared or vanished, is taken to be real at most so surely. Below the precision found on
rendered sites (docs/decisions/0140), where roofs that were altered are few."""
_Z16 = (
    -1.862731867421651, -1.3180108973035367, -1.009990169249582, -0.7764217611479276, -0.579132162255556,
    -0.40225006532172525, -0.2372021093287877, -0.0784124127331122, 0.0784124127331122, 0.2372021093287877,
    0.40225006532172525, 0.579132162255556, 0.7764217611479276, 1.009990169249582, 1.3180108973035367,
    1.862731867421651,
)
"""Normal quantiles at (i + 1/2) / 16: written out, so that expectations are the same bits on every machine."""
_Z95 = 1.96
_DOUBTFUL_KNOWN = 0.5
"""Share to which doubtful evidence counts as known; the rest is as uncertain as none."""


def shortfall_at(curve: Curve, figure: float) -> float:
    """The curve's value at `figure`: straight lines between its points, flat outside."""
    if figure <= curve[0][0]:
        return curve[0][1]
    for (x0, y0), (x1, y1) in pairwise(curve):
        if figure <= x1:
            return y0 + (y1 - y0) * (figure - x0) / (x1 - x0)
    return curve[-1][1]


def expected_shortfall(curve: Curve, value: float, lower: float, upper: float) -> Shortfall:
    """Expectation of the curve over the interval, taken as the two halves of normal distributions.

    Args:
        curve: figure to shortfall.
        value: best estimate.
        lower, upper: 95 % interval around it.
    """
    if lower >= curve[-1][0]:
        return Shortfall(curve[-1][1], curve[-1][1], curve[-1][1])
    below, above = (value - lower) / _Z95, (upper - value) / _Z95
    mean = fmean(shortfall_at(curve, max(0.0, value + z * (above if z > 0 else below))) for z in _Z16)
    ends = (shortfall_at(curve, max(0.0, lower)), shortfall_at(curve, upper))
    return Shortfall(min(*ends, mean), mean, max(*ends, mean))


def weights(context: SiteContext) -> dict[str, float]:
    """Points of 100 of each indicator that the policy has for this kind of site.

    The weight of one that has nothing to see here by the site's record goes where the policy says, unless that one has
    nothing to see either. Evidence plays no part in it: withholding some shifts no weight.
    """
    kind, policies = context.site.kind, context.policy.indicators
    found = {row.key: policies[row.key].weights.get(kind, 0.0) for row in INDICATORS if row.key in policies}
    blind = {row.key for row in INDICATORS if not _can_see(row, context)}
    for key in [key for key in found if key in blind]:
        other = policies[key].falls_to.get(kind)
        if other is not None and other not in blind:
            found[other] += found[key]
            found[key] = 0.0
    return {key: weight for key, weight in found.items() if weight > 0.0}


def _can_see(row: Indicator, context: SiteContext) -> bool:
    if not row.slot_kinds:
        return True
    under_sky = not (context.site.roofed and YARD in row.slot_kinds)
    return under_sky and any(slot.kind in row.slot_kinds for slot in context.slots)


def assess(row: Indicator, context: SiteContext, weight: float) -> Assessment:
    """Expected shortfall of one indicator that counts `weight` points."""
    policy = context.policy.indicators[row.key]
    groups = _READERS[row.cadence](row, policy, context)
    if not groups:
        groups = {"": [SlotState(k * policy.slot_days, None, None, ()) for k in range(policy.slots)]}
    parts = {subject: _combine(states, policy) for subject, states in groups.items()}
    shortfall = Shortfall(
        fmean(part.lower for part, _ in parts.values()),
        fmean(part.expected for part, _ in parts.values()),
        fmean(part.upper for part, _ in parts.values()),
    )
    support = fmean(backed for _, backed in parts.values())
    used = tuple(sorted({pair for states in groups.values() for state in states for pair in state.observation_ids}))
    return Assessment(row.key, weight, shortfall, support, _detail(row, groups, parts), used)


def _combine(states: Sequence[SlotState], policy: IndicatorPolicy) -> tuple[Shortfall, float]:
    """Mean over the slots by age, and the share of that weight with evidence."""
    weights = [0.5 ** (state.age_days / policy.half_life_days) for state in states]
    total = math.fsum(weights)
    filled = [state.shortfall or Shortfall(0.0, policy.prior, 1.0) for state in states]
    lower, expected, upper = (
        math.fsum(w * figure for w, figure in zip(weights, figures, strict=True)) / total
        for figures in zip(*((part.lower, part.expected, part.upper) for part in filled), strict=True)
    )
    backed = math.fsum(w for w, state in zip(weights, states, strict=True) if state.shortfall is not None) / total
    return Shortfall(min(lower, expected), expected, max(upper, expected)), min(1.0, backed)


def _judge(row: Indicator, policy: IndicatorPolicy, compared: Ratio) -> Shortfall:
    found = expected_shortfall(policy.curve, compared.value, compared.lower, compared.upper)
    if row.widen_only:
        found = Shortfall(0.0, policy.prior * found.expected, found.upper)
    known = min((policy.trust.get(owner, 1.0) for owner in compared.datum.owners), default=1.0)
    if compared.datum.quality is Quality.DOUBTFUL:
        known = min(known, _DOUBTFUL_KNOWN)
    if known < 1.0:
        unknown = 1.0 - known
        found = Shortfall(
            found.lower * known, found.expected * known + policy.prior * unknown, found.upper * known + unknown
        )
    return found


def _state(age_days: float, row: Indicator, policy: IndicatorPolicy, compared: Ratio | None) -> SlotState:
    if compared is None:
        return SlotState(age_days, None, None, ())
    pair = (compared.datum.observation_id, compared.datum.revision)
    return SlotState(age_days, _judge(row, policy, compared), compared.value, (pair,))


def _subjects(row: Indicator, context: SiteContext) -> list[str]:
    """Those observed, and those that should be: one of which everything is withheld is not left out of the mean."""
    found = set(context.evidence.subjects(row.quantity))
    if row.subject_kind != "any":
        found = {subject for subject in found if subject.startswith(f"{row.subject_kind}:")}
    measured = {device.asset_id for device in context.devices if row.measured_by.intersection(device.quantities)}
    found |= {f"asset:{asset.asset_id}" for asset in context.assets if asset.quantity > 0 and asset.asset_id in measured}
    return sorted(found)


def _daily(row: Indicator, policy: IndicatorPolicy, context: SiteContext) -> dict[str, list[SlotState]]:
    groups: dict[str, list[SlotState]] = {}
    for subject in _subjects(row, context):
        if row.normal is Normal.OWN_PAST:
            pairs = context.daily_ratios(row.quantity, subject, policy.baseline, policy.slots, row.by_class)
        else:
            days = context.judged_days(row.quantity, subject, policy.baseline, policy.slots, row.by_class)
            data = context.by_day(row.quantity, subject, days[-1], days[0])
            pairs = [(day, against(data[day], 1.0) if day in data else None) for day in days]
        groups[subject] = [
            _state(float((context.last_due - day).days), row, policy, compared) for day, compared in pairs
        ]
    return {subject: states for subject, states in groups.items() if states}


def _scene(row: Indicator, policy: IndicatorPolicy, context: SiteContext) -> dict[str, list[SlotState]]:
    since = context.at - timedelta(days=policy.slots * policy.slot_days)
    groups: dict[str, list[SlotState]] = {}
    for subject in _subjects(row, context):
        if row.normal is Normal.NONE:
            figures = [figure_of(row, held) for held in context.scenes(row.quantity, subject, since)]
            ratios = [one for one in figures if one is not None]
        else:
            found = context.scene_ratios(row.quantity, subject, policy.baseline, since, row.by_class)
            ratios = [one for one in found if one.baseline is None or one.baseline.median >= policy.least_normal]
        if row.normal is Normal.PLEDGED:
            ratios = _against_pledge(context, row.quantity, subject, since, ratios)
        groups[subject] = _slots([(found, _state(0.0, row, policy, found)) for found in ratios], policy, context)
    return groups


def likelihood(change: Change) -> float:
    """How likely a change is real: the detector's confidence, at most what it was right in when measured."""
    return min(change.confidence, ALTERED_IS_REAL if change.direction == "altered" else SEEN_IS_REAL)


def figure_of(row: Indicator, held: Datum) -> Ratio | None:
    """The figure itself where normal is none of it: a share, or the square metres of the changes that count.

    None where an area changed and the evidence does not say what: that is no proof that nothing did.
    """
    if not row.changed:
        return Ratio(held, held.value, held.lower, held.upper, 0.0, None)
    if held.value > 0 and not held.changes:
        return None
    counted = [(one.area_m2, likelihood(one)) for one in held.changes if one.kind in row.changed]
    value = math.fsum(area * real for area, real in counted)
    reach = _Z95 * math.sqrt(math.fsum(area**2 * real * (1 - real) for area, real in counted))
    return Ratio(held, value, max(0.0, value - reach), value + reach, 0.0, None)


def _against_pledge(
    context: SiteContext, quantity: str, subject: str, since: datetime, ratios: Sequence[Ratio]
) -> list[Ratio]:
    """Ratios to the own past, or to most of the pledged area where the past shows less or there is none."""
    least = LEAST_PLEDGED * (context.site.panel_area_m2 or 0.0)
    own = {part.datum.observation_id: part for part in ratios}
    found = []
    for held in context.scenes(quantity, subject, since):
        part = own.get(held.observation_id)
        trusted = part is not None and part.baseline is not None and part.baseline.median >= least
        chosen = part if trusted else against(held, least)
        found += [chosen] if chosen is not None else []
    return found


def _slots(
    found: Sequence[tuple[Ratio, SlotState]], policy: IndicatorPolicy, context: SiteContext
) -> list[SlotState]:
    """Lays pictures into slots; of two in one slot the one with the smaller upper end counts (see the module's law)."""
    best: dict[int, SlotState] = {}
    for compared, state in found:
        place = int((context.at - compared.datum.valid_from) / timedelta(days=policy.slot_days))
        held = best.get(place)
        assert state.shortfall is not None
        if held is None or (held.shortfall is not None and state.shortfall.upper < held.shortfall.upper):
            best[place] = state
    empty = SlotState(0.0, None, None, ())
    states = []
    for place in range(policy.slots):
        state = best.get(place, empty)
        states.append(SlotState(place * policy.slot_days, state.shortfall, state.ratio, state.observation_ids))
    return states


@dataclass(frozen=True)
class Pair:
    """One picture beside what the devices said of the same day."""

    above: Ratio
    inside: Ratio

    @property
    def sigma(self) -> float:
        """Standard deviation of the gap when both sides are normal: noise of pictures, of days and of measuring."""
        parts = [(side.upper - side.lower) / (2 * _Z95) for side in (self.above, self.inside)]
        # Scatter grows with the square root of the activity: a nearly empty yard scatters little.
        scatter = [side.spread * math.sqrt(max(0.25, min(1.0, side.value))) for side in (self.above, self.inside)]
        return math.sqrt(math.fsum(part * part for part in (*parts, *scatter)))

    @property
    def gap(self) -> float:
        """Inside minus above: positive when devices report more than can be seen."""
        return self.inside.value - self.above.value

    @property
    def unexplained(self) -> float:
        """Size of the gap beyond 1.28 sigma (what one picture in ten shows by chance)."""
        return max(0.0, abs(self.gap) - 1.28 * self.sigma)


def pairs_of_sides(row: Indicator, context: SiteContext, since_days: float) -> list[Pair]:
    """Pictures of the last `since_days` with the daily figure of the same local day, oldest first.

    Activity is compared with a working day's normal on both sides, whatever day it is. Days on which both sides rest are
    left out: they agree about nothing.
    """
    assert row.witness is not None
    if context.site.kind not in row.witness:
        return []
    above, inside = row.witness[context.site.kind]
    activity = context.site.kind is SiteKind.FACTORY
    rows = context.policy.indicators
    scene, daily = (rows["vehicles"], rows["energy"]) if activity else (rows["stock_slots"], rows["stock_tags"])
    like = DayClass.WORKING if activity else None
    subject = f"site:{context.site.site_id}"
    found = []
    for held in context.scenes(above, subject, context.at - timedelta(days=since_days)):
        seen = context.scene_ratio(held, scene.baseline, like)
        told = context.ratio_on(inside, subject, daily.baseline, held.day, like)
        if seen is None or told is None or (activity and max(seen.value, told.value) < BOTH_REST):
            continue
        found.append(Pair(seen, told))
    return found


def _pair(row: Indicator, policy: IndicatorPolicy, context: SiteContext) -> dict[str, list[SlotState]]:
    found: list[tuple[Ratio, SlotState]] = []
    for pair in pairs_of_sides(row, context, policy.slots * policy.slot_days):
        size = abs(pair.gap)
        figures = [max(0.0, size - k * pair.sigma) for k in (2.56, 1.28, 0.64)]
        lower, expected, upper = (shortfall_at(policy.curve, figure) for figure in figures)
        ids = tuple((side.datum.observation_id, side.datum.revision) for side in (pair.above, pair.inside))
        found.append((pair.above, SlotState(0.0, Shortfall(lower, expected, upper), size, ids)))
    return {f"site:{context.site.site_id}": _slots(found, policy, context)}


_READERS: Mapping[Cadence, Callable[[Indicator, IndicatorPolicy, SiteContext], dict[str, list[SlotState]]]] = {
    Cadence.DAILY: _daily,
    Cadence.SCENE: _scene,
    Cadence.PAIR: _pair,
}


def _detail(
    row: Indicator, groups: Mapping[str, Sequence[SlotState]], parts: Mapping[str, tuple[Shortfall, float]]
) -> dict[str, object]:
    return {
        "meaning": row.meaning,
        "normal": row.normal.value,
        "subjects": {
            subject: {
                "expected": parts[subject][0].expected,
                "support": parts[subject][1],
                "ratios": [state.ratio for state in states],
                "ages_days": [state.age_days for state in states],
            }
            for subject, states in groups.items()
            if subject
        },
    }
