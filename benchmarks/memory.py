"""How much memory a process has held at most."""

from __future__ import annotations

import re
from pathlib import Path


def peak_mb(pid: int) -> float:
    """Peak of resident memory of a running process since its program began, in MB (10^6 bytes).

    Not `ru_maxrss`: that goes on from the process which started it, however large that one was (Linux, execve).
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024 / 1e6 if found else 0.0
