"""Pictures in, detections out: pure functions of the picture and the weights.

Every picture must lie on the network's grid (`gsd_m` of the detector); `evaluate` and the scan resample first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn

from collateral.errors import InvalidInputError
from detection import heatmap
from detection.arrays import floats
from detection.calibration import calibrated
from detection.metrics import suppress
from detection.models.panels import PanelNet
from detection.models.slots import CHIP, SlotNet
from detection.models.vehicles import VehicleMaps, VehicleNet
from detection.runtime import Runtime
from detection.runtime_openvino import fastest_runtime
from detection.tiling import Tile, cut, even_tiles
from detection.weightfile import Card, default_path, read_weights

HEAVY_M = 7.0
"""A vehicle of this length or longer is heavy."""
TILE = 1024
"""Longest edge of a tile, pixels: larger tiles see less twice, and need more memory."""
OVERLAP = 128
"""Pixels: at 0.15 m a lorry of 18 m lies whole in one of two neighbours."""
_MULTIPLE = 32
_BATCH = 1
_SAME_OBJECT_IOU = 0.45


@dataclass(frozen=True)
class Box:
    """One vehicle, in pixels of the picture it was found in."""

    x0: float
    y0: float
    x1: float
    y1: float
    confidence: float
    """Calibrated, 0..1."""
    label: str
    """'car' or 'heavy' (7 m or longer)."""
    length_px: float


def _load(
    network: str, module: nn.Module, weights: Path | None, default: str, cache: Path | None
) -> tuple[Runtime, Card]:
    state, card = read_weights(weights or default_path(default), network)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise InvalidInputError(f"The weights {card.name!r} do not fit the {network} network: {error}") from None
    return fastest_runtime(module, card.sha256, cache), card


def _require_picture(image: NDArray[np.uint8]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InvalidInputError(
            f"A picture of shape {image.shape} and type {image.dtype} came; wanted is rows x columns x 3, uint8 RGB."
        )


def _batches(image: NDArray[np.uint8]) -> Iterator[tuple[list[Tile], NDArray[np.uint8]]]:
    """Tiles of equal size, a few at a time."""
    waiting: dict[tuple[int, ...], list[tuple[Tile, NDArray[np.uint8]]]] = {}
    for tile in even_tiles(image.shape[0], image.shape[1], TILE, OVERLAP, _MULTIPLE):
        part = cut(image, tile, _MULTIPLE)
        group = waiting.setdefault(part.shape, [])
        group.append((tile, part))
        if len(group) == _BATCH:
            yield [t for t, _ in group], np.stack([p for _, p in group])
            group.clear()
    for group in waiting.values():
        if group:
            yield [t for t, _ in group], np.stack([p for _, p in group])


class _Detector:
    """What all three share: the runtime and what the card says."""

    def __init__(self, runtime: Runtime, card: Card) -> None:
        self._runtime = runtime
        self.card = card
        self.gsd_m = card.gsd_m
        self.name = card.name
        self.model_sha256 = card.sha256
        self.threshold = card.threshold

    @property
    def runtime_name(self) -> str:
        """Engine and number format."""
        return self._runtime.name


class VehicleDetector(_Detector):
    """Finds vehicles."""

    @classmethod
    def load(cls, weights: Path | None = None, cache: Path | None = None) -> VehicleDetector:
        """From a safetensors file beside its card; None takes the shipped `vehicles`. Raises as `read_weights`.

        With a `cache` folder the fastest engine installed runs it (see `runtime_openvino`), else torch.
        """
        return cls(*_load("vehicles", VehicleNet(), weights, "vehicles", cache))

    def detect(self, image: NDArray[np.uint8], floor: float | None = None, gsd_m: float | None = None) -> list[Box]:
        """Vehicles in a picture (H x W x 3 uint8 RGB on the `gsd_m` grid), strongest first.

        `floor` replaces the card's threshold on the confidence; `gsd_m` is what the picture was taken with before it was
        brought to the grid, where that is known (some calibrations depend on it). Raises `InvalidInputError` for another
        shape or type.
        """
        _require_picture(image)
        limit = self.threshold if floor is None else floor
        found = [self._owned(tile, peaks) for tile, peaks in self._peaks(image)]
        values = np.concatenate(found) if found else np.zeros((0, 6), np.float32)
        values[:, 4] = calibrated(self.card, values[:, 4], gsd_m)
        values = values[values[:, 4] >= limit]
        kept = values[suppress(values[:, :4], values[:, 4], _SAME_OBJECT_IOU)]
        height, width = image.shape[:2]
        kept[:, [0, 2]] = kept[:, [0, 2]].clip(0, width)
        kept[:, [1, 3]] = kept[:, [1, 3]].clip(0, height)
        return [self._box(row) for row in kept]

    def _peaks(self, image: NDArray[np.uint8]) -> Iterator[tuple[Tile, heatmap.Peaks]]:
        for owners, batch in _batches(image):
            yield from zip(owners, heatmap.decode(VehicleMaps(*self._runtime(batch))), strict=True)

    @staticmethod
    def _owned(tile: Tile, peaks: heatmap.Peaks) -> NDArray[np.float32]:
        shift = floats([tile.columns.start, tile.rows.start] * 2)
        boxes = peaks.boxes + shift
        x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        mine = np.array([tile.owns(a, b) for a, b in zip(x, y, strict=True)], np.bool_)
        return np.concatenate([boxes, peaks.score[:, None], peaks.length[:, None]], axis=1)[mine].astype(np.float32)

    def _box(self, row: NDArray[np.float32]) -> Box:
        x0, y0, x1, y1, confidence, length = (float(v) for v in row)
        label = "heavy" if length * self.gsd_m >= HEAVY_M else "car"
        return Box(x0, y0, x1, y1, confidence, label, length)


class PanelSegmenter(_Detector):
    """Finds the pixels that show solar panels."""

    @classmethod
    def load(cls, weights: Path | None = None, cache: Path | None = None) -> PanelSegmenter:
        """From a safetensors file beside its card; None takes the shipped `panels`. Raises as `read_weights`.

        With a `cache` folder the fastest engine installed runs it (see `runtime_openvino`), else torch.
        """
        return cls(*_load("panels", PanelNet(), weights, "panels", cache))

    def segment(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Picture (H x W x 3 uint8 RGB on the `gsd_m` grid) -> H x W probability of a panel, calibrated.

        `image_mask = segment(image) >= threshold`. Raises `InvalidInputError` for another shape or type.
        """
        _require_picture(image)
        out = np.zeros(image.shape[:2], np.float32)
        for owners, batch in _batches(image):
            (logits,) = self._runtime(batch)
            for tile, values in zip(owners, logits[:, 0].numpy(), strict=True):
                r, c = tile.rows, tile.columns
                out[r.own_start : r.own_stop, c.own_start : c.own_stop] = values[
                    r.own_start - r.start : r.own_stop - r.start, c.own_start - c.start : c.own_stop - c.start
                ]
        raw = 1 / (1 + np.exp(-np.clip(out, -15, 15)))
        return calibrated(self.card, raw.astype(np.float32))


