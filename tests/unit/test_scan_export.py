"""Exported files are what the fast runtime takes; what it cannot vouch for is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from collateral.errors import InvalidInputError
from detection.dataset import LabelledImage
from detection.export import calibration_tiles, export
from detection.infer import SlotClassifier
from detection.runtime_openvino import INSTALLED, derive, model_path, save_model

pytestmark = pytest.mark.skipif(not INSTALLED, reason="openvino is not installed")


def test_an_exported_file_is_the_one_that_is_run_in_its_numbers(tmp_path: Path) -> None:
    made = export("slots", "f32", tmp_path)
    assert made.as_dict()["bytes"] == sum(path.stat().st_size for path in tmp_path.iterdir())
    written = made.file.stat().st_mtime_ns
    classifier = SlotClassifier.load(cache=tmp_path)
    assert classifier.runtime_name.endswith("f32") and made.file.stat().st_mtime_ns == written
    chips = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    kinds = ["parking_bay", "yard_bay", "rack"]
    assert np.abs(classifier.classify(chips, kinds) - SlotClassifier.load().classify(chips, kinds)).max() < 0.1


def test_an_int8_file_of_the_same_weights_is_preferred(tmp_path: Path) -> None:
    classifier = SlotClassifier.load(cache=tmp_path)
    path = model_path(tmp_path, classifier.model_sha256, "int8")
    save_model(derive(classifier.module), path, classifier.model_sha256, "int8")
    assert classifier.runtime_name.endswith("int8")


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"there are .*vehicles"):
        export("nothing", "bf16", tmp_path)
    with pytest.raises(InvalidInputError, match="vehicles only"):
        export("slots", "int8", tmp_path)
    with pytest.raises(InvalidInputError, match="labelled data"):
        export("vehicles", "int8", tmp_path)


def test_calibration_tiles_lie_on_the_network_grid() -> None:
    none, turned = np.zeros((0, 4), np.float32), np.zeros((0, 5), np.float32)
    image = np.full((300, 700, 3), 200, np.uint8)
    item = LabelledImage("a", "s", "g", 0.3, image, none, none, turned)
    (tile,) = calibration_tiles([item], 0.15)
    assert tile.shape == (1, 3, 512, 512) and tile.dtype == np.float32 and tile.mean() == pytest.approx(200, abs=1)
    small = LabelledImage("b", "s", "g", 0.15, image[:100, :100], none, none, turned)
    (tile,) = calibration_tiles([small], 0.15)
    assert tile[0, :, :100, :100].min() == 200 and (tile[0, :, 100:] == 127).all()
