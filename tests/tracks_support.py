"""A pledged truck with a tracker: two trips a day to a customer in the north, parked at its site else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from collateral.db.telemetry import to_us

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
