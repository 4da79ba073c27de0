"""Training views of vehicles: what stands in front hides parts of them, and labels say what is left to be seen."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detection import vehicle_recipe
from detection.arrays import floats
from detection.augment import cover
from detection.dataset import LabelledImage, Picture
from detection.vehicle_recipe import view

RED = (200, 30, 30)
CAR = floats([[40, 30, 60, 72]])
NONE = np.zeros((0, 4), np.float32)


@pytest.fixture
def street() -> LabelledImage:
    """A red car, 20 x 42 pixels of 0.15 m, upright on grey ground."""
    image = np.full((100, 100, 3), 120, np.uint8)
    image[30:72, 40:60] = RED
    turned = floats([[50, 51, 42, 20, np.pi / 2]])
    return LabelledImage("street", "test", "g", 0.15, image, CAR, NONE, turned)


def hiding(rows: slice) -> NDArray[np.float32]:
    mask = np.zeros((100, 100), np.float32)
    mask[rows] = 1.0
    return mask


def covered_view(
    street: LabelledImage, rows: slice, monkeypatch: pytest.MonkeyPatch
) -> tuple[Picture, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The street through `_cover`, as if something black hid these rows."""
    black = np.zeros((100, 100, 3), np.uint8)
    monkeypatch.setattr(vehicle_recipe, "cover", lambda *_: (black, hiding(rows)))
    outline = floats([[[40, 30], [60, 30], [60, 72], [40, 72]]])
    shape = floats([[42, np.pi / 2]])
    return vehicle_recipe._cover(street.image, CAR, shape, outline, NONE, np.random.default_rng(1))


def test_half_a_car_is_labelled_as_that_half(street: LabelledImage, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, boxes, shape, ignore = covered_view(street, slice(0, 50), monkeypatch)
    assert boxes == pytest.approx(floats([[40, 50, 60, 72]]), abs=1)
    assert np.isnan(shape[0, 0]) and shape[0, 1] == pytest.approx(np.pi / 2)  # its length is not to be seen
    assert len(ignore) == 0 and picture[40, 50].tolist() == [0, 0, 0] and picture[60, 50].tolist() == list(RED)


def test_a_car_mostly_hidden_is_ignored(street: LabelledImage, monkeypatch: pytest.MonkeyPatch) -> None:
    _, boxes, _, ignore = covered_view(street, slice(0, 62), monkeypatch)
    assert len(boxes) == 0 and ignore == pytest.approx(CAR)


def test_a_car_beside_the_cover_stays_as_it_was(street: LabelledImage, monkeypatch: pytest.MonkeyPatch) -> None:
    _, boxes, shape, ignore = covered_view(street, slice(0, 31), monkeypatch)
    assert boxes == pytest.approx(CAR) and shape[0, 0] == 42 and len(ignore) == 0


def test_covers_hide_part_of_what_they_are_laid_across() -> None:
    shares = []
    for seed in range(40):
        picture, hidden = cover((100, 100), (50.0, 51.0), np.random.default_rng(seed))
        assert picture.shape == (100, 100, 3) and hidden.min() >= 0 and hidden.max() <= 1
        shares.append(float((hidden[30:72, 40:60] > 0.5).mean()))
    assert np.mean([0.02 < share < 0.98 for share in shares]) > 0.7
    assert max(shares) > 0.5


def test_labels_of_a_view_lie_on_what_the_view_shows(street: LabelledImage) -> None:
    for seed in range(30):
        patch, boxes, _, _ = view(street, 128, 128, np.random.default_rng(seed))
        red = (patch[:, :, 0].astype(int) - patch[:, :, 1] > 60) & (patch[:, :, 1] < 90)
        for x0, y0, x1, y1 in boxes:
            assert red[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))].mean() > 0.15
