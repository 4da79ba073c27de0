"""One contract over every engine: the same answers as torch, any size, derived once per weights file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collateral.errors import IntegrityError
from detection.infer import PanelSegmenter
from detection.models.panels import PanelNet
from detection.runtime import Runtime, TorchRuntime
from detection.runtime_openvino import INSTALLED, OpenVinoRuntime, derive, fastest_runtime, model_path, save_model
from detection.tiling import GRAIN, Tiling, tiles
from detection.weightfile import default_path, read_weights


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("derived")


@pytest.fixture(scope="module", params=["torch", "openvino"])
def engine(request: pytest.FixtureRequest, cache: Path) -> Runtime:
    state, card = read_weights(default_path("panels"), "panels")
    module = PanelNet()
    module.load_state_dict(state)
    if request.param == "torch":
        return TorchRuntime(module)
    if not INSTALLED:
        pytest.skip("openvino is not installed")
    path = model_path(cache, card.sha256)
    save_model(derive(module), path, card.sha256)
    return OpenVinoRuntime(path, card.sha256)


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 96, 160)])
def test_every_engine_answers_as_torch_float32(engine: Runtime, shape: tuple[int, int, int]) -> None:
    state, _ = read_weights(default_path("panels"), "panels")
    module = PanelNet()
    module.load_state_dict(state)
    pictures = np.random.default_rng(3).integers(0, 255, (*shape, 3), dtype=np.uint8)
    wanted, found = TorchRuntime(module, bfloat16=False)(pictures), engine(pictures)
    assert [value.shape for value in found] == [value.shape for value in wanted]
    for a, b in zip(wanted, found, strict=True):
        assert float((a - b).abs().mean()) < 0.05 * max(float(a.abs().mean()), 0.1)
    assert engine.name.split()[0] in ("torch", "OpenVINO")
    count, height, width = shape
    engine.expect((count, height, width, 3))
    for a, b in zip(found, engine(pictures), strict=True):
        assert float((a - b).abs().mean()) < 0.02 * max(float(a.abs().mean()), 0.1)
    assert engine(pictures[:, :32]) is not None, "other sizes stay welcome"


@pytest.mark.skipif(not INSTALLED, reason="openvino is not installed")
def test_the_derived_model_is_made_once_and_carries_the_hash(cache: Path) -> None:
    segmenter = PanelSegmenter.load(cache=cache)
    assert segmenter.runtime_name.startswith("OpenVINO")
    files = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert all(path.name.startswith(segmenter.model_sha256[:16]) for path in files) and len(files) == 2
    assert PanelSegmenter.load(cache=cache).runtime_name == segmenter.runtime_name
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == files


@pytest.mark.skipif(not INSTALLED, reason="openvino is not installed")
def test_a_model_of_other_weights_is_refused(cache: Path) -> None:
    _, card = read_weights(default_path("panels"), "panels")
    path = model_path(cache, card.sha256)
    save_model(derive(PanelNet()), path, "f" * 64)
    with pytest.raises(IntegrityError, match="delete it"):
        OpenVinoRuntime(path, card.sha256)
    with pytest.raises(IntegrityError, match="made from weights ffffffffffffffff"):
        _ = PanelSegmenter.load(cache=cache).runtime
    path.unlink()


def test_without_a_cache_torch_is_taken() -> None:
    assert fastest_runtime(PanelNet(), "0" * 64, None).name.startswith("torch")


_SHAPES = st.sampled_from([(1024, 128), (512, 96), (320, 64)])


@given(st.integers(1, 5000), st.integers(1, 3000), _SHAPES, st.integers(0, 4000))
def test_tiles_own_every_pixel_once_and_are_no_larger_than_needed(
    height: int, width: int, shape: tuple[int, int], shift: int
) -> None:
    edge, overlap = shape
    cuts = tiles(height, width, Tiling(edge, overlap, (shift, shift // 2)))
    for spans, length in (({t.rows for t in cuts}, height), ({t.columns for t in cuts}, width)):
        ordered = sorted(spans, key=lambda span: span.start)
        assert ordered[0].own_start == 0 and ordered[-1].own_stop == length
        assert all(a.own_stop == b.own_start and a.stop - b.start >= overlap for a, b in pairwise(ordered))
        assert all(span.start % GRAIN == 0 for span in ordered) and ordered[-1].stop - length < GRAIN
        assert len({span.stop - span.start for span in ordered}) == 1
        if shift < GRAIN:
            read = sum(span.stop - span.start for span in ordered)
            assert read <= length + (len(ordered) - 1) * overlap + GRAIN * len(ordered)
