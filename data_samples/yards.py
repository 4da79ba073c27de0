"""Which storage bays of a warehouse are occupied on a day: pledged lots in a fixed order, third parties by chance."""

from __future__ import annotations

import math

from data_samples.clock import stream
from data_samples.inventory import Inventory, SitePlan
from data_samples.operations import SiteTruth
from data_samples.scene_model import GOODS_KINDS, GoodsKind

THIRD_PARTY_SHARE = 0.55


def occupied_bays(plan: SitePlan, things: Inventory, truth: SiteTruth, day: int, seed: int) -> dict[str, GoodsKind]:
    """Goods on each occupied bay at the usual overpass of a day, by slot id; stock is yesterday's until 09:00."""
    occupied: dict[str, GoodsKind] = {}
    pledged: set[str] = set()
    for lot in things.lots:
        level = float(truth.levels[lot.asset_id][max(day - 1, 0)])
        count = min(math.ceil(level * len(lot.slots) - 0.25), len(lot.slots))
        occupied |= {slot.slot_id: lot.commodity.goods for slot in lot.slots[:count]}
        pledged |= {slot.slot_id for slot in lot.slots}
    for slot in plan.layout.slots_of("yard_bay"):
        if slot.slot_id in pledged:
            continue
        draw = stream(seed, "third party", slot.slot_id, str(day // 9))
        if draw.random() < THIRD_PARTY_SHARE:
            occupied[slot.slot_id] = GOODS_KINDS[int(draw.integers(len(GOODS_KINDS)))]
    return occupied
