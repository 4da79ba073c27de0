"""The memory that benchmarks report is the measured process's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.memory import peak_mb

CHILD = "import os, sys; from benchmarks.memory import peak_mb; print(peak_mb(os.getpid()), flush=True); sys.stdin.read()"


def test_a_large_starter_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    held = np.ones(60_000_000, np.uint64)  # 480 MB
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    own = float(child.stdout.readline())
    seen = peak_mb(child.pid)
    child.communicate("")
    assert held.sum() == len(held)
    assert own == pytest.approx(seen, abs=1.0) and 5 < own < 250
