"""`collateral evaluate` and `models`: the keys of the contract, on small labelled folders made here and on the real ones."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from collateral.errors import InvalidInputError, UsageError
from collateral.settings import Settings
from data_samples.boxes_folder import random_state, write_boxes_folder, write_slots_folder
from data_samples.layout import make_layout
from data_samples.render import render_scene
from detection.commands import COMMANDS
from detection.weightfile import default_path, read_card

DATA = os.environ.get("COLLATERAL_DATA")
labelled = pytest.mark.skipif(DATA is None, reason="COLLATERAL_DATA names no folder of labelled data")


def _run(name: str, *words: str, data: Path | None = None) -> Mapping[str, object]:
    command = COMMANDS[name]
    parser = argparse.ArgumentParser()
    command.configure(parser)
    home = Path.cwd()
    return command.run(parser.parse_args(words), Settings(home=home, runtime=home / ".runtime", data=data)).payload


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rendered")
    write_boxes_folder(root / "vehicles", 5, 21, (0.15,))
    write_slots_folder(root / "slots", 24, 21, (0.15,))
    return root


def test_vehicle_figures(rendered: Path) -> None:
    figures = _run("evaluate vehicles", "--data", str(rendered / "vehicles"), "--split", "train")
    keys = (
        "images objects precision_iou30 recall_iou30 f1_iou30 f1_iou50 count_error count_error_group ece threshold "
        "model_sha256 by_source by_group"
    )
    assert set(keys.split()) <= set(figures)
    assert figures["images"] == 5 and isinstance(figures["f1_iou30"], float) and figures["f1_iou30"] >= 0.7
    by_source = figures["by_source"]
    assert isinstance(by_source, dict) and set(by_source) == {"rendered"}
    assert {"f1_iou30", "count_error", "objects"} <= set(by_source["rendered"])
    coarse = _run("evaluate vehicles", "--data", str(rendered / "vehicles"), "--split", "train", "--gsd", "0.3")
    assert coarse["gsd_m"] == 0.3 and coarse["f1_iou30"] != figures["f1_iou30"]


def test_slot_figures(rendered: Path) -> None:
    figures = _run("evaluate slots", "--data", str(rendered / "slots"), "--split", "train")
    assert {"n", "accuracy", "interval95", "balanced_accuracy", "unknown"} <= set(figures)
    assert figures["n"] == 24 and isinstance(figures["accuracy"], float) and figures["accuracy"] >= 0.8


def test_panel_figures(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    image = np.random.default_rng(0).integers(90, 160, (120, 120, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "images" / "a.png"), image)
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), np.zeros((120, 120), np.uint8))
    (tmp_path / "index.csv").write_text("name,split,gsd_m,label\na,val,0.25,0\n")
    assert {"n", "iou", "f1", "area_error"} <= set(_run("evaluate panels", "--data", str(tmp_path)))
    assert {"n", "precision", "recall", "f1", "ece"} <= set(_run("evaluate solar-chips", "--data", str(tmp_path)))


def test_scene_figures(tmp_path: Path) -> None:
    for number, kind in enumerate(("warehouse", "solar")):
        layout = make_layout(f"T{number}", kind, 113.0, 31.0, 5)  # type: ignore[arg-type]
        render_scene([layout], [random_state(layout, 0.3, 6)], tmp_path / f"{kind}.tif")
    figures = _run("evaluate scenes", "--truth", str(tmp_path))
    keys = "count_error heavy_f1 length_error_m panel_area_error slot_accuracy stock_cover_error change f1_iou30_real_only"
    assert set(keys.split()) <= set(figures) and figures["scenes"] == 2
    assert isinstance(figures["f1_iou30"], float) and figures["f1_iou30"] > 0.6
    assert isinstance(figures["panel_area_error"], float) and figures["panel_area_error"] < 0.4
    assert isinstance(figures["slot_accuracy"], float) and figures["slot_accuracy"] > 0.8
    with pytest.raises(InvalidInputError, match="no NAME"):
        _run("evaluate scenes", "--truth", str(default_path("vehicles").parent))


def test_models_commands() -> None:
    assert read_card(default_path("vehicles")).sha256 in str(_run("models list")["models"])
    assert _run("models card", "panels")["network"] == "panels"
    assert set(_run("models verify")["verified"]) >= {"vehicles", "panels", "slots"}  # type: ignore[call-overload]


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="COLLATERAL_DATA"):
        _run("evaluate vehicles")
    with pytest.raises(InvalidInputError, match="No shipped weights 'other'"):
        _run("evaluate vehicles", "--data", str(tmp_path), "--weights", "other")
    with pytest.raises(UsageError, match="There is no recipe 'cats'"):
        _run("train", "cats", data=tmp_path)
    with pytest.raises(InvalidInputError, match="--rendered"):
        _run("train", "vehicles", data=tmp_path)


@labelled
@pytest.mark.labelled
@pytest.mark.parametrize(
    ("name", "key", "least"),
    [("evaluate vehicles", "f1_iou30", 0.80), ("evaluate solar-chips", "f1", 0.85), ("evaluate slots", "accuracy", 0.97)],
)
def test_figures_on_real_validation_data(name: str, key: str, least: float) -> None:
    assert DATA is not None
    value = _run(name, "--split", "val", data=Path(DATA))[key]
    assert isinstance(value, float) and value >= least


def test_a_card_is_written_into_a_folder_only(tmp_path: Path) -> None:
    _run("models card", "slots", "--write", str(tmp_path))
    assert (tmp_path / "slots.md").read_text(encoding="utf-8").startswith("# slots")
    with pytest.raises(UsageError, match="is no folder"):
        _run("models card", "slots", "--write", str(tmp_path / "slots.md"))
