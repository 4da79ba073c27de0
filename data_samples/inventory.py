"""What stands at each site of a sample world and what measures it: machines, arrays, stock lots, trucks, devices."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from shapely.geometry import LineString, Polygon

from collateral.domain import Device, LonLat, SiteKind
from data_samples.clock import STEP_S, stream
from data_samples.companies import COMMODITIES, MACHINES, Commodity, Company, Place
from data_samples.scene_model import SiteLayout, SlotShape
from data_samples.storylines import Cast

INVERTERS = 4
CORRIDOR_M = 600.0
"""Half width of a truck's allowed corridor."""


@dataclass(frozen=True)
class Machine:
    """A pledged machine with its own controller."""

    asset_id: str
    name: str
    value: float
    """Appraised value, CNY."""


@dataclass(frozen=True)
class ArrayGroup:
    """PV arrays behind one inverter, pledged as one asset."""

    asset_id: str
    array_ids: tuple[str, ...]
    kwp: float


@dataclass(frozen=True)
class Lot:
    """A stock lot and the yard bays it fills, in the order in which they are filled."""

    asset_id: str
    commodity: Commodity
    slots: tuple[SlotShape, ...]

    @property
    def quantity_t(self) -> float:
        """Pledged amount in tonnes: all its bays full."""
        return self.commodity.per_slot_t * len(self.slots)


@dataclass(frozen=True)
class Truck:
    """A pledged truck; lines in metres of the site's UTM zone."""

    asset_id: str
    route: LineString
    stray: LineString
    """Where it goes when it leaves its route."""

    @property
    def corridor(self) -> Polygon:
        """Allowed region, metres."""
        region = self.route.buffer(CORRIDOR_M, quad_segs=4).simplify(20.0)
        assert isinstance(region, Polygon)
        return region


@dataclass(frozen=True)
class SitePlan:
    """One site: whose, where, and what part it plays."""

    site_id: str
    cast: Cast
    company: Company
    place: Place
    at: LonLat
    layout: SiteLayout
    with_truck: bool
    main_commodity: str
    """First commodity of a warehouse; empty elsewhere."""


@dataclass(frozen=True)
class Inventory:
    """Things and devices of one site."""

    machines: tuple[Machine, ...] = ()
    arrays: tuple[ArrayGroup, ...] = ()
    lots: tuple[Lot, ...] = ()
    trucks: tuple[Truck, ...] = ()
    devices: tuple[Device, ...] = field(default=())

    @property
    def kwp(self) -> float:
        """Installed peak power of all arrays, kW."""
        return sum(group.kwp for group in self.arrays)


def take_inventory(plan: SitePlan, seed: int) -> Inventory:
    """Everything at one site; the same plan and seed give the same things."""
    if plan.cast.kind == SiteKind.FACTORY:
        return _factory(plan, seed)
    if plan.cast.kind == SiteKind.SOLAR:
        return _solar(plan)
    return _warehouse(plan, seed)


def _device(plan: SitePlan, suffix: str, model: str, owner: str, quantities: tuple[str, ...], asset: str = "",
            gateway: str = "") -> Device:
    return Device(f"{plan.site_id}-{suffix}", plan.site_id, asset, model, owner, quantities, float(STEP_S), gateway)


def _factory(plan: SitePlan, seed: int) -> Inventory:
    rng = stream(seed, "machines", plan.cast.habits)
    chosen = rng.permutation(len(MACHINES))[: int(rng.integers(1, 3))]
    machines = tuple(
        Machine(f"{plan.site_id}-M{number + 1}", *MACHINES[int(index)]) for number, index in enumerate(chosen)
    )
    devices = [_device(plan, "METER", "DTSD-3366", "third_party", ("active_power_kw", "energy_total_kwh"))]
    for number, machine in enumerate(machines, 1):
        devices.append(_device(plan, f"CTRL{number}", "PLC-1200", "borrower", ("machine_running", "temperature_degc"),
                               machine.asset_id))
    return Inventory(machines=machines, devices=tuple(devices))


