"""Weights and cards: what does not belong together is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from collateral.errors import IntegrityError, InvalidInputError
from detection.card_page import page
from detection.weightfile import Card, card_path, default_path, read_card, read_weights, shipped, write_weights

CARD = Card(name="toy", network="slots", sha256="", gsd_m=0.15, threshold=0.5, calibration=(1.0, 0.0))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "toy.safetensors"
    weight = torch.linspace(-2, 2, 12).reshape(3, 4)
    state = {"a.weight": weight, "n.running_var": torch.tensor([1e5]), "n.seen": torch.tensor(7)}
    write_weights(path, state, CARD)
    return path


def test_what_is_written_is_read(stored: Path) -> None:
    state, card = read_weights(stored, "slots")
    assert torch.allclose(state["a.weight"], torch.linspace(-2, 2, 12).reshape(3, 4), atol=1e-3)
    assert state["n.running_var"].item() == 1e5 and state["n.seen"].item() == 7
    assert card.sha256 == read_card(stored).sha256 != ""


def test_a_changed_file_is_refused(stored: Path) -> None:
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(bytes(content))
    with pytest.raises(IntegrityError, match="changed or"):
        read_weights(stored, "slots")


def test_another_network_is_refused(stored: Path) -> None:
    with pytest.raises(InvalidInputError, match="'slots' network, wanted is 'panels'"):
        read_weights(stored, "panels")


def test_missing_card_and_missing_weights_say_so(stored: Path) -> None:
    text = card_path(stored).read_text()
    card_path(stored).unlink()
    with pytest.raises(InvalidInputError, match="only with their card"):
        read_weights(stored, "slots")
    card_path(stored).write_text(text)
    stored.unlink()
    with pytest.raises(InvalidInputError, match="missing although its card"):
        read_weights(stored, "slots")


def test_a_card_with_a_foreign_key_is_refused(stored: Path) -> None:
    values = json.loads(card_path(stored).read_text())
    card_path(stored).write_text(json.dumps({**values, "surprise": 1}))
    with pytest.raises(InvalidInputError, match="no model card"):
        read_card(stored)


def test_diverged_weights_are_not_stored(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not fit float16"):
        write_weights(tmp_path / "x.safetensors", {"w": torch.tensor([1e9])}, CARD)


@pytest.mark.parametrize("name", shipped())
def test_the_page_says_what_the_card_says(name: str) -> None:
    pages = Path(__file__).parents[2] / "docs" / "model-cards"
    written = (pages / f"{name}.md").read_text(encoding="utf-8")
    assert written == page(read_card(default_path(name))), f"run `collateral models card {name} --write docs/model-cards`"


@pytest.mark.parametrize("name", ["vehicles", "vehicles-real", "panels", "slots"])
def test_shipped_weights_match_their_cards(name: str) -> None:
    assert name in shipped()
    card = read_card(default_path(name))
    state, _ = read_weights(default_path(name), card.network)
    assert all(bool(torch.isfinite(value).all()) for value in state.values() if value.dtype.is_floating_point)
    assert card.name == name and card.gsd_m > 0 and 0 < card.threshold < 1
    assert card.training_data and all(row["licence"] for row in card.training_data)
    assert card.held_out and card.known_failures and card.figures
