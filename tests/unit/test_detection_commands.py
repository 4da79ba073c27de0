"""`collateral evaluate` and `models`: the keys of the contract, on small labelled folders made here and on the real ones."""

from __future__ import annotations

import argparse
import json
import os
import shutil
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
from detection import weightfile
from detection.commands import COMMANDS
from detection.gallery import Gallery
from detection.weightfile import FOLDER, default_path, read_card

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
    limits, rows = figures["brier_interval95"], figures["reliability"]
    assert isinstance(limits, list) and limits[0] - 1e-9 <= float(str(figures["brier"])) <= limits[1] + 1e-9
    assert isinstance(rows, list) and sum(row["n"] for row in rows) > 0 and figures["problems"] == []
    coarse = _run("evaluate vehicles", "--data", str(rendered / "vehicles"), "--split", "train", "--gsd", "0.3")
    assert coarse["gsd_m"] == 0.3 and coarse["brier"] != figures["brier"]


def test_errors_are_shown_and_what_cannot_be_read_is_reported(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "<i>vehicles"
    shutil.copytree(rendered / "vehicles", folder)
    names = sorted(path.stem for path in (folder / "labels").glob("*.txt"))
    (folder / "labels" / f"{names[0]}.txt").write_text("0 0.02 0.02 0.03 0.03\n")  # one that is nowhere
    (folder / "oriented" / f"{names[0]}.txt").unlink(missing_ok=True)
    (folder / "labels" / f"{names[1]}.txt").write_text("nothing\n")
    pages, plot = tmp_path / "errors", tmp_path / "r.svg"
    words = ["--data", str(folder), "--split", "train", "--gallery", str(pages), "--reliability", str(plot)]
    figures = _run("evaluate vehicles", *words)
    problems = figures["problems"]
    assert isinstance(problems, list) and len(problems) == 1 and figures["images"] == 4
    assert names[1] in problems[0]["file"] and problems[0]["row"] == 1
    shown = figures["gallery"]
    assert isinstance(shown, dict) and shown["false negative"] >= 1
    text = (pages / "index.html").read_text()
    cases = json.loads((pages / "gallery.json").read_text())["cases"]
    assert "&lt;i&gt;vehicles" in text and "<i>vehicles" not in text and names[0] in text
    assert all((pages / case["file"]).stat().st_size > 0 for case in cases)
    wrong = [case["confidence"] for case in cases if case["kind"] == "false positive"]
    assert wrong == sorted(wrong, reverse=True)
    assert plot.read_text().startswith("<svg")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(UsageError, match="something else than a gallery"):
        Gallery("x").write(tmp_path / "mine", {})
    page = tmp_path / "card.html"
    _run("models card", "vehicles", "--html", str(page), "--gallery", str(pages))
    assert "data:image/jpeg;base64," in page.read_text() and "Model card: vehicles" in page.read_text()
    assert json.loads((pages / "gallery.json").read_text())["rendered"], "column source of the index says so"
    monkeypatch.setattr(weightfile, "FOLDER", tmp_path)
    for path in (default_path("vehicles"), default_path("vehicles").with_suffix(".json")):
        shutil.copy(FOLDER / path.name, path)
    _run("models card", "vehicles", "--write", str(tmp_path), "--gallery", str(pages))
    shown_on_card = read_card(default_path("vehicles")).failure_pictures
    assert shown_on_card and all((tmp_path / row["file"]).is_file() for row in shown_on_card)
    assert f"({shown_on_card[0]['file']})" in (tmp_path / "vehicles.md").read_text()
    (pages / "gallery.json").write_text(json.dumps({"rendered": False, "cases": []}))
    with pytest.raises(UsageError, match="real places"):
        _run("models card", "vehicles", "--write", str(tmp_path), "--gallery", str(pages))
    with pytest.raises(InvalidInputError, match="is no gallery"):
        _run("models card", "vehicles", "--html", str(page), "--gallery", str(tmp_path / "mine"))


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
    panels = _run("evaluate panels", "--data", str(tmp_path), "--gallery", str(tmp_path / "e"))
    assert {"n", "iou", "f1", "area_error", "ece", "brier", "by_group", "worst_group", "iou_interval95"} <= set(panels)
    chips = _run("evaluate solar-chips", "--data", str(tmp_path), "--gallery", str(tmp_path / "f"))
    assert {"n", "precision", "recall", "f1", "ece", "brier", "ece_interval95", "worst_group"} <= set(chips)


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


def test_derived_models_are_looked_at(tmp_path: Path) -> None:
    models = tmp_path / ".runtime" / "models"
    models.mkdir(parents=True)
    known, other, foreign = *(read_card(default_path(name)).sha256 for name in ("slots", "panels")), "f" * 64

    def derived(name: str, source: str, content: bytes = b"1") -> None:
        told = f'<net><rt_info><collateral><source_sha256 value="{source}"/></collateral></rt_info></net>'
        (models / f"{name[:16]}-{source[:1]}{len(content)}.xml").write_text(told)
        (models / f"{name[:16]}-{source[:1]}{len(content)}.bin").write_bytes(content)

    derived(known, known, b"")
    derived(foreign, foreign)
    derived(other, other)
    parser = argparse.ArgumentParser()
    outcome = COMMANDS["models verify"].run(parser.parse_args([]), Settings(home=tmp_path, runtime=tmp_path / ".runtime"))
    states = {str(row["file"])[:16]: row["state"] for row in outcome.payload["derived"]}  # type: ignore[attr-defined]
    assert states == {known[:16]: "damaged", foreign[:16]: "left over", other[:16]: "in use"} and not outcome.ok
    derived(other, foreign)
    outcome = COMMANDS["models verify"].run(parser.parse_args([]), Settings(home=tmp_path, runtime=tmp_path / ".runtime"))
    assert [row["state"] for row in outcome.payload["derived"]].count("damaged") == 2  # type: ignore[attr-defined]


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
