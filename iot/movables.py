"""What trackers and contacts say about pledged movables on each day: ways, areas, stops, tampering. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial, reduce

import numpy as np

from collateral.domain import Asset, SubjectKind
from iot.amounts import DayValues
from iot.areas import AreaBook, Areas
from iot.signals import View
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
from iot.trust import Floats, SiteContext, Statement, Trust, say


def movements(view: View, context: SiteContext, trust: Trust) -> Iterator[Statement]:
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
    truck: Movable, areas: AreasOf, context: SiteContext, trust: Trust, asset: Asset
) -> Iterator[Statement]:
    device = truck.lon.device_id

    def said(quantity: str, method: str, days: DayValues, **more: Floats) -> Statement:
        return say(SubjectKind.ASSET, asset.asset_id, trust, quantity, method, days, [device], **more)

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


def tampering(view: View, context: SiteContext, trust: Trust) -> Iterator[Statement]:
    """What devices say about their own mounting and feed: per thing or site the device that says most."""
    for reading, quantity, hours_of in _TAMPER:
        found: dict[tuple[SubjectKind, str], list[tuple[str, DayValues]]] = {}
        for signal in view.of(reading):
            asset = context.asset_of.get(signal.device_id, "")
            subject = (SubjectKind.ASSET, asset) if asset in context.assets else (SubjectKind.SITE, context.site.site_id)
            found.setdefault(subject, []).append((signal.device_id, hours_of(view, signal)))
        for (kind, subject_id), told in found.items():
            days = reduce(_most, (one for _, one in told))
            yield say(kind, subject_id, trust, quantity, quantity, days, [device for device, _ in told])


def _most(one: DayValues, other: DayValues) -> DayValues:
    """The larger of two, where only one is known that one."""
    return DayValues(
        np.fmax(one.value, other.value), np.fmax(one.lower, other.lower), np.fmax(one.upper, other.upper),
        np.minimum(one.coverage, other.coverage), np.maximum(one.known_us, other.known_us),
    )  # fmt: skip
