"""torchvision imports beside the torch that is installed."""

from __future__ import annotations

import torch

from detection import torchvision_shim
from detection.torchvision_shim import import_torchvision


def test_models_work_after_the_import() -> None:
    torchvision = import_torchvision()
    net = torchvision.models.mobilenet_v3_small(weights=None).eval()
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_importing_again_declares_nothing_more() -> None:
    first = import_torchvision()
    declared = len(torchvision_shim._keep)
    assert import_torchvision() is first
    assert len(torchvision_shim._keep) == declared <= 1
