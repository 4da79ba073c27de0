"""`python -m collateral.follow PID WORDS...`: a command that ends when the process PID, its parent, does.

The scheduler starts its jobs so: were a job to outlive a killed scheduler, the next scheduler would run it a second time
beside the first. The supervisor starts its programs so. Linux tells a child of its parent's death (prctl PR_SET_PDEATHSIG);
elsewhere the job runs on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

from collateral.cli import main

_PR_SET_PDEATHSIG = 1


def follow(words: Sequence[str]) -> int:
    """Binds this process to its parent and runs the command; returns its exit code."""
    parent = int(words[0])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked
            return 1
    return main(words[1:])


if __name__ == "__main__":
    raise SystemExit(follow(sys.argv[1:]))
