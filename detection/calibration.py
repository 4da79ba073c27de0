"""Raw confidences into probabilities: which map, chosen by cross-validation over groups that were not trained on.

Candidates, simplest first: temperature (one number, Guo et al. 2017), Platt scaling (two), Platt scaling with a term in the
picture's ground sampling distance, isotonic regression (Zadrozny and Elkan 2002, doi:10.1145/775047.775151). Taken is the
simplest whose log loss on left-out groups lies within one standard error of the best (Breiman et al. 1984).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from detection.arrays import Floats, floats
from detection.metrics import calibrate, calibration_error, fit_calibration, fit_logistic, logit, sigmoid, smoothed
from detection.weightfile import Card

_FOLDS = 10
_LEAST_GROUPS_BY_GSD = 2
_STEPS = 24
"""At most about so many steps of the isotonic map."""
_LEAST_SLOPE = 1e-3
_LEAST_RISE = 0.02
"""Maps rise, also where a network that learnt nothing would ask for the contrary."""


@dataclass(frozen=True)
class Answers:
    """What a network said of N things that were not trained on."""

    raw: Floats
    right: NDArray[np.bool_]
    gsd_m: NDArray[np.float64]
    """Of the picture each was seen in, metres per pixel; nan where unknown."""
    group: NDArray[np.str_]
    """Place each belongs to."""

    def take(self, chosen: NDArray[np.bool_]) -> Answers:
        """Those chosen."""
        return Answers(self.raw[chosen], self.right[chosen], self.gsd_m[chosen], self.group[chosen])


@dataclass(frozen=True)
class Calibrator:
    """One monotone map of raw confidences, as a card keeps it."""

    method: str
    """temperature, platt, platt+gsd or isotonic."""
    slope: float = 1.0
    intercept: float = 0.0
    by_gsd: float = 0.0
    """Added to the log odds: by_gsd * log(gsd / reference_m)."""
    reference_m: float = 1.0
    finest_m: float = 0.0
    coarsest_m: float = 1e9
    """The term is held constant outside what was measured."""
    knots: tuple[tuple[float, float], ...] = ()
    """Isotonic: (raw log odds, calibrated log odds), rising, linear between."""

    def __call__(self, raw: Floats, gsd_m: float | NDArray[np.float64] | None = None) -> Floats:
        """Probabilities. `gsd_m`: of the picture; None for `reference_m`."""
        if self.knots:
            x, y = np.array(self.knots).T
            return sigmoid(np.interp(logit(raw), x, y))
        seen = np.clip(self.reference_m if gsd_m is None else gsd_m, self.finest_m, self.coarsest_m)
        shift = self.by_gsd * np.log(seen / self.reference_m) if self.by_gsd else 0.0
        return sigmoid(self.slope * logit(raw) + self.intercept + shift)


def calibrator_of(card: Card) -> Calibrator:
    """The map of a card; older cards hold slope and intercept alone."""
    return calibrator_from(card.calibrator) or Calibrator("platt", *card.calibration)


def calibrator_from(about: object) -> Calibrator | None:
    """The map that `choose_calibrator` described; None for anything else."""
    chosen = about.get("chosen") if isinstance(about, Mapping) else None
    if not isinstance(chosen, Mapping):
        return None
    return Calibrator(**{**chosen, "knots": tuple((float(x), float(y)) for x, y in chosen.get("knots", ()))})


def calibrated(card: Card, raw: Floats, gsd_m: float | None = None) -> Floats:
    """Confidences of a card's network; `gsd_m` is what the picture was taken with, where that is known."""
    return calibrator_of(card)(raw, gsd_m) if card.calibrator else calibrate(raw, card.calibration)


def choose_calibrator(answers: Answers) -> tuple[Calibrator, Mapping[str, object]]:
    """The map and what the card keeps about the choice: figures of every candidate on left-out groups."""
    fits = _candidates(answers)
    folds = _folds(answers.group)
    numbers = range(int(folds.max(initial=0)) + 1)
    losses = {name: [_losses(fit, answers, folds == k) for k in numbers] for name, fit in fits.items()}
    means = {name: float(np.average([v[0] for v in rows], weights=[v[1] for v in rows])) for name, rows in losses.items()}
    best = min(means, key=lambda name: means[name])
    chosen = next(name for name in fits if means[name] - means[best] <= _standard_error(losses[name], losses[best]))
    calibrator = fits[chosen](answers)
    rows = [_compared(name, fit, answers, folds, means[name]) for name, fit in fits.items()]
    return calibrator, {
        "chosen": {**asdict(calibrator), "knots": [list(knot) for knot in calibrator.knots]},
        "compared_on_left_out_groups": rows,
        "answers": len(answers.raw),
        "groups": len(set(answers.group.tolist())),
    }


_Fit = Callable[[Answers], Calibrator]


