"""The two sizes of the feature extractor: told apart by their weights, both from ImageNet."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from collateral.errors import InvalidInputError
from detection.models.backbone import LITE0, LITE2, Backbone, Size, load_imagenet, size_of
from detection.models.panels import PanelNet
from detection.models.vehicles import VehicleNet
from detection.panel_recipe import PanelTask
from detection.train import Schedule, train


@pytest.mark.parametrize("size", [LITE0, LITE2])
def test_features_have_the_channels_that_the_size_names(size: Size) -> None:
    found = Backbone(size).eval()(torch.zeros(1, 3, 64, 32))
    for stride, channels in size.channels.items():
        assert found[stride].shape == (1, channels, 64 // stride, 32 // stride)
    assert size.channels.keys() == {4, 8, 16}


@pytest.mark.parametrize("size", [LITE0, LITE2])
def test_imagenet_weights_fit_and_are_not_those_of_the_start(size: Size) -> None:
    backbone = Backbone(size)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    load_imagenet(backbone)
    after = backbone.state_dict()
    assert all(not torch.equal(before[key], after[key]) for key in after if key.endswith("conv.weight"))


@pytest.mark.parametrize("network", [PanelNet, VehicleNet])
def test_weights_tell_their_size(network: type[PanelNet | VehicleNet]) -> None:
    for size in (LITE0, LITE2):
        state = network(size=size).state_dict()
        again = network.of(state)
        assert again.backbone.size is size_of(state) is size
        again.load_state_dict(state)
    assert size_of({"backbone.blocks.0.x": torch.zeros(1), "head.w": torch.zeros(1)}) is LITE0


def test_start_of_another_size_is_refused(tmp_path: Path) -> None:
    small: nn.Module = PanelNet()
    with pytest.raises(InvalidInputError, match="another network or size"):
        train(PanelTask((), size=LITE2), Schedule(steps=1), tmp_path / "c.pt", small.state_dict())


def test_checkpoint_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    small = PanelNet()
    optimiser = torch.optim.AdamW(small.parameters())
    torch.save({"step": 1, "model": small.state_dict(), "optimiser": optimiser.state_dict(), "average": {}}, path)
    with pytest.raises(InvalidInputError, match="is of another network; remove it"):
        train(PanelTask((), size=LITE2), Schedule(steps=2), path)
