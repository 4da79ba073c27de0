"""What the panel network is taught with: drawn panels and decoys, chips with and without outlines, masks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from collateral.errors import InvalidInputError
from detection.clutter import draw_town, paste_decoys
from detection.dataset import Chip, MaskedImage
from detection.finish import mask_threshold
from detection.models.panels import PanelNet
from detection.panel_pools import (
    CROP,
    NONE,
    PANEL,
    UNKNOWN,
    Background,
    BarePool,
    ChipPool,
    DrawnPool,
    MaskPool,
    read_outlines,
)
from detection.panel_recipe import PanelData, PanelTask, real_task
from detection.paste import paste_panels
from detection.presence import presence_threshold


def _chip(name: str, label: int) -> Chip:
    noise = np.random.default_rng(label).integers(0, 255, (101, 101, 3), dtype=np.uint8)
    return Chip(name, 0.3, noise, label)


def test_pasted_panels_leave_the_picture_alone_but_for_their_shadow() -> None:
    ground = np.full((160, 160, 3), 180, np.uint8)
    for seed in range(8):
        drawn, mask = paste_panels(ground, 0.2, np.random.default_rng(seed))
        assert 0.001 < mask.mean() < 0.95
        grown = cv2.dilate(mask.astype(np.uint8), np.ones((31, 31), np.uint8)) > 0
        assert (drawn[~grown] == 180).all()
        assert (np.abs(drawn.astype(int) - 180).max(axis=2) > 5)[mask].mean() > 0.8


def test_panels_are_drawn_where_allowed() -> None:
    allowed = np.zeros((160, 160), np.bool_)
    allowed[20:25, 20:25] = True
    _, mask = paste_panels(np.full((160, 160, 3), 150, np.uint8), 0.2, np.random.default_rng(2), allowed)
    assert mask[:60, :60].any()


def test_towns_have_roofs_light_and_dark_and_depend_on_the_seed_alone() -> None:
    towns = [draw_town(CROP, 0.2, np.random.default_rng(seed)) for seed in (1, 2, 1)]
    assert np.array_equal(towns[0].picture, towns[2].picture) and not np.array_equal(towns[0].picture, towns[1].picture)
    for town in towns:
        assert town.picture.shape == (CROP, CROP, 3) and 0.1 < town.roof.mean() < 1
        assert np.ptp(town.picture.mean(axis=2)) > 60


def test_decoys_change_a_part_of_the_picture() -> None:
    ground = np.full((160, 160, 3), 150, np.uint8)
    changed = [(paste_decoys(ground, 0.2, np.random.default_rng(seed)) != 150).any(axis=2).mean() for seed in range(10)]
    assert all(share < 0.99 for share in changed) and np.mean(changed) > 0.05


def test_outlined_chips_teach_pixels_and_others_only_that_there_are_panels() -> None:
    square = np.array([[30, 30], [70, 30], [70, 70], [30, 70]], np.float32)
    outlined = ChipPool((_chip("a", 1), _chip("n", 0)), {"a": [square]})
    weak = ChipPool((_chip("b", 1), _chip("n", 0)), {})
    seen = [outlined.sample(np.random.default_rng(k))[1] for k in range(20)]
    assert {int(v) for target in seen for v in np.unique(target)} == {NONE, PANEL}
    shares = [float((target == PANEL).mean()) for target in seen if (target == PANEL).any()]
    assert 0.08 < np.mean(shares) < 0.2
    assert {tuple(np.unique(weak.sample(np.random.default_rng(k))[1])) for k in range(20)} == {(NONE,), (UNKNOWN,)}


def test_cuts_of_masked_pictures_lie_around_panels() -> None:
    mask = np.zeros((600, 600), np.bool_)
    mask[500:510, 40:60] = True
    pool = MaskPool((MaskedImage("m", 0.2, np.zeros((600, 600, 3), np.uint8), mask),), near=1.0)
    shown = [bool(pool.sample(np.random.default_rng(k))[1].any()) for k in range(20)]
    assert np.mean(shown) > 0.8


def test_panel_samples_and_loss_can_be_learnt_from() -> None:
    ground = Background(np.full((200, 200, 3), 130, np.uint8), 0.2, None)
    task = PanelTask(((0.5, ChipPool((_chip("a", 1), _chip("n", 0)), {})), (0.5, DrawnPool((ground,)))))
    pairs = [task.sample(np.random.default_rng(k)) for k in range(12)]
    assert {int(v) for _, mask in pairs for v in mask.flatten().tolist()} == {NONE, PANEL, UNKNOWN}
    assert all(p.shape == (3, CROP, CROP) for p, _ in pairs)
    loss, parts = task.loss(PanelNet(), torch.stack([p for p, _ in pairs]).float(), torch.stack([m for _, m in pairs]))
    assert torch.isfinite(loss) and set(parts) == {"pixels", "dice", "empty"}
    again = task.sample(np.random.default_rng(3))
    assert torch.equal(again[0], pairs[3][0]) and torch.equal(again[1], pairs[3][1])


def test_shipped_outlines_are_polygons_inside_chips(tmp_path: Path) -> None:
    outlines = read_outlines()
    assert len(outlines) > 100
    assert all(len(p) >= 3 and p.min() >= 0 and p.max() <= 101 for polygons in outlines.values() for p in polygons)
    with pytest.raises(InvalidInputError, match="missing"):
        read_outlines(tmp_path / "none.csv")


def test_presence_threshold_is_half_the_best_f1() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.2], np.float32)
    assert presence_threshold(confidence, np.array([True, True, False, False])) == pytest.approx(0.5)
    assert presence_threshold(confidence, np.array([False, True, False, True])) == pytest.approx(1 / 3)


def test_threshold_on_pixels_is_that_of_the_largest_iou() -> None:
    left = np.zeros((64, 64), np.bool_)
    left[:, :32] = True
    item = MaskedImage("m", 0.2, np.zeros((64, 64, 3), np.uint8), left)
    probability = np.full((64, 64), 0.1, np.float32)
    probability[:, :40] = 0.3
    probability[:, :32] = 0.8
    assert 0.3 < mask_threshold([probability], [item]) <= 0.8


def test_of_thresholds_with_the_same_iou_the_one_with_the_right_area_is_taken() -> None:
    left = np.zeros((400, 400), np.bool_)
    left[:, :200] = True
    item = MaskedImage("m", 0.2, np.zeros((400, 400, 3), np.uint8), left)
    probability = np.full((400, 400), 0.05, np.float32)
    probability[:, :200] = 0.9
    probability[:200, 199] = 0.32
    probability[:201, 200] = 0.52
    assert 0.32 < mask_threshold([probability], [item]) <= 0.52, "200 pixels missed and 201 false: as much as there is"


def test_photographs_alone_show_nothing_drawn() -> None:
    ground = Background(np.full((300, 300, 3), 150, np.uint8), 0.3, None)
    picture, target = BarePool([ground]).sample(np.random.default_rng(3))
    assert (picture == 150).all() and (target == NONE).all() and picture.shape == (CROP, CROP, 3)
    empty = Chip("empty", 0.3, np.full((101, 101, 3), 150, np.uint8), 0)
    pools = real_task(PanelData((empty,), (ground,), (), (), ())).pools
    rng = np.random.default_rng(5)
    assert all((pool.sample(rng)[0] == 150).all() for _, pool in pools if isinstance(pool, BarePool) for _ in range(20))
    roofs = next(pool for _, pool in pools if isinstance(pool, ChipPool))
    assert roofs._decoys == 0 and sum(share for share, _ in pools) == 1
