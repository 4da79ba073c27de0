"""How the slot classifier is taught: real bays and, where given, rendered ones, re-lit, shifted and flipped."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from collateral.errors import InvalidInputError
from detection.dataset import Chip, read_slots_folder
from detection.evaluate_pictures import slot_chip
from detection.finish import Provenance
from detection.models.backbone import load_imagenet
from detection.models.slots import SlotNet, occupied_logits
from detection.slot_augment import Kind, changed
from detection.slot_bays import photographed_bays
from detection.train import Schedule
from detection.views import mirrored

log = logging.getLogger(__name__)

FOLDS = 4
"""The real slots are calibrated on by networks of which each was taught without one part in so many."""

EMPHASIS = 10
"""How often real slots are shown that bays of other places and rendered slots do not teach."""
KEPT = 0.75
"""Of what the last part changed."""
_POOLS = ("rendered", "bays", "real")
_VEHICLES = ("", "bus", "car", "heavy", "lorry", "truck", "van", "vehicle")
"""What index.csv may call goods that are vehicles."""


@dataclass(frozen=True)
class SlotTask:
    """Batches and loss of the slot classifier (see `detection.train.Task`)."""

    real: tuple[Chip, ...]
    rendered: tuple[Chip, ...] = ()
    bays: tuple[Chip, ...] = ()
    """Cut from photographs with labels of vehicles."""
    shares: tuple[float, float, float] = (0.5, 0.25, 0.25)
    """How often a rendered slot, a bay of a photograph and a real slot is drawn; of those that there are."""
    _by_label: dict[tuple[str, int], tuple[Chip, ...]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def model(self) -> nn.Module:
        """The network, with ImageNet weights in its backbone."""
        net = SlotNet()
        load_imagenet(net.backbone)
        return net

    def sample(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """One chip (3, 64, 64) uint8 and its class (scalar int). Empty and occupied ones are drawn equally often."""
        pool, chip = self.draw(rng)
        other = slot_chip(self._chip(1, pool, rng).image)
        picture = changed(slot_chip(chip.image), other, Kind(chip.label == 1, pool == "rendered"), rng)
        return torch.from_numpy(picture.transpose(2, 0, 1).copy()), torch.tensor(class_of(chip))

    def draw(self, rng: np.random.Generator) -> tuple[str, Chip]:
        """A pool by its share, and a chip of it; classes equally often where the pool has both."""
        label, shares = int(rng.random() < 0.5), self.present_shares()
        pool = tuple(shares)[int(rng.choice(len(shares), p=list(shares.values())))]
        return pool, self._chip(label, pool, rng)

    def present_shares(self) -> dict[str, float]:
        """How often each pool is drawn."""
        there = {pool: share * bool(getattr(self, pool)) for pool, share in zip(_POOLS, self.shares, strict=True)}
        return {pool: share / sum(there.values()) for pool, share in there.items()}

    def _chip(self, label: int, pool: str, rng: np.random.Generator) -> Chip:
        if (pool, label) not in self._by_label:
            chips: tuple[Chip, ...] = getattr(self, pool)
            self._by_label[pool, label] = tuple(chip for chip in chips if chip.label == label) or chips
        same = self._by_label[pool, label]
        return same[int(rng.integers(len(same)))]

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Cross entropy with softened labels, so that confidences stay apart from 0 and 1."""
        logits = model(images).float()
        value = functional.cross_entropy(logits, targets, label_smoothing=0.06)
        right = float((logits.argmax(dim=1) == targets).float().mean())
        return value, {"entropy": float(value.detach()), "right": right}


def class_of(chip: Chip) -> int:
    """Index in `CLASSES`; what stands on a slot of a photograph is a vehicle."""
    if chip.label == 0:
        return 0
    return 1 if chip.goods in _VEHICLES else 2


@dataclass(frozen=True)
class SlotData:
    """Chips that are taught, and those that only calibrate."""

    real: tuple[Chip, ...]
    rendered: tuple[Chip, ...]
    bays: tuple[Chip, ...]
    held_out: tuple[Chip, ...]
    """Rendered val, and photographed bays of the groups that are held out for vehicles."""

    def folds(self) -> list[tuple[tuple[Chip, ...], tuple[Chip, ...]]]:
        """Real slots taught and left out, for each of `FOLDS` turns. No two of them show the same slot (looked for by the
        correlation of their detail: none above 0.93), so each is a place of its own."""
        turns = np.arange(len(self.real)) % FOLDS
        return [
            (tuple(c for c, own in zip(self.real, turns, strict=True) if own != turn),
             tuple(c for c, own in zip(self.real, turns, strict=True) if own == turn))
            for turn in range(min(FOLDS, len(self.real)))
        ]  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One part of the training: what is shown, for what share of the schedule's steps, at what share of its rate."""

    title: str
    task: SlotTask
    steps: float
    rate: float
    horizon: float = 0.0
    """Share of the schedule's steps over which the rate falls; 0: those of the part."""

    def schedule(self, first: Schedule, number: int) -> Schedule:
        """Of the part with this number."""
        steps, horizon = round(first.steps * self.steps), round(first.steps * self.horizon)
        return replace(first, steps=steps, horizon=horizon, rate=first.rate * self.rate, seed=first.seed + number)

    def said(self, own: Schedule) -> str:
        """For the card."""
        falling = f" falling over {own.horizon}" if own.horizon else ""
        shares = ", ".join(f"{pool} {share:.2f}" for pool, share in self.task.present_shares().items() if share)
        return f"{own.steps} steps from rate {own.rate:.1e}{falling}, seed {own.seed}: {shares}"


