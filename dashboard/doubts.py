"""Which readings of a site are doubted and why: stretches joined for people, and the days of a chart they touch. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from collateral.domain import Device
from dashboard.tracks import last_day_of

FLAGS: Mapping[int, str] = {
    1: "range", 2: "unit", 4: "outlier", 8: "stale", 16: "interpolated", 32: "replayed", 64: "clock", 128: "future",
    256: "reset", 512: "rollover", 1024: "out_of_order", 2048: "at_rest",
    4096: "uncalibrated",
}  # fmt: skip
"""Bits of `reading_quality.flags`, as `iot.quality.Flag` names them."""
HARMLESS = frozenset({"reset", "rollover", "out_of_order"})
"""What a counter or a network does by itself: listed, not drawn."""
JOINED = timedelta(hours=6)
"""Stretches of one kind that lie closer than this are shown as one."""
_MADE_OF: Mapping[str, frozenset[str]] = {
    "energy_kwh_per_day": frozenset({"energy_total_kwh", "energy_interval_kwh", "active_power_kw"}),
    "running_hours_per_day": frozenset({"machine_running"}),
    "ac_energy_kwh_per_day": frozenset({"ac_power_kw", "ac_energy_total_kwh"}),
    "irradiation_kwh_m2_per_day": frozenset({"irradiance_poa_w_m2"}),
    "performance_ratio": frozenset({"ac_power_kw", "ac_energy_total_kwh", "irradiance_poa_w_m2"}),
    "inverter_yield_ratio": frozenset({"ac_power_kw", "ac_energy_total_kwh"}),
    "door_openings_per_day": frozenset({"door_openings_total"}),
    "night_door_openings": frozenset({"door_openings_total"}),
    "stock_weight_kg": frozenset({"weight_kg"}),
    "tags_present_share": frozenset({"tags_present"}),
    **{
        name: frozenset({"longitude_deg", "latitude_deg", "speed_km_h"})
        for name in (
            "route_deviation_m", "learnt_route_deviation_m", "unexplained_stop_hours", "outside_region_m",
            "forbidden_area_hours", "implausible_positions",
        )
    },
    "moved_engine_off_m": frozenset({"longitude_deg", "latitude_deg", "engine_on"}),
    "tamper_contact_hours": frozenset({"tamper_contact"}),
    "power_lost_hours": frozenset({"external_power"}),
}
"""Readings of which an observed quantity is made."""


@dataclass(frozen=True)
class Doubt:
    """Readings of one series that are doubted for the same reasons."""

    device_id: str
    quantity: str
    """Key of READING_QUANTITIES."""
    time_from: datetime
    time_to: datetime
    """Time of the last one."""
    readings: int
    flags: int
    """Bits of FLAGS."""
    clock_ahead_s: float | None
    """By how much the device's clock runs ahead, where that is stable."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Names of the bits; bits nobody knows are `unknown`."""
        names = tuple(name for bit, name in FLAGS.items() if self.flags & bit)
        return names if not self.flags & ~sum(FLAGS) else (*names, "unknown")

    @property
    def drawn(self) -> bool:
        """Whether it touches what the reading says."""
        return not HARMLESS.issuperset(self.reasons)


def joined(doubts: Iterable[Doubt]) -> list[Doubt]:
    """Stretches of one series and the same reasons that lie less than `JOINED` apart made one; the last to end first."""
    last: dict[tuple[str, str, int], Doubt] = {}
    found: list[Doubt] = []
    for one in sorted(doubts, key=lambda one: one.time_from):
        key = (one.device_id, one.quantity, one.flags)
        held = last.get(key)
        if held is not None and one.time_from - held.time_to <= JOINED:
            ahead = one.clock_ahead_s if one.clock_ahead_s is not None else held.clock_ahead_s
            last[key] = replace(
                held, time_to=max(held.time_to, one.time_to), readings=held.readings + one.readings, clock_ahead_s=ahead
            )
            continue
        if held is not None:
            found.append(held)
        last[key] = one
    return sorted([*found, *last.values()], key=lambda one: (one.time_to, one.device_id, one.quantity), reverse=True)


def doubtful_days(
    doubts: Iterable[Doubt], quantity: str, asset_id: str, devices: Sequence[Device], zone: str
) -> list[tuple[date, date]]:
    """Runs of local days, both ends included, on which readings behind an observed quantity are doubted.

    A reading at midnight closes the day before, as it does in what is observed of the day.

    Args:
        doubts: of the site.
        quantity: key of OBSERVATION_QUANTITIES.
        asset_id: asset the observation is about; empty: the site, then every device counts.
        devices: of the site.
        zone: the site's time zone.
    """
    readings = _MADE_OF.get(quantity, frozenset())
    mine = {one.device_id for one in devices if not asset_id or one.asset_id == asset_id}
    days: set[date] = set()
    for one in doubts:
        if one.quantity in readings and one.device_id in mine and one.drawn:
            first, last = last_day_of(one.time_from, zone), last_day_of(one.time_to, zone)
            days |= {first + timedelta(days=offset) for offset in range((last - first).days + 1)}
    runs: list[tuple[date, date]] = []
    for day in sorted(days):
        if runs and day - runs[-1][1] == timedelta(days=1):
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs
