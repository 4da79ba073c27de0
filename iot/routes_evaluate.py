"""`collateral evaluate tracks`: real journeys, each against the way learnt from the others, with and without detours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info

from collateral.errors import InvalidInputError
from iot.routes import Track, UsualWay, deviations, jumps, learn_way

DEVIATION_M = 300.0
"""How far injected detours lie from the journey they are put into."""
WITHIN_POINTS = 2
"""A detour counts as found when one of its first positions is flagged."""
PER_TRIP = 10
_LEAST_POINTS = 8
_COLUMNS = ("trip_id", "timestamp", "latitude", "longitude")


@dataclass(frozen=True)
class Journey:
    """One real trip."""

    name: str
    track: Track


def evaluate_tracks(root: Path, seed: int = 1) -> dict[str, object]:
    """Leave one trip out: false flags per 100 km of real trips, and how many injected detours are found in time.

    A detour is a run of 4 to 10 positions moved sideways, each 300 m or more from the path of every trip: where another trip
    of the route goes is no deviation from it. The trip itself is never part of what it is judged by.
    """
    journeys = read_journeys(root)
    rng = np.random.default_rng(seed)
    every = shapely.MultiLineString([journey.track.xy for journey in journeys])
    shapely.prepare(every)
    injected = found = false = 0
    km = 0.0
    by_trip: dict[str, dict[str, object]] = {}
    for journey in journeys:
        way = learn_way([other.track for other in journeys if other is not journey])
        flags = deviations(journey.track, way)
        hits = [_found(journey.track, way, every, rng) for _ in range(PER_TRIP)]
        asked = [hit for hit in hits if hit is not None]
        injected, found, false = injected + len(asked), found + sum(asked), false + len(flags)
        km += journey.track.length_m / 1_000
        by_trip[journey.name] = {
            "km": round(journey.track.length_m / 1_000, 2),
            "positions": len(journey.track),
            "jumps": int(jumps(journey.track).sum()),
            "flags": [{"from": flag.first, "to": flag.last, "most_m": round(flag.most_m)} for flag in flags],
            "injected": len(asked),
            "found": sum(asked),
        }
    return {
        "trips": len(journeys),
        "km": round(km, 2),
        "deviations_injected": injected,
        "deviations_found": found,
        "false_flags": false,
        "false_per_100km": round(100 * false / km, 3) if km else None,
        "deviation_m": DEVIATION_M,
        "within_points": WITHIN_POINTS,
        "by_trip": by_trip,
    }


def read_journeys(root: Path) -> list[Journey]:
    """Every CSV under `root` with columns trip_id, timestamp, latitude, longitude, in metres of its UTM zone."""
    paths = sorted(root.rglob("*.csv")) if root.is_dir() else [root]
    frames = [_read(path) for path in paths if path.is_file()]
    if not frames:
        raise InvalidInputError(f"{root} holds no CSV; name a folder or file with columns {', '.join(_COLUMNS)}.")
    frame = pd.concat(frames, ignore_index=True).sort_values(["trip_id", "time_s"])
    project = _utm(frame["longitude"].to_numpy(np.float64), frame["latitude"].to_numpy(np.float64))
    out = []
    for name, rows in frame.groupby("trip_id"):
        if len(rows) < 2:
            continue  # one position is no journey
        x, y = project.transform(rows["longitude"].to_numpy(np.float64), rows["latitude"].to_numpy(np.float64))
        out.append(Journey(str(name), Track(rows["time_s"].to_numpy(np.float64), np.column_stack([x, y]))))
    if len(out) < 3:
        raise InvalidInputError(f"{root} holds {len(out)} trips; leaving one out needs three or more.")
    return out


def _read(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype={"trip_id": str})[list(_COLUMNS)].dropna()
        time = pd.to_datetime(frame["timestamp"])
        frame[["latitude", "longitude"]] = frame[["latitude", "longitude"]].astype(np.float64)
    except (KeyError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read ({error}); it needs columns {', '.join(_COLUMNS)}.") from error
    outside = (frame["latitude"].abs() > 90) | (frame["longitude"].abs() > 180)
    if outside.any():
        bad = frame[outside].iloc[0]
        raise InvalidInputError(f"{path}: {bad['latitude']}, {bad['longitude']} is not a place in degrees; mend the row.")
    frame["time_s"] = time.to_numpy("datetime64[s]").astype(np.int64)
    return frame.drop_duplicates(["trip_id", "time_s"])


def _utm(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Transformer:
    x, y = float(np.median(lon)), float(np.median(lat))
    zone = query_utm_crs_info("WGS 84", AreaOfInterest(x, y, x, y))[0]
    return Transformer.from_crs("EPSG:4326", f"{zone.auth_name}:{zone.code}", always_xy=True)


def _found(track: Track, way: UsualWay, every: shapely.MultiLineString, rng: np.random.Generator) -> bool | None:
    """Whether a detour put into the track is flagged in time; None where the track has no room for one."""
    for _ in range(100):
        place = _detour(track, every, rng)
        if place is not None:
            first, moved = place
            return any(first <= flag.last and flag.first < first + WITHIN_POINTS for flag in deviations(moved, way))
    return None


def _detour(track: Track, every: shapely.MultiLineString, rng: np.random.Generator) -> tuple[int, Track] | None:
    length = int(rng.integers(4, 11))
    if len(track) < max(_LEAST_POINTS, length + 4):
        return None
    first = int(rng.integers(2, len(track) - length - 1))
    run = slice(first, first + length)
    along = track.xy[min(first + length + 2, len(track) - 1)] - track.xy[max(first - 3, 0)]
    reach = float(np.hypot(*along))
    if reach < 1.0:
        return None
    sideways = np.array([-along[1], along[0]]) / reach * (1.2 * DEVIATION_M) * (1 if rng.random() < 0.5 else -1)
    xy = track.xy.copy()
    xy[run] += sideways
    if float(shapely.distance(every, shapely.points(xy[run])).min()) < DEVIATION_M:
        return None
    return first, Track(track.time_s, xy)
