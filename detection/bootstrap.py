"""Intervals by resampling clusters: pictures of one place are not independent, so they are drawn together.

Cluster bootstrap with percentile limits (Davison and Hinkley 1997, section 3.8). Percentile limits of a figure that cannot
be negative (a calibration error) lie a little high: resampling adds noise to it. Below ten clusters they are too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

FEW_GROUPS = 8
"""Below this number of groups blocks of consecutive pictures are resampled instead of groups."""
BLOCK = 8
"""Consecutive pictures of one group that are drawn together then: frames of a flight overlap their neighbours only."""
_ROUNDS = 2000


def cluster_numbers(groups: Sequence[str]) -> tuple[NDArray[np.int64], str]:
    """For each picture (in the folder's order) the number of its cluster, and what the clusters are, in words.

    Pictures without a group ("") count as independent.
    """
    named = {group for group in groups if group}
    blocks = len(named) < FEW_GROUPS
    seen: dict[str, int] = {}
    keys: dict[tuple[str, int], int] = {}
    numbers = []
    for group in groups:
        place = seen.get(group, 0)
        seen[group] = place + 1
        part = place if not group else place // BLOCK if blocks else 0
        numbers.append(keys.setdefault((group, part), len(keys)))
    kind = "pictures" if not named else f"blocks of {BLOCK} consecutive pictures of one group" if blocks else "groups"
    return np.asarray(numbers, np.int64), kind


def cluster_sums(values: NDArray[np.float64], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """N x S additive figures of pictures or detections -> K x S sums by cluster."""
    out = np.zeros((int(numbers.max()) + 1 if len(numbers) else 0, values.shape[1]))
    np.add.at(out, numbers, values)
    return out


def bootstrap(
    sums: NDArray[np.float64], statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]], seed: int = 0
) -> list[float]:
    """95 % interval of `statistic` (B x S sums -> B values) when the K clusters (K x S sums) are drawn anew."""
    if len(sums) == 0:
        return [0.0, 1.0]
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=_ROUNDS).astype(np.float64)
    low, high = np.quantile(statistic(drawn @ sums), [0.025, 0.975])
    return [float(low), float(high)]


def ratio_of(top: int, bottom: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """The statistic column `top` / column `bottom`; 1 where nothing is there."""

    def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.where(sums[:, bottom] > 0, sums[:, top] / np.maximum(sums[:, bottom], 1e-12), 1.0))

    return statistic
