"""Changes to chips of slots while training: they keep the answer, and bring what photographs or rendered scenes lack."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from detection.augment import Picture
from detection.models.slots import CHIP
from detection.slot_augment import (
    Kind,
    changed,
    covered,
    intruded,
    littered,
    marked,
    painted,
    plain,
    recoloured,
    smoothed,
)  # fmt: skip

GROUND = np.full((CHIP, CHIP, 3), 120, np.uint8)
OTHER = np.full((CHIP, CHIP, 3), 10, np.uint8)


def touched(before: Picture, after: Picture) -> float:
    """Share of the pixels that differ."""
    return float((np.abs(after.astype(int) - before).max(axis=2) > 0).mean())


def grain(picture: Picture) -> float:
    """Standard deviation away from the edges of what is drawn."""
    return float(picture[24:40, 24:40, 0].std())


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda chip, rng: intruded(chip, OTHER, rng), 0.25), (covered, 0.27), (littered, 0.5), (marked, 1.0),
        (painted, 1.0), (plain, 1.0),
    ],
)  # fmt: skip
def test_changes_keep_shape_and_part_of_the_slot(
    change: Callable[[Picture, np.random.Generator], Picture], most: float
) -> None:
    for seed in range(12):
        after = change(GROUND.copy(), np.random.default_rng(seed))
        assert after.shape == GROUND.shape and after.dtype == np.uint8
        assert 0 < touched(GROUND, after) <= most


def test_small_things_are_small() -> None:
    shares = [
        float((np.abs(littered(GROUND, np.random.default_rng(k)).astype(int) - 120).max(axis=2) > 40).mean())
        for k in range(200)
    ]
    assert np.mean(shares) < 0.08 and max(shares) < 0.2


def test_lines_of_bays_are_near_their_sides_and_mostly_light() -> None:
    near, inside = np.ones((CHIP, CHIP), bool), np.zeros((CHIP, CHIP), bool)
    inside[16:-16, 16:-16] = True
    near[16:-16, 16:-16] = False
    light = np.stack([painted(GROUND, np.random.default_rng(k))[:, :, 0] > 150 for k in range(200)])
    assert light.any(axis=(1, 2)).mean() > 0.9
    assert light[:, near].mean() > 3 * light[:, inside].mean()


def test_grain_goes_and_edges_stay() -> None:
    noisy = np.clip(GROUND + np.random.default_rng(1).normal(0, 9, (CHIP, CHIP, 3)), 0, 255).astype(np.uint8)
    cv2.rectangle(noisy, (0, 0), (12, CHIP), (240, 240, 240), -1)
    after = [smoothed(noisy, np.random.default_rng(k)) for k in range(20)]
    assert max(grain(one) for one in after) < 0.75 * grain(noisy)
    assert min(float(one[:, :10].mean() - one[:, 16:].mean()) for one in after) > 90
    assert max(grain(plain(noisy, np.random.default_rng(k))) for k in (1, 2, 3)) < 30


def test_red_and_blue_are_at_times_exchanged_and_colour_is_tinted_or_lost() -> None:
    red = np.zeros((CHIP, CHIP, 3), np.uint8)
    red[:, :, 0] = 200
    seen = [recoloured(red, np.random.default_rng(k))[0, 0].tolist() for k in range(300)]
    grey = [tone for tone in seen if len(set(tone)) == 1]
    first, last = ([tone for tone in seen if tone not in grey and tone[k] > 0] for k in (0, 2))
    assert [len(kind) / 300 for kind in (first, last, grey)] == pytest.approx([0.675, 0.225, 0.1], abs=0.08)
    tinted = [tone[0] for tone in first if tone[0] != 200]
    assert len(tinted) / len(first) == pytest.approx(0.35, abs=0.1)
    assert 150 <= min(tinted) < 175 and 225 < max(tinted) <= 250


def test_only_what_a_pool_lacks_is_brought_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def noting(name: str) -> Callable[..., Picture]:
        def change(picture: Picture, *rest: object) -> Picture:
            done.append(name)
            return picture

        return change

    for name in ("intruded", "plain", "painted", "marked", "littered", "covered"):
        monkeypatch.setattr(f"detection.slot_augment.{name}", noting(name))
    shares: dict[tuple[bool, bool], dict[str, float]] = {}
    for occupied in (False, True):
        for rendered in (False, True):
            done.clear()
            for k in range(300):
                changed(GROUND, OTHER, Kind(occupied, rendered), np.random.default_rng(k))
            shares[occupied, rendered] = {name: done.count(name) / 300 for name in sorted(set(done))}
    near = pytest.approx
    assert shares[False, False] == near({"intruded": 0.2, "littered": 0.3, "painted": 0.51, "plain": 0.15}, abs=0.08)
    assert shares[True, False] == near({"intruded": 0.2, "painted": 0.15}, abs=0.08)
    assert shares[False, True] == near(
        {"covered": 0.1, "intruded": 0.2, "littered": 0.25, "marked": 0.5, "plain": 0.15}, abs=0.08
    )
    assert shares[True, True] == near({"covered": 0.1, "intruded": 0.2, "marked": 0.25}, abs=0.08)
