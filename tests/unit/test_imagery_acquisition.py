"""Angles of sun and view: from tags, a STAC item, a Maxar file, and the sun from time and place."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagery.acquisition import acquisition_of, sun_elevation

NOON = datetime(2026, 6, 21, 4, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "lon", "lat", "elevation"),
    [  # NOAA solar calculator, without refraction
        (datetime(2026, 6, 21, 12, 2, tzinfo=UTC), 0.0, 51.4779, 61.96),
        (datetime(2026, 12, 21, 12, 0, tzinfo=UTC), 0.0, 0.0, 66.56),
        (datetime(2026, 3, 20, 12, 7, tzinfo=UTC), 0.0, 0.0, 89.9),
    ],
)
def test_the_sun_stands_where_it_stands(at: datetime, lon: float, lat: float, elevation: float) -> None:
    assert sun_elevation(at, lon, lat) == pytest.approx(elevation, abs=0.2)


def test_angles_are_read_from_tags_then_from_sidecars(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    nothing = acquisition_of(path, {}, NOON, 120.0, 31.0)
    assert nothing.off_nadir_deg is None and not nothing.sun_stated and nothing.sun_elevation_deg > 75
    (tmp_path / "scene.IMD").write_text("numRows = 3;\n\tmeanSunEl = 41.5;\n\tmeanOffNadirViewAngle = 17.2;\n")
    maxar = acquisition_of(path, {}, NOON, 120.0, 31.0)
    assert (maxar.sun_elevation_deg, maxar.sun_stated, maxar.off_nadir_deg) == (41.5, True, 17.2)
    (tmp_path / "scene.json").write_text(json.dumps({"properties": {"view:off_nadir": -9.0, "view:sun_elevation": 40}}))
    assert acquisition_of(path, {}, NOON, 120.0, 31.0).off_nadir_deg == 9.0
    tagged = acquisition_of(path, {"off_nadir": "30", "SUN_ELEVATION": "not a number"}, NOON, 120.0, 31.0)
    assert (tagged.off_nadir_deg, tagged.sun_elevation_deg) == (30.0, 40.0)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"properties": 3}'])
def test_a_broken_sidecar_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "scene.json").write_text(text)
    assert acquisition_of(tmp_path / "scene.tif", {}, NOON, 120.0, 31.0).off_nadir_deg is None
