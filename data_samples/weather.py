"""Weather of a place: cloudiness, rain and temperature, and the sun above it.

Stand-in for measured weather: days are AR(1) in cloudiness, temperatures follow season and hour. Sun position by Spencer's
series (1971), clear-sky irradiance by Haurwitz (1945), both good to a few per cent, which is enough for made-up plants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collateral.domain import LonLat
from data_samples.clock import PER_DAY, Clock, Floats, autoregressive, stream


@dataclass(frozen=True)
class Weather:
    """Weather on the clock's grid."""

    cloudiness: Floats
    """0 clear to 1 overcast, per day; shape (days,)."""
    rain: Floats
    """1 on days whose rain washes panels; shape (days,)."""
    temperature: Floats
    """Air, degrees Celsius; shape (steps,)."""
    clearness: Floats
    """Global irradiance / clear-sky irradiance; shape (steps,)."""


def make_weather(clock: Clock, seed: int, place: str, at: LonLat) -> Weather:
    """The weather at one place; the same for all sites there."""
    rng = stream(seed, "weather", place)
    raw = autoregressive(rng, clock.days, 0.45, 1.0)
    cloudiness = 1.0 / (1.0 + np.exp(-1.3 * raw))
    rain = ((cloudiness > 0.72) & (rng.random(clock.days) < 0.7)).astype(float)
    day_of_year = np.array([clock.day(index).timetuple().tm_yday for index in range(clock.days)], dtype=float)
    season = 16.5 - 0.55 * (at.lat - 31.0) - 12.5 * np.cos(2 * np.pi * (day_of_year - 20) / 365.25)
    daily = season + autoregressive(rng, clock.days, 0.7, 2.6)
    swing = 4.5 * (1.2 - 0.8 * cloudiness)
    hour_wave = -np.cos(2 * np.pi * (clock.hours() - 2.5) / 24.0)
    temperature = (daily[:, None] + swing[:, None] * hour_wave[None, :]).ravel()
    flicker = 0.18 * cloudiness[:, None] * rng.normal(0.0, 1.0, (clock.days, PER_DAY))
    clearness = np.clip(0.95 - 0.78 * cloudiness[:, None] ** 1.5 + flicker, 0.08, 1.02).ravel()
    return Weather(cloudiness, rain, temperature, clearness)


def plane_irradiance(clock: Clock, at: LonLat, tilt_deg: float, weather: Weather) -> Floats:
    """Irradiance on a plane that faces south, W/m2, mean of each interval; shape (steps,)."""
    day_of_year = np.array([clock.day(index).timetuple().tm_yday for index in range(clock.days)], dtype=float)
    angle = 2 * np.pi * (day_of_year - 1) / 365.0
    declination = (
        0.006918 - 0.399912 * np.cos(angle) + 0.070257 * np.sin(angle)
        - 0.006758 * np.cos(2 * angle) + 0.000907 * np.sin(2 * angle)
    )
    equation_min = 229.18 * (
        0.000075 + 0.001868 * np.cos(angle) - 0.032077 * np.sin(angle)
        - 0.014615 * np.cos(2 * angle) - 0.040849 * np.sin(2 * angle)
    )
    solar_hour = clock.hours()[None, :] + (at.lon - 120.0) / 15.0 + equation_min[:, None] / 60.0
    hour_angle = np.radians(15.0 * (solar_hour - 12.0))
    lat, tilt, decl = np.radians(at.lat), np.radians(tilt_deg), declination[:, None]
    cos_zenith = np.clip(
        np.sin(lat) * np.sin(decl) + np.cos(lat) * np.cos(decl) * np.cos(hour_angle), 0.0, 1.0
    )
    cos_incidence = np.clip(
        np.sin(lat - tilt) * np.sin(decl) + np.cos(lat - tilt) * np.cos(decl) * np.cos(hour_angle), 0.0, 1.0
    )
    safe = np.maximum(cos_zenith, 0.05)
    clear = 1098.0 * cos_zenith * np.exp(-0.057 / safe)
    clearness = weather.clearness.reshape(clock.days, PER_DAY)
    total = clear * clearness
    diffuse_share = np.clip(1.05 - 0.9 * clearness, 0.12, 1.0)
    beam = total * (1.0 - diffuse_share) * np.minimum(cos_incidence / safe, 4.0)
    plane = beam + total * diffuse_share * (1.0 + np.cos(tilt)) / 2.0 + total * 0.2 * (1.0 - np.cos(tilt)) / 2.0
    return np.where(cos_zenith > 0.01, np.clip(plane, 0.0, 1250.0), 0.0).ravel()
