"""The training loop: seeded, resumable, and it learns."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from collateral.errors import InvalidInputError, UsageError
from detection.recipes import RECIPES, Job, _digests, train_named
from detection.train import Schedule, train
from detection.train_config import checked_schedule, folder_digest, read_train_config
from detection.weightfile import read_card, read_weights, write_weights


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


def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    one = train(_Brightness(), PLAN, tmp_path / "1.pt")
    again = train(_Brightness(), PLAN, tmp_path / "2.pt")
    assert all(torch.equal(one[key], again[key]) for key in one)


def test_a_config_is_read_with_paths_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "a.toml"
    file.write_text('data = "data"\nout = "w.safetensors"\n[schedule]\nsteps = 20\nrate = 1\nseed = 3\n')
    config = read_train_config(file)
    assert config.data == tmp_path / "data" and config.out == tmp_path / "w.safetensors" and config.rendered is None
    assert config.schedule == {"steps": 20, "rate": 1.0, "seed": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps = 20", "has the key 'steps'; there may be data"),
        ("data = 3", "a path in quotes"),
        ('data = "nowhere"', "which is no folder"),
        ('start = "w.safetensors"', "which is missing"),
        ('out = "w.pt"', "written as .safetensors"),
        ("schedule = 4", "wanted is a table"),
        ("[schedule]\nsteps = 0", "steps is 0; a whole number from 1 on"),
        ("[schedule]\nsteps = 2.5", "a whole number"),
        ("[schedule]\nseed = true", "seed is True"),
        ("[schedule]\nrate = 7.0", "from 1e-09 to 1"),
        ("[schedule]\nrate = nan", "rate is nan"),
        ("[schedule]\nspeed = 1", "the schedule has 'speed'"),
        ("[schedule", "is no TOML"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(InvalidInputError, match=said):
        read_train_config(file)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_train_config(tmp_path / "b.toml")
    with pytest.raises(InvalidInputError, match="the command line: steps is -1"):
        checked_schedule({"steps": -1}, "the command line")


def test_a_digest_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    one = folder_digest(tmp_path)
    assert folder_digest(tmp_path) == one
    (tmp_path / "a").write_text("2")
    two = folder_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({one, two, folder_digest(tmp_path)}) == 3


def _slots_folder(root: Path) -> None:
    rng = np.random.default_rng(3)
    rows = ["name,split,label"]
    for number in range(24):
        label = number % 2
        name = f"{('empty', 'occupied')[label]}/{number}.png"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), rng.integers(60 + 120 * label, 90 + 120 * label, (40, 30, 3), dtype=np.uint8))
        rows.append(f"{name},train,{label}")
    (root / "index.csv").write_text("\n".join(rows) + "\n")


def test_a_recipe_end_to_end_repeats_and_its_card_says_how(tmp_path: Path) -> None:
    _slots_folder(tmp_path / "slot_occupancy")
    schedule = {"steps": 3, "batch": 4, "warmup": 1, "seed": 5}
    cards = []
    for turn in ("one", "two"):
        out = tmp_path / f"{turn}.safetensors"
        cards.append(train_named("slots", Job(tmp_path, None, tmp_path / turn, out, schedule)))
        assert read_card(out) == cards[-1]
    assert cards[0].sha256 == cards[1].sha256
    assert cards[0].config["asked"] == schedule and cards[0].config["steps"] == 3 and cards[0].seed == 5
    assert cards[0].data_digest == {"slot_occupancy": folder_digest(tmp_path / "slot_occupancy")}
    assert str(cards[0].versions["torch"]).startswith("2.") and cards[0].calibrator["chosen"]
    out = tmp_path / "one.safetensors"
    again = train_named("slots", Job(tmp_path, None, tmp_path / "one", out, schedule, calibrate_only=True))
    assert again.sha256 == cards[0].sha256 and again.versions == cards[0].versions
    earlier = tmp_path / "earlier.safetensors"
    state, card = read_weights(out, "slots")
    write_weights(earlier, state, replace(card, config={"steps": 700}))
    with pytest.raises(UsageError, match="an earlier recipe"):
        train_named("slots", Job(tmp_path, None, tmp_path / "x", earlier, schedule, calibrate_only=True))
    onward = train_named("slots", Job(tmp_path, None, tmp_path / "y", tmp_path / "three.safetensors", schedule, start=out))
    assert onward.sha256 != cards[0].sha256
    kept = set((tmp_path / "one").iterdir())
    (tmp_path / "slot_occupancy" / "occupied" / "3.png").write_bytes(
        (tmp_path / "slot_occupancy" / "occupied" / "1.png").read_bytes()
    )
    with pytest.raises(UsageError, match=r"taught on other data \(slot_occupancy\)"):
        train_named("slots", Job(tmp_path, None, tmp_path / "one", out, schedule, calibrate_only=True))
    train_named("slots", Job(tmp_path, None, tmp_path / "one", tmp_path / "four.safetensors", schedule))
    more = set((tmp_path / "one").iterdir())
    assert kept < more and len(more) == 2 * len(kept), "other data begin anew and leave what is there"


@pytest.mark.parametrize(("name", "reads"), [
    ("vehicles", "vehicles"), ("panels", "panels"), ("panels-research", "panels"), ("slots", "slots"), ("stock", "stock"),
    ("vehicles-real", ""), ("panels-real", ""), ("slots-real", ""), ("modules", ""),
])  # fmt: skip
def test_rendered_scenes_of_other_networks_change_no_checkpoint(tmp_path: Path, name: str, reads: str) -> None:
    rendered, folders = tmp_path / "rendered", {"vehicles", "panels", "slots", "stock"}

    def written(folder: str, text: str) -> dict[str, str]:
        (rendered / folder).mkdir(parents=True, exist_ok=True)
        (rendered / folder / "index.csv").write_text(text)
        return _digests(RECIPES[name], Job(tmp_path / "data", rendered, tmp_path, None))

    first = [written(folder, "1") for folder in sorted(folders)][-1]
    assert first == ({f"rendered/{reads}": folder_digest(rendered / reads)} if reads else {})
    assert all(written(folder, "2") == first for folder in folders - {reads})
    assert not reads or written(reads, "2") != first


def test_freed_memory_stays_with_the_process() -> None:
    script = (
        "import resource, sys, ctypes\n"
        "from detection.train import keep_freed_memory\n"
        "assert sys.argv[1] == 'give back' or keep_freed_memory()\n"
        "libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; libc.free.argtypes = [ctypes.c_void_p]\n"
        "def work():\n"
        "    block = libc.malloc(50_000_000); ctypes.memset(ctypes.c_void_p(block), 1, 50_000_000); libc.free(block)\n"
        "work(); before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "work(); print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", script, mode], capture_output=True, text=True, check=True).stdout)
        for mode in ("give back", "keep")
    }
    assert faults["keep"] < 100 < 1000 < faults["give back"]
