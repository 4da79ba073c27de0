"""Shares of panels missing, covered and dark: on rendered plants whose state is known, and on drawn squares."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

from data_samples.layout import make_layout
from data_samples.render import Rendered, render_image
from data_samples.render_masks import panel_mask
from data_samples.scene_model import ArrayState, SceneState
from detection.infer import PanelSegmenter
from detection.panel_state import PanelReferences, PanelState, PanelView, compare_panels
from imagery.grid import GridSpec, PixelSize

FIRST = datetime(2026, 4, 10, 2, 30, tzinfo=UTC)
PLANT = make_layout("P1", "solar", 118.8, 32.3, 7)


def _grid(shape: tuple[int, ...]) -> GridSpec:
    return GridSpec(32650, Affine(0.2, 0, 500_000, 0, -0.2, 3_500_000), PixelSize(shape[1], shape[0]))


def _view(
    rgb: NDArray[np.uint8], panels: NDArray[np.bool_] | NDArray[np.float32], valid: NDArray[np.bool_] | None = None,
    days: int = 0,
) -> PanelView:
    seen = np.ones(rgb.shape[:2], np.bool_) if valid is None else valid
    return PanelView(f"s{days}", FIRST + timedelta(days=days), _grid(rgb.shape), rgb, seen, panels.astype(np.float32))


@cache
def _rendered(missing: float, soiled: float, haze: float) -> Rendered:
    """One date of the plant; the cut shows a few of its arrays."""
    state = SceneState(FIRST, 0.2, passing=0, haze=haze, seed=3)
    arrays = {array.array_id: ArrayState(missing, soiled) for array in PLANT.arrays}
    return render_image([PLANT], [replace(state, arrays=arrays)], "a")


@cache
def _cut() -> tuple[slice, slice]:
    rows, columns = np.nonzero(panel_mask(_rendered(0.0, 0.0, 0.05)))
    top, left = int(rows.min()), int(np.median(columns)) - 320
    return slice(top, top + 640), slice(max(left, 0), max(left, 0) + 640)


def _judged(missing: float, soiled: float) -> tuple[PanelState, float, float]:
    """What is said of the later date with shipped weights, and the true shares in the cut."""
    segmenter, cut = PanelSegmenter.load(), _cut()
    before, after = _rendered(0.0, 0.0, 0.05), _rendered(missing, soiled, 0.15)
    views = [
        _view(np.ascontiguousarray(item.image[cut]), segmenter.segment(np.ascontiguousarray(item.image[cut])), None, day)
        for day, item in enumerate((before, after))
    ]
    state = compare_panels(views[0], views[1], segmenter.threshold)
    assert state is not None
    whole, left = (panel_mask(item)[cut] > 0 for item in (before, after))
    return state, 1 - float(left.sum()) / float(whole.sum()), float(views[0].panels(segmenter.threshold).sum() / whole.sum())


def test_a_rendered_plant_without_change_misses_nothing() -> None:
    state, true, area = _judged(0.0, 0.0)
    assert true == 0 and 0.9 < area < 1.1
    assert state.missing.value < 0.03 and state.covered.value < 0.03 and state.dark.value < 0.03


def test_missing_modules_of_a_rendered_plant_are_the_share_that_is_missing() -> None:
    state, true, _ = _judged(0.25, 0.0)
    assert true == pytest.approx(0.25, abs=0.08)
    assert state.missing.value == pytest.approx(true, abs=0.05)
    assert state.missing.lower <= true <= state.missing.upper


def test_dust_on_a_rendered_plant_is_covered_and_not_missing() -> None:
    state, _, _ = _judged(0.0, 0.4)
    assert state.covered.value + state.missing.value == pytest.approx(0.4, abs=0.15)
    assert state.covered.value > 2 * state.missing.value


def _plate() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    rgb = np.random.default_rng(0).integers(120, 180, (200, 200, 1), dtype=np.uint8).repeat(3, axis=2)
    panels = np.zeros((200, 200), np.bool_)
    panels[50:150, 50:150] = True
    rgb[panels] = (40, 46, 78)
    return cv2.GaussianBlur(rgb, (0, 0), 0.7).astype(np.uint8), panels


def test_dark_panels_are_told_from_a_dim_day() -> None:
    rgb, panels = _plate()
    dark = rgb.copy()
    dark[50:150, 50:90] //= 3
    dim = (rgb * 0.75).astype(np.uint8)
    said = [compare_panels(_view(rgb, panels), _view(now, panels, None, 1), 0.5) for now in (rgb, dark, dim)]
    assert [round(s.dark.value, 1) for s in said if s is not None] == [0.0, 0.4, 0.0]


def test_what_is_hidden_is_not_missing() -> None:
    rgb, panels = _plate()
    valid = np.ones((200, 200), np.bool_)
    valid[:, 115:] = False
    cloudy = _view(rgb, panels & valid, valid, 1)
    state = compare_panels(_view(rgb, panels), cloudy, 0.5)
    assert state is not None and state.missing.value < 0.05 and state.seen_share == pytest.approx(0.65, abs=0.03)
    valid[:, 80:] = False
    assert compare_panels(_view(rgb, panels), _view(rgb, panels & valid, valid, 1), 0.5) is None


def test_references_are_kept_replaced_by_older_dates_and_when_the_plant_grows(tmp_path: Path) -> None:
    rgb, panels = _plate()
    store = PanelReferences(tmp_path, "panels@1")
    assert store.get("S1", _grid(rgb.shape)) is None
    store.offer("S1", _view(rgb, panels, None, 5), 0.5, None)
    kept = store.get("S1", _grid(rgb.shape))
    assert kept is not None and np.array_equal(kept.panels(0.5), panels) and kept.acquired_at == FIRST + timedelta(days=5)
    fewer = panels.copy()
    fewer[:100] = False
    for part, day, scene in ((fewer, 9, "s5"), (fewer, 2, "s2"), (panels, 7, "s7")):
        store.offer("S1", _view(rgb, part, None, day), 0.5, store.get("S1", _grid(rgb.shape)))
        now = store.get("S1", _grid(rgb.shape))
        assert now is not None and now.scene_id == scene
    assert PanelReferences(tmp_path, "panels@2").get("S1", _grid(rgb.shape)) is None
    (tmp_path / "S1.png").write_bytes(b"damaged")
    assert store.get("S1", _grid(rgb.shape)) is None
