"""What the readings of one site say about each of its days: observations from a view of what was known. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from collateral.db.geofences import Geofence
from collateral.db.passports import Calibration
from collateral.db.telemetry import from_us
from collateral.domain import Asset, AssetKind, Observation, Quality, Site, SiteKind, Source, SubjectKind
from iot import amounts, checks
from iot.amounts import DayValues
from iot.areas import AreaBook, Areas
from iot.believed import believed
from iot.calibration import lapses, uncalibrated
from iot.liveness import OFTEN, Awaited, DeviceDays, device_days, silent_gateways, unheard_days
from iot.signals import Signal, View
from iot.tamper import contact_hours, power_lost_hours
from iot.tracks import (
    AreasOf,
    Movable,
    forbidden_hours,
    implausible_positions,
    learnt_deviation,
    movable,
    moved_engine_off,
    outside_region,
    route_deviation,
    unexplained_stops,
)

PYRANOMETER_CLASS = 0.02
SCALE_CLASS = 0.005
LEAST_IRRADIATION = 0.5
"""kWh/m2 of a day below which a performance ratio says nothing."""
LEAST_YIELD = 0.3
"""kWh/kWp of the plant's median inverter below which inverters are not compared."""
NIGHT = (22, 5)
"""Local hours between which nobody should open a gate."""
SUSPECT_FROZEN_H = 4.0
SUSPECT_REPLAYED_H = checks.REPLAY_HOURS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SiteContext:
    """What must be known of a site besides its readings."""

    site: Site
    assets: Mapping[str, Asset]
    """Of this site, by id."""
    asset_of: Mapping[str, str]
    """Device -> asset it measures, empty for the site as a whole."""
    first_us: Mapping[str, int]
    """Device -> its first reading ever."""
    gateway_of: Mapping[str, str] = field(default_factory=dict)
    """Device -> gateway that speaks for it, empty for none."""
    awaited: Mapping[str, Awaited] = field(default_factory=dict)
    """Device -> since when it should report; a registered device that never did counts as silent."""
    fences: Sequence[Geofence] = ()
    """Of this site, all rows."""
    calibrations: Mapping[str, Sequence[Calibration]] = field(default_factory=dict)
    """Device -> when it was calibrated, where that ends some time."""
    owner_of: Mapping[str, str] = field(default_factory=dict)
    """Device -> who owns it: who could tamper with it."""


@dataclass(frozen=True)
class Statement:
    """One quantity of one subject for every day of the grid."""

    subject_kind: SubjectKind
    subject_id: str
    quantity: str
    method: str
    days: DayValues
    evidence: Sequence[Mapping[str, object]]
    """Per day."""
    suspect: NDArray[np.bool_]
    """Days on which a device that was used repeated itself, or was not calibrated any more."""


def statements(view: View, context: SiteContext) -> list[Statement]:
    """Everything that can be said of the site's days."""
    trust = _Trust(view, context)
    said = list(trust.statements())
    view = believed(view)
    kind = context.site.kind
    said += _energy(view, context, trust, solar=kind is SiteKind.SOLAR)
    said += _machines(view, context, trust)
    if kind is SiteKind.SOLAR:
        said += _solar(view, context, trust)
    said += _doors(view, context, trust)
    said += _stock(view, context, trust)
    said += _routes(view, context, trust)
    said += _tamper(view, context, trust)
    return said


def observations(
    view: View,
    context: SiteContext,
    said: Iterable[Statement],
    chosen: NDArray[np.bool_],
    known_us: NDArray[np.int64] | None,
) -> Iterator[Observation]:
    """Statements about the chosen days as observations.

    Args:
        view: what the statements were made from.
        context: the site.
        said: from `statements`.
        chosen: per day.
        known_us: per day when it could be known; None: the latest arrival of what was used, and only where that lies after
            the day's cutoff, because what came before it is in the first revision already.
    """
    edges = [from_us(edge) for edge in view.grid.edges_us.tolist()]
    for statement in said:
        days = statement.days
        usable = chosen & np.isfinite(days.value)
        if known_us is None:
            usable &= days.known_us > view.grid.edges_us[1:] + CUTOFF_US
        for day in np.flatnonzero(usable).tolist():
            value = round(float(days.value[day]), 4)
            yield Observation(
                statement.subject_kind,
                statement.subject_id,
                context.site.site_id,
                statement.quantity,
                edges[day],
                edges[day + 1],
                Source.TELEMETRY,
                statement.method,
                value,
                min(value, round(float(days.lower[day]), 4)),
                max(value, round(float(days.upper[day]), 4)),
                _quality(float(days.coverage[day]), bool(statement.suspect[day])),
                from_us(int(days.known_us[day] if known_us is None else known_us[day])),
                statement.evidence[day],
            )


