"""What a scan says of a solar plant: area, and from the second picture on the shares missing, covered and dark."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from shapely.ops import unary_union

from collateral.domain import Quality, Site, SiteKind
from data_samples.layout import make_layout
from data_samples.render import render_scene
from data_samples.scene_model import ArrayState, SceneState
from detection.change_views import make_view
from detection.consumers import PanelConsumer
from detection.infer import PanelSegmenter
from detection.stock import StockSegmenter
from imagery.raster import inspect
from imagery.reader import read_pixels
from imagery.scan import SiteWindow
from imagery.scenes import scene_of
from imagery.target import SiteTarget, site_targets, to_lonlat

PLANT = make_layout("S1", "solar", 119.9, 31.9, 7)
ARRAY = PLANT.arrays[0]
TAKEN = datetime(2026, 4, 10, 2, 30, tzinfo=UTC)


def _target() -> SiteTarget:
    outline = to_lonlat(unary_union([ARRAY.polygon]).convex_hull.buffer(12, join_style="mitre"), PLANT.utm_epsg)
    site = Site(
        "S1", "B1", "电站", "Plant", SiteKind.SOLAR, "Asia/Shanghai", PLANT.utm_epsg, outline, False, 900.0, 5000.0, 20
    )
    return site_targets([site], [])[0]


def _window(folder: Path, days: int, state: ArrayState) -> tuple[SiteWindow, float]:
    """A later date of the site, and the panel area on it."""
    taken = TAKEN + timedelta(days=days)
    scene_state = SceneState(taken, gsd_m=0.3, seed=5, passing=0, haze=0.05)
    path = folder / f"s{days}.tif"
    truth = render_scene([PLANT], [replace(scene_state, arrays={ARRAY.array_id: state})], path)
    scene, target = scene_of(inspect(path)), _target()
    area = sum(part.intersection(target.polygon).area for panel in truth.panels for part in panel.polygons)
    return SiteWindow(scene, target, read_pixels(scene.facts, target.grid(0.2)), 0.0, Quality.GOOD, taken, {}), area


def test_shares_come_with_the_second_picture_and_say_what_they_are_of(tmp_path: Path) -> None:
    consumer = PanelConsumer(PanelSegmenter.load(), tmp_path / "evidence")
    window, whole = _window(tmp_path, 0, ArrayState())
    first = consumer.consume(window)
    assert [o.quantity for o in first.observations] == ["panel_area_m2"]
    assert first.figures["panel_state"] == "no earlier reference"
    window, left = _window(tmp_path, 30, ArrayState(missing_fraction=0.4))
    second = {o.quantity: o for o in consumer.consume(window).observations}
    assert set(second) == {"panel_area_m2", "panel_missing_share", "panel_covered_share", "panel_dark_share"}
    missing = second["panel_missing_share"]
    assert missing.value == pytest.approx(1 - left / whole, abs=0.04)
    assert 0.2 < missing.value < 0.4 and missing.lower < missing.value < missing.upper
    assert missing.evidence["since"] == TAKEN.isoformat() and float(str(missing.evidence["seen_share"])) > 0.95
    assert second["panel_area_m2"].value == pytest.approx(left, rel=0.05)
    assert first.observations[0].value == pytest.approx(whole, rel=0.05)
    assert second["panel_covered_share"].value < 0.05 and second["panel_dark_share"].value < 0.05
    again = {o.quantity: o.value for o in consumer.consume(window).observations}
    assert again == {key: row.value for key, row in second.items()}
    doubtful = consumer.consume(replace(window, quality=Quality.DOUBTFUL))
    assert [o.quantity for o in doubtful.observations] == ["panel_area_m2"]
    hidden = replace(window, pixels=replace(window.pixels, valid=np.zeros_like(window.pixels.valid)), hidden_share=1.0)
    assert [o.quantity for o in consumer.consume(hidden).observations] == ["panel_area_m2"]


def test_the_view_of_the_change_detector_takes_the_panels_that_were_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels, stock = PanelSegmenter.load(), StockSegmenter.load()
    runs: list[tuple[int, ...]] = []
    work = PanelSegmenter._raw_probabilities

    def counted(segmenter: PanelSegmenter, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        runs.append(image.shape)
        return work(segmenter, image)

    monkeypatch.setattr(PanelSegmenter, "_raw_probabilities", counted)
    window, _ = _window(tmp_path, 0, ArrayState())
    PanelConsumer(panels, tmp_path / "evidence").consume(window)
    finer = read_pixels(window.scene.facts, window.target.grid(0.15))
    shared = make_view(finer, stock, None, panels, panel_pixels=window.pixels)
    assert len(runs) == 1
    alone = make_view(finer, stock, None, panels)
    assert len(runs) == 2 and shared.known is not None and alone.known is not None
    assert shared.known.any() and (shared.known == alone.known).mean() > 0.98
