"""Registration on rendered sites: the long shadows of December do not pull, another plant is not taken for this one."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import cv2
import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

from data_samples.layout import make_layout
from data_samples.render import render_image
from data_samples.scene_model import SceneState, SiteKind
from imagery.grid import GridSpec, PixelSize
from imagery.register import align

SPRING, WINTER = datetime(2026, 4, 10, 2, 30, tzinfo=UTC), datetime(2026, 12, 15, 2, 30, tzinfo=UTC)


@lru_cache
def luminance(kind: SiteKind, seed: int, when: datetime) -> tuple[NDArray[np.uint8], GridSpec]:
    layout = make_layout(f"U{seed}", kind, 120.6, 31.3, seed)
    rendered = render_image([layout], [SceneState(when, gsd_m=0.6, cars=when.month, seed=seed + when.month)], "r")
    height, width = rendered.image.shape[:2]
    grid = GridSpec(layout.utm_epsg, Affine(*rendered.truth.transform), PixelSize(width, height))
    return np.maximum(cv2.cvtColor(rendered.image, cv2.COLOR_RGB2GRAY), 1).astype(np.uint8), grid


@pytest.mark.parametrize("kind", ["factory", "warehouse", "solar"])
def test_another_season_lies_within_a_pixel(kind: SiteKind) -> None:
    reference, grid = luminance(kind, 911, SPRING)
    found = align(luminance(kind, 911, WINTER)[0], reference, grid)
    corners = np.array([[0.0, 0], [grid.size.width, 0], [0, grid.size.height], [grid.size.width, grid.size.height]])
    moved = grid.shifted(found.shift).to_map(corners) - grid.to_map(corners)
    assert found.aligned
    assert float(np.hypot(*moved.T).max()) / grid.gsd_m < (0.4 if kind == "solar" else 0.15)


def test_another_plant_with_rows_at_the_same_distance_is_refused() -> None:
    (reference, grid), (other, _) = luminance("solar", 912, SPRING), luminance("solar", 913, WINTER)
    height, width = (min(edges) for edges in zip(reference.shape, other.shape, strict=True))
    cut = GridSpec(grid.epsg, grid.affine, PixelSize(width, height))
    assert not align(other[:height, :width].copy(), reference[:height, :width].copy(), cut).aligned
