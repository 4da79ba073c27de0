"""`collateral bench scan`: our scan of a whole scene against bare forward passes, SAHI and another network, side by side.

Each thing runs in a process of its own; they take turns within a round, and ratios are taken inside a round, so that
whatever else the machine does weighs on both sides. Memory is the peak of a process; what a process needs that only runs the
network on one tile in memory is taken off.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.scan_sahi import VERSION, sahi_python, slices_along
from benchmarks.scan_scene import bench_mosaic, bench_scene
from collateral.errors import ServiceError
from collateral.settings import Settings
from detection.arrays import Floats, floats
from detection.everything import WHOLE_TILING
from detection.metrics import iou
from detection.tiling import tiles
from detection.weightfile import default_path, read_card

_ROOT = Path(__file__).resolve().parents[1]
_BUDGET_S = 220.0
"""Rounds end when this is spent since the start; memory at the larger edge is measured after them (two minutes)."""
_SURE = 0.1
"""Added to the threshold: boxes compared for `agreement`."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    edge: int
    """Of the scene, pixels."""
    part: int
    """Edge of the scene for SAHI and for torch float32."""
    times: int
    """The mosaic is that many scenes wide."""
    rounds: int

    @classmethod
    def of(cls, quick: bool) -> Sizes:
        """The whole measurement, or a look of a minute or two."""
        return cls(6_000, 4_000, 2, 1) if quick else cls(20_000, 6_000, 3, 3)


