"""Infrared crops of single PV modules in, fault classes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from detection.arrays import Floats, floats
from detection.calibration import calibrated
from detection.infer import Detector
from detection.models.modules import CLASSES, COLUMNS, HEALTHY, ROWS, ModuleNet
from detection.views import mirrored
from detection.weightfile import default_path

_BATCH = 64
_FAULTS = np.array([index for index in range(len(CLASSES)) if index != HEALTHY])
OFFSET_KEY, TEMPERATURE_KEY, RARE_KEY = "class_offset", "class_temperature", "favour_rare"
"""Keys of the card's config that `ModuleClassifier` reads."""


@dataclass(frozen=True)
class Judged:
    """What the network says of N modules."""

    fault: Floats
    """N calibrated probabilities of any fault, where faults are as frequent as in the training data."""
    faulty: NDArray[np.bool_]
    """Whether that reaches the card's threshold."""
    label: NDArray[np.int64]
    """Number into `CLASSES`: the likeliest fault where faulty, else No-Anomaly."""
    confidence: Floats
    """Of the label."""


class ModuleClassifier(Detector):
    """Tells what is wrong with a PV module."""

    @classmethod
    def load(cls, weights: Path | None = None, cache: Path | None = None) -> ModuleClassifier:
        """From a safetensors file beside its card; None takes the shipped `modules`. Raises as `read_weights`.

        With a `cache` folder the fastest engine installed runs it (see `runtime_openvino`), else torch.
        """
        return cls(lambda _: ModuleNet(), "modules", weights or default_path("modules"), cache)

    def logits(self, crops: NDArray[np.uint8]) -> Floats:
        """N x 40 x 24 uint8, warm is bright -> N x 12, the mean over the crop and its mirror images.

        Raises `InvalidInputError` for another shape or type.
        """
        if crops.ndim != 3 or crops.shape[1:] != (ROWS, COLUMNS) or crops.dtype != np.uint8:
            raise InvalidInputError(f"Crops of shape {crops.shape}, {crops.dtype} came; wanted is N x 40 x 24, uint8.")
        if len(crops) == 0:
            return np.zeros((0, len(CLASSES)), np.float32)
        return floats(np.mean([self._forward(view) for view in mirrored(crops)], axis=0))

    def _forward(self, crops: NDArray[np.uint8]) -> Floats:
        parts = []
        for start in range(0, len(crops), _BATCH):
            grey = np.ascontiguousarray(crops[start : start + _BATCH])
            parts.append(self.runtime(np.repeat(grey[..., None], 3, axis=3))[0].numpy())
        return floats(np.concatenate(parts))

    def judge(self, crops: NDArray[np.uint8]) -> Judged:
        """Fault probability, class and confidence of N x 40 x 24 uint8 crops. Raises as `logits`."""
        return self.decide(self.logits(crops))

    def decide(self, logits: Floats) -> Judged:
        """What `judge` makes of the network's logits."""
        config = self.card.config
        offset = floats(config.get(OFFSET_KEY, [0.0] * len(CLASSES)))  # type: ignore[arg-type]
        temperature, favour = (float(str(config.get(key, d))) for key, d in ((TEMPERATURE_KEY, 1.0), (RARE_KEY, 0.0)))
        shares = class_shares(logits, offset, temperature)
        fault = calibrated(self.card, floats(1 - shares[:, HEALTHY]))
        among = shares[:, _FAULTS] / np.maximum(shares[:, _FAULTS].sum(axis=1, keepdims=True), 1e-9)
        named = (logits + (1 - favour) * offset)[:, _FAULTS].argmax(axis=1)
        faulty = np.asarray(fault >= self.threshold)
        sure = np.where(faulty, fault * among[np.arange(len(named)), named], 1 - fault)
        return Judged(fault, faulty, np.where(faulty, _FAULTS[named], HEALTHY), floats(sure))


def class_shares(logits: Floats, offset: Floats, temperature: float) -> Floats:
    """N x 12 probabilities of the classes, where these are as frequent as in the training data."""
    z = (logits.astype(np.float64) + offset) / temperature
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return floats(e / e.sum(axis=1, keepdims=True))
