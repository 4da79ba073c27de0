"""Sun, shadows, cloud: against pvlib and geometry."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pvlib
import pytest

from data_samples.render_light import cast_shadows, cloud_alpha, sun_position
from data_samples.scene_model import SunPosition


@pytest.mark.parametrize("when", [
    datetime(2025, 1, 10, 3, 0, tzinfo=UTC),
    datetime(2025, 6, 21, 2, 30, tzinfo=UTC),
    datetime(2024, 10, 3, 7, 45, tzinfo=UTC),
])
@pytest.mark.parametrize(("lon", "lat"), [(121.5, 31.2), (104.0, 38.9), (113.2, 23.1)])
def test_sun_position_agrees_with_pvlib(when: datetime, lon: float, lat: float) -> None:
    known = pvlib.solarposition.get_solarposition(pd.DatetimeIndex([when]), lat, lon).iloc[0]
    sun = sun_position(lon, lat, when)
    assert sun.elevation_deg == pytest.approx(known["elevation"], abs=0.5)
    gap = (sun.azimuth_deg - known["azimuth"] + 180) % 360 - 180
    assert abs(gap) * math.cos(math.radians(sun.elevation_deg)) < 0.6


@pytest.mark.parametrize("azimuth", [0.0, 90.0, 200.0, 315.0])
@pytest.mark.parametrize("elevation", [25.0, 55.0])
def test_shadow_has_the_length_and_direction_of_geometry(azimuth: float, elevation: float) -> None:
    gsd, tall = 0.3, 9.0
    height = np.zeros((240, 240), np.float32)
    height[116:124, 116:124] = tall
    shadow = cast_shadows(height, gsd, SunPosition(elevation, azimuth))
    away = np.array([-math.sin(math.radians(azimuth)), math.cos(math.radians(azimuth))])
    reach = tall / math.tan(math.radians(elevation)) / gsd
    on = np.round(np.array([119.5, 119.5]) + away * (0.8 * reach)).astype(int)
    beyond = np.round(np.array([119.5, 119.5]) + away * (reach + 12)).astype(int)
    towards = np.round(np.array([119.5, 119.5]) - away * 12).astype(int)
    assert shadow[on[1], on[0]] > 0.9
    assert shadow[beyond[1], beyond[0]] < 0.05
    assert shadow[towards[1], towards[0]] < 0.05


def test_flat_ground_has_no_shadow() -> None:
    assert cast_shadows(np.zeros((50, 60), np.float32), 0.3, SunPosition(30.0, 120.0)).max() == 0.0


@pytest.mark.parametrize("cover", [0.0, 0.2, 0.6])
def test_cloud_covers_the_wished_share(cover: float) -> None:
    alpha = cloud_alpha((400, 500), cover, 0.3, np.random.default_rng(4))
    assert float((alpha > 0.5).mean()) == pytest.approx(cover, abs=0.03)