class SlotClassifier(_Detector):
    """Tells occupied storage slots from empty ones."""

    @classmethod
    def load(cls, weights: Path | None = None, cache: Path | None = None) -> SlotClassifier:
        """From a safetensors file beside its card; None takes the shipped `slots`. Raises as `read_weights`.

        With a `cache` folder the fastest engine installed runs it (see `runtime_openvino`), else torch.
        """
        return cls(*_load("slots", SlotNet(), weights, "slots", cache))

    def classify(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x 64 x 64 x 3 uint8 RGB (see `rectify`) -> N calibrated probabilities that the slot is occupied."""
        if chips.ndim != 4 or chips.shape[1:] != (CHIP, CHIP, 3) or chips.dtype != np.uint8:
            raise InvalidInputError(f"Chips of shape {chips.shape}, {chips.dtype} came; wanted is N x 64 x 64 x 3, uint8.")
        if len(chips) == 0:
            return np.zeros(0, np.float32)
        parts = [self._runtime(chips[i : i + 64])[0].numpy() for i in range(0, len(chips), 64)]
        raw = 1 / (1 + np.exp(-np.clip(np.concatenate(parts), -15, 15)))
        return calibrated(self.card, raw.astype(np.float32))


def rectify(image: NDArray[np.uint8], polygon_px: Sequence[tuple[float, float]]) -> NDArray[np.uint8]:
    """The slot's smallest turned rectangle, stretched to a 64 x 64 x 3 chip with its long side down the rows.

    `polygon_px`: at least three (x, y) corners in picture pixels, origin at the outer corner of the first pixel. Parts
    outside the picture are black. Raises `InvalidInputError` for fewer corners or a slot without area.
    """
    _require_picture(image)
    points = np.asarray(polygon_px, np.float32)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise InvalidInputError(f"A slot polygon of {len(points)} corners came; wanted are at least three (x, y).")
    (cx, cy), (w, h), degrees = cv2.minAreaRect(points)
    if min(w, h) < 1e-3:
        raise InvalidInputError(f"The slot polygon {points.tolist()} has no area; correct it in slots.geojson.")
    turn = np.deg2rad(degrees)
    if w > h:
        w, h, turn = h, w, turn + np.pi / 2
    along = np.array([-np.sin(turn), np.cos(turn)]) * h / CHIP
    across = np.array([np.cos(turn), np.sin(turn)]) * w / CHIP
    centre = np.array([cx, cy]) - 0.5
    origin = centre - (across + along) * (CHIP - 1) / 2
    matrix = np.stack([across, along, origin], axis=1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (CHIP, CHIP), flags=flags).astype(np.uint8)
