"""Rendered open ground: repeatable, its labels on its vehicles, clutter that is not labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_samples.boxes_folder import write_boxes_folder
from data_samples.render_yards import render_yard, slab
from detection.dataset import read_boxes_folder
from detection.infer import VehicleDetector
from detection.metrics import match


def test_a_yard_repeats_with_its_seed_and_differs_with_another() -> None:
    first, again, other = (render_yard(0.3, 96, seed) for seed in (5, 5, 6))
    assert np.array_equal(first.image, again.image) and not np.array_equal(first.image, other.image)
    assert [v.heading_deg for v in first.vehicles] == [v.heading_deg for v in again.vehicles]


def test_grounds_show_packed_cars_heavy_vehicles_and_none() -> None:
    yards = [render_yard(0.4, 100, seed) for seed in range(9)]
    counts = [len(yard.vehicles) for yard in yards]
    assert min(counts) < 8 and max(counts) > 30
    heavy = [v for yard in yards for v in yard.vehicles if v.label == "heavy"]
    assert len(heavy) > 10 and all(7.0 <= v.length_m <= 17.0 for v in heavy)
    turns = {round(v.heading_deg % 180 / 30) for yard in yards for v in yard.vehicles}
    assert len(turns) >= 5, "vehicles stand at every angle"


def test_vehicles_differ_from_the_ground_where_the_labels_say() -> None:
    yard = render_yard(0.15, 256, 1)
    spread = float(yard.image.astype(float).std(axis=2).mean())
    inside = []
    for vehicle in yard.vehicles:
        x, y = np.round(yard.grid.pixels([(vehicle.polygon.centroid.x, vehicle.polygon.centroid.y)])[0]).astype(int)
        if 6 < x < 249 and 6 < y < 249:
            inside.append(float(yard.image[y - 5 : y + 6, x - 5 : x + 6].astype(float).std()))
    assert inside and np.median(inside) > spread


@pytest.mark.parametrize("seed", range(6))
def test_a_slab_is_a_filled_rectangle(seed: int) -> None:
    sprite = slab(3.0, 1.5, (150, 150, 150), 1.0, np.random.default_rng(seed))
    assert sprite.rgb.shape == (30, 60, 3) and sprite.alpha.min() == 1.0 and 0.1 < sprite.height.max() < 3.0


def test_yards_join_the_folder_under_their_own_source(tmp_path: Path) -> None:
    boxes = write_boxes_folder(tmp_path, 0, 3, n_yards=4)
    train, val = read_boxes_folder(tmp_path, "train"), read_boxes_folder(tmp_path, "val")
    assert len(train) == 3 and len(val) == 1 and sum(len(item.boxes) for item in (*train, *val)) == boxes
    assert {item.source for item in train} == {"rendered yards"}
    assert all(len(item.oriented) == len(item.boxes) for item in train)


def test_shipped_weights_find_packed_cars_and_lorries() -> None:
    detector = VehicleDetector.load()
    right = labelled = predicted = 0
    for seed in (2, 3, 7):
        yard = render_yard(0.15, 320, 40_000 + seed)
        found = detector.detect(yard.image)
        rings = [yard.grid.ring(v.polygon) + 0.5 for v in yard.vehicles if v.visible_fraction > 0.5]
        truth = np.array([[*ring.min(axis=0), *ring.max(axis=0)] for ring in rings], np.float32).reshape(-1, 4).clip(0, 320)
        boxes = np.array([[b.x0, b.y0, b.x1, b.y1] for b in found], np.float32).reshape(-1, 4)
        right += int((match(boxes, np.array([b.confidence for b in found], np.float32), truth, 0.3) >= 0).sum())
        labelled, predicted = labelled + len(truth), predicted + len(found)
    assert labelled > 30 and 2 * right / (labelled + predicted) > 0.85
