"""One training loop for every network: seeded, resumable, averaged weights, cosine schedule; on a GPU where there is one.

Batch `n` depends on the seed and `n` alone, so a run that was stopped goes on as if it had not been. On the same machine
with the same number of threads the same seed gives the same bits on a CPU; a GPU adds in another order every time.
"""

from __future__ import annotations

import ctypes
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from collateral.errors import InvalidInputError
from collateral.progress import progress

log = logging.getLogger(__name__)
_KEEP = ((-4, 0), (-1, 2**31 - 1), (-2, 2**28))
"""mallopt: M_MMAP_MAX, no block of its own mapping; M_TRIM_THRESHOLD, M_TOP_PAD: bytes."""


class Task(Protocol):
    """What a network's recipe supplies to the loop."""

    def model(self) -> nn.Module:
        """The network as it starts."""
        ...

    def sample(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """One picture (3, H, W) uint8 and its target."""
        ...

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Loss of one batch and its parts."""
        ...


@dataclass(frozen=True)
class Schedule:
    """How long and how hard."""

    steps: int
    horizon: int = 0
    """Steps over which the rate falls to nearly nothing; 0: all of them. More than `steps` where another part follows."""
    batch: int = 12
    rate: float = 1.5e-3
    """Peak learning rate of the heads."""
    backbone_rate: float = 0.3
    """Share of `rate` for the backbone."""
    warmup: int = 100
    decay: float = 2e-4
    ema: float = 0.998
    seed: int = 7
    checkpoint_every: int = 100


def train(task: Task, schedule: Schedule, checkpoint: Path, start: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Runs or resumes training; returns the averaged state. `checkpoint` is written every `checkpoint_every` steps.

    `start` replaces the weights that `task.model()` begins with (continuing from other weights).

    Raises `InvalidInputError` when they are of another network or size.
    """
    torch.manual_seed(schedule.seed)
    model = task.model()
    if start is not None:
        try:
            model.load_state_dict(start)
        except RuntimeError as error:
            raise InvalidInputError(
                f"The weights to begin with are of another network or size ({str(error).splitlines()[-1].strip()}); name "
                "weights that the same recipe made."
            ) from None
    device = training_device()
    model = model.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(_groups(model, schedule), weight_decay=schedule.decay)
    average = {key: value.detach().clone() for key, value in model.state_dict().items()}
    first = _resume(checkpoint, model, optimiser, average)
    since, seen = time.monotonic(), 0
    batches = progress(_batches(task, schedule, first), f"training ({device.type})", schedule.steps - first, "step")
    for step, (images, targets) in batches:
        for group in optimiser.param_groups:
            group["lr"] = group["share"] * schedule.rate * _curve(step, schedule)
        optimiser.zero_grad(set_to_none=True)
        pictures = images.to(device).float().contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            loss, parts = task.loss(model, pictures, targets.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        _blend(average, model, min(schedule.ema, (step + 1) / (step + 10)))
        seen += len(images)
        if (step + 1) % 20 == 0:
            speed = seen / (time.monotonic() - since)
            text = " ".join(f"{key} {value:.3f}" for key, value in parts.items())
            log.info(
                "step %d/%d loss %.3f (%s) %.1f pictures/s", step + 1, schedule.steps, float(loss.detach()), text, speed
            )
            since, seen = time.monotonic(), 0
        if (step + 1) % schedule.checkpoint_every == 0 or step + 1 == schedule.steps:
            _save(checkpoint, step + 1, model, optimiser, average)
    return {key: value.cpu() for key, value in average.items()}


def keep_freed_memory() -> bool:
    """Lets the C library keep what the process frees, from now on; False where it cannot be told so.

    Every step asks for the same large blocks again; given back, the kernel clears them each time (mallopt(3),
    glibc). For a process that only trains: it stays as large as it ever was.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) == 1 for option, value in _KEEP)


def mean_of(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of weights that are near each other, such as runs from the same start; counters are the first's."""
    first = states[0]
    return {
        key: torch.stack([state[key] for state in states]).mean(dim=0) if value.dtype.is_floating_point else value
        for key, value in first.items()
    }


def training_device() -> torch.device:
    """The first GPU where torch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _groups(model: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    backbone: list[nn.Parameter] = []
    heads: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (backbone if name.startswith("backbone.") else heads).append(parameter)
    return [
        {"params": backbone, "lr": schedule.rate, "share": schedule.backbone_rate},
        {"params": heads, "lr": schedule.rate, "share": 1.0},
    ]


def _curve(step: int, schedule: Schedule) -> float:
    warm = min(1.0, (step + 1) / schedule.warmup)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / (schedule.horizon or schedule.steps)))))


def _blend(average: dict[str, Tensor], model: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                average[key].mul_(keep).add_(value, alpha=1 - keep)
            else:
                average[key].copy_(value)


def _batches(task: Task, schedule: Schedule, first: int) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
    """Batches made by one thread ahead of the optimiser (OpenCV and numpy release the interpreter)."""
    ready: queue.Queue[tuple[int, tuple[Tensor, Tensor]] | BaseException | None] = queue.Queue(maxsize=4)
    stop = threading.Event()
    worker = threading.Thread(target=_produce, args=(task, schedule, first, ready.put, stop), daemon=True)
    worker.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()


def _produce(
    task: Task,
    schedule: Schedule,
    first: int,
    put: Callable[[tuple[int, tuple[Tensor, Tensor]] | BaseException | None], None],
    stop: threading.Event,
) -> None:
    try:
        for step in range(first, schedule.steps):
            if stop.is_set():
                return
            pairs = [task.sample(np.random.default_rng([schedule.seed, step, k])) for k in range(schedule.batch)]
            put((step, (torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs]))))
        put(None)
    except BaseException as error:  # handed to the consumer, which raises it
        put(error)


def _resume(checkpoint: Path, model: nn.Module, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]) -> int:
    if not checkpoint.is_file():
        return 0
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
    except (RuntimeError, ValueError):
        raise InvalidInputError(f"{checkpoint} is of another network; remove it, and the training begins anew.") from None
    average.update({key: value.to(average[key].device) for key, value in state["average"].items()})
    log.info("resuming at step %d from %s", state["step"], checkpoint)
    return int(state["step"])


def _save(
    checkpoint: Path, step: int, model: nn.Module, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]
) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".partial")
    state = {"step": step, "model": model.state_dict(), "optimiser": optimiser.state_dict(), "average": average}
    torch.save(state, partial)
    partial.replace(checkpoint)
