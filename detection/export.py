"""`collateral models export`: the files that the fast runtime reads, made from the weights.

Where it is not called they are made when they are first needed. int8 is made only here: it needs NNCF, pictures to calibrate
with and labelled ones to measure what it costs, and it is kept only where it costs at most `MOST_LOST` of F1.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from collateral.command import Command, Outcome
from collateral.errors import InvalidInputError, UsageError
from collateral.settings import Settings
from detection.dataset import LabelledImage, resample
from detection.evaluate import find
from detection.infer import Detector, PanelSegmenter, SlotClassifier, VehicleDetector
from detection.metrics import Counted
from detection.modules import ModuleClassifier
from detection.runtime_openvino import OpenVinoRuntime, Precision, derive, model_path, require_openvino, save_model
from detection.vehicle_recipe import held_out, real_pools
from detection.weightfile import default_path, read_card, shipped

MOST_LOST = 0.005
"""F1 that int8 may cost on pictures held out of training."""
_TILE_PX = 512
_TILES = 96
_LOADERS: Mapping[str, Callable[[Path], Detector]] = {
    "vehicles": VehicleDetector.load, "panels": PanelSegmenter.load, "slots": SlotClassifier.load,
    "modules": ModuleClassifier.load,
}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """What an export made."""

    name: str
    precision: Precision
    file: Path
    model_sha256: str
    """Of the weights it was made from."""
    kept: bool = True
    """False where int8 costs too much."""
    f1_float: float | None = None
    f1_int8: float | None = None

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        figures = {"f1_float": self.f1_float, "f1_int8": self.f1_int8, "most_lost": MOST_LOST}
        size = sum(path.stat().st_size for path in (self.file, self.file.with_suffix(".bin")) if path.is_file())
        return {
            "name": self.name, "precision": self.precision, "file": str(self.file), "bytes": size, "kept": self.kept,
            "model_sha256": self.model_sha256, **(figures if self.precision == "int8" else {}),
        }  # fmt: skip


def export(name: str, precision: Precision, folder: Path, data: Path | None = None) -> Exported:
    """Makes the runtime's files of shipped weights in `folder`, where `fastest_runtime` finds them.

    Args:
        name: shipped weights.
        precision: numbers it computes in.
        folder: cache of derived models.
        data: labelled data; int8 alone needs it.

    Raises:
        InvalidInputError: unknown weights, a network that has no check of int8, or a package is missing.
    """
    require_openvino()
    if name not in shipped():
        raise InvalidInputError(f"No shipped weights {name!r}; there are {', '.join(shipped())}.")
    network = read_card(default_path(name)).network
    if network not in _LOADERS:
        raise InvalidInputError(f"The network {network!r} of {name!r} is not exported; {', '.join(_LOADERS)} are.")
    detector = _LOADERS[network](default_path(name))
    path = model_path(folder, detector.model_sha256, precision)
    if precision != "int8":
        save_model(derive(detector.module), path, detector.model_sha256, precision)
        OpenVinoRuntime(path, detector.model_sha256)
        return Exported(name, precision, path, detector.model_sha256)
    if not isinstance(detector, VehicleDetector) or data is None:
        raise InvalidInputError("int8 is made for vehicles only, with labelled data (--data DIR) to calibrate and check it.")
    return _int8(name, detector, path, data)


def _int8(name: str, detector: VehicleDetector, path: Path, data: Path) -> Exported:
    if importlib.util.find_spec("nncf") is None:
        raise InvalidInputError("NNCF is not installed: pip install 'collateral-watch[int8]'.")
    nncf: Any = importlib.import_module("nncf")
    model = derive(detector.module)
    exact = path.with_name(f"checking-{path.name}")
    save_model(model, exact, detector.model_sha256)
    tiles = calibration_tiles([image for pool in real_pools(data) for image in pool.images], detector.gsd_m)
    quantized = nncf.quantize(model, nncf.Dataset(tiles), preset=nncf.QuantizationPreset.MIXED, subset_size=len(tiles))
    save_model(quantized, path, detector.model_sha256, "int8")
    checked = held_out(data, None)
    f1 = [_f1(detector, file, checked) for file in (exact, path)]
    kept = f1[0] - f1[1] <= MOST_LOST
    for file in (exact, *([] if kept else [path])):
        file.unlink()
        file.with_suffix(".bin").unlink()
    return Exported(name, "int8", path, detector.model_sha256, kept, round(f1[0], 4), round(f1[1], 4))


def calibration_tiles(images: Sequence[LabelledImage], gsd_m: float) -> list[NDArray[np.float32]]:
    """Pictures on the network's grid, 1 x 3 x 512 x 512 each, drawn by a seed; grey where a picture is smaller."""
    rng = np.random.default_rng(0)
    out = []
    for index in rng.permutation(len(images))[:_TILES]:
        item = images[int(index)]
        picture = resample(item.image, item.gsd_m / gsd_m)[:_TILE_PX, :_TILE_PX]
        tile = np.full((_TILE_PX, _TILE_PX, 3), 127, np.uint8)
        tile[: picture.shape[0], : picture.shape[1]] = picture
        out.append(tile.transpose(2, 0, 1)[None].astype(np.float32))
    return out


def _f1(detector: VehicleDetector, model: Path, images: Sequence[LabelledImage]) -> float:
    detector.use(OpenVinoRuntime(model, detector.model_sha256, torch.get_num_threads()))
    found = [find(detector, image).counted(detector.threshold) for image in images]
    return sum(found, Counted()).f1


def _run(args: argparse.Namespace, settings: Settings) -> Outcome:
    if settings.threads > 0:
        torch.set_num_threads(settings.threads)
    folder = Path(args.out) if args.out else settings.runtime / "models"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name one with --out.")
    data = Path(args.data) if args.data else settings.data
    made = export(args.name, args.precision, folder, data)
    costly = f"int8 costs too much: F1 {made.f1_int8} instead of {made.f1_float}; nothing is kept."
    return Outcome(made.as_dict(), str(made.file) if made.kept else costly, ok=made.kept)


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help=f"shipped weights: {', '.join(shipped())}")
    parser.add_argument("--precision", choices=("bf16", "f32", "int8"), default="bf16", help="numbers to compute in")
    parser.add_argument("--out", metavar="DIR", help="folder; default: RUNTIME/models, where the scan looks")
    parser.add_argument("--data", metavar="DIR", help="labelled data for int8; default: COLLATERAL_DATA")


COMMANDS = {
    "models export": Command(
        "Derive the files of the fast runtime from weights; they carry the hash of their source.",
        "collateral models export vehicles --precision bf16",
        _run,
        _configure,
    )
}
