"""Unusual states of one machine from all its sensors together.

Hotelling's T-squared and the residual (Q, SPE) of a principal component model of its normal running:
Jackson and Mudholkar 1979, doi:10.1080/00401706.1979.10489779. Limits: the machine must run normally while the model is
fitted; another way of running (load, product) counts as unusual until it is fitted anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collateral.errors import InvalidInputError

LEAST_ROWS = 100
"""Rows of normal running a model needs."""


@dataclass(frozen=True)
class MachineParameters:
    """One set for every machine; the margin is the smallest whole number that leaves fewer than one row in six out of
    control in stretches of a faultless recording that follow 400 rows of training (decision 0126)."""

    smooth: int = 60
    """Rows of the running mean that sensors are smoothed with."""
    kept: float = 0.8
    """Share of variance the components hold."""
    quantile: float = 0.999
    """Of the training statistics: the limit before the margin."""
    margin: float = 4.0
    """Limit over that quantile."""


MACHINE = MachineParameters()


@dataclass(frozen=True)
class MachineModel:
    """Normal running of one machine."""

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    components: NDArray[np.float64]
    """Sensors x components."""
    variances: NDArray[np.float64]
    limit_t2: float
    limit_q: float
    parameters: MachineParameters

    def statistics(self, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """T-squared and Q of each row (rows x sensors, in the sensors' units), each over its limit: 1 is the limit."""
        t2, q = _statistics((smoothed(rows, self.parameters.smooth) - self.centre) / self.scale, self)
        return t2 / self.limit_t2, q / self.limit_q

    def out_of_control(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Rows where either statistic is over its limit in the middle of the last five."""
        worst = np.maximum(*self.statistics(rows))
        return np.asarray(pd.Series(worst).rolling(5, min_periods=1).median().to_numpy() > 1.0)


def fit_machine(rows: NDArray[np.float64], parameters: MachineParameters = MACHINE) -> MachineModel:
    """Fits the model on rows x sensors of normal running. Raises `InvalidInputError` on too few or non-finite rows."""
    if rows.ndim != 2 or len(rows) < LEAST_ROWS or not np.isfinite(rows).all():
        raise InvalidInputError(
            f"A machine's model needs {LEAST_ROWS} finite rows of normal running; these are {rows.shape}."
        )
    smooth = smoothed(rows, parameters.smooth)
    centre, spread = smooth.mean(axis=0), smooth.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    standard = (smooth - centre) / scale
    _, singular, turned = np.linalg.svd(standard, full_matrices=False)
    variances = singular**2 / (len(rows) - 1)
    share = np.cumsum(variances) / max(float(variances.sum()), 1e-12)
    number = min(int(np.searchsorted(share, parameters.kept)) + 1, len(variances))
    model = MachineModel(centre, scale, turned[:number].T, np.maximum(variances[:number], 1e-12), 1.0, 1.0, parameters)
    t2, q = _statistics(standard, model)
    limits = [max(float(np.quantile(s, parameters.quantile)) * parameters.margin, 1e-9) for s in (t2, q)]
    return MachineModel(centre, scale, model.components, model.variances, limits[0], limits[1], parameters)


def smoothed(rows: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Mean of each row and up to `length - 1` before it."""
    return np.asarray(pd.DataFrame(rows).rolling(length, min_periods=1).mean().to_numpy(), np.float64)


def _statistics(standard: NDArray[np.float64], model: MachineModel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    projected = standard @ model.components
    residual = standard - projected @ model.components.T
    return (projected**2 / model.variances).sum(axis=1), (residual**2).sum(axis=1)
