"""The narrow door to ukis-csmask: what it needs, and that a cloud over fields is found when the extra is there."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from collateral.errors import InvalidInputError, ServiceError
from imagery import sentinel2
from imagery.sentinel2 import CLOUD, cloud_classes
from imagery.spectral import NEEDED

FIELDS = {"blue": 0.05, "green": 0.08, "red": 0.06, "nir": 0.32, "swir16": 0.20, "swir22": 0.11}


def scene() -> dict[str, NDArray[np.float32]]:
    """Fields with, in the middle, a cloud of 60 pixels."""
    rng = np.random.default_rng(2)
    parcels = cv2.resize(rng.normal(1, 0.1, (20, 20)), (200, 200), interpolation=cv2.INTER_CUBIC)
    disc = np.zeros((200, 200), np.float32)
    cv2.circle(disc, (100, 100), 30, 1.0, -1)
    alpha = cv2.GaussianBlur(disc, (0, 0), 3.0)
    ground = {name: FIELDS[name] * parcels + rng.normal(0, 0.004, parcels.shape) for name in FIELDS}
    return {name: (np.clip(band, 0, 1) * (1 - alpha) + 0.65 * alpha).astype(np.float32) for name, band in ground.items()}


def test_without_the_extra_it_says_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ukis_csmask.mask", None)
    with pytest.raises(ServiceError, match=r"\[sentinel2\]"):
        cloud_classes(scene())


def test_nothing_of_the_extra_is_loaded_before_it_is_needed() -> None:
    code = "import sys, imagery.coarse; print([m for m in ('onnxruntime', 'ukis_csmask') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(sentinel2.model_for(NEEDED, "l2a") is None, reason="the extra sentinel2 is not installed")
class TestWithTheExtra:
    def test_a_cloud_is_found_where_it_is(self) -> None:
        """Not a measure of the network: painted fields are none it knows. The wiring (order of bands, padding) is tested."""
        found = cloud_classes(scene()) == CLOUD
        assert found.shape == (200, 200)
        assert found[85:115, 85:115].mean() > 0.9 and found[:40].mean() < 0.05
        again = cloud_classes(scene()) == CLOUD
        assert (again == found).all(), "the network that is kept answers as the first time"

    def test_a_fill_value_that_nobody_declared_is_refused(self) -> None:
        bands = scene()
        bands["nir"][:60] = -9999
        with pytest.raises(InvalidInputError, match="no data"):
            cloud_classes(bands)

    def test_what_is_no_reflectance_is_refused(self) -> None:
        bands = scene()
        with pytest.raises(InvalidInputError, match="divide digital numbers"):
            cloud_classes({name: band * 10_000 for name, band in bands.items()})
        with pytest.raises(InvalidInputError, match="'nir' is missing"):
            cloud_classes({name: band for name, band in bands.items() if name != "nir"})
        with pytest.raises(InvalidInputError, match="one grid"):
            cloud_classes({**bands, "red": bands["red"][:100]})