class Worker:
    """A process that does one kind of work when it is told to."""

    def __init__(self, kind: str, scene: Path, bench: Bench, python: Path | None = None) -> None:
        command = [
            str(python or sys.executable), "-m", "benchmarks.scan_worker", kind, str(scene), "--edge", str(bench.tile),
            "--threads", str(bench.threads), "--cache", str(bench.cache),
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": str(bench.threads)}
        self.kind = kind
        self._process = subprocess.Popen(
            command, cwd=_ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def go(self) -> dict[str, Any]:
        """One round: `megapixels`, `seconds`, `cpu_s`, `peak_mb` and what the kind adds."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise ServiceError(f"The process that measures {self.kind!r} ended with {code}; see its messages.")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True)
class Bench:
    """What is the same for all."""

    scene: Path
    part: Path
    tile: int
    threads: int
    cache: Path

    @contextmanager
    def worker(self, kind: str, scene: Path | None = None, python: Path | None = None) -> Iterator[Worker]:
        """A process for a while."""
        worker = Worker(kind, scene or self.scene, self, python)
        try:
            yield worker
        finally:
            worker.close()

    def once(self, kind: str, scene: Path | None = None) -> dict[str, Any]:
        """One round in a fresh process."""
        with self.worker(kind, scene) as worker:
            return worker.go()


def run(quick: bool, settings: Settings) -> dict[str, object]:
    """All figures of `collateral bench scan`."""
    started = time.monotonic()
    sizes = Sizes.of(quick)
    folder = settings.runtime / "bench"
    scene, part = bench_scene(folder, sizes.edge), bench_scene(folder, sizes.part)
    bench = Bench(scene, part, tile_of(sizes.edge), settings.threads or os.cpu_count() or 1, folder / "models")
    own = bench.once("own")
    rounds, sahi = _rounds(bench, sizes, started)
    mosaic = replace(bench, scene=bench_mosaic(scene, sizes.edge, sizes.times), tile=tile_of(sizes.edge * sizes.times))
    large = mosaic.once("own", scene), mosaic.once("scan")
    peaks = {
        str(sizes.edge): rounds[0]["scan"]["peak_mb"] - own["peak_mb"],
        str(sizes.edge * sizes.times): large[1]["peak_mb"] - large[0]["peak_mb"],
    }
    ours, other = bench.once("scan", part)["boxes"], bench.once("scan_float32", part)["boxes"]
    card = read_card(default_path("vehicles"))
    return {
        "runtime": own["runtime"],
        **_speeds(rounds, _sahi_speed(sahi, sizes.edge, bench.tile)),
        "agreement": agreement(floats(ours).reshape(-1, 5), floats(other).reshape(-1, 5), card.threshold + _SURE),
        "peak_extra_mb": round(max(peaks.values()), 1),
        "peak_extra_mb_by_edge": {edge: round(value, 1) for edge, value in peaks.items()},
        "peak_mb": {name: round(value["peak_mb"], 1) for name, value in {"own": own, **rounds[0], "sahi": sahi}.items()},
        "tile": bench.tile, "overlap": WHOLE_TILING.overlap, "threads": bench.threads, "edge": sizes.edge,
        "rounds": len(rounds), "vehicles": len(rounds[0]["scan"]["boxes"]), "sahi": VERSION,
        "model_sha256": card.sha256, "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip


def tile_of(edge: int) -> int:
    """Edge of the tiles into which a square raster is cut."""
    rows = tiles(edge, edge, WHOLE_TILING)[0].rows
    return rows.stop - rows.start


def _rounds(bench: Bench, sizes: Sizes, started: float) -> tuple[list[dict[str, dict[str, Any]]], dict[str, Any]]:
    """forward, scan, forward, torch, MobileNetV3 in turn, several times; SAHI once, in the first round."""
    rounds: list[dict[str, dict[str, Any]]] = []
    with ExitStack() as stack:
        forward, scan, torch, mobilenet = (
            stack.enter_context(bench.worker(kind)) for kind in ("forward", "scan", "torch", "mobilenet")
        )
        sahi = stack.enter_context(bench.worker("sahi", bench.part, sahi_python(bench.cache.parent / "venv-sahi")))
        for worker in (forward, torch, mobilenet):
            worker.go()  # warm
        sliced: dict[str, Any] = {}
        while len(rounds) < sizes.rounds:
            began = time.monotonic()
            before = forward.go()
            found = {"scan": scan.go(), "forward": _both(before, forward.go())}
            rounds.append({**found, "torch": torch.go(), "mobilenet": mobilenet.go()})
            took = time.monotonic() - began
            sliced = sliced or sahi.go()
            if time.monotonic() - started + took > _BUDGET_S:
                break
    return rounds, sliced


def _both(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {**after, **{key: before[key] + after[key] for key in ("megapixels", "seconds", "cpu_s")}}


def _sahi_speed(sahi: dict[str, Any], edge: int, tile: int) -> float:
    """Megapixels/s of the whole scene: seconds a slice on the part, times the slices SAHI cuts the scene into."""
    seconds = float(sahi["seconds"]) / int(sahi["slices"]) * slices_along(edge, tile) ** 2
    return edge**2 / 1e6 / seconds


def _speeds(rounds: Sequence[dict[str, dict[str, Any]]], sahi: float) -> dict[str, object]:
    def speed(found: dict[str, Any]) -> float:
        return float(found["megapixels"] / found["seconds"])

    def ratio(name: str) -> float:
        return median(speed(found["scan"]) / speed(found[name]) for found in rounds)

    names = ("scan", "forward", "torch", "mobilenet")
    speeds = {name: median(speed(found[name]) for found in rounds) for name in names}
    work = {name: median(1e3 * found[name]["cpu_s"] / found[name]["megapixels"] for found in rounds) for name in names}
    return {
        "megapixels_per_s": round(speeds["scan"], 2),
        "ratio_to_forward": round(ratio("forward"), 3),
        "ratio_to_torch": round(ratio("torch"), 3),
        "ratio_to_sahi": round(speed(rounds[0]["scan"]) / sahi, 3),
        "ratio_to_mobilenet": round(ratio("mobilenet"), 3),
        "megapixels_per_s_of": {**{name: round(value, 2) for name, value in speeds.items()}, "sahi": round(sahi, 2)},
        "cpu_ms_per_megapixel": {name: round(value, 1) for name, value in work.items()},
        "by_round": [{name: round(speed(found[name]), 2) for name in names} for found in rounds],
        "torch_way": {name: rounds[0][name]["way"] for name in ("torch", "mobilenet")},
    }


def agreement(one: Floats, other: Floats, least: float) -> float:
    """Share of the boxes (rows x0 y0 x1 y1 confidence) of both runs above `least` that the other run has at IoU 0.5."""
    shares = []
    for some, rest in ((one, other), (other, one)):
        sure = some[some[:, 4] >= least]
        found = [bool(iou(box[None, :4], _near(rest, box)[:, :4]).max(initial=0.0) >= 0.5) for box in sure]
        shares += found
    return round(float(np.mean(shares)), 4) if shares else 1.0


def _near(boxes: Floats, box: Floats) -> Floats:
    return floats(boxes[(boxes[:, 0] < box[2]) & (boxes[:, 2] > box[0]) & (boxes[:, 1] < box[3]) & (boxes[:, 3] > box[1])])