def read_data(data: Path, rendered: Path | None) -> SlotData:
    """Everything below `data`; bays of photographs where it has `vehicles`. `rendered`: a Slots folder."""
    real = read_slots_folder(data / "slot_occupancy", "train")
    drawn = read_slots_folder(rendered, "train") if rendered is not None else []
    apart = read_slots_folder(rendered, "val") if rendered is not None else []
    taught, others = photographed_bays(data) if (data / "vehicles").is_dir() else ([], [])
    return SlotData(tuple(real), tuple(drawn), tuple(taught), (*apart, *others))


def emphasised(real: Sequence[Chip], state: Mapping[str, Tensor] | None) -> tuple[Chip, ...]:
    """Real slots; those that the network of the parts before, which was taught none of them, answers wrongly `EMPHASIS`
    times: hatched ground, crowns of trees and painted arrows are few among many cars."""
    if state is None or not real:
        return tuple(real)
    net = SlotNet.of(state).eval()
    try:
        net.load_state_dict(state)
    except RuntimeError:
        raise InvalidInputError("The weights to begin with are of another kind of slot network; train it anew.") from None
    pictures = np.stack([slot_chip(chip.image) for chip in real])
    with torch.inference_mode():
        views = [net(torch.from_numpy(v.transpose(0, 3, 1, 2).copy()).float()).numpy() for v in mirrored(pictures)]
    occupied = occupied_logits(np.mean(views, axis=0), [chip.kind for chip in real]) > 0
    wrong = occupied != np.array([chip.label == 1 for chip in real])
    log.info("%d of %d real slots are answered wrongly by what was never shown them", int(wrong.sum()), len(real))
    return tuple(chip for chip, again in zip(real, wrong, strict=True) for _ in range(EMPHASIS if again else 1))


def drawn_back(state: dict[str, Tensor], before: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """Weights of the last part, a quarter of the way back to those before it: one car park is learned without unlearning
    other places (Wortsman et al. 2022, Robust fine-tuning of zero-shot models, doi:10.48550/arXiv.2109.01903)."""
    if before is None:
        return state
    return {
        key: torch.lerp(before[key], value, KEPT) if value.dtype.is_floating_point else value for key, value in state.items()
    }


def parts(data: SlotData) -> list[Part]:
    """Bays cut from photographs; rendered slots with them; at last the real slots with all. Parts with nothing to show are
    left out."""
    bays, drawn = SlotTask((), bays=data.bays), SlotTask((), data.rendered, data.bays, (0.6, 0.4, 0.0))
    every = SlotTask(data.real, data.rendered, data.bays, (0.5, 0.2, 0.3))
    if not (data.bays or data.rendered):
        return [Part("last", every, 1.0, 1.0)]
    return [
        *([Part("first", bays, 1.0, 1.0, 1.6)] if data.bays else []),
        *([Part("second", drawn, 2.0, 1.0, 2.5), Part("third", drawn, 1.0, 0.6)] if data.rendered else []),
        Part("last", every, 1 / 3, 0.6),
    ]


def sources(data: SlotData) -> list[tuple[str, str, Sequence[Chip]]]:
    """Source, licence and chips of what is taught, for the card."""
    rows: list[tuple[str, str, Sequence[Chip]]] = [
        ("slot occupancy (one car park)", "MIT", data.real),
        ("bays around and beside the vehicles of catslab and KIT AIS, and of UC Merced land use with our own labels",
         "catslab: none stated; KIT AIS: CC BY 3.0; land use: public domain (USGS)", data.bays),
        ("rendered slots", "generated by data_samples, Apache-2.0", data.rendered),
    ]  # fmt: skip
    return [row for row in rows if row[2]]


def provenance(name: str, schedule: Schedule, data: SlotData, said: Mapping[str, str]) -> Provenance:
    """What the card says."""
    return Provenance(
        name=name,
        seed=schedule.seed,
        config={**asdict(schedule), **said},
        training_data=tuple(
            {"source": s, "licence": li, "pictures": len(c), "objects": len(c)} for s, li, c in sources(data)
        ),
        held_out=f"real slots, each answered by a network whose last part was taught without its fold of {FOLDS}"
        + (", bays of groups of vehicle pictures that are held out" if data.bays else "")
        + (", rendered val" if data.rendered else ""),
        known_failures=(
            "the real slots are of one car park, whose labels call hatched ground and trees occupied; the other photographs"
            " show bays cut around and beside labelled vehicles",
            "half of the bay in deep shade, or showing a neighbour's dark vehicle",
            "empty bays at 0.3 m with blots of strong JPEG compression, and others with a neighbour's vehicle in view",
            "goods of the ground's own colour", "slots under a roof",
        ),
    )  # fmt: skip