def _solar(plan: SitePlan) -> Inventory:
    shapes = plan.layout.arrays
    groups = []
    for number, part in enumerate(np.array_split(np.arange(len(shapes)), min(INVERTERS, len(shapes))), 1):
        members = [shapes[int(index)] for index in part]
        kwp = round(sum(shape.kwp for shape in members), 1)
        groups.append(ArrayGroup(f"{plan.site_id}-PV{number}", tuple(shape.array_id for shape in members), kwp))
    devices = [
        _device(plan, f"INV{number}", "SG-250HX", "borrower", ("ac_power_kw", "ac_energy_total_kwh"), group.asset_id)
        for number, group in enumerate(groups, 1)
    ]
    devices.append(_device(plan, "MET", "RT1-WS", "third_party", ("irradiance_poa_w_m2", "module_temperature_degc")))
    return Inventory(arrays=tuple(groups), devices=tuple(devices))


def _warehouse(plan: SitePlan, seed: int) -> Inventory:
    lots = _lots(plan, seed)
    trucks = (_truck(plan, seed),) if plan.with_truck else ()
    gateway = f"{plan.site_id}-GW"
    devices = [
        _device(plan, "GATE", "DoorSense-2", "bank", ("door_openings_total",), gateway=gateway),
        _device(plan, "SCALE", "YardScale-80", "third_party", ("weight_kg",), gateway=gateway),
        _device(plan, "TAGS", "UHF-R4", "bank", ("tags_present",), gateway=gateway),
    ]
    for number, truck in enumerate(trucks, 1):
        devices.append(_device(plan, f"GPS{number}", "TrackBox-4G", "bank",
                               ("longitude_deg", "latitude_deg", "speed_km_h"), truck.asset_id))
    return Inventory(lots=lots, trucks=trucks, devices=tuple(devices))


def _lots(plan: SitePlan, seed: int) -> tuple[Lot, ...]:
    """Two lots on about 70 % of the bays; the rest is let to third parties."""
    rng = stream(seed, "lots", plan.site_id)
    bays = plan.layout.slots_of("yard_bay")
    pledged = round(0.7 * len(bays))
    first = round(0.62 * pledged)
    main = next(item for item in COMMODITIES if item.key == plan.main_commodity)
    others = [item for item in COMMODITIES if item.key != main.key][1:]
    second = others[int(rng.integers(len(others)))]
    cuts = ((main, bays[:first]), (second, bays[first:pledged]))
    lots = []
    for number, (commodity, slots) in enumerate(cuts, 1):
        order = rng.permutation(len(slots))
        lots.append(Lot(f"{plan.site_id}-L{number}", commodity, tuple(slots[int(index)] for index in order)))
    return tuple(lots)


def _truck(plan: SitePlan, seed: int) -> Truck:
    rng = stream(seed, "truck", plan.site_id)
    direction, length = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(17_000, 30_000))
    away = direction + float(rng.choice([-1.0, 1.0])) * float(rng.uniform(1.2, 1.9))
    return Truck(f"{plan.site_id}-T1", _route(plan, direction, length, rng), _route(plan, away, 0.9 * length, rng))


def _route(plan: SitePlan, direction: float, length_m: float, rng: np.random.Generator) -> LineString:
    """A winding line from the site's gate to somewhere `length_m` away."""
    along, across = np.array([np.cos(direction), np.sin(direction)]), np.array([-np.sin(direction), np.cos(direction)])
    origin = np.array([plan.layout.centre.east_m, plan.layout.centre.north_m])
    bends = np.concatenate(([0.0], np.cumsum(rng.normal(0.0, 0.045 * length_m, 5))))
    points = [origin + along * length_m * part / 5.0 + across * bends[part] for part in range(6)]
    return LineString([tuple(np.round(point, 1)) for point in points])
