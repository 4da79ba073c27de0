"""What one statement about a site's days is, and how far the devices behind it are believed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from collateral.db.geofences import Geofence
from collateral.db.passports import Calibration
from collateral.domain import Asset, Site, SubjectKind
from iot import amounts, checks
from iot.amounts import DayValues
from iot.calibration import lapses, uncalibrated
from iot.liveness import OFTEN, Awaited, DeviceDays, device_days, silent_gateways, unheard_days
from iot.signals import Signal, View

SUSPECT_FROZEN_H = 4.0
SUSPECT_REPLAYED_H = checks.REPLAY_HOURS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SiteContext:
    """What must be known of a site besides its readings."""

    site: Site
    assets: Mapping[str, Asset]
    """Of this site, by id."""
    asset_of: Mapping[str, str]
    """Device -> asset it measures, empty for the site as a whole."""
    first_us: Mapping[str, int]
    """Device -> its first reading ever."""
    gateway_of: Mapping[str, str] = field(default_factory=dict)
    """Device -> gateway that speaks for it, empty for none."""
    awaited: Mapping[str, Awaited] = field(default_factory=dict)
    """Device -> since when it should report; a registered device that never did counts as silent."""
    fences: Sequence[Geofence] = ()
    """Of this site, all rows."""
    calibrations: Mapping[str, Sequence[Calibration]] = field(default_factory=dict)
    """Device -> when it was calibrated, where that ends some time."""
    owner_of: Mapping[str, str] = field(default_factory=dict)
    """Device -> who owns it: who could tamper with it."""


@dataclass(frozen=True)
class Statement:
    """One quantity of one subject for every day of the grid."""

    subject_kind: SubjectKind
    subject_id: str
    quantity: str
    method: str
    days: DayValues
    evidence: Sequence[Mapping[str, object]]
    """Per day."""
    suspect: NDArray[np.bool_]
    """Days on which a device that was used repeated itself, or was not calibrated any more."""


class Trust:
    """How each device of a site was heard, and whether it repeated itself or is not calibrated any more."""

    def __init__(self, view: View, context: SiteContext) -> None:
        self._view = view
        self._context = context
        by_device: dict[str, list[Signal]] = {}
        for (device, _), signal in sorted(view.signals.items()):
            by_device.setdefault(device, []).append(signal)
        self.heard: list[DeviceDays] = [
            device_days(view, signals, context.first_us[device], context.awaited.get(device))
            for device, signals in by_device.items()
        ]
        if self.heard:
            self.heard += [
                unheard_days(view.grid, device, awaited)
                for device, awaited in sorted(context.awaited.items())
                if device not in by_device
            ]
        nothing = np.zeros(len(view.grid))
        self.frozen: dict[str, Floats] = {}
        self.replayed: dict[str, Floats] = {}
        self.lapses = lapses(context.calibrations, view)
        self.owner_of = context.owner_of
        for device, signals in by_device.items():
            live = [signal for signal in signals if signal.quantity in checks.LIVE_QUANTITIES]
            self.frozen[device] = reduce(np.maximum, (checks.frozen_hours(view.grid, s) for s in live), nothing)
            self.replayed[device] = reduce(np.maximum, (checks.replayed_hours(view.grid, s) for s in live), nothing)

    def repeated(self, devices: Iterable[str]) -> NDArray[np.bool_]:
        """Days on which one of the devices repeated itself."""
        flags = np.zeros(len(self._view.grid), bool)
        for device in devices:
            flags |= (self.frozen[device] >= SUSPECT_FROZEN_H) | (self.replayed[device] >= SUSPECT_REPLAYED_H)
        return flags

    def statements(self) -> Iterator[Statement]:
        """The site's worst device on each day."""
        if not self.heard:
            return
        devices = [heard.device_id for heard in self.heard]
        ratio = np.array([heard.ratio for heard in self.heard])
        known = np.max([heard.known_us for heard in self.heard], axis=0)
        whole = np.where(np.isnan(ratio).all(axis=0), np.nan, 1.0)
        worst = np.argmin(np.where(np.isnan(ratio), np.inf, ratio), axis=0)
        silent = (ratio == 0).sum(axis=0)
        evidence = [
            {
                "device_id": devices[i],
                "received": int(self.heard[i].received[day]),
                "expected": int(self.heard[i].expected[day]),
                "silent_devices": int(silent[day]),
                "devices": len(devices),
                **self._more(self.heard[i], day, int(silent[day])),
            }
            for day, i in enumerate(worst.tolist())
        ]
        value = ratio[worst, np.arange(len(worst))] * whole
        yield self._worst("reporting_ratio", DayValues(value, value, value, np.ones(len(value)), known), evidence)
        nothing = np.zeros(len(self._view.grid))
        late = np.array([heard.late_hours for heard in self.heard])
        tables = (
            ("late_hours", late),
            ("frozen_hours", np.array([self.frozen.get(device, nothing) for device in devices])),
            ("replayed_hours", np.array([self.replayed.get(device, nothing) for device in devices])),
        )
        heard_any = np.where(np.array([heard.received for heard in self.heard]).sum(axis=0) > 0, 1.0, np.nan)
        for quantity, hours in tables:
            worst = np.argmax(hours, axis=0)
            value = hours[worst, np.arange(len(worst))] * heard_any
            named: list[Mapping[str, object]] = [
                {"device_id": devices[i]} if value[day] > 0 else {} for day, i in enumerate(worst.tolist())
            ]
            yield self._worst(quantity, DayValues(value, value, value, np.ones(len(value)), known), named)

    def _more(self, worst: DeviceDays, day: int, silent: int) -> Mapping[str, object]:
        """What else explains the worst device: a gateway that hides several, an interval of its own."""
        more: dict[str, object] = {}
        gateways = silent_gateways(self.heard, self._context.gateway_of, day) if silent > 1 else []
        if gateways:
            more["silent_gateways"] = gateways
        awaited, usual = self._context.awaited.get(worst.device_id), float(worst.usual_s[day])
        if awaited is not None and np.isfinite(usual):
            registered = awaited.interval_us / 1e6
            if max(usual / registered, registered / max(usual, 1e-9)) >= OFTEN:
                more["usual_interval_s"] = round(usual, 1)
        return more

    def _worst(self, quantity: str, days: DayValues, evidence: Sequence[Mapping[str, object]]) -> Statement:
        return Statement(
            SubjectKind.SITE, self._context.site.site_id, quantity, f"{quantity}@1", days, evidence,
            np.zeros(len(self._view.grid), bool),
        )  # fmt: skip


