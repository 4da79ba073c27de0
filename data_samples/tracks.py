"""Where a pledged truck is: two trips on working days along its route, and what happens when it strays."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import shapely
from pyproj import Transformer

from data_samples.clock import PER_DAY, Clock, Floats
from data_samples.inventory import SitePlan, Truck

GPS_NOISE_M = 8.0
_TRIPS = ((8.0, 11.0), (13.5, 17.0))
"""Local hours at which a trip leaves and at which it sets out for home."""
_LEG_HOURS = 1.0


def drive(
    plan: SitePlan, truck: Truck, clock: Clock, activity: Floats, rng: np.random.Generator, stray_from: datetime | None
) -> Mapping[str, Floats]:
    """Position and speed at the end of every interval; from `stray_from` on its working trips go elsewhere.

    Returns arrays of shape (steps,): degrees east, degrees north, km/h.
    """
    hours = clock.hours() + 0.25
    progress = np.zeros(PER_DAY)
    for leave, back in _TRIPS:
        out = np.clip((hours - leave) / _LEG_HOURS, 0, 1)
        home = np.clip((hours - back) / _LEG_HOURS, 0, 1)
        progress += np.where((hours >= leave) & (home < 1), out - home, 0.0)
    works = rng.random(clock.days) < np.where(activity > 0.5, 0.92, 0.0)
    strays = np.zeros(clock.days, dtype=bool)
    if stray_from is not None:
        first = clock.day_index(stray_from)
        strays[first:] = True
        works[first] = True
    share = (works[:, None] * progress[None, :]).ravel()
    away = np.repeat(strays, PER_DAY)
    east, north = np.empty(clock.steps), np.empty(clock.steps)
    for mask, line in ((~away, truck.route), (away, truck.stray)):
        points = shapely.get_coordinates(shapely.line_interpolate_point(line, share[mask], normalized=True))
        east[mask], north[mask] = points[:, 0], points[:, 1]
    moving = (np.abs(np.diff(share, append=0.0)) > 0.01) & (share > 0.0) & (share < 1.0)
    speed = np.where(moving, np.clip(rng.normal(48.0, 9.0, clock.steps), 8.0, 85.0), 0.0)
    east += rng.normal(0.0, GPS_NOISE_M, clock.steps)
    north += rng.normal(0.0, GPS_NOISE_M, clock.steps)
    lon, lat = Transformer.from_crs(plan.layout.utm_epsg, 4326, always_xy=True).transform(east, north)
    return {"longitude_deg": np.asarray(lon), "latitude_deg": np.asarray(lat), "speed_km_h": speed}
