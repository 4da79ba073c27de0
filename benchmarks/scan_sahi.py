"""SAHI's sliced prediction (Akyon et al. 2022, doi:10.1109/ICIP46576.2022.9897990) with our torch network behind it.

It lives in a throw-away environment in the runtime folder, which sees the project's packages, so that torch is there once.
"""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collateral.errors import ServiceError
from detection import heatmap
from detection.calibration import calibrated
from detection.models.vehicles import VehicleMaps
from detection.runtime import Runtime
from detection.weightfile import Card, default_path, read_card

VERSION = "0.12.8"
_PACKAGES = (f"sahi=={VERSION}", "click", "fire", "termcolor", "pyyaml", "pillow", "matplotlib")
"""Without their dependencies: numpy, OpenCV, shapely and torch are the project's."""
OVERLAP = 0.2
"""SAHI's default: share of a slice."""


def sahi_python(folder: Path) -> Path:
    """The interpreter of the environment in `folder`, made when it is missing. Raises `ServiceError` when pip fails."""
    python = folder / "bin" / "python"
    done = folder / f"sahi-{VERSION}"
    if not done.is_file():
        venv.create(folder, with_pip=True, clear=True)
        site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        root = Path(__file__).resolve().parents[1]
        (site / "project.pth").write_text(f"{root}\n{sysconfig.get_paths()['purelib']}\n")
        command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", *_PACKAGES]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ServiceError(f"SAHI cannot be installed into {folder}: {result.stderr.strip()[-300:]}")
        done.touch()
    return python


def slices_along(length: int, edge: int) -> int:
    """How many slices SAHI cuts a side into."""
    step = edge - int(edge * OVERLAP)
    return 1 if length <= edge else math.ceil((length - edge) / step) + 1


def sahi_round(picture: NDArray[np.uint8], edge: int, runtime: Runtime) -> Callable[[], dict[str, object]]:
    """One round: the picture, in memory, through SAHI. Only inside SAHI's environment."""
    predict: Any = importlib.import_module("sahi.predict")
    model = _model(runtime, read_card(default_path("vehicles")))

    def one_round() -> dict[str, object]:
        result = predict.get_sliced_prediction(
            picture, model, slice_height=edge, slice_width=edge, verbose=0,
            # its second pass over the whole picture at once would need memory that grows with the raster
            perform_standard_pred=False,
        )  # fmt: skip
        slices = slices_along(picture.shape[0], edge) * slices_along(picture.shape[1], edge)
        return {"megapixels": picture.size / 3e6, "slices": slices, "objects": len(result.object_prediction_list)}

    return one_round


def _model(runtime: Runtime, card: Card) -> Any:
    base: Any = importlib.import_module("sahi.models.base")
    prediction: Any = importlib.import_module("sahi.prediction")

    class Vehicles(base.DetectionModel):  # type: ignore[misc]
        def load_model(self) -> None:
            self.model = runtime

        def perform_inference(self, image: NDArray[np.uint8]) -> None:
            below, right = -image.shape[0] % 32, -image.shape[1] % 32
            whole = np.pad(image, ((0, below), (0, right), (0, 0)), constant_values=127) if below or right else image
            self._original_predictions = heatmap.decode(VehicleMaps(*runtime(whole[None])))[0]

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: Any = None, full_shape_list: Any = None
        ) -> None:
            peaks = self._original_predictions
            shift, shape = shift_amount_list[0], None if full_shape_list is None else full_shape_list[0]
            self._object_prediction_list_per_image = [[
                prediction.ObjectPrediction(
                    bbox=box.tolist(), score=float(score), category_id=0, category_name="vehicle",
                    shift_amount=shift, full_shape=shape,
                )
                for box, score in zip(np.clip(peaks.boxes, 0, None), calibrated(card, peaks.score), strict=True)
                if score >= self.confidence_threshold
            ]]  # fmt: skip

    return Vehicles(confidence_threshold=card.threshold, device="cpu")
