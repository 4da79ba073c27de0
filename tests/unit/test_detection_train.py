"""The training loop: seeded, resumable, and it learns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detection.train import Schedule, train


class _Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.relu(self.backbone(x / 255)).mean(dim=(2, 3)))
        return out[:, 0]


@dataclass
class _Brightness:
    """Says whether a flat picture is bright; breaks after `fuse` samples when that is set."""

    fuse: int | None = None
    losses: list[float] = field(default_factory=list)

    def model(self) -> nn.Module:
        return _Tiny()

    def sample(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise OSError("disk gone")
        level = int(rng.integers(0, 256))
        return torch.full((3, 8, 8), level, dtype=torch.uint8), torch.tensor(float(level > 128))

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
        value = nn.functional.binary_cross_entropy_with_logits(model(images).float(), targets)
        self.losses.append(float(value.detach()))
        return value, {"bce": self.losses[-1]}


PLAN = Schedule(steps=12, batch=4, rate=3e-2, warmup=2, checkpoint_every=4)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole = train(_Brightness(), PLAN, tmp_path / "whole.pt")
    with pytest.raises(OSError, match="disk gone"):
        train(_Brightness(fuse=4 * 9), PLAN, tmp_path / "parts.pt")
    rest = _Brightness()
    parts = train(rest, PLAN, tmp_path / "parts.pt")
    assert len(rest.losses) == 4
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_seed_and_start_decide_the_result(tmp_path: Path) -> None:
    one = train(_Brightness(), PLAN, tmp_path / "1.pt")
    other = train(_Brightness(), Schedule(**{**vars(PLAN), "seed": 8}), tmp_path / "2.pt")
    onward = train(_Brightness(), PLAN, tmp_path / "3.pt", start=one)
    assert not torch.equal(one["head.weight"], other["head.weight"])
    assert not torch.equal(one["head.weight"], onward["head.weight"])


def test_it_learns(tmp_path: Path) -> None:
    task = _Brightness()
    train(task, Schedule(steps=150, batch=8, rate=5e-2, warmup=5, checkpoint_every=150), tmp_path / "c.pt")
    assert np.mean(task.losses[-20:]) < 0.6 * np.mean(task.losses[:10])
