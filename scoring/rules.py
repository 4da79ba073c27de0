"""Alert rules: one frozen row each, and the measured figures that raise and clear them. Pure.

A measure returns dated samples, larger meaning worse, newest last; counting and hysteresis are in `scoring.alerts`. Where
there is no evidence there is no sample: a silent sensor neither raises nor clears anything but the loss of communication.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import fmean, median

from collateral.domain import Quality, SiteKind, SubjectKind
from scoring.context import Ratio, SiteContext
from scoring.evidence import Datum
from scoring.findings import Finding, Measure, Sample, ids
from scoring.indicators import INDICATORS, Pair, pairs_of_sides
from scoring.picture_rules import buildings_changed, modules_faulty, panels_missing, stock_seen_less
from scoring.policy import RulePolicy
from scoring.track_rules import daily, tamper

STANDSTILL_BELOW = 0.3
"""Activity below this share of normal is a stop, which has a rule of its own, not a decline."""
_SUNNY_KWH_M2 = 1.0
"""On darker days inverters say little about each other."""
_REPLAYED_H = 12.0
"""A day of which so many hours equal an earlier stretch is taken for a replay."""


@dataclass(frozen=True)
class Rule:
    """One row of the table; thresholds and priority are in the policy under the same name."""

    name: str
    kinds: frozenset[SiteKind]
    measure: Measure
    freezes: bool
    """True when an open alert of this rule holds the site's baselines still."""
    unit: str
    meaning: str


def _site(context: SiteContext, samples: list[Sample]) -> list[Finding]:
    return [Finding(SubjectKind.SITE, context.site.site_id, tuple(samples))]


def _end(context: SiteContext, day: date) -> datetime:
    return context.calendar.at_local(day + timedelta(days=1), 0)


@dataclass(frozen=True)
class _Activity:
    """How busy a factory was on one day, by its own devices."""

    day: date
    energy: Ratio | None
    running: tuple[Ratio, ...]

    @property
    def shares(self) -> list[float]:
        """Each inside witness's share of normal."""
        shares = [] if self.energy is None else [self.energy.value]
        return [*shares, fmean(part.value for part in self.running)] if self.running else shares

    @property
    def data(self) -> tuple[Datum, ...]:
        return tuple(part.datum for part in (*self.running, *((self.energy,) if self.energy else ())))

    @property
    def facts(self) -> dict[str, object]:
        figures: dict[str, object] = {"day": self.day.isoformat()}
        if self.energy is not None and self.energy.baseline is not None:
            figures["energy_kwh"] = self.energy.datum.value
            figures["energy_normal_kwh"] = self.energy.baseline.median
        if self.running:
            figures["running_share_of_normal"] = fmean(part.value for part in self.running)
        return figures


def _activities(context: SiteContext, count: int) -> list[_Activity]:
    """The last `count` open days on which at least one inside witness spoke beyond doubt, oldest first."""
    energy, running = context.policy.indicators["energy"], context.policy.indicators["running_hours"]
    site = f"site:{context.site.site_id}"
    subjects = context.evidence.subjects("running_hours_per_day")
    found = []
    for day in context.judged_days("energy_kwh_per_day", site, energy.baseline, count, by_class=True):
        day_class = context.calendar.day_class(day)
        used = context.ratio_on("energy_kwh_per_day", site, energy.baseline, day, day_class)
        ran = [context.ratio_on("running_hours_per_day", one, running.baseline, day, day_class) for one in subjects]
        found.append(_Activity(day, _sure(used), tuple(part for part in map(_sure, ran) if part is not None)))
    return [one for one in reversed(found) if one.shares]


def _sure(compared: Ratio | None) -> Ratio | None:
    """Only data of good quality prove a stop or a decline: a frozen register shows no growth either.

    A calibration that ended excuses nothing, or letting it end would silence the rules.
    """
    sure = compared is not None and (compared.datum.quality is Quality.GOOD or compared.datum.only_uncalibrated)
    return compared if sure else None


