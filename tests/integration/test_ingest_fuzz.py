"""Broken messages beside sound ones, through the writer into a real database: all accounted for, none harmed."""

from __future__ import annotations

from benchmarks.fuzz import SOUND_QUANTITY, fuzz, report
from collateral.db.pool import Pool, Role
from collateral.db.quarantine import Selection
from iot.quarantine import retry_quarantined
from iot.writer import BatchWriter
from tests.integration.test_quarantine import balanced
from tests.iot_support import device, register

QUANTITIES = ("active_power_kw", "energy_total_kwh")


def test_broken_messages_are_accounted_for_exactly(database: str) -> None:
    names = [f"f{n}" for n in range(20)]
    register(database, [device(name, [*QUANTITIES, SOUND_QUANTITY]) for name in names])
    with Pool(database, Role.INGEST, size=1) as pool:
        result = fuzz(pool, names, 20_000, 5, QUANTITIES)
    assert report(result)["exact"], result
    assert result.messages == 20_000
    assert result.sound == 2_000
    assert min(result.conflicts, result.duplicates, result.stored) > 20, result
    assert result.quarantined > 10_000
    with Pool(database, Role.INGEST, size=1) as pool:
        again = retry_quarantined(pool, Selection(), BatchWriter, limit=3_000)
    assert again.tried == 3_000 and balanced(database), again
