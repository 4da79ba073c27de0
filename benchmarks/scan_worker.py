"""One thing that `bench scan` measures, in a process of its own: says how long each round took and its peak of memory.

    python -m benchmarks.scan_worker KIND SCENE --edge N --threads N --cache DIR

Each line "go" on standard input is one round; the answer is one line of JSON. `sahi` runs in another environment.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor, nn

from benchmarks.memory import peak_mb
from benchmarks.scan_sahi import sahi_round
from detection.everything import WHOLE_TILING, scan_everything
from detection.infer import Box, VehicleDetector
from detection.models.vehicles import VehicleNet
from detection.runtime import Runtime, TorchRuntime
from detection.tiling import Tiling
from detection.torchvision_shim import import_torchvision
from detection.weightfile import default_path, read_weights
from imagery.blocks import BlockReader
from imagery.raster import inspect

Round = Callable[[], dict[str, object]]
"""Does the work once and returns at least `megapixels`."""
_TILES = 4
"""Tiles in memory for the bare forward passes."""


def rounds_of(kind: str, scene: Path, edge: int, cache: Path) -> Round:
    """Prepares one kind of work: all that is not measured happens here."""
    if kind in ("scan", "scan_float32"):
        detector = VehicleDetector.load(cache=cache if kind == "scan" else None)
        if kind == "scan_float32":
            detector.use(TorchRuntime(detector.module, bfloat16=False, device="cpu"))
        detector.runtime.expect((1, edge, edge, 3))  # compiled before the clock starts, as for the bare forward pass
        return lambda: _scan(detector, scene, edge)
    if kind == "sahi":
        return sahi_round(_pixels(scene, 0), edge, TorchRuntime(_network(), bfloat16=True, device="cpu"))
    pictures = [_pixels(scene, edge, number)[None] for number in range(1 if kind == "own" else _TILES)]
    if kind in ("forward", "own"):
        runtime = VehicleDetector.load(cache=cache).runtime
        height, width = pictures[0].shape[1:3]
        runtime.expect((1, height, width, 3))
        return lambda: _forward(runtime, pictures)
    network = _network() if kind == "torch" else import_torchvision().models.mobilenet_v3_large(weights=None)
    return _bare_torch(network, pictures)


def _network() -> nn.Module:
    state, _ = read_weights(default_path("vehicles"), "vehicles")
    network = VehicleNet.of(state)
    network.load_state_dict(state)
    return network


def _pixels(scene: Path, edge: int, number: int = 0) -> NDArray[np.uint8]:
    """A tile of the scene; edge 0 gives all of it."""
    facts = inspect(scene)
    width = edge or facts.size.width
    across = max(1, facts.size.width // width)
    left, top = number % across * width, number // across % across * width
    window = Window(left, top, width, width)
    with BlockReader(facts, [window], "GTiff") as reader:
        return reader.read(window)


def _scan(detector: VehicleDetector, scene: Path, edge: int) -> dict[str, object]:
    found = scan_everything(scene, detector, Tiling(edge, WHOLE_TILING.overlap))
    return {"megapixels": found.grid.size.megapixels, "boxes": [_row(box) for box in found.boxes]}


def _row(box: Box) -> list[float]:
    return [round(v, 4) for v in (box.x0, box.y0, box.x1, box.y1, box.confidence)]


def _forward(runtime: Runtime, pictures: list[NDArray[np.uint8]]) -> dict[str, object]:
    for picture in pictures:
        runtime(picture)
    return {"megapixels": sum(picture.size for picture in pictures) / 3e6, "runtime": runtime.name}


def _bare_torch(network: nn.Module, pictures: list[NDArray[np.uint8]]) -> Round:
    """torch bfloat16 on tensors ready in memory, by autocast or with all weights in bfloat16: whichever is faster here."""
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = [_batch(picture) for picture in pictures]
    ways: dict[str, Callable[[Tensor], object]] = {}

    def autocast(batch: Tensor) -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return network(batch)

    def pure(batch: Tensor) -> object:
        with torch.inference_mode():
            return network(batch.bfloat16())

    took = {}
    for name, way in (("autocast", autocast), ("bfloat16 weights", pure)):
        network = network.float() if way is autocast else network.bfloat16()
        way(batches[0])
        began = time.process_time()
        way(batches[0])
        took[name], ways[name] = time.process_time() - began, way
    best = min(took, key=lambda name: took[name])
    network = network.float() if best == "autocast" else network.bfloat16()

    def one_round() -> dict[str, object]:
        for batch in batches:
            ways[best](batch)
        return {"megapixels": sum(batch.numel() for batch in batches) / 3e6, "way": best}

    return one_round


def _batch(picture: NDArray[np.uint8]) -> Tensor:
    tensor = torch.from_numpy(picture).permute(0, 3, 1, 2).float()
    return tensor.contiguous(memory_format=torch.channels_last)


def main() -> None:
    """Prepares, then answers "go" until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind")
    parser.add_argument("scene", type=Path)
    parser.add_argument("--edge", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to standard error
    one_round = rounds_of(args.kind, args.scene, args.edge, args.cache)
    print("{}", file=answer, flush=True)
    for _ in sys.stdin:
        cpu, began = time.process_time(), time.perf_counter()
        figures = one_round()
        figures["seconds"], figures["cpu_s"] = time.perf_counter() - began, time.process_time() - cpu
        figures["peak_mb"] = peak_mb(os.getpid())
        print(json.dumps(figures), file=answer, flush=True)


if __name__ == "__main__":
    main()
