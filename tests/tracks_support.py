"""A pledged truck with a tracker: two trips a day to a customer in the north, parked at its site else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import shapely
from numpy.typing import NDArray

from collateral.db.geofences import FenceKind, Geofence, write_geofences
from collateral.db.pool import Pool, Role
from collateral.db.telemetry import to_us
from collateral.domain import Device
from iot.observe import observe
from tests.dashboard_support import import_portfolio
from tests.iot_support import store
from tests.portfolio_support import LAT, LON, small_portfolio

ZONE = ZoneInfo("Asia/Shanghai")

HOME = (121.0005, 31.0005)
CUSTOMER_NORTH = 0.18
"""Degrees: about 20 km."""
PER_DAY = 96
QUARTER_US = 900_000_000
POSITIONS = ("longitude_deg", "latitude_deg", "speed_km_h")
Reading = tuple[str, str, int, float, int]
Floats = NDArray[np.float64]
Change = Callable[[int, Floats], None]
"""Day and its positions (96 x 2, degrees), changed in place."""


def truck_readings(
    midnight: datetime, days: int, change: Change | None = None, device_id: str = "gps", home: tuple[float, float] = HOME
) -> list[Reading]:
    """Quarter-hourly positions and speeds from a local midnight on, each received a second later."""
    random = np.random.default_rng(3)
    hour = np.arange(1, PER_DAY + 1) / 4
    share = sum(np.clip(hour - leave, 0, 1) - np.clip(hour - back, 0, 1) for leave, back in ((8.0, 11.0), (13.5, 17.0)))
    readings: list[Reading] = []
    for day in range(days):
        place = np.column_stack([np.full(PER_DAY, home[0]), home[1] + CUSTOMER_NORTH * np.asarray(share)])
        place += random.normal(0, 0.00005, place.shape)
        if change is not None:
            change(day, place)
        speed = np.append(np.hypot(*np.diff(place, axis=0).T) * 111 * 4, 0.0)
        begin = to_us(midnight + timedelta(days=day))
        for number in range(PER_DAY):
            at = begin + (number + 1) * QUARTER_US
            values = (place[number, 0], place[number, 1], min(80.0, speed[number]) if speed[number] > 3 else 0.0)
            readings += [(device_id, name, at, float(value), at + 1_000_000) for name, value in zip(POSITIONS, values,
                                                                                              strict=True)]
    return readings


DASHBOARD_HOME = (LON + 150 / 95_200, LAT + 500 / 110_900)
"""Middle of S3 of the small portfolio."""


def fill_tracks(database: str, now: datetime, store_positions: bool = True) -> datetime:
    """The small portfolio with a followed truck at S3 (branch taicang) for nine days; returns the midnight before the last.

    On the last day a stop of four hours in a forbidden area east of home, and one position that cannot be.
    """
    east = (DASHBOARD_HOME[0] + 0.08, DASHBOARD_HOME[1])

    def strange(day: int, place: Floats) -> None:
        if day == 8:
            place[44:60] = east
            place[20] += (3.0, 0)

    whole = small_portfolio()
    way = shapely.box(DASHBOARD_HOME[0] - 0.01, DASHBOARD_HOME[1] - 0.01, DASHBOARD_HOME[0] + 0.01, DASHBOARD_HOME[1] + 0.19)
    assets = tuple(replace(one, corridor=way) if one.asset_id == "A3" else one for one in whole.assets)
    tracker = Device("GPS", "S3", "A3", "TrackBox", "bank", POSITIONS, 900.0, "")
    import_portfolio(database, replace(whole, assets=assets, devices=(*whole.devices, tracker)))
    midnight = datetime.combine(now.astimezone(ZONE).date() - timedelta(days=9), time(), ZONE)
    if store_positions:
        store(database, truck_readings(midnight, 9, strange, "GPS", DASHBOARD_HOME))
    first = midnight.date()
    region = shapely.box(DASHBOARD_HOME[0] - 0.2, DASHBOARD_HOME[1] - 0.1, DASHBOARD_HOME[0] + 0.2, DASHBOARD_HOME[1] + 0.25)
    customer = shapely.Point(DASHBOARD_HOME[0], DASHBOARD_HOME[1] + CUSTOMER_NORTH).buffer(0.002)
    rival = shapely.Point(east).buffer(0.01)
    fences = [
        Geofence("R", "S3", "", FenceKind.REGION, "苏州地区", "Suzhou area", first, False, region),
        Geofence("N", "S3", "", FenceKind.FORBIDDEN, "同行仓库", "Storage B", first, False, rival),
        Geofence("C", "S3", "", FenceKind.PLACE, "客户甲", "Customer A", first, False, customer),
    ]
    with Pool(database, Role.APP, size=2) as pool:
        with pool.connection() as connection:
            write_geofences(connection, fences, "test")
        assert not observe(pool, now).failed
    return midnight + timedelta(days=8)