def _activity_decline(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """Shortfall of the median over `window` days of the busier of the two inside witnesses."""
    count = policy.window + max(policy.raise_count, policy.clear_count)
    days = [one for one in _activities(context, count) if max(one.shares) >= STANDSTILL_BELOW]
    samples = []
    for end in range(policy.window, len(days) + 1):
        stretch = days[end - policy.window : end]
        figure = 1.0 - median(max(one.shares) for one in stretch)
        data = [item for one in stretch for item in one.data]
        samples.append(Sample(_end(context, stretch[-1].day), figure, ids(*data), {"inside": stretch[-1].facts}))
    return _site(context, samples)


def _production_stop(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """Shortfall of the busier inside witness on single working days; both must have reported where both exist."""
    has_machines = bool(context.evidence.subjects("running_hours_per_day"))
    samples = [
        Sample(_end(context, one.day), 1.0 - max(one.shares), ids(*one.data), {"inside": one.facts})
        for one in _activities(context, policy.window)
        if one.energy is not None and (one.running or not has_machines)
    ]
    return _site(context, samples)


def _stock_removed(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """How much stock vanished within three days, by the witness that saw the least of it go."""
    last = context.last_due
    opened = open_since.get(context.site.site_id)
    first = min(last, context.calendar.local_day(opened)) if opened else last
    falls: list[dict[date, tuple[float, Datum]]] = []
    for quantity in ("stock_weight_kg", "tags_present_share"):
        for subject in context.evidence.subjects(quantity):
            data = context.by_day(quantity, subject, first - timedelta(days=policy.window + 8), last)
            falls.append(_falls(data, context, policy, opened))
    falls = [one for one in falls if one]
    samples = []
    for day in sorted({day for one in falls for day in one}):
        seen = [one[day] for one in falls if day in one]
        if len(seen) < min(2, len(falls)):
            continue
        facts: dict[str, object] = {item.quantity: item.value for _, item in seen}
        facts |= {"night_door_openings": _value_on(context, "night_door_openings", day), "day": day.isoformat()}
        behind = ids(*(item for _, item in seen))
        samples.append(Sample(_end(context, day), min(fall for fall, _ in seen), behind, {"inside": facts}))
    return _site(context, samples)


def _falls(
    data: Mapping[date, Datum], context: SiteContext, policy: RulePolicy, opened: datetime | None
) -> dict[date, tuple[float, Datum]]:
    """For each of the last days the fall against the level 2 to 5 days before, or before the open alert."""
    found = {}
    for offset in range(policy.window):
        day = context.last_due - timedelta(days=offset)
        anchor = day if opened is None else min(day, context.calendar.local_day(opened) - timedelta(days=1))
        before = [data[one].value for back in range(2, 6) if (one := anchor - timedelta(days=back)) in data]
        if day in data and len(before) >= 2 and median(before) > 0:
            found[day] = (1.0 - data[day].value / median(before), data[day])
    return found


def _value_on(context: SiteContext, quantity: str, day: date) -> float | None:
    values = [
        data[day].value
        for subject in context.evidence.subjects(quantity)
        if day in (data := context.by_day(quantity, subject, day, day))
    ]
    return max(values) if values else None


def _double_pledge(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """1 for a thing whose serial was pledged to another loan before, else 0."""
    today = context.calendar.local_day(context.at)
    found = []
    for asset in context.assets:
        if not asset.serial or asset.pledged_on > today:
            continue
        earlier = context.pledges.before(asset)
        facts: dict[str, object] = {
            "serial": asset.serial,
            "loans": [asset.loan_id, *sorted({other.loan_id for other in earlier})],
            "assets": [asset.asset_id, *sorted(other.asset_id for other in earlier)],
        }
        sample = Sample(context.at, 1.0 if earlier else 0.0, (), {"register": facts})
        found.append(Finding(SubjectKind.ASSET, asset.asset_id, (sample,)))
    return found


def _daily_samples(
    context: SiteContext, quantity: str, subject: str, days: int, figure: Callable[[float], float]
) -> list[Sample]:
    last = context.last_due
    data = context.by_day(quantity, subject, last - timedelta(days=days - 1), last)
    return [
        Sample(
            _end(context, day),
            figure(item.value),
            ids(item),
            {"inside": {quantity: item.value, "device": item.device, "day": day.isoformat()}},
        )
        for day, item in sorted(data.items())
    ]


def _sensor_frozen(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """Longest unchanging stretch of a live quantity, hours."""
    subject = f"site:{context.site.site_id}"
    return _site(context, _daily_samples(context, "frozen_hours", subject, policy.window, lambda value: value))


def _communication_loss(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """Share of expected readings that did not come."""
    subject = f"site:{context.site.site_id}"
    return _site(context, _daily_samples(context, "reporting_ratio", subject, policy.window, lambda value: 1.0 - value))


def _sources_disagree(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """Gap between the two sides' ratios to normal beyond what their noise explains, picture by picture.

    On a day that repeats an earlier one sample by sample the gap counts twice: picture and replay both speak against the
    devices.
    """
    row = next(one for one in INDICATORS if one.key == "agreement")
    pairs = [pair for pair in pairs_of_sides(row, context, since_days=45.0) if not _frozen(context, pair)][-policy.window :]
    samples = []
    for pair in pairs:
        facts = _both_sides(pair, context)
        behind = ids(pair.above.datum, pair.inside.datum)
        sample = Sample(pair.above.datum.valid_from, pair.unexplained, behind, facts)
        replayed = facts["replayed_hours"]
        twice = sample.figure >= policy.raise_at and isinstance(replayed, float) and replayed >= _REPLAYED_H
        samples += [sample, sample] if twice else [sample]
    return _site(context, samples)


def _frozen(context: SiteContext, pair: Pair) -> bool:
    """A frozen sensor has an alert of its own and tells nothing to disagree with."""
    hours = _value_on(context, "frozen_hours", pair.inside.datum.day)
    rule = context.policy.rules.get("sensor_frozen")
    return hours is not None and rule is not None and hours >= rule.raise_at


def _both_sides(pair: Pair, context: SiteContext) -> dict[str, object]:
    sides = {
        name: {
            "quantity": side.datum.quantity,
            "value": side.datum.value,
            "normal": side.baseline.median if side.baseline else None,
            "share_of_normal": side.value,
            "observation_id": side.datum.observation_id,
        }
        for name, side in (("above", pair.above), ("inside", pair.inside))
    }
    replayed = _value_on(context, "replayed_hours", pair.inside.datum.day)
    return {**sides, "gap": pair.gap, "sigma": pair.sigma, "replayed_hours": replayed}


def _panel_soiling(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """Loss of performance ratio that idle inverters do not explain: median of `window` days against the season's normal."""
    row = context.policy.indicators["performance_ratio"]
    subject = f"site:{context.site.site_id}"
    count = policy.window + max(policy.raise_count, policy.clear_count)
    found = context.daily_ratios("performance_ratio", subject, row.baseline, count, by_class=False)
    ratios = [(day, part) for day, part in reversed(found) if part is not None]
    explained = [(day, part, part.value / _working_share(context, day)) for day, part in ratios]
    samples = []
    for end in range(policy.window, len(explained) + 1):
        stretch = explained[end - policy.window : end]
        figure = 1.0 - median(value for _, _, value in stretch)
        day, newest, _ = stretch[-1]
        facts = {
            "performance_ratio": newest.datum.value,
            "normal": newest.baseline.median if newest.baseline else None,
            "working_inverters": _working_share(context, day),
        }
        samples.append(Sample(_end(context, day), figure, ids(*(part.datum for _, part, _ in stretch)), {"inside": facts}))
    return _site(context, samples)


def _working_share(context: SiteContext, day: date) -> float:
    """Mean yield of the inverters against the plant's median that day; 1 when nothing is known."""
    values = [
        data[day].value
        for subject in context.evidence.subjects("inverter_yield_ratio")
        if day in (data := context.by_day("inverter_yield_ratio", subject, day, day))
    ]
    return min(1.0, max(0.2, fmean(values))) if values else 1.0


def _inverter_outage(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """Loss of one inverter against the plant's median, on days with sun."""
    found = []
    last = context.last_due
    first = last - timedelta(days=policy.window - 1)
    for subject in context.evidence.subjects("inverter_yield_ratio"):
        samples = []
        for day, item in sorted(context.by_day("inverter_yield_ratio", subject, first, last).items()):
            sun = _value_on(context, "irradiation_kwh_m2_per_day", day)
            if sun is None or sun >= _SUNNY_KWH_M2:
                facts = {"inverter_yield_ratio": item.value, "irradiation_kwh_m2": sun, "day": day.isoformat()}
                samples.append(Sample(_end(context, day), 1.0 - item.value, ids(item), {"inside": facts}))
        found.append(Finding(SubjectKind.ASSET, subject.partition(":")[2], tuple(samples)))
    return found


_FACTORY = frozenset({SiteKind.FACTORY})
_SOLAR = frozenset({SiteKind.SOLAR})
_WAREHOUSE = frozenset({SiteKind.WAREHOUSE})
_ALL = frozenset(SiteKind)

RULES: tuple[Rule, ...] = (
    Rule("activity_decline", _FACTORY, _activity_decline, True, "1", "the factory works less and less"),
    Rule("production_stop", _FACTORY, _production_stop, True, "1", "devices report, and report a standstill"),
    Rule("stock_removed", _WAREHOUSE, _stock_removed, True, "1", "stock went within days"),
    Rule("stock_seen_less", _ALL, stock_seen_less, True, "1", "pictures show less of the pledged stock"),
    Rule("panels_missing", _SOLAR, panels_missing, True, "1", "panels are gone"),
    Rule("modules_faulty", _SOLAR, modules_faulty, False, "1", "modules have faults, seen in infrared"),
    Rule("buildings_changed", _ALL, buildings_changed, False, "m2", "roofs or buildings changed"),
    Rule("double_pledge", _ALL, _double_pledge, False, "1", "one thing secures two loans"),
    Rule("sensor_frozen", _ALL, _sensor_frozen, False, "h", "a live value no longer changes"),
    Rule(
        "sources_disagree", _FACTORY | _WAREHOUSE, _sources_disagree, True, "1", "pictures and devices contradict each other"
    ),
    Rule("communication_loss", _ALL, _communication_loss, False, "1", "readings do not come"),
    Rule("panel_soiling", _SOLAR, _panel_soiling, True, "1", "the plant yields less than the sun allows"),
    Rule("inverter_outage", _SOLAR, _inverter_outage, False, "1", "one inverter stands still"),
    Rule("route_deviation", _ALL, daily("route_deviation_m"), False, "m", "a truck left its corridor"),
    Rule("left_region", _ALL, daily("outside_region_m"), False, "m", "a movable left the region it must not leave"),
    Rule("forbidden_area", _ALL, daily("forbidden_area_hours"), False, "h", "a movable was where it must not be"),
    Rule("unexplained_stop", _ALL, daily("unexplained_stop_hours"), False, "h", "a truck stood at an unknown place"),
    Rule("tamper", _ALL, tamper, False, "1", "a device was tampered with, or a thing removed by force"),
    Rule("positions_implausible", _ALL, daily("implausible_positions"), False, "1", "positions cannot be"),
)
"""Rules about sites; `covenant_breach`, which is about loans, is in `scoring.coverage`."""

COVENANT_RULE = "covenant_breach"
FREEZING = frozenset(rule.name for rule in RULES if rule.freezes)

