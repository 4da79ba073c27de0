"""The two commands that measure imagery: their keys, and that they tell sound from faulty on pictures made for it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from affine import Affine

from collateral.errors import InvalidInputError, UsageError
from data_samples.evaluate_clouds import KINDS, evaluate_clouds, seeds_of
from imagery.evaluate_registration import evaluate_registration
from tests.bad_rasters import write_tif


def test_registration_figures_of_three_dates(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    ground = np.full((640, 700, 3), 100.0)
    for _ in range(160):
        left, top = int(rng.integers(0, 680)), int(rng.integers(0, 620))
        ground[top : top + int(rng.integers(10, 90)), left : left + int(rng.integers(10, 90))] = rng.uniform(30, 220, 3)
    for date, (gain, offset) in enumerate(((1.0, 0), (0.7, 40))):
        picture = np.clip(cv2.GaussianBlur(ground * gain + offset, (0, 0), 1.0) + rng.normal(0, 3, ground.shape), 1, 255)
        write_tif(
            tmp_path / f"date{date}.tif", picture.astype(np.uint8).transpose(2, 0, 1),
            transform=Affine(5, 0, 485_900, 0, -5, 5_209_247),
        )
    figures = evaluate_registration(tmp_path)
    assert {"pairs", "max_error_px", "median_error_px", "refused"} <= set(figures)
    assert (figures["pairs"], figures["refused"], figures["impostors_accepted"]) == (2, 0, 0)
    assert float(str(figures["max_error_px"])) < 0.3 and float(str(figures["as_delivered_max_px"])) < 0.2


def test_registration_figures_need_two_dates(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="two or more dates"):
        evaluate_registration(tmp_path)


def test_seeds_are_a_row_or_one_number() -> None:
    assert seeds_of("960-962") == range(960, 963) and seeds_of("7") == range(7, 8)
    for odd in ("9-3", "a-b", "1-2-3", "", "-4"):
        with pytest.raises(UsageError, match="960-967"):
            seeds_of(odd)


def test_cloud_figures_of_rendered_sites() -> None:
    figures = evaluate_clouds(None, [931])
    recall, precision = figures["recall"], figures["precision"]
    assert isinstance(recall, dict) and isinstance(precision, dict) and set(recall) == set(KINDS)
    assert all(value >= 0.75 for value in (*recall.values(), *precision.values()))
    assert figures["n"] == 3 * (2 * 8 - 1)
