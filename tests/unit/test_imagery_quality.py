"""Verdicts on rendered windows: clear ones pass, covered, hazy, dark, blurred and empty ones are refused for that reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

from data_samples.evaluate_clouds import KINDS, spoiled
from data_samples.layout import make_layout
from data_samples.render import Rendered, render_image
from data_samples.scene_model import SceneState, SiteLayout
from imagery.acquisition import Acquisition
from imagery.grid import GridSpec, PixelSize
from imagery.quality import LIMITS, Overview, Verdict, assess, cloud_shadows, clouds
from imagery.target import mask_inside

WHEN = datetime(2026, 4, 10, 2, 30, tzinfo=UTC)


@pytest.fixture(scope="module", params=["factory", "warehouse", "solar"])
def layout(request: pytest.FixtureRequest) -> SiteLayout:
    return make_layout("Q1", request.param, 120.6, 31.3, 11)


def overview(layout: SiteLayout, **state: object) -> tuple[Overview, Rendered]:
    rendered = render_image([layout], [replace(SceneState(WHEN, gsd_m=0.6, cars=8, heavy=2, seed=4), **state)], "q")  # type: ignore[arg-type]
    height, width = rendered.image.shape[:2]
    grid = GridSpec(layout.utm_epsg, Affine(*rendered.truth.transform), PixelSize(width, height))
    inside = mask_inside(layout.boundary, grid)
    return Overview(grid, rendered.image, np.ones(inside.shape, np.bool_), inside), rendered


def judged(
    view: Overview, reference: NDArray[np.uint8] | None = None, acquisition: Acquisition | None = None
) -> Verdict:
    covered = clouds(view, reference)
    shaded = None if reference is None else cloud_shadows(view, reference, covered)
    return assess(view, covered, reference=reference, shaded=shaded, acquisition=acquisition)


@pytest.mark.parametrize("haze", [0.05, 0.3])
def test_clear_windows_pass(layout: SiteLayout, haze: float) -> None:
    verdict = judged(overview(layout, haze=haze)[0])
    assert verdict.accepted and verdict.figures.cloud_share < 0.02, verdict


@pytest.mark.parametrize("cover", [0.3, 0.6, 0.9])
def test_cloud_is_measured_with_and_without_reference(layout: SiteLayout, cover: float) -> None:
    reference = overview(layout)[0].luminance
    view, rendered = overview(layout, cloud_cover=cover)
    for told in (None, reference):
        share = float(clouds(view, told).mean())
        assert share == pytest.approx(rendered.truth.cloud_fraction, abs=0.2)
    if cover >= 0.6:
        assert judged(view, reference).reason in ("cloud", "haze")


def test_clear_sky_over_white_roofs_is_no_cloud(layout: SiteLayout) -> None:
    view, _ = overview(layout)
    rgb = view.rgb.copy()
    cv2.rectangle(rgb, (60, 60), (130, 120), (225, 226, 228), -1)
    assert clouds(replace(view, rgb=rgb))[60:120, 60:130].mean() < 0.05


def test_every_other_fault_has_its_reason(layout: SiteLayout) -> None:
    view, _ = overview(layout)
    reference = view.luminance
    grey = np.full_like(view.rgb, 150)
    cases = {
        "dark": (view.rgb * 0.08).astype(np.uint8),
        "haze": cv2.addWeighted(view.rgb, 0.12, grey, 0.88, 0),
        "blur": cv2.GaussianBlur(view.rgb, (0, 0), 3.0),
    }
    for reason, rgb in cases.items():
        assert judged(replace(view, rgb=np.asarray(rgb, np.uint8)), reference).reason == reason
    valid = view.valid.copy()
    valid[: valid.shape[0] // 2] = False
    verdict = judged(replace(view, valid=valid), reference)
    assert verdict.reason == "nodata" and 0.3 < verdict.figures.nodata_share < 0.7


def test_thick_air_makes_doubtful(layout: SiteLayout) -> None:
    assert not judged(overview(layout, haze=0.05)[0]).doubtful
    assert judged(overview(layout, haze=0.7)[0]).doubtful


@pytest.mark.parametrize("fault", KINDS)
def test_a_fault_put_on_is_named(layout: SiteLayout, fault: str) -> None:
    view, _ = overview(layout)
    reference = overview(layout, seed=5, haze=0.15)[0].luminance
    assert judged(view, reference).accepted
    assert judged(spoiled(view, fault, np.random.default_rng(7)), reference).reason == fault


def test_a_new_dark_yard_is_no_shadow_and_a_new_white_hall_no_cloud(layout: SiteLayout) -> None:
    view, _ = overview(layout)
    height, width = view.inside.shape
    rng = np.random.default_rng(3)
    for level in (45, 230):
        rgb = view.rgb.copy()
        block = rng.normal(level, 4, (height * 6 // 10, width * 6 // 10, 1)).clip(0, 255).astype(np.uint8)
        rgb[height // 5 : height // 5 + block.shape[0], width // 5 : width // 5 + block.shape[1]] = block
        verdict = judged(replace(view, rgb=rgb), view.luminance)
        assert verdict.reason not in ("cloud", "shadow"), verdict


def test_sun_and_view_refuse_only_when_they_are_stated(layout: SiteLayout) -> None:
    view, _ = overview(layout)
    high, low = LIMITS.sun_elevation_deg + 5, LIMITS.sun_elevation_deg - 5
    assert not judged(view, None, Acquisition(high, True, 5.0)).doubtful
    assert judged(view, None, Acquisition(low, True, None)).reason == "sun_low"
    computed = judged(view, None, Acquisition(low, False, None))
    assert computed.accepted and computed.doubtful
    assert judged(view, None, Acquisition(high, False, LIMITS.off_nadir_deg + 1)).reason == "oblique"
    assert judged(view, None, Acquisition(high, False, LIMITS.doubtful_off_nadir_deg + 1)).doubtful
