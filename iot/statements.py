"""What the readings of one site say about each of its days: observations from a view of what was known. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from collateral.db.telemetry import from_us
from collateral.domain import AssetKind, Observation, Quality, SiteKind, Source, SubjectKind
from collateral.pledges import pledged_once
from iot import amounts
from iot.amounts import DayValues
from iot.believed import believed
from iot.movables import movements, tampering
from iot.signals import Signal, View
from iot.trust import Floats, SiteContext, Statement, Trust, say, say_of_site

PYRANOMETER_CLASS = 0.02
SCALE_CLASS = 0.005
LEAST_IRRADIATION = 0.5
"""kWh/m2 of a day below which a performance ratio says nothing."""
LEAST_YIELD = 0.3
"""kWh/kWp of the plant's median inverter below which inverters are not compared."""
NIGHT = (22, 5)
"""Local hours between which nobody should open a gate."""


def statements(view: View, context: SiteContext) -> list[Statement]:
    """Everything that can be said of the site's days."""
    trust = Trust(view, context)
    said = list(trust.statements())
    view = believed(view)
    kind = context.site.kind
    said += _energy(view, context, trust, solar=kind is SiteKind.SOLAR)
    said += _machines(view, context, trust)
    if kind is SiteKind.SOLAR:
        said += _solar(view, context, trust)
    said += _doors(view, context, trust)
    said += _stock(view, context, trust)
    said += movements(view, context, trust)
    said += tampering(view, context, trust)
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


def _whole_day(view: View, signal: Signal, accuracy: float = amounts.METER_CLASS) -> DayValues:
    return amounts.register_growth(view, signal, view.grid.edges_us[:-1], view.grid.edges_us[1:], accuracy)


def _site_level(context: SiteContext, signals: list[Signal]) -> list[Signal]:
    """Meters of the whole site where there are any, else all: a sub-meter must not count twice."""
    whole = [signal for signal in signals if not context.asset_of.get(signal.device_id)]
    return whole or signals


def _energy(view: View, context: SiteContext, trust: Trust, solar: bool) -> Iterator[Statement]:
    """Energy by the best meter there is: register, else interval amounts, else power over time."""
    if solar:
        signals = view.of("ac_energy_total_kwh")
        if signals:
            days = reduce(add, (_whole_day(view, signal) for signal in signals))
            devices = [signal.device_id for signal in signals]
            yield say_of_site(context, trust, "ac_energy_kwh_per_day", "ac_energy_register", days, devices)
    if registers := _site_level(context, view.of("energy_total_kwh")):
        days, method, used = reduce(add, (_whole_day(view, s) for s in registers)), "energy_register", registers
    elif sums := _site_level(context, view.of("energy_interval_kwh")):
        days, method, used = reduce(add, (amounts.interval_sum(view, s) for s in sums)), "energy_interval", sums
    elif powers := _site_level(context, view.of("active_power_kw")):
        parts = (amounts.integral(view, s, 1.0, amounts.METER_CLASS) for s in powers)
        days, method, used = reduce(add, parts), "energy_from_power", powers
    else:
        return
    yield say_of_site(context, trust, "energy_kwh_per_day", method, days, [signal.device_id for signal in used])


def _machines(view: View, context: SiteContext, trust: Trust) -> Iterator[Statement]:
    signals = view.of("machine_running")
    if signals:
        days = amounts.hours_on(view, signals)
        devices = [signal.device_id for signal in signals]
        yield say_of_site(context, trust, "running_hours_per_day", "running_hours", days, devices)


def _solar(view: View, context: SiteContext, trust: Trust) -> Iterator[Statement]:
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
        yield say_of_site(context, trust, "irradiation_kwh_m2_per_day", "irradiation", sun, names)
        peak = _peak_kw(context)
        if yields and peak > 0:
            ratio = _performance_ratio(reduce(add, yields.values()), sun, peak)
            used = [*yields, *names]
            yield say_of_site(context, trust, "performance_ratio", "performance_ratio", ratio, used, h_poa=sun.value)
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


def _inverters(context: SiteContext, trust: Trust, yields: Mapping[str, DayValues]) -> Iterator[Statement]:
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
        yield say(
            SubjectKind.ASSET, asset.asset_id, trust, "inverter_yield_ratio", "inverter_yield_ratio", days, [device],
            median_kwh_kwp=median, compared=count.astype(np.float64),
        )  # fmt: skip


def _doors(view: View, context: SiteContext, trust: Trust) -> Iterator[Statement]:
    signals = view.of("door_openings_total")
    if not signals:
        return
    devices = [signal.device_id for signal in signals]
    days = reduce(add, (_whole_day(view, signal, 0.0) for signal in signals))
    yield say_of_site(context, trust, "door_openings_per_day", "door_openings", days, devices)
    begin, end = view.grid.edges_us[:-1], view.grid.edges_us[1:]
    evening, morning = view.grid.clock(NIGHT[0]), view.grid.clock(NIGHT[1])
    parts = [
        amounts.register_growth(view, signal, first, last, 0.0)
        for signal in signals
        for first, last in ((begin, morning), (evening, end))
    ]
    yield say_of_site(context, trust, "night_door_openings", "night_door_openings", reduce(add, parts), devices)


def _stock(view: View, context: SiteContext, trust: Trust) -> Iterator[Statement]:
    if scales := view.of("weight_kg"):
        total = reduce(add, (amounts.last_of_day(view, signal) for signal in scales))
        days = DayValues(
            total.value, total.value * (1 - SCALE_CLASS), total.value * (1 + SCALE_CLASS), total.coverage, total.known_us
        )
        yield say_of_site(context, trust, "stock_weight_kg", "stock_weight", days, [signal.device_id for signal in scales])
    if readers := view.of("tags_present"):
        seen = reduce(add, (amounts.last_of_day(view, signal) for signal in readers))
        pledged = _pledged_tags(view, context)
        share = np.where(pledged > 0, np.minimum(1.0, seen.value / np.where(pledged > 0, pledged, 1.0)), np.nan)
        days = DayValues(share, share, share, seen.coverage, seen.known_us)
        devices = [signal.device_id for signal in readers]
        yield say_of_site(
            context, trust, "tags_present_share", "tags_present", days, devices, answering=seen.value, pledged=pledged
        )


def _pledged_tags(view: View, context: SiteContext) -> Floats:
    """Tags of the lots pledged by each day, one per unit; a lot pledged twice carries its tags once."""
    pledged = np.zeros(len(view.grid))
    lots = [asset for asset in context.assets.values() if asset.kind is AssetKind.STOCK_LOT]
    for lot in pledged_once(sorted(lots, key=lambda asset: (asset.pledged_on, asset.asset_id))):
        pledged += np.array([lot.quantity if view.grid.day(i) >= lot.pledged_on else 0.0 for i in range(len(view.grid))])
    return pledged
