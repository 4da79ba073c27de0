"""Was a device calibrated when it measured? Pure.

A device whose calibration nobody wrote down is not doubted for that; one whose calibration ended, and was not renewed, is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from collateral.db.passports import Calibration
from iot.signals import View


def lapsed(
    time_us: NDArray[np.int64], known_by_us: NDArray[np.int64] | None, calibrations: Sequence[Calibration]
) -> NDArray[np.bool_]:
    """At which of these times a calibration had ended and no other held.

    Args:
        time_us: microseconds since 1970 UTC.
        known_by_us: for each, up to when a calibration must have been recorded to count; None: all count.
        calibrations: of one device.
    """
    over, held = np.zeros(len(time_us), bool), np.zeros(len(time_us), bool)
    for one in calibrations:
        known = np.ones(len(time_us), bool) if known_by_us is None else one.known_us <= known_by_us
        over |= known & (time_us >= one.until_us)
        held |= known & (time_us >= one.from_us) & (time_us < one.until_us)
    return np.asarray(over & ~held)


def lapses(known: Mapping[str, Sequence[Calibration]], view: View) -> dict[str, NDArray[np.bool_]]:
    """Per device the days of a view that began after its calibration had ended, as far as was known then."""
    begins = view.grid.edges_us[:-1]
    return {device: lapsed(begins, view.known_by_us, calibrations) for device, calibrations in known.items()}


def uncalibrated(
    lapsed_days: Mapping[str, NDArray[np.bool_]], devices: Sequence[str], day: int, sound: bool
) -> dict[str, object]:
    """For the evidence of a day: those of the devices that were not calibrated any more; empty where there are none.

    `sound`: nothing else is doubted. It is told, because a stop is a stop whatever the last digit of the meter says.
    """
    named = [device for device in devices if device in lapsed_days and lapsed_days[device][day]]
    return {"calibration_expired": named, "otherwise_good": sound} if named else {}