CUTOFF_US = 7_200_000_000
"""The first statement about a day uses what came until two hours after its end."""
SETTLE_US = 120_000_000
"""It is made this long after, so that what came in time is in the table."""


def _quality(coverage: float, suspect: bool) -> Quality:
    return Quality.GOOD if coverage >= amounts.FULL_COVERAGE and not suspect else Quality.DOUBTFUL


class _Trust:
    """How each device was heard, and whether it repeated itself."""

    def __init__(self, view: View, context: SiteContext) -> None:
        self._view = view
        self._context = context
        by_device: dict[str, list[Signal]] = {}
        for (device, _), signal in sorted(view.signals.items()):
            by_device.setdefault(device, []).append(signal)
        self.heard: list[DeviceDays] = [
            device_days(view, signals, context.first_us[device], context.awaited.get(device))
            for device, signals in by_device.items()
        ]
        if self.heard:
            self.heard += [
                unheard_days(view.grid, device, awaited)
                for device, awaited in sorted(context.awaited.items())
                if device not in by_device
            ]
        nothing = np.zeros(len(view.grid))
        self.frozen: dict[str, Floats] = {}
        self.replayed: dict[str, Floats] = {}
        self.lapses = lapses(context.calibrations, view)
        self.owner_of = context.owner_of
        for device, signals in by_device.items():
            live = [signal for signal in signals if signal.quantity in checks.LIVE_QUANTITIES]
            self.frozen[device] = reduce(np.maximum, (checks.frozen_hours(view.grid, s) for s in live), nothing)
            self.replayed[device] = reduce(np.maximum, (checks.replayed_hours(view.grid, s) for s in live), nothing)

    def repeated(self, devices: Iterable[str]) -> NDArray[np.bool_]:
        """Days on which one of the devices repeated itself."""
        flags = np.zeros(len(self._view.grid), bool)
        for device in devices:
            flags |= (self.frozen[device] >= SUSPECT_FROZEN_H) | (self.replayed[device] >= SUSPECT_REPLAYED_H)
        return flags

    def statements(self) -> Iterator[Statement]:
        """The site's worst device on each day."""
        if not self.heard:
            return
        devices = [heard.device_id for heard in self.heard]
        ratio = np.array([heard.ratio for heard in self.heard])
        known = np.max([heard.known_us for heard in self.heard], axis=0)
        whole = np.where(np.isnan(ratio).all(axis=0), np.nan, 1.0)
        worst = np.argmin(np.where(np.isnan(ratio), np.inf, ratio), axis=0)
        silent = (ratio == 0).sum(axis=0)
        evidence = [
            {
                "device_id": devices[i],
                "received": int(self.heard[i].received[day]),
                "expected": int(self.heard[i].expected[day]),
                "silent_devices": int(silent[day]),
                "devices": len(devices),
                **self._more(self.heard[i], day, int(silent[day])),
            }
            for day, i in enumerate(worst.tolist())
        ]
        value = ratio[worst, np.arange(len(worst))] * whole
        yield self._worst("reporting_ratio", DayValues(value, value, value, np.ones(len(value)), known), evidence)
        nothing = np.zeros(len(self._view.grid))
        late = np.array([heard.late_hours for heard in self.heard])
        tables = (
            ("late_hours", late),
            ("frozen_hours", np.array([self.frozen.get(device, nothing) for device in devices])),
            ("replayed_hours", np.array([self.replayed.get(device, nothing) for device in devices])),
        )
        heard_any = np.where(np.array([heard.received for heard in self.heard]).sum(axis=0) > 0, 1.0, np.nan)
        for quantity, hours in tables:
            worst = np.argmax(hours, axis=0)
            value = hours[worst, np.arange(len(worst))] * heard_any
            named: list[Mapping[str, object]] = [
                {"device_id": devices[i]} if value[day] > 0 else {} for day, i in enumerate(worst.tolist())
            ]
            yield self._worst(quantity, DayValues(value, value, value, np.ones(len(value)), known), named)

    def _more(self, worst: DeviceDays, day: int, silent: int) -> Mapping[str, object]:
        """What else explains the worst device: a gateway that hides several, an interval of its own."""
        more: dict[str, object] = {}
        gateways = silent_gateways(self.heard, self._context.gateway_of, day) if silent > 1 else []
        if gateways:
            more["silent_gateways"] = gateways
        awaited, usual = self._context.awaited.get(worst.device_id), float(worst.usual_s[day])
        if awaited is not None and np.isfinite(usual):
            registered = awaited.interval_us / 1e6
            if max(usual / registered, registered / max(usual, 1e-9)) >= OFTEN:
                more["usual_interval_s"] = round(usual, 1)
        return more

    def _worst(self, quantity: str, days: DayValues, evidence: Sequence[Mapping[str, object]]) -> Statement:
        return Statement(
            SubjectKind.SITE, self._context.site.site_id, quantity, f"{quantity}@1", days, evidence,
            np.zeros(len(self._view.grid), bool),
        )  # fmt: skip


