"""Each quantity of a site beside what is normal for it, by the same baselines the score uses. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from collateral.domain import AlertState, Observation, Quality, Source, SubjectKind
from dashboard.doubts import doubtful_days
from dashboard.model import SiteView
from scoring.baseline import Baseline
from scoring.calendar import SiteCalendar
from scoring.context import SiteContext
from scoring.evidence import Evidence, datum
from scoring.indicators import INDICATORS, Cadence, Indicator, Normal
from scoring.policy import Policy
from scoring.rules import FREEZING

SHOWN_DAYS = 90
PICTURES_DAYS = 365
_SIGMAS = 2.0


@dataclass(frozen=True)
class Band:
    """What is usual on one day: median and two standard deviations of single values."""

    day: date
    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Chart:
    """One quantity of one subject in time."""

    quantity: str
    subject_id: str
    source: Source
    points: Sequence[Observation]
    """Oldest first; bad ones included, and drawn as such."""
    band: Sequence[Band]
    """Empty where no normal is known."""
    reference: float | None
    """What the quantity is compared with besides its own past: 1 for ratios, the pledged area of panels."""
    judged: bool
    """True when the score compares it with its own past."""
    newest: Observation
    doubted: Sequence[tuple[date, date]] = ()
    """Runs of local days, both ends included, on which readings behind it are doubted."""
    usual: Band | None = None
    """Of the newest value's own day; None where no normal of such days is known."""


_FIRST = (
    "energy_kwh_per_day", "running_hours_per_day", "performance_ratio", "inverter_yield_ratio", "stock_weight_kg",
    "tags_present_share", "door_openings_per_day", "night_door_openings", "vehicle_count", "heavy_vehicle_count",
    "slot_occupancy", "stock_cover", "panel_area_m2", "panel_missing_share", "panel_covered_share", "panel_dark_share",
    "faulty_module_share", "changed_area_m2", "ac_energy_kwh_per_day",
    "irradiation_kwh_m2_per_day", "route_deviation_m",
    "reporting_ratio", "frozen_hours", "replayed_hours", "late_hours",
)
"""Order of charts; what is not named comes last."""


def charts(view: SiteView, policy: Policy, at: datetime) -> list[Chart]:
    """All quantities observed in the time that is shown, with their normal band as it stands at `at`."""
    calendar = SiteCalendar(policy.calendar, view.site.time_zone, [one.day for one in view.holidays])
    evidence = Evidence(datum(one, calendar) for one in view.observations)
    evidence.advance(max([at, *(one.known_at for one in view.observations)]))
    context = SiteContext(view.site, policy, calendar, evidence, at, _frozen_at(view))
    groups: dict[tuple[str, str, Source], list[Observation]] = {}
    for one in view.observations:
        days = PICTURES_DAYS if one.source is Source.IMAGERY else SHOWN_DAYS
        if one.valid_from >= at - timedelta(days=days):
            groups.setdefault((one.quantity, f"{one.subject_kind}:{one.subject_id}", one.source), []).append(one)
    found = []
    for (quantity, subject, source), points in groups.items():
        band, newest = _band(context, quantity, subject, points), points[-1]
        usual = band[-1] if band and band[-1].day == calendar.local_day(newest.valid_from) else None
        doubted = _doubted(view, quantity, newest) if source is Source.TELEMETRY else ()
        judged = _compared_with(quantity) in (Normal.OWN_PAST, Normal.PLEDGED)
        found.append(
            Chart(
                quantity, newest.subject_id, source, points, band, _reference(view, quantity), judged, newest, doubted, usual
            )
        )
    return sorted(found, key=lambda chart: (_place(chart.quantity), chart.subject_id))


def _doubted(view: SiteView, quantity: str, newest: Observation) -> list[tuple[date, date]]:
    asset = newest.subject_id if newest.subject_kind is SubjectKind.ASSET else ""
    return doubtful_days(view.doubts, quantity, asset, view.devices, view.site.time_zone)


def _place(quantity: str) -> int:
    return _FIRST.index(quantity) if quantity in _FIRST else len(_FIRST)


def _frozen_at(view: SiteView) -> datetime | None:
    """Baselines stand still from the first alert about activity that has not ended."""
    raised = [one.raised_at for one in view.alerts if one.rule in FREEZING and one.state is not AlertState.CLEARED]
    return min(raised, default=None)


def _band(context: SiteContext, quantity: str, subject: str, points: Sequence[Observation]) -> list[Band]:
    row = _INDICATOR_OF.get(quantity)
    if row is None or row.normal in (Normal.ONE, Normal.NONE) or row.key not in context.policy.indicators:
        return []
    if row.cadence is Cadence.SCENE:
        return _scene_band(context, row, subject, points)
    baseline = context.policy.indicators[row.key].baseline
    days = sorted({context.calendar.local_day(one.valid_from) for one in points})
    bands = []
    for day in days:
        normal = context.normal(quantity, subject, baseline, context.calendar.day_class(day) if row.by_class else None)
        if normal is not None:
            bands.append(_around(day, normal))
    return bands


def _scene_band(context: SiteContext, row: Indicator, subject: str, points: Sequence[Observation]) -> list[Band]:
    policy = context.policy.indicators[row.key].baseline
    series = context.series(row.quantity, subject)
    if series is None:
        return []
    bands = []
    for held in series.between(points[0].valid_from, points[-1].valid_from + timedelta(seconds=1)):
        day_class = context.calendar.day_class(held.day) if row.by_class else None
        compared = context.scene_ratio(held, policy, day_class)
        if compared is not None and compared.baseline is not None:
            bands.append(_around(held.day, compared.baseline))
    return bands


def _compared_with(quantity: str) -> Normal | None:
    row = _INDICATOR_OF.get(quantity)
    return None if row is None else row.normal


def _reference(view: SiteView, quantity: str) -> float | None:
    found = _compared_with(quantity)
    if found is Normal.PLEDGED:
        return view.site.panel_area_m2
    return 1.0 if found is Normal.ONE else None


def _around(day: date, normal: Baseline) -> Band:
    reach = _SIGMAS * normal.spread
    return Band(day, max(0.0, normal.median - reach), normal.median, normal.median + reach)


_INDICATOR_OF: Mapping[str, Indicator] = {row.quantity: row for row in INDICATORS if row.quantity}


def witnesses(view: SiteView, since: datetime) -> Mapping[Source, Sequence[str]]:
    """Which quantities each side has told since then with usable quality: one witness is shown as one."""
    told: dict[Source, set[str]] = {source: set() for source in Source}
    for one in view.observations:
        if one.valid_from >= since and one.quality is not Quality.BAD and one.quantity not in _ABOUT_DEVICES:
            told[one.source].add(one.quantity)
    return {source: sorted(names, key=_place) for source, names in told.items()}


_ABOUT_DEVICES = frozenset({"reporting_ratio", "frozen_hours", "replayed_hours", "late_hours"})
"""These speak of the sensors, not of the site."""
