"""Runs a network over pictures. The rest of detection sees `Runtime` only, so another engine can take its place."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Runtime(Protocol):
    """A loaded network."""

    name: str
    """Engine and number format, recorded beside figures."""

    def __call__(self, pictures: NDArray[np.uint8]) -> tuple[Tensor, ...]:
        """N x H x W x 3 uint8 RGB, H and W multiples of 16 -> the network's output maps, float32."""
        ...

    def expect(self, shape: tuple[int, int, int, int]) -> None:
        """Says that many batches of this shape follow; an engine may prepare for it. Other shapes stay welcome."""


class TorchRuntime:
    """torch, channels-last, on the GPU where there is one (never tried: this was written without), else on the CPU.

    bfloat16 autocast where the processor computes in it (twice as fast there).
    """

    def __init__(self, module: nn.Module, bfloat16: bool | None = None, device: str | None = None) -> None:
        """`bfloat16` None: where it helps. `device`: 'cpu', 'cuda', 'cuda:1'...; None takes cuda where torch sees it."""
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        module = module.eval().to(self._device)
        self._module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._bfloat16 = bfloat16_helps(self._device.type) if bfloat16 is None else bfloat16
        self.name = f"torch {torch.__version__} {self._device.type} {'bfloat16' if self._bfloat16 else 'float32'}"

    def __call__(self, pictures: NDArray[np.uint8]) -> tuple[Tensor, ...]:
        batch = torch.from_numpy(np.ascontiguousarray(pictures)).to(self._device).permute(0, 3, 1, 2).float()
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            out = self._module(batch.contiguous(memory_format=torch.channels_last))
        maps = (out,) if isinstance(out, Tensor) else tuple(out)
        return tuple(value.float().cpu() for value in maps)

    def expect(self, shape: tuple[int, int, int, int]) -> None:
        """torch prepares nothing."""


def bfloat16_helps(device: str = "cpu") -> bool:
    """True where the processor has bfloat16 instructions; elsewhere autocast would be slower than float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _has_avx512_bf16()


def _has_avx512_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported())
