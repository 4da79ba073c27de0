"""Whether a picture shows panels: the same answer whichever way up the picture lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detection.infer import ALL_VIEWS, PanelSegmenter
from detection.paste import paste_panels
from detection.presence import raw_presence
from detection.recipes import Job, _views
from detection.weightfile import default_path, read_weights, write_weights


def test_the_answer_does_not_depend_on_which_way_up_a_picture_lies() -> None:
    rng = np.random.default_rng(4)
    ground = rng.integers(120, 150, (96, 80, 3), dtype=np.uint8)
    picture, _ = paste_panels(ground, 0.2, rng)
    segmenter = PanelSegmenter.load()
    upright = segmenter.segment(picture, all_views=True)
    lying = segmenter.segment(np.ascontiguousarray(np.rot90(picture)[:, ::-1]), all_views=True)
    assert upright.shape == (96, 80) and upright.min() >= 0 and upright.max() <= 1
    assert np.rot90(lying[:, ::-1], -1) == pytest.approx(upright, abs=0.02)
    single = segmenter.segment(picture)
    assert np.abs(single - upright).max() > 0.05, "one view gives the same: nothing was averaged"


def test_weights_whose_card_says_so_always_answer_from_all_views(tmp_path: Path) -> None:
    picture, _ = paste_panels(np.full((64, 64, 3), 130, np.uint8), 0.2, np.random.default_rng(4))
    state, card = read_weights(default_path("panels"), "panels")
    write_weights(tmp_path / "w.safetensors", state, replace(card, config={**card.config, "views": ALL_VIEWS}))
    told, plain = PanelSegmenter.load(tmp_path / "w.safetensors"), PanelSegmenter.load()
    assert told.segment(picture) == pytest.approx(plain.segment(picture, all_views=True), abs=1e-6)
    assert np.abs(told.segment(picture) - plain.segment(picture)).max() > 0.01


def test_a_new_calibration_goes_by_the_views_that_the_card_has(tmp_path: Path) -> None:
    state, card = read_weights(default_path("panels"), "panels")
    for views in ({}, {"views": ALL_VIEWS}):
        out = tmp_path / f"{len(views)}.safetensors"
        write_weights(out, state, replace(card, config={**views}))
        assert _views("panels-research", Job(tmp_path, None, tmp_path, out, {}, calibrate_only=True)) == views
        assert _views("panels-research", Job(tmp_path, None, tmp_path, out, {})) == {"views": ALL_VIEWS}


def test_presence_is_the_mean_of_the_most_probable_four_square_metres() -> None:
    probability = np.zeros((20, 20), np.float32)
    probability[:10, :5] = 0.8
    assert raw_presence(probability, 0.2) == pytest.approx(0.4)
    assert raw_presence(probability[:10, :5], 0.2) == pytest.approx(0.8), "smaller than 4 m2: all of it"
