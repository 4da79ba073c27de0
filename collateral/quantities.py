"""What can be measured or observed: one frozen row per quantity. A leaf: imports nothing of the project.

Units are UCUM codes. `adds` says how values of a quantity combine over time, which decides the roll-up:
`gauge` (mean), `interval` (sum of amounts per interval), `register` (cumulative counter: difference), `state` (0/1: share of
time), `position` (degrees: last).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from collateral.errors import InvalidInputError


class Adds(StrEnum):
    """How values of one quantity combine over time."""

    GAUGE = "gauge"
    INTERVAL = "interval"
    REGISTER = "register"
    STATE = "state"
    POSITION = "position"


@dataclass(frozen=True)
class Quantity:
    """One measurable thing."""

    key: str
    unit: str
    """UCUM code."""
    low: float
    """Smallest physically possible value, in `unit`."""
    high: float
    """Largest physically possible value, in `unit`."""
    adds: Adds
    meaning: str


def _table(*rows: Quantity) -> Mapping[str, Quantity]:
    return {row.key: row for row in rows}


READING_QUANTITIES: Mapping[str, Quantity] = _table(
    Quantity("active_power_kw", "kW", -50_000, 500_000, Adds.GAUGE, "electric power drawn by a factory or feeder"),
    Quantity("energy_total_kwh", "kW.h", 0, 1e12, Adds.REGISTER, "cumulative energy register of a meter"),
    Quantity("energy_interval_kwh", "kW.h", 0, 1e6, Adds.INTERVAL, "energy of one metering interval"),
    Quantity("reactive_energy_kvarh", "kvar.h", -1e6, 1e6, Adds.INTERVAL, "reactive energy of one metering interval"),
    Quantity("power_factor_percent", "%", 0, 100, Adds.GAUGE, "power factor times 100"),
    Quantity("machine_running", "1", 0, 1, Adds.STATE, "1 while the machine produces"),
    Quantity("temperature_degc", "Cel", -60, 1200, Adds.GAUGE, "temperature of air or process"),
    Quantity("ac_power_kw", "kW", -1_000, 500_000, Adds.GAUGE, "inverter output"),
    Quantity("ac_energy_total_kwh", "kW.h", 0, 1e12, Adds.REGISTER, "inverter's cumulative energy register"),
    Quantity("irradiance_poa_w_m2", "W/m2", -10, 1_600, Adds.GAUGE, "irradiance in the plane of the array"),
    Quantity("module_temperature_degc", "Cel", -60, 150, Adds.GAUGE, "module temperature"),
    Quantity("door_openings_total", "1", 0, 1e9, Adds.REGISTER, "cumulative count of gate openings"),
    Quantity("weight_kg", "kg", 0, 1e9, Adds.GAUGE, "weight of the stock on scales"),
    Quantity("tags_present", "1", 0, 1e7, Adds.GAUGE, "RFID tags of pledged lots that answer"),
    Quantity("longitude_deg", "deg", -180, 180, Adds.POSITION, "WGS 84 longitude"),
    Quantity("latitude_deg", "deg", -90, 90, Adds.POSITION, "WGS 84 latitude"),
    Quantity("speed_km_h", "km/h", 0, 250, Adds.GAUGE, "speed over ground"),
    Quantity("engine_on", "1", 0, 1, Adds.STATE, "1 while the engine (ignition) of a vehicle is on"),
    Quantity("tamper_contact", "1", 0, 1, Adds.STATE, "1 while the device's case, antenna or mounting is open or cut"),
    Quantity("external_power", "1", 0, 1, Adds.STATE, "1 while the device is fed by the vehicle or the mains"),
)

OBSERVATION_QUANTITIES: Mapping[str, Quantity] = _table(
    # from above
    Quantity("vehicle_count", "1", 0, 1e5, Adds.GAUGE, "vehicles standing on the site, corrected for recall"),
    Quantity("heavy_vehicle_count", "1", 0, 1e5, Adds.GAUGE, "vehicles of 7 m or longer"),
    Quantity("panel_area_m2", "m2", 0, 1e8, Adds.GAUGE, "area of photovoltaic panels seen"),
    Quantity("panel_missing_share", "1", 0, 1, Adds.GAUGE, "panels no longer seen / panels of the reference picture"),
    Quantity("panel_covered_share", "1", 0, 1, Adds.GAUGE, "panels under dust or snow / panels of the reference picture"),
    Quantity("panel_dark_share", "1", 0, 1, Adds.GAUGE, "panels much darker than before / panels of the reference picture"),
    Quantity("faulty_module_share", "1", 0, 1, Adds.GAUGE, "faulty modules / modules judged, from drone thermography"),
    Quantity("slot_occupied", "1", 0, 1, Adds.STATE, "probability that a slot is occupied (subject: slot)"),
    Quantity("slot_occupancy", "1", 0, 1, Adds.GAUGE, "occupied slots / usable slots"),
    Quantity("stock_cover", "1", 0, 1, Adds.GAUGE, "share of open ground under goods (subject: yard, or all of a site)"),
    Quantity("changed_area_m2", "m2", 0, 1e8, Adds.GAUGE,
             "ground, goods and roofs that are not as on the last picture before; vehicles left out"),
    # from inside, per local day
    Quantity("energy_kwh_per_day", "kW.h/d", 0, 1e9, Adds.INTERVAL, "electricity used in one local day"),
    Quantity("running_hours_per_day", "h/d", 0, 24, Adds.INTERVAL, "hours with a machine producing"),
    Quantity("ac_energy_kwh_per_day", "kW.h/d", 0, 1e9, Adds.INTERVAL, "energy fed in during one local day"),
    Quantity("irradiation_kwh_m2_per_day", "kW.h/m2/d", 0, 20, Adds.INTERVAL, "plane-of-array irradiation H_POA"),
    Quantity("performance_ratio", "1", 0, 1.5, Adds.GAUGE, "PR = Yf / Yr by IEC 61724-1 (subject: site)"),
    Quantity("inverter_yield_ratio", "1", 0, 2, Adds.GAUGE,
             "specific yield of one inverter / median of the plant (subject: asset)"),
    Quantity("door_openings_per_day", "1/d", 0, 1e6, Adds.INTERVAL, "gate openings in one local day"),
    Quantity("night_door_openings", "1", 0, 1e6, Adds.INTERVAL, "gate openings from 22:00 to 05:00 local"),
    Quantity("stock_weight_kg", "kg", 0, 1e9, Adds.GAUGE, "stock on scales at the end of the local day"),
    Quantity("tags_present_share", "1", 0, 1, Adds.GAUGE, "tags answering / tags pledged at the end of the day"),
    Quantity("reporting_ratio", "1", 0, 1, Adds.GAUGE,
             "readings received / expected for the local day, by the time of the observation"),
    Quantity("frozen_hours", "h", 0, 24, Adds.GAUGE, "longest stretch of an unchanging value of a live quantity"),
    Quantity("replayed_hours", "h", 0, 24, Adds.GAUGE, "hours equal to an earlier stretch, sample by sample"),
    Quantity("late_hours", "h", 0, 24, Adds.GAUGE, "hours of the day whose readings came more than 1 h late"),
    Quantity("route_deviation_m", "m", 0, 1e7, Adds.GAUGE, "largest distance from the allowed corridor (subject: asset)"),
    Quantity("learnt_route_deviation_m", "m", 0, 1e7, Adds.GAUGE,
             "how much farther than usual from the way of the weeks before, where no corridor is agreed (subject: asset)"),
    Quantity("unexplained_stop_hours", "h", 0, 24, Adds.GAUGE,
             "stops of half an hour or longer, away from the site and from earlier stops (subject: asset)"),
    Quantity("outside_region_m", "m", 0, 1e7, Adds.GAUGE,
             "largest distance from the region that must not be left (subject: asset)"),
    Quantity("forbidden_area_hours", "h", 0, 24, Adds.GAUGE, "hours in areas that must not be entered (subject: asset)"),
    Quantity("implausible_positions", "1", 0, 1e6, Adds.GAUGE,
             "positions of the day that cannot be, or that the tracker's own speed contradicts (subject: asset)"),
    Quantity("tamper_contact_hours", "h", 0, 24, Adds.GAUGE, "hours with a device's tamper contact open"),
    Quantity("power_lost_hours", "h", 0, 24, Adds.GAUGE, "hours a device ran on its own battery"),
    Quantity("moved_engine_off_m", "m", 0, 1e7, Adds.GAUGE, "distance moved with the engine off (subject: asset)"),
)


def reading_quantity(key: str) -> Quantity:
    """The quantity a device may report under `key`.

    Raises:
        InvalidInputError: the key is not in the table; the message lists what is.
    """
    try:
        return READING_QUANTITIES[key]
    except KeyError:
        allowed = ", ".join(sorted(READING_QUANTITIES))
        raise InvalidInputError(f"Quantity {key!r} is unknown; use one of {allowed}.") from None
