"""The fastest CPU engine that is installed: OpenVINO where it is, else torch.

Its model is derived from the weights file, once, and kept in a cache folder. It carries the hash of its source and is
refused for other weights, so weights and derived model cannot come apart. Which number format is taken and why:
docs/decisions/0141-runtime-and-scan.md.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from collateral.errors import IntegrityError, InvalidInputError, ServiceError
from detection.runtime import Runtime, TorchRuntime

Precision = Literal["bf16", "f32", "int8"]
_EXAMPLE_PX = 64
_FORMAT = "2"
"""Counted up when the derivation changes, so that older derived models are not taken."""
_SOURCE = ["collateral", "source_sha256"]
"""Where a derived model says which weights it was made from."""
_PRECISION = ["collateral", "precision"]
"""Where it says in which numbers it is to be computed; it says nothing where that is left to the engine."""

INSTALLED = importlib.util.find_spec("openvino") is not None
"""Whether the package `openvino` is there (extra `openvino`)."""


class OpenVinoRuntime:
    """A network run by OpenVINO on the CPU."""

    def __init__(self, model: Path, sha256: str, threads: int = 0) -> None:
        """Compiles a derived model.

        Args:
            model: .xml file with its .bin beside it.
            sha256: of the weights it must have been derived from.
            threads: 0 for the number of cores.

        Where the model does not say in which numbers to compute, the engine takes bfloat16 where the processor has
        instructions for it and float32 elsewhere.

        Raises:
            IntegrityError: the model was made from other weights, or does not say from which.
        """
        openvino = importlib.import_module("openvino")
        self._core: Any = openvino.Core()
        self._model = model
        network = self._core.read_model(model)
        _require_source(network, sha256, model)
        precision = _told(network, _PRECISION)
        self._options: dict[str, object] = {
            # One picture at a time, as fast as it goes: two at a time are no faster here and need twice the memory.
            "PERFORMANCE_HINT": "LATENCY",
            # Threads pinned to cores starve on a machine that does other work too.
            "ENABLE_CPU_PINNING": False,
        }
        if threads > 0:
            self._options["INFERENCE_NUM_THREADS"] = threads
        if precision in ("bf16", "f32"):
            self._options["INFERENCE_PRECISION_HINT"] = precision
        self._any_size = self._compiled()
        self._one_size: tuple[tuple[int, ...], Any] = ((), None)
        numbers = "int8" if precision == "int8" else str(self._any_size.get_property("INFERENCE_PRECISION_HINT").to_string())
        self.name = f"OpenVINO {_version(openvino)} {numbers}"
        self._request: Any = self._any_size.create_infer_request()

    def __call__(self, pictures: NDArray[np.uint8]) -> tuple[Tensor, ...]:
        size, request = self._one_size
        if pictures.shape != size:
            request = self._request
        found = request.infer({0: np.ascontiguousarray(pictures)}, share_inputs=True)
        return tuple(torch.from_numpy(np.asarray(value, np.float32)) for value in found.values())

    def expect(self, shape: tuple[int, int, int, int]) -> None:
        """Compiles the network for this size alone: half the memory (720 against 1,500 MB at 3,000 x 3,000 px)."""
        if self._one_size[0] != shape:
            self._one_size = (shape, self._compiled(shape).create_infer_request())

    def _compiled(self, shape: tuple[int, ...] | None = None) -> Any:
        openvino = importlib.import_module("openvino")
        network = _takes_pictures(openvino, self._core.read_model(self._model))
        if shape is not None:
            network.reshape({network.inputs[0]: list(shape)})
        return self._core.compile_model(network, "CPU", self._options)


def fastest_runtime(module: nn.Module, sha256: str, cache: Path | None) -> Runtime:
    """OpenVINO when it is installed and a cache folder is given, else torch.

    An int8 model of these weights in the cache is taken when there is one: `collateral models export` leaves one there only
    when it costs next to nothing in accuracy. Torch where there is a GPU.
    """
    if cache is None or not INSTALLED or torch.cuda.is_available():
        return TorchRuntime(module)
    threads = torch.get_num_threads()
    small = model_path(cache, sha256, "int8")
    if small.is_file():
        return OpenVinoRuntime(small, sha256, threads)
    path = model_path(cache, sha256)
    if not path.is_file():
        save_model(derive(module), path, sha256)
    return OpenVinoRuntime(path, sha256, threads)


def model_path(folder: Path, sha256: str, precision: Precision | None = None) -> Path:
    """Where the model derived from these weights lies; one file serves both floating formats."""
    openvino = importlib.import_module("openvino")
    kind = "int8" if precision == "int8" else "float"
    return folder / f"{sha256[:16]}-{_FORMAT}-{_version(openvino)}-{kind}.xml"


def derive(module: nn.Module) -> Any:
    """Traces the network into an `openvino.Model`: N x 3 x H x W float, sizes free.

    The package's own converter is not used because it reports home.
    """
    openvino = importlib.import_module("openvino")
    frontend = importlib.import_module("openvino.frontend")
    decoder = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    with warnings.catch_warnings():
        # torch announces the end of tracing; OpenVINO's reader needs it still.
        warnings.simplefilter("ignore", DeprecationWarning)
        example = torch.zeros(1, 3, _EXAMPLE_PX, _EXAMPLE_PX)
        traced = decoder.TorchScriptPythonDecoder(module.eval().float(), example_input=example)
        engine = frontend.FrontEndManager().load_by_framework("pytorch")
        model = engine.convert(engine.load(traced))
    model.reshape({model.inputs[0]: openvino.PartialShape([-1, 3, -1, -1])})
    return model


def save_model(model: Any, path: Path, sha256: str, precision: Precision | None = None) -> None:
    """Stores a derived model (.xml and .bin) with the hash of the weights it was made from, whole or not at all.

    `precision`: numbers in which it is to be computed; None leaves that to the engine.
    """
    openvino = importlib.import_module("openvino")
    model.set_rt_info(sha256, _SOURCE)
    if precision is not None:
        model.set_rt_info(precision, _PRECISION)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = Path(folder) / path.name
        try:
            openvino.save_model(model, partial, compress_to_fp16=True)
        except RuntimeError as error:  # it says no more of a full disk than "iostream error"
            raise ServiceError(f"{path} cannot be written ({error}); make room on its disk.") from error
        partial.with_suffix(".bin").replace(path.with_suffix(".bin"))
        partial.replace(path)  # last: what is looked for is there only when all is


def _require_source(model: Any, sha256: str, path: Path) -> None:
    told = _told(model, _SOURCE) or "nothing"
    if told != sha256:
        raise IntegrityError(
            f"{path} says it was made from weights {told[:16]}, wanted is a model of {sha256[:16]}: delete it; it is made "
            "anew from the weights when it is needed."
        )


def _told(model: Any, key: list[str]) -> str:
    return str(model.get_rt_info(key).value) if model.has_rt_info(key) else ""


def _takes_pictures(openvino: Any, model: Any) -> Any:
    """The same model for N x H x W x 3 uint8: conversion and layout become part of the graph, which is far faster."""
    preprocess = importlib.import_module("openvino.preprocess")
    steps = preprocess.PrePostProcessor(model)
    steps.input(0).tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    steps.input(0).model().set_layout(openvino.Layout("NCHW"))
    return steps.build()


def _version(openvino: Any) -> str:
    return str(openvino.__version__.split("-")[0])


def require_openvino() -> None:
    """Raises `InvalidInputError` with the remedy where OpenVINO is missing."""
    if not INSTALLED:
        raise InvalidInputError("OpenVINO is not installed: pip install 'collateral-watch[openvino]'.")
