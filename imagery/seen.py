"""Remembers what the inspection of files found, so that a scan of a full inbox does not read every file again.

A file is taken for the same when path, size, time of change and inode are; what changed within the last seconds is not
remembered, because a further change might not show in its time. Everything is forgotten when the rules of inspection change.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
from affine import Affine

from collateral.errors import ServiceError
from imagery import raster, spectral
from imagery.grid import PixelSize
from imagery.raster import RasterFacts, RasterRejectedError, Reason, inspect_scene
from imagery.spectral import Spectral

_LOG = logging.getLogger("imagery.seen")
_SETTLED_S = 2.0
_TABLE = """
CREATE TABLE IF NOT EXISTS seen (
    path TEXT PRIMARY KEY, stamp TEXT NOT NULL, reason TEXT NOT NULL, content BLOB NOT NULL)
"""


class SeenFiles:
    """A file of facts by path; a context manager, for several threads."""

    def __init__(self, path: Path, inspector: Callable[[Path], RasterFacts] = inspect_scene) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._inspector = inspector
        rules = b"".join(Path(str(module.__file__)).read_bytes() for module in (raster, spectral))
        self._rules = hashlib.sha256(rules).hexdigest()[:12]
        self._lock = threading.Lock()
        try:
            self._database = _open(path)
        except sqlite3.OperationalError as error:
            raise ServiceError(
                f"{path} cannot be used ({error}); make room on its disk and the folder writable, or name another with "
                "COLLATERAL_RUNTIME."
            ) from error
        except sqlite3.DatabaseError:  # damaged: it is a memory, everything in it can be found out again
            path.unlink()
            self._database = _open(path)

    def __enter__(self) -> SeenFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()

    def inspect(self, path: Path) -> RasterFacts:
        """As `imagery.raster.inspect_scene`, from memory where the file is unchanged; refusals are remembered too."""
        before = _stamp(path)
        found = self._recall(path, before)
        if found is None:
            try:
                found = self._inspector(path)
            except RasterRejectedError as error:
                found = error
            after = _stamp(path)
            if before is not None and after is not None and self._key(before) == self._key(after):
                self._keep(path, after, found)
        if isinstance(found, RasterRejectedError):
            raise found
        return found

    def _recall(self, path: Path, stat: os.stat_result | None) -> RasterFacts | RasterRejectedError | None:
        if stat is None:
            return None
        with self._lock:
            row = self._database.execute(
                "SELECT reason, content FROM seen WHERE path = ? AND stamp = ?", (str(path), self._key(stat))
            ).fetchone()
        if row is None:
            return None
        values = orjson.loads(row[1])
        if row[0]:
            return RasterRejectedError(path, Reason(row[0]), values["detail"], values["sha256"])
        return _facts(path, values)

    def _keep(self, path: Path, stat: os.stat_result, found: RasterFacts | RasterRejectedError) -> None:
        if found.sha256 == "" or time.time() - stat.st_mtime < _SETTLED_S:  # not read at all, or perhaps still being written
            return
        reason, content = "", {}
        if isinstance(found, RasterRejectedError):
            reason, content = found.reason.value, {"detail": found.detail, "sha256": found.sha256}
        else:
            content = _plain(found)
        row = (str(path), self._key(stat), reason, orjson.dumps(content))
        try:
            with self._lock:
                self._database.execute("INSERT OR REPLACE INTO seen (path, stamp, reason, content) VALUES (?, ?, ?, ?)", row)
        except sqlite3.DatabaseError as error:  # a full disk: the scan itself goes on
            _LOG.warning("%s is read again next time: it cannot be remembered (%s)", path, error)

    def _key(self, stat: os.stat_result) -> str:
        return f"{self._rules} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(_TABLE)
    return database


def _stamp(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # the inspection says what is wrong
        return None


def _plain(facts: RasterFacts) -> dict[str, Any]:
    values = {field.name: getattr(facts, field.name) for field in fields(facts) if field.name != "path"}
    return {**values, "size": [facts.size.width, facts.size.height], "affine": list(facts.affine[:6])}


def _facts(path: Path, values: dict[str, Any]) -> RasterFacts:
    first, second, third = values["bands"]
    values |= {"size": PixelSize(*values["size"]), "affine": Affine(*values["affine"]), "bands": (first, second, third)}
    if values["spectral"] is not None:
        values["spectral"] = Spectral(**values["spectral"])
    return RasterFacts(path=path, **values)
