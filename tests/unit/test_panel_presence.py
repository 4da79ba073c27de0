"""Whether a picture shows panels: the same answer whichever way up the picture lies."""

from __future__ import annotations

import numpy as np
import pytest

from detection.infer import PanelSegmenter
from detection.paste import paste_panels
from detection.presence import raw_presence


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


def test_presence_is_the_mean_of_the_most_probable_four_square_metres() -> None:
    probability = np.zeros((20, 20), np.float32)
    probability[:10, :5] = 0.8
    assert raw_presence(probability, 0.2) == pytest.approx(0.4)
    assert raw_presence(probability[:10, :5], 0.2) == pytest.approx(0.8), "smaller than 4 m2: all of it"