def _candidates(answers: Answers) -> dict[str, _Fit]:
    fits: dict[str, _Fit] = {"temperature": _temperature, "platt": _platt}
    seen = zip(answers.gsd_m, answers.group, strict=True)
    places = {(round(float(gsd), 3), str(name)) for gsd, name in seen if np.isfinite(gsd)}
    gsds = [gsd for gsd, _ in places]
    if sum(gsds.count(gsd) >= _LEAST_GROUPS_BY_GSD for gsd in set(gsds)) >= 2 and bool(np.isfinite(answers.gsd_m).all()):
        fits["platt+gsd"] = _by_gsd
    return {**fits, "isotonic": _isotonic}


def _temperature(answers: Answers) -> Calibrator:
    slope = fit_logistic(logit(answers.raw).astype(np.float64)[:, None], smoothed(answers.right))[0]
    return Calibrator("temperature", max(_LEAST_RISE, float(slope)))


def _platt(answers: Answers) -> Calibrator:
    slope, intercept = fit_calibration(answers.raw, answers.right)
    return Calibrator("platt", max(_LEAST_RISE, slope), intercept)


def _by_gsd(answers: Answers) -> Calibrator:
    reference = float(np.exp(np.log(answers.gsd_m).mean()))
    columns = [logit(answers.raw).astype(np.float64), np.ones(len(answers.raw)), np.log(answers.gsd_m / reference)]
    slope, intercept, by_gsd = (float(v) for v in fit_logistic(np.stack(columns, 1), smoothed(answers.right)))
    low, high = float(answers.gsd_m.min()), float(answers.gsd_m.max())
    return Calibrator("platt+gsd", max(_LEAST_RISE, slope), intercept, by_gsd, reference, low, high)


def _isotonic(answers: Answers) -> Calibrator:
    """Pool adjacent violators; blocks of few answers join their neighbour, so that every step rests on enough of them."""
    order = np.argsort(answers.raw, kind="stable")
    blocks: list[_Block] = []
    for x, hit in zip(logit(answers.raw)[order].tolist(), smoothed(answers.right)[order].tolist(), strict=True):
        blocks.append(_Block(hit, 1, x, x))
        while len(blocks) > 1 and blocks[-2].share >= blocks[-1].share:
            last = blocks.pop()
            blocks[-1] = blocks[-1].joined(last)
    steps: list[_Block] = []
    for block in blocks:
        if steps and steps[-1].n < len(order) / _STEPS:
            steps[-1] = steps[-1].joined(block)
        else:
            steps.append(block)
    x = np.array([[step.first, step.last] for step in steps]).ravel()
    y = np.repeat(logit(floats([step.share for step in steps])).astype(np.float64), 2)
    y += _LEAST_SLOPE * (x - x.mean())  # no two confidences become one
    ends = (float(x[0]) - 6, float(y[0]) - 6 * _LEAST_SLOPE), (float(x[-1]) + 6, float(y[-1]) + 6 * _LEAST_SLOPE)
    return Calibrator("isotonic", knots=(ends[0], *zip(x.tolist(), y.tolist(), strict=True), ends[1]))


@dataclass(frozen=True)
class _Block:
    """Neighbouring answers that get one probability."""

    hits: float
    n: int
    first: float
    last: float

    @property
    def share(self) -> float:
        return self.hits / self.n

    def joined(self, other: _Block) -> _Block:
        return _Block(self.hits + other.hits, self.n + other.n, self.first, other.last)


def _folds(group: NDArray[np.str_]) -> NDArray[np.int64]:
    """Groups dealt into at most ten folds by size, so that no group is split; a single group is split by turns."""
    names, counts = np.unique(group, return_counts=True)
    if len(names) < 2:
        return np.arange(len(group)) % max(1, min(_FOLDS, len(group)))
    loads = np.zeros(min(_FOLDS, len(names)))
    fold = {}
    for index in np.argsort(-counts, kind="stable"):
        fold[str(names[index])] = lightest = int(loads.argmin())
        loads[lightest] += counts[index]
    return np.array([fold[str(name)] for name in group], np.int64)


def _losses(fit: _Fit, answers: Answers, out: NDArray[np.bool_]) -> tuple[float, int]:
    held = answers.take(out)
    p = np.clip(fit(answers.take(~out))(held.raw, held.gsd_m), 1e-4, 1 - 1e-4).astype(np.float64)
    return float(-np.mean(np.where(held.right, np.log(p), np.log(1 - p)))), len(held.raw)


def _standard_error(some: Sequence[tuple[float, int]], best: Sequence[tuple[float, int]]) -> float:
    gaps = np.array([a[0] - b[0] for a, b in zip(some, best, strict=True)])
    return float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else 0.0


def _compared(name: str, fit: _Fit, answers: Answers, folds: NDArray[np.int64], loss: float) -> dict[str, object]:
    p = np.zeros(len(answers.raw), np.float32)
    for number in range(int(folds.max(initial=0)) + 1):
        out = folds == number
        p[out] = fit(answers.take(~out))(answers.raw[out], answers.gsd_m[out])
    brier = float(np.mean((p.astype(np.float64) - answers.right) ** 2))
    return {"method": name, "log_loss": loss, "brier": brier, "ece": calibration_error(p, answers.right)}

