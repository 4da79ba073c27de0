"""Pictures in, detections out: pure functions of the picture and the weights.

Every picture must lie on the network's grid (`gsd_m` of the detector); `evaluate` and the scan resample first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from collateral.errors import InvalidInputError
from detection import heatmap
from detection.arrays import floats
from detection.calibration import calibrated
from detection.merge import merged
from detection.models.panels import PanelNet
from detection.models.slots import CHIP, SlotNet, occupied_logits
from detection.models.vehicles import VehicleMaps, VehicleNet
from detection.pipeline import run_tiles
from detection.rectify import upright
from detection.runtime import Runtime
from detection.runtime_openvino import fastest_runtime
from detection.tiling import Tile, Tiling, cut, filled_size, tiles
from detection.views import mean_over_views, mirrored
from detection.weightfile import default_path, read_weights

HEAVY_M = 7.0
"""A vehicle of this length or longer is heavy."""
WINDOW_TILING = Tiling(edge=2048, overlap=128)
"""Of a site's window: most sites are one tile. At 0.15 m a lorry of 18 m lies whole in one of two neighbours."""
_HALO_PX = 8.0
"""A centre this near to a tile's own pixels is reported too: two tiles may see it in neighbouring cells of the map."""
_MOST_IN_TILE = 100_000
_MANY_TILES = 4
"""From this number on the engine is told their size beforehand."""


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