def _of_site(
    context: SiteContext, trust: _Trust, quantity: str, method: str, days: DayValues, devices: Sequence[str], **more: Floats
) -> Statement:
    return _of(SubjectKind.SITE, context.site.site_id, trust, quantity, method, days, devices, **more)


def _of(
    kind: SubjectKind, subject: str, trust: _Trust, quantity: str, method: str, days: DayValues, devices: Sequence[str],
    **more: Floats,
) -> Statement:  # fmt: skip
    named, suspect = list(devices), trust.repeated(devices)
    sound = ~suspect & (days.coverage >= amounts.FULL_COVERAGE)
    for device in named:
        suspect |= trust.lapses.get(device, False)
    owners = sorted({trust.owner_of[device] for device in named if device in trust.owner_of})
    evidence: list[Mapping[str, object]] = [
        {
            "devices": named,
            "owners": owners,
            "coverage": round(float(share), 4),
            **{key: round(float(figures[day]), 4) for key, figures in more.items() if np.isfinite(figures[day])},
            **uncalibrated(trust.lapses, named, day, bool(sound[day])),
        }
        for day, share in enumerate(days.coverage.tolist())
    ]
    return Statement(kind, subject, quantity, f"{method}@1", days, evidence, suspect)


def _whole_day(view: View, signal: Signal, accuracy: float = amounts.METER_CLASS) -> DayValues:
    return amounts.register_growth(view, signal, view.grid.edges_us[:-1], view.grid.edges_us[1:], accuracy)


def _site_level(context: SiteContext, signals: list[Signal]) -> list[Signal]:
    """Meters of the whole site where there are any, else all: a sub-meter must not count twice."""
    whole = [signal for signal in signals if not context.asset_of.get(signal.device_id)]
    return whole or signals


def _energy(view: View, context: SiteContext, trust: _Trust, solar: bool) -> Iterator[Statement]:
    """Energy by the best meter there is: register, else interval amounts, else power over time."""
    if solar:
        signals = view.of("ac_energy_total_kwh")
        if signals:
            days = reduce(add, (_whole_day(view, signal) for signal in signals))
            devices = [signal.device_id for signal in signals]
            yield _of_site(context, trust, "ac_energy_kwh_per_day", "ac_energy_register", days, devices)
    if registers := _site_level(context, view.of("energy_total_kwh")):
        days, method, used = reduce(add, (_whole_day(view, s) for s in registers)), "energy_register", registers
    elif sums := _site_level(context, view.of("energy_interval_kwh")):
        days, method, used = reduce(add, (amounts.interval_sum(view, s) for s in sums)), "energy_interval", sums
    elif powers := _site_level(context, view.of("active_power_kw")):
        parts = (amounts.integral(view, s, 1.0, amounts.METER_CLASS) for s in powers)
        days, method, used = reduce(add, parts), "energy_from_power", powers
    else:
        return
    yield _of_site(context, trust, "energy_kwh_per_day", method, days, [signal.device_id for signal in used])


def _machines(view: View, context: SiteContext, trust: _Trust) -> Iterator[Statement]:
    signals = view.of("machine_running")
    if signals:
        days = amounts.hours_on(view, signals)
        devices = [signal.device_id for signal in signals]
        yield _of_site(context, trust, "running_hours_per_day", "running_hours", days, devices)