def say_of_site(
    context: SiteContext, trust: Trust, quantity: str, method: str, days: DayValues, devices: Sequence[str], **more: Floats
) -> Statement:
    """A statement about the site; see `say`."""
    return say(SubjectKind.SITE, context.site.site_id, trust, quantity, method, days, devices, **more)


def say(
    kind: SubjectKind, subject: str, trust: Trust, quantity: str, method: str, days: DayValues, devices: Sequence[str],
    **more: Floats,
) -> Statement:  # fmt: skip
    """One quantity of one subject, with who measured it and how far that is believed; `more`: more evidence per day."""
    named, suspect = list(devices), trust.repeated(devices)
    sound = ~suspect & (days.coverage >= amounts.FULL_COVERAGE)
    for device in named:
        suspect |= trust.lapses.get(device, False)
    owners = sorted({trust.owner_of[device] for device in named if device in trust.owner_of})
    evidence: list[Mapping[str, object]] = [
        {
            "devices": named,
            "owners": owners,
            "coverage": round(float(share), 4),
            **{key: round(float(figures[day]), 4) for key, figures in more.items() if np.isfinite(figures[day])},
            **uncalibrated(trust.lapses, named, day, bool(sound[day])),
        }
        for day, share in enumerate(days.coverage.tolist())
    ]
    return Statement(kind, subject, quantity, f"{method}@1", days, evidence, suspect)
