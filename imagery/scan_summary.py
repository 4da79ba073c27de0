"""What a scan did, in figures that can be added up and printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from imagery.reader import ReadCost


@dataclass(frozen=True)
class ScanSummary:
    """Counts of pieces of work (scene, site, detector); a file that is no scene counts as one rejected piece."""

    windows: int = 0
    """done + skipped + rejected + failed."""
    done: int = 0
    skipped: int = 0
    """Finished by an earlier scan."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """By reason."""
    failed: int = 0
    seconds: float = 0.0
    cost: ReadCost = field(default_factory=ReadCost)
    scenes: int = 0
    scenes_rejected: int = 0
    observations: int = 0
    """Observation revisions written."""

    def __add__(self, other: ScanSummary) -> ScanSummary:
        return ScanSummary(
            self.windows + other.windows,
            self.done + other.done,
            self.skipped + other.skipped,
            dict(Counter(self.rejected) + Counter(other.rejected)),
            self.failed + other.failed,
            self.seconds + other.seconds,
            self.cost + other.cost,
            self.scenes + other.scenes,
            self.scenes_rejected + other.scenes_rejected,
            self.observations + other.observations,
        )

    def as_dict(self) -> dict[str, object]:
        """The keys of `collateral scan --json`."""
        return {
            "windows": self.windows,
            "done": self.done,
            "skipped": self.skipped,
            "rejected": dict(self.rejected),
            "failed": self.failed,
            "seconds": round(self.seconds, 3),
            "bytes_read": self.cost.bytes_read,
            "bytes_needed": self.cost.bytes_needed,
            "requests": self.cost.requests,
            "megapixels": round(self.cost.megapixels, 3),
            "scenes": self.scenes,
            "scenes_rejected": self.scenes_rejected,
            "observations": self.observations,
        }

    def as_text(self) -> str:
        """Two lines for people."""
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.rejected.items())) or "none"
        return (
            f"{self.scenes} scenes, {self.windows} windows: {self.done} read, {self.skipped} finished before, "
            f"{self.failed} failed, rejected: {reasons}.\n"
            f"{self.observations} observations; {self.cost.megapixels:.1f} megapixels, "
            f"{self.cost.bytes_read / 1e6:.1f} MB in {self.cost.requests} requests, {self.seconds:.1f} s."
        )