def _solar(view: View, context: SiteContext, trust: _Trust) -> Iterator[Statement]:
    """Irradiation, performance ratio and inverters against each other, by IEC 61724-1."""
    inverters = view.of("ac_energy_total_kwh")
    yields = {signal.device_id: _whole_day(view, signal) for signal in inverters}
    stations = view.of("irradiance_poa_w_m2")
    if stations:
        parts = [amounts.integral(view, signal, 0.001, PYRANOMETER_CLASS) for signal in stations]
        total = reduce(add, parts)
        n = len(parts)
        sun = DayValues(total.value / n, total.lower / n, total.upper / n, total.coverage, total.known_us)
        names = [signal.device_id for signal in stations]
        yield _of_site(context, trust, "irradiation_kwh_m2_per_day", "irradiation", sun, names)
        peak = _peak_kw(context)
        if yields and peak > 0:
            ratio = _performance_ratio(reduce(add, yields.values()), sun, peak)
            used = [*yields, *names]
            yield _of_site(context, trust, "performance_ratio", "performance_ratio", ratio, used, h_poa=sun.value)
    yield from _inverters(context, trust, yields)


def _peak_kw(context: SiteContext) -> float:
    if context.site.installed_kwp:
        return context.site.installed_kwp
    return sum(asset.quantity for asset in context.assets.values() if asset.kind is AssetKind.PV_ARRAY)


def _performance_ratio(energy: DayValues, sun: DayValues, peak_kw: float) -> DayValues:
    """PR = Yf / Yr with Yf = E_AC / P0 and Yr = H_POA / (1 kW/m2)."""
    enough = sun.value >= LEAST_IRRADIATION
    reference = np.where(enough, sun.value, np.nan)
    low, high = np.where(enough, sun.lower, np.nan), np.where(enough, sun.upper, np.nan)
    return DayValues(
        energy.value / peak_kw / reference,
        energy.lower / peak_kw / high,
        energy.upper / peak_kw / np.maximum(low, 1e-6),
        np.minimum(energy.coverage, sun.coverage),
        np.maximum(energy.known_us, sun.known_us),
    )


def _inverters(context: SiteContext, trust: _Trust, yields: Mapping[str, DayValues]) -> Iterator[Statement]:
    """Specific yield of each inverter against the plant's median; needs three inverters that can be compared."""
    arrays = {
        device: context.assets[context.asset_of[device]]
        for device in yields
        if context.asset_of.get(device) in context.assets and context.assets[context.asset_of[device]].quantity > 0
    }
    if len(arrays) < 3:
        return
    specific = np.array([yields[device].value / asset.quantity for device, asset in arrays.items()])
    count = np.isfinite(specific).sum(axis=0)
    filled = np.where(count >= 3, specific, np.nan)
    median = np.full(specific.shape[1], np.nan)
    judged = count >= 3
    median[judged] = np.nanmedian(filled[:, judged], axis=0)
    median = np.where(median >= LEAST_YIELD, median, np.nan)
    for device, asset in arrays.items():
        mine = yields[device]
        scale = asset.quantity * median
        days = DayValues(mine.value / scale, mine.lower / scale, mine.upper / scale, mine.coverage, mine.known_us)
        yield _of(
            SubjectKind.ASSET, asset.asset_id, trust, "inverter_yield_ratio", "inverter_yield_ratio", days, [device],
            median_kwh_kwp=median, compared=count.astype(np.float64),
        )  # fmt: skip


def _doors(view: View, context: SiteContext, trust: _Trust) -> Iterator[Statement]:
    signals = view.of("door_openings_total")
    if not signals:
        return
    devices = [signal.device_id for signal in signals]
    days = reduce(add, (_whole_day(view, signal, 0.0) for signal in signals))
    yield _of_site(context, trust, "door_openings_per_day", "door_openings", days, devices)
    begin, end = view.grid.edges_us[:-1], view.grid.edges_us[1:]
    evening, morning = view.grid.clock(NIGHT[0]), view.grid.clock(NIGHT[1])
    parts = [
        amounts.register_growth(view, signal, first, last, 0.0)
        for signal in signals
        for first, last in ((begin, morning), (evening, end))
    ]
    yield _of_site(context, trust, "night_door_openings", "night_door_openings", reduce(add, parts), devices)


def _stock(view: View, context: SiteContext, trust: _Trust) -> Iterator[Statement]:
    if scales := view.of("weight_kg"):
        total = reduce(add, (amounts.last_of_day(view, signal) for signal in scales))
        days = DayValues(
            total.value, total.value * (1 - SCALE_CLASS), total.value * (1 + SCALE_CLASS), total.coverage, total.known_us
        )
        yield _of_site(context, trust, "stock_weight_kg", "stock_weight", days, [signal.device_id for signal in scales])
    if readers := view.of("tags_present"):
        seen = reduce(add, (amounts.last_of_day(view, signal) for signal in readers))
        pledged = _pledged_tags(view, context)
        share = np.where(pledged > 0, np.minimum(1.0, seen.value / np.where(pledged > 0, pledged, 1.0)), np.nan)
        days = DayValues(share, share, share, seen.coverage, seen.known_us)
        devices = [signal.device_id for signal in readers]
        yield _of_site(
            context, trust, "tags_present_share", "tags_present", days, devices, answering=seen.value, pledged=pledged
        )


