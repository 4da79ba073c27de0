"""Bays cut from pictures with labels of vehicles: occupied ones show the vehicle, empty ones only ground."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from detection.augment import Picture
from detection.dataset import Chip, LabelledImage
from detection.models.backbone import LITE0
from detection.models.slots import CHIP, SlotNet
from detection.orient import bounds, corners
from detection.slot_bays import bays_of
from detection.slot_recipe import SlotData, SlotTask, drawn_back, parts
from detection.train import mean_of

GROUND, CAR = 90, 230
CARS_M = [(8.0, 10.0, 4.5, 1.8, 0.4), (20.0, 9.0, 4.2, 1.8, 2.0), (14.0, 20.0, 11.0, 2.5, 0.0), (1.0, 25.0, 4.5, 1.8, 1.5)]
"""Centre x and y, length, width in metres and heading: two cars, a lorry, a car cut by the border."""


def street(gsd_m: float) -> LabelledImage:
    image = np.full((round(28 / gsd_m), round(28 / gsd_m), 3), GROUND, np.uint8)
    turned = np.array(CARS_M, np.float32)
    turned[:, :4] /= gsd_m
    rings = corners(turned)
    cv2.fillPoly(image, [np.rint(ring).astype(np.int32) for ring in rings], (CAR, CAR, CAR))
    return LabelledImage("street", "drawn", "here", gsd_m, image, bounds(rings), np.zeros((0, 4), np.float32), turned)


@pytest.mark.parametrize("gsd_m", [0.08, 0.15, 0.3])
def test_occupied_bays_show_a_car_and_empty_ones_next_to_nothing_of_any(gsd_m: float) -> None:
    chips = [chip for seed in range(8) for chip in bays_of(street(gsd_m), seed)]
    occupied = [chip for chip in chips if chip.label == 1]
    empty = [chip for chip in chips if chip.label == 0]
    assert len(occupied) >= 12 and len(empty) >= 12
    assert {"0", "1"} <= {chip.name.split()[1] for chip in occupied} <= {"0", "1", "3"}, "lorries have no bay"
    assert all(chip.image.shape == (CHIP, CHIP, 3) for chip in chips)
    shown = [float((chip.image[:, :, 0] > 160).mean()) for chip in occupied]
    assert min(shown) > 0.25
    assert max(float((chip.image[:, :, 0] > 160).mean()) for chip in empty) < 0.06
    assert all(chip.gsd_m == max(gsd_m, 0.15) and chip.group == "here" for chip in chips)


def test_some_vehicles_stand_half_in_their_bay() -> None:
    chips = [chip for seed in range(40) for chip in bays_of(street(0.15), seed) if chip.label == 1]
    light = np.stack([chip.image[:, 24:40, 0] > 160 for chip in chips])
    ends = np.stack([light[:, :8].mean(axis=(1, 2)), light[:, -8:].mean(axis=(1, 2))], axis=1)
    out_at_an_end = (ends.max(axis=1) > 0.9) & (ends.min(axis=1) < 0.1)
    assert 0.05 < out_at_an_end.mean() < 0.35


def test_bays_repeat_by_seed() -> None:
    once, again, other = ([chip.image for chip in bays_of(street(0.15), seed)] for seed in (3, 3, 4))
    assert np.array_equal(once, again)
    assert len(once) != len(other) or not np.array_equal(once, other)


def _tone(tone: int) -> Picture:
    return np.full((CHIP, CHIP, 3), tone, np.uint8)


def test_what_is_shown_in_training_follows_the_shares_of_what_is_there() -> None:
    real, rendered, bays = (tuple(Chip(str(tone), 0.15, _tone(tone), n) for n in (0, 1)) for tone in (40, 120, 210))
    every = SlotTask(real, rendered, bays, (0.5, 0.3, 0.2))
    drawn = [every.draw(np.random.default_rng(k))[1].name for k in range(300)]
    assert [drawn.count(name) / 300 for name in ("120", "210", "40")] == pytest.approx([0.5, 0.3, 0.2], abs=0.08)
    photographs = SlotTask(real, (), bays, (0.5, 0.3, 0.2))
    assert photographs.present_shares() == pytest.approx({"rendered": 0.0, "bays": 0.6, "real": 0.4})
    assert {photographs.draw(np.random.default_rng(k))[1].name for k in range(40)} == {"40", "210"}


def test_every_real_slot_is_left_out_once() -> None:
    real = tuple(Chip(str(n), 0.15, _tone(n), n % 2) for n in range(13))
    data = SlotData(real, (), (), ())
    folds = data.folds()
    assert sorted(chip.name for _, apart in folds for chip in apart) == sorted(chip.name for chip in real)
    names = [({chip.name for chip in taught}, {chip.name for chip in apart}) for taught, apart in folds]
    assert all(len(taught | apart) == len(real) and not taught & apart for taught, apart in names)
    every = SlotTask(real)
    assert {every.draw(np.random.default_rng(k))[1].name for k in range(200)} == {chip.name for chip in real}
    taught = replace(every, real=folds[0][0])
    assert {taught.draw(np.random.default_rng(k))[1].name for k in range(200)} == names[0][0]
    assert [(part.title, part.steps) for part in parts(data)] == [("last", 1.0)]
    titles = [part.title for part in parts(SlotData(real, real, real, ()))]
    assert titles == ["first", "second", "third", "last"]
    assert all(not part.task.real for part in parts(SlotData(real, real, real, ()))[:-1])


def test_what_the_last_part_changed_is_drawn_back_a_quarter() -> None:
    before, after = {"w": torch.zeros(3), "n": torch.tensor(4)}, {"w": torch.full((3,), 2.0), "n": torch.tensor(9)}
    back = drawn_back(after, before)
    assert back["w"].tolist() == [1.5, 1.5, 1.5] and int(back["n"]) == 9
    assert drawn_back(after, None) is after
    middle = mean_of([back, before])
    assert middle["w"].tolist() == [0.75, 0.75, 0.75] and int(middle["n"]) == 9


def test_the_network_sees_where_in_the_slot_something_is(monkeypatch: pytest.MonkeyPatch) -> None:
    net = SlotNet().eval()
    features = torch.zeros(2, LITE0.channels[8], 8, 8)
    features[0, 0, 3:5, 3:5] = features[1, 0, 3:5, :1] = 1.0
    features[1, 0, 3:5, -1:] = 1.0
    pooled: list[torch.Tensor] = []
    monkeypatch.setattr(net.backbone, "forward", lambda x: {8: features, 16: torch.zeros(2, LITE0.channels[16], 4, 4)})
    net.head.register_forward_pre_hook(lambda head, given: pooled.append(given[0].detach()))
    net(torch.zeros(2, 3, CHIP, CHIP))
    middle, sides = pooled[0][:, -LITE0.channels[8]].tolist()
    assert middle > 4 * sides > 0
