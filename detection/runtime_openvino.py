"""The fastest CPU engine that is installed: OpenVINO where it is, else torch.

OpenVINO runs these networks in about an eighth of torch's processor time (measured on two cores with AVX-512 bfloat16: 111
against 973 ms per megapixel for the vehicle network). Its model is derived from the weights file once and kept in a cache
folder under the hash of that file, so weights and derived model cannot come apart.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detection.runtime import Runtime, TorchRuntime

_EXAMPLE_PX = 64
_FORMAT = "1"
"""Counted up when the derivation changes, so that older derived models are not taken."""

INSTALLED = importlib.util.find_spec("openvino") is not None
"""Whether the package `openvino` is there (extra `openvino`)."""


class OpenVinoRuntime:
    """A network run by OpenVINO on the CPU, bfloat16 where the processor computes in it."""

    def __init__(self, module: nn.Module, sha256: str, cache: Path, threads: int = 0) -> None:
        """Takes the derived model of weights `sha256` from `cache`, or derives and stores it there.

        Args:
            module: the network with its weights.
            sha256: of the weights file.
            cache: folder of derived models.
            threads: 0 for the number of cores.
        """
        openvino = importlib.import_module("openvino")
        self._core: Any = openvino.Core()
        path = cache / f"{sha256[:16]}-{_FORMAT}-{openvino.__version__.split('-')[0]}.xml"
        if not path.with_suffix(".bin").is_file() or not path.is_file():
            _derive(openvino, module, path)
        options: dict[str, object] = {
            # One picture at a time, as fast as it goes: the scan hands over one after the other.
            "PERFORMANCE_HINT": "LATENCY",
            # Threads pinned to cores starve on a machine that does other work too.
            "ENABLE_CPU_PINNING": False,
        }
        if threads > 0:
            options["INFERENCE_NUM_THREADS"] = threads
        compiled = self._core.compile_model(self._core.read_model(path), "CPU", options)
        self._request: Any = compiled.create_infer_request()
        precision = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        self.name = f"OpenVINO {openvino.__version__.split('-')[0]} {precision}"

    def __call__(self, pictures: NDArray[np.uint8]) -> tuple[Tensor, ...]:
        batch = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32)
        found = self._request.infer({0: batch})
        return tuple(torch.from_numpy(np.array(value, np.float32)) for value in found.values())


def fastest_runtime(module: nn.Module, sha256: str, cache: Path | None) -> Runtime:
    """OpenVINO when it is installed and a cache folder is given, else torch."""
    if cache is None or not INSTALLED:
        return TorchRuntime(module)
    return OpenVinoRuntime(module, sha256, cache, torch.get_num_threads())


def _derive(openvino: Any, module: nn.Module, path: Path) -> None:
    """Traces the network and stores it; the package's own converter is not used because it reports home."""
    frontend = importlib.import_module("openvino.frontend")
    decoder = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    with warnings.catch_warnings():
        # torch announces the end of tracing; OpenVINO's reader needs it still.
        warnings.simplefilter("ignore", DeprecationWarning)
        example = torch.zeros(1, 3, _EXAMPLE_PX, _EXAMPLE_PX)
        traced = decoder.TorchScriptPythonDecoder(module.eval().float(), example_input=example)
        engine = frontend.FrontEndManager().load_by_framework("pytorch")
        model = engine.convert(engine.load(traced))
    # Sizes stay free, three channels are known.
    model.reshape({model.inputs[0]: openvino.PartialShape([-1, 3, -1, -1])})
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = Path(folder) / path.name
        openvino.save_model(model, partial, compress_to_fp16=True)
        partial.with_suffix(".bin").replace(path.with_suffix(".bin"))
        partial.replace(path)  # last: what is looked for is there only when all is