def _pledged_tags(view: View, context: SiteContext) -> Floats:
    """Tags of the lots pledged by each day, one per unit; a lot pledged twice carries its tags once."""
    pledged = np.zeros(len(view.grid))
    serials: set[str] = set()
    lots = [asset for asset in context.assets.values() if asset.kind is AssetKind.STOCK_LOT]
    for lot in sorted(lots, key=lambda asset: (asset.pledged_on, asset.asset_id)):
        if lot.serial in serials:
            continue
        serials.add(lot.serial)
        pledged += np.array([lot.quantity if view.grid.day(i) >= lot.pledged_on else 0.0 for i in range(len(view.grid))])
    return pledged


def _routes(view: View, context: SiteContext, trust: _Trust) -> Iterator[Statement]:
    """Positions of what is pledged; of two trackers on one thing the first by id speaks."""
    spoken: set[str] = set()
    for lon in view.of("longitude_deg"):
        asset = context.assets.get(context.asset_of.get(lon.device_id, ""))
        lat = view.signals.get((lon.device_id, "latitude_deg"))
        if asset is None or lat is None or asset.asset_id in spoken:
            continue
        spoken.add(asset.asset_id)
        book = AreaBook(context.site, asset, context.fences)
        truck = movable(view, lon, lat, context.site.utm_epsg)
        yield from _of_movable(truck, partial(_areas_on, book, view), context, trust, asset)


def _areas_on(book: AreaBook, view: View, number: int) -> Areas:
    return book.on(view.grid.day(number))


def _of_movable(
    truck: Movable, areas: AreasOf, context: SiteContext, trust: _Trust, asset: Asset
) -> Iterator[Statement]:
    device = truck.lon.device_id

    def said(quantity: str, method: str, days: DayValues, **more: Floats) -> Statement:
        return _of(SubjectKind.ASSET, asset.asset_id, trust, quantity, method, days, [device], **more)

    yield said("route_deviation_m", "route_deviation", route_deviation(truck, areas))
    yield said("learnt_route_deviation_m", "learnt_route", learnt_deviation(truck, areas))
    stood = unexplained_stops(truck, areas)
    yield said(
        "unexplained_stop_hours", "unexplained_stops", stood.hours, longest_lon=stood.lon, longest_lat=stood.lat
    )
    yield said("outside_region_m", "outside_region", outside_region(truck, areas))
    yield said("forbidden_area_hours", "forbidden_area", forbidden_hours(truck, areas))
    speed = truck.view.signals.get((device, "speed_km_h"))
    yield said("implausible_positions", "implausible_positions", implausible_positions(truck, speed))
    engine = truck.view.signals.get((device, "engine_on"))
    if engine is not None and len(engine.time_us):
        yield said("moved_engine_off_m", "moved_engine_off", moved_engine_off(truck, engine))


_TAMPER = (
    ("tamper_contact", "tamper_contact_hours", contact_hours), ("external_power", "power_lost_hours", power_lost_hours)
)  # fmt: skip


def _tamper(view: View, context: SiteContext, trust: _Trust) -> Iterator[Statement]:
    """What devices say about their own mounting and feed: per thing or site the device that says most."""
    for reading, quantity, hours_of in _TAMPER:
        found: dict[tuple[SubjectKind, str], list[tuple[str, DayValues]]] = {}
        for signal in view.of(reading):
            asset = context.asset_of.get(signal.device_id, "")
            subject = (SubjectKind.ASSET, asset) if asset in context.assets else (SubjectKind.SITE, context.site.site_id)
            found.setdefault(subject, []).append((signal.device_id, hours_of(view, signal)))
        for (kind, subject_id), told in found.items():
            days = reduce(_most, (one for _, one in told))
            yield _of(kind, subject_id, trust, quantity, quantity, days, [device for device, _ in told])


def _most(one: DayValues, other: DayValues) -> DayValues:
    """The larger of two, where only one is known that one."""
    return DayValues(
        np.fmax(one.value, other.value), np.fmax(one.lower, other.lower), np.fmax(one.upper, other.upper),
        np.minimum(one.coverage, other.coverage), np.maximum(one.known_us, other.known_us),
    )  # fmt: skip
