"""Waiting times between attempts: doubling, capped, with jitter so that many clients do not come back at once."""

from __future__ import annotations

import random


class Backoff:
    """Seconds to wait before the next attempt; `reset` after a success."""

    def __init__(self, first_s: float = 0.2, most_s: float = 15.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._attempts = 0

    def next_s(self) -> float:
        """Between half of and the whole of the doubled, capped time."""
        whole = min(self._most_s, self._first_s * 2.0 ** min(self._attempts, 30))
        self._attempts += 1
        return whole * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """The attempt succeeded."""
        self._attempts = 0