def _require_picture(image: NDArray[np.uint8]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InvalidInputError(
            f"A picture of shape {image.shape} and type {image.dtype} came; wanted is rows x columns x 3, uint8 RGB."
        )


ALL_VIEWS = "all"
"""A card's config `views`: the mean over eight views of a picture is the weights' answer."""


class Detector:
    """What all share: the network with its weights, an engine that is made when it is first needed, the card."""

    def __init__(
        self, build: Callable[[Mapping[str, Tensor]], nn.Module], network: str, weights: Path, cache: Path | None
    ) -> None:
        """`build`: state -> the network that it is the weights of."""
        state, self.card = read_weights(weights, network)
        module = build(state)
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise InvalidInputError(
                f"The weights {self.card.name!r} do not fit the {network} network: {error}. Train them anew, or leave "
                "them away for those that are shipped."
            ) from None
        self.module = module
        self._cache = cache
        self.gsd_m = self.card.gsd_m
        self.name = self.card.name
        self.model_sha256 = self.card.sha256
        self.threshold = self.card.threshold
        self._last: tuple[object, NDArray[np.float32]] | None = None

    @cached_property
    def runtime(self) -> Runtime:
        """The engine; the first use derives and compiles what it needs (seconds)."""
        return fastest_runtime(self.module, self.card.sha256, self._cache)

    def use(self, runtime: Runtime) -> None:
        """Runs on this engine from now on (comparisons of engines)."""
        self.__dict__["runtime"] = runtime  # where cached_property keeps it
        self._last = None

    def _once(
        self, image: NDArray[np.uint8], seen_at_m: float | None, work: Callable[[], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """What `work` says of a picture; the same picture again, as several consumers of a window ask, is not run again."""
        key = (hashlib.blake2b(np.ascontiguousarray(image).data).digest(), image.shape, seen_at_m)
        if self._last is None or self._last[0] != key:
            self._last = (key, work())
        return self._last[1].copy()

    @property
    def runtime_name(self) -> str:
        """Engine and number format."""
        return self.runtime.name


class VehicleDetector(Detector):
    """Finds vehicles."""

    @classmethod
    def load(cls, weights: Path | None = None, cache: Path | None = None) -> VehicleDetector:
        """From a safetensors file beside its card; None takes the shipped `vehicles`. Raises as `read_weights`.

        With a `cache` folder the fastest engine installed runs it (see `runtime_openvino`), else torch.
        """
        return cls(VehicleNet.of, "vehicles", weights or default_path("vehicles"), cache)

    def detect(self, image: NDArray[np.uint8], floor: float | None = None, gsd_m: float | None = None) -> list[Box]:
        """Vehicles in a picture (H x W x 3 uint8 RGB on the `gsd_m` grid), strongest first.

        `floor` replaces the card's threshold on the confidence; `gsd_m` is what the picture was taken with before it was
        brought to the grid, where that is known (some calibrations depend on it). Raises `InvalidInputError` for another
        shape or type.
        """
        _require_picture(image)
        size = (image.shape[0], image.shape[1])
        cuts = tiles(*size, WINDOW_TILING)
        rows = self._once(image, gsd_m, lambda: self._rows(size, cuts, lambda tile: cut(image, tile), 0.0, gsd_m))
        return [self._box(row) for row in rows if row[4] >= (self.threshold if floor is None else floor)]

    def detect_tiles(
        self,
        size: tuple[int, int],
        cuts: Sequence[Tile],
        read: Callable[[Tile], NDArray[np.uint8] | None],
        floor: float | None = None,
        gsd_m: float | None = None,
    ) -> list[Box]:
        """The same of a picture (rows, columns) that is never whole in memory: `read` gives the pixels of each tile.

        `read` runs in a thread of its own, one tile ahead; None means that the tile shows nothing.
        """
        limit = self.threshold if floor is None else floor
        return [self._box(row) for row in self._rows(size, cuts, read, limit, gsd_m)]

    def _rows(
        self,
        size: tuple[int, int],
        cuts: Sequence[Tile],
        read: Callable[[Tile], NDArray[np.uint8] | None],
        limit: float,
        gsd_m: float | None,
    ) -> NDArray[np.float32]:
        """x0 y0 x1 y1 confidence length, strongest first: a higher limit later leaves what it would have left here."""
        if len(cuts) >= _MANY_TILES:
            self.runtime.expect((1, *filled_size(cuts[0]), 3))

        def decode(tile: Tile, maps: tuple[Tensor, ...]) -> NDArray[np.float32]:
            found = self._near(tile, heatmap.decode(VehicleMaps(*maps), most=_MOST_IN_TILE)[0])
            found[:, 4] = calibrated(self.card, found[:, 4], gsd_m)
            return found[found[:, 4] >= limit]

        kept = merged(list(run_tiles(cuts, read, self.runtime, decode)))
        height, width = size
        kept[:, [0, 2]] = kept[:, [0, 2]].clip(0, width)
        kept[:, [1, 3]] = kept[:, [1, 3]].clip(0, height)
        return kept

    @staticmethod
    def _near(tile: Tile, peaks: heatmap.Peaks) -> NDArray[np.float32]:
        """x0 y0 x1 y1 score length of what this tile has to report, in pixels of the picture."""
        boxes = peaks.boxes + floats([tile.columns.start, tile.rows.start] * 2)
        x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        mine = tile.owns(x, y, _HALO_PX)
        return np.concatenate([boxes, peaks.score[:, None], peaks.length[:, None]], axis=1)[mine].astype(np.float32)

    def _box(self, row: NDArray[np.float32]) -> Box:
        x0, y0, x1, y1, confidence, length = (float(v) for v in row)
        label = "heavy" if length * self.gsd_m >= HEAVY_M else "car"
        return Box(x0, y0, x1, y1, confidence, label, length)


class Segmenter(Detector):
    """A network that gives logits for every pixel."""

    def raw_probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Picture (H x W x 3 uint8 RGB on the `gsd_m` grid) -> C x H x W, sigmoid of the network's logits.

        Raises `InvalidInputError` for another shape or type.
        """
        _require_picture(image)
        return self._once(image, None, lambda: self._raw_probabilities(image))

    def _raw_probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        cuts = tiles(image.shape[0], image.shape[1], WINDOW_TILING)
        parts = list(run_tiles(cuts, lambda tile: cut(image, tile), self.runtime, _own_logits))
        out = np.empty((parts[0][1].shape[0], *image.shape[:2]), np.float32)
        for tile, values in parts:
            r, c = tile.rows, tile.columns
            out[:, r.own_start : r.own_stop, c.own_start : c.own_stop] = values
        return floats(1 / (1 + np.exp(-np.clip(out, -15, 15))))


def _own_logits(tile: Tile, maps: tuple[Tensor, ...]) -> tuple[Tile, NDArray[np.float32]]:
    r, c = tile.rows, tile.columns
    own = maps[0][0, :, r.own_start - r.start : r.own_stop - r.start, c.own_start - c.start : c.own_stop - c.start]
    return tile, own.numpy()


class PanelSegmenter(Segmenter):
    """Finds the pixels that show solar panels."""

    @classmethod
    def load(cls, weights: Path | None = None, cache: Path | None = None) -> PanelSegmenter:
        """From a safetensors file beside its card; None takes the shipped `panels`. Raises as `read_weights`.

        With a `cache` folder the fastest engine installed runs it (see `runtime_openvino`), else torch.
        """
        return cls(PanelNet.of, "panels", weights or default_path("panels"), cache)

    def segment(self, image: NDArray[np.uint8], all_views: bool = False) -> NDArray[np.float32]:
        """Picture (H x W x 3 uint8 RGB on the `gsd_m` grid) -> H x W probability of a panel, calibrated.

        `image_mask = segment(image) >= threshold`. `all_views`: the mean over eight views instead of one (see
        `mean_over_views`), as weights whose card says so always take. Raises `InvalidInputError` for another shape or type.
        """
        _require_picture(image)
        if not (all_views or self.card.config.get("views") == ALL_VIEWS):
            return calibrated(self.card, self.raw_probabilities(image)[0])
        return calibrated(self.card, mean_over_views(lambda view: self.raw_probabilities(view)[0], image))


class SlotClassifier(Detector):
    """Tells occupied storage slots from empty ones."""

    @classmethod
    def load(cls, weights: Path | None = None, cache: Path | None = None) -> SlotClassifier:
        """From a safetensors file beside its card; None takes the shipped `slots`. Raises as `read_weights`.

        With a `cache` folder the fastest engine installed runs it (see `runtime_openvino`), else torch.
        """
        return cls(SlotNet.of, "slots", weights or default_path("slots"), cache)

    def classify(self, chips: NDArray[np.uint8], kinds: Sequence[str]) -> NDArray[np.float32]:
        """N x 64 x 64 x 3 uint8 RGB (see `rectify`) and the slots' kinds -> N calibrated probabilities that the slot is
        occupied, from the mean over the chip and its three mirror images."""
        if chips.ndim != 4 or chips.shape[1:] != (CHIP, CHIP, 3) or chips.dtype != np.uint8:
            raise InvalidInputError(f"Chips of shape {chips.shape}, {chips.dtype} came; wanted is N x 64 x 64 x 3, uint8.")
        if len(chips) != len(kinds):
            raise InvalidInputError(f"{len(chips)} chips and {len(kinds)} kinds of slots came; wanted is one kind per chip.")
        if len(chips) == 0:
            return np.zeros(0, np.float32)
        logits = np.mean([self._logits(np.ascontiguousarray(view)) for view in mirrored(chips)], axis=0)
        raw = 1 / (1 + np.exp(-np.clip(occupied_logits(logits, kinds), -15, 15)))
        return calibrated(self.card, raw.astype(np.float32))

    def _logits(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = [self.runtime(chips[i : i + 64])[0].numpy() for i in range(0, len(chips), 64)]
        return np.concatenate(parts).astype(np.float32)


def rectify(image: NDArray[np.uint8], polygon_px: Sequence[tuple[float, float]]) -> NDArray[np.uint8]:
    """The slot's smallest turned rectangle, stretched to a 64 x 64 x 3 chip with its long side down the rows.

    `polygon_px`: at least three (x, y) corners in picture pixels, origin at the outer corner of the first pixel. Parts
    outside the picture are black. Raises `InvalidInputError` for fewer corners or a slot without area.
    """
    _require_picture(image)
    matrix = upright(polygon_px).matrix(CHIP, CHIP)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (CHIP, CHIP), flags=flags).astype(np.uint8)
