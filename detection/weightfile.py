"""Weights on disk: a safetensors file beside a card (JSON) that says what made it and how well it does.

A file whose SHA-256 differs from its card is refused: figures, thresholds and observations name that hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from collateral.errors import IntegrityError, InvalidInputError
from collateral.files import write_whole

FOLDER = Path(__file__).parent / "weights"
_LIMIT_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Card:
    """What the card of a weights file says."""

    name: str
    network: str
    """Which network the weights fit: vehicles, panels or slots."""
    sha256: str
    """Of the safetensors file."""
    gsd_m: float
    """Model grid, metres per pixel: pictures are resampled to it first."""
    threshold: float
    """On the calibrated confidence, chosen on `held_out`."""
    calibration: tuple[float, float]
    """Slope and intercept: confidence = sigmoid(slope * logit(raw) + intercept)."""
    bands: str = "RGB, 8 bit, 0..255"
    seed: int = 0
    config: Mapping[str, object] = field(default_factory=dict)
    """Schedule and augmentation, as given to the training loop."""
    training_data: tuple[Mapping[str, object], ...] = ()
    """source, licence, pictures, objects of each."""
    held_out: str = ""
    """What thresholds and calibration were taken from."""
    figures: Mapping[str, object] = field(default_factory=dict)
    """Measured by `collateral evaluate`, by data set and split."""
    known_failures: tuple[str, ...] = ()
    calibrator: Mapping[str, object] = field(default_factory=dict)
    """The calibration chosen and what it was compared with (`detection.calibration`); empty on older cards."""
    counting: tuple[Mapping[str, object], ...] = ()
    """Rows of `detection.counting`: recall and its spread between places, by ground sampling distance."""
    versions: Mapping[str, object] = field(default_factory=dict)
    """Packages that trained it."""
    failure_pictures: tuple[Mapping[str, str], ...] = ()
    """file (beside the page of the card) and text of pictures that show failures; of rendered places only."""
    data_digest: Mapping[str, object] = field(default_factory=dict)
    """SHA-256 over each folder that was read: of the labelled data by its name, `rendered/NAME` of the rendered scenes
    (older cards: `rendered`, with the subfolders of other networks), `labels` of our own labels."""


def card_path(weights: Path) -> Path:
    """The card of a weights file lies beside it."""
    return weights.with_suffix(".json")


def default_path(name: str) -> Path:
    """Where the shipped weights of that name lie."""
    return FOLDER / f"{name}.safetensors"


def shipped() -> list[str]:
    """Names of all shipped weights."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def read_card(weights: Path) -> Card:
    """Reads the card beside `weights`. Raises `InvalidInputError` when there is none or it lacks a key."""
    path = card_path(weights)
    if not path.is_file():
        raise InvalidInputError(f"{path} is missing: weights are used only with their card. Shipped are {shipped()}.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["calibration"] = tuple(values["calibration"])
        values["training_data"] = tuple(values.get("training_data", ()))
        for key in ("known_failures", "counting", "failure_pictures"):
            values[key] = tuple(values.get(key, ()))
        return Card(**values)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path} is no model card ({error}); write it with `collateral train`.") from None


def write_card(weights: Path, card: Card) -> None:
    """Writes `card` beside `weights`."""
    write_text(card_path(weights), json.dumps(asdict(card), indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all. Raises `InvalidInputError` when its folder is missing."""
    if not path.parent.is_dir():
        raise InvalidInputError(f"{path.parent} is no folder; create it, or name another file.")
    write_whole(path, text.encode())


def read_weights(weights: Path, network: str) -> tuple[dict[str, Tensor], Card]:
    """The state of a network, float32, and its card.

    Raises `IntegrityError` when the file is not the one its card describes, `InvalidInputError` when either is missing
    or the weights are of another network.
    """
    card = read_card(weights)
    if not weights.is_file():
        raise InvalidInputError(f"{weights} is missing although its card is there; restore it or train it anew.")
    content = weights.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.sha256:
        raise IntegrityError(
            f"{weights} has SHA-256 {digest[:16]}... and its card says {card.sha256[:16]}...: the file was changed or "
            "damaged. Restore both from the release, or train again."
        )
    if card.network != network:
        raise InvalidInputError(f"{weights} holds a {card.network!r} network, wanted is {network!r}.")
    return {key: _float32(value) for key, value in load(content).items()}, card


def write_weights(weights: Path, state: Mapping[str, Tensor], card: Card) -> Card:
    """Stores `state` (float16, statistics of batch norm float32) and the card with the file's SHA-256, which it returns.

    Raises `InvalidInputError` when the file would be larger than what is shipped (16 MiB).
    """
    halves = {key: _float16(key, value) for key, value in state.items()}
    partial = weights.with_suffix(".partial")
    partial.write_bytes(save(halves))
    if partial.stat().st_size > _LIMIT_BYTES:
        raise InvalidInputError(f"{weights.name} would have {partial.stat().st_size} bytes, the limit is {_LIMIT_BYTES}.")
    done = replace(card, sha256=hashlib.sha256(partial.read_bytes()).hexdigest())
    partial.replace(weights)
    write_card(weights, done)
    return done


def _float16(key: str, value: Tensor) -> Tensor:
    value = value.detach().contiguous()
    if not value.dtype.is_floating_point or "running_" in key:
        return value.clone()
    half = value.to(torch.float16)
    if not bool(torch.isfinite(half).all()):
        raise InvalidInputError(f"{key} does not fit float16 (largest {float(value.abs().max()):g}); training diverged.")
    return half


def _float32(value: Tensor) -> Tensor:
    return value.float() if value.dtype.is_floating_point else value
