"""Files that others read while they are written anew."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, also where another process writes the same one at the moment: the last one stays.

    Raises:
        OSError: its folder is missing or closed to us, or the disk is full; nothing is left of the attempt.
    """
    partial = path.with_name(f".{uuid.uuid4().hex[:12]}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
