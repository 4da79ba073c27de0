"""Every GDAL option the project sets, with the reason for it, in one place."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import rasterio
from rasterio.errors import RasterioIOError

OPTIONS: Mapping[str, str | int] = {
    # Never list the folder of a file that is opened: thousands of scenes lie in one folder.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # Do not write NAME.aux.xml beside other people's files when statistics are computed.
    "GDAL_PAM_ENABLED": "NO",
    # Windows are read once: a large block cache would only grow the process (bytes: rasterio does not take 64 for MB).
    "GDAL_CACHEMAX": 64 << 20,
    # Parallelism is ours (one reader beside the network); GDAL's own threads would take its cores.
    "GDAL_NUM_THREADS": 1,
}

DRIVER = "GTiff"
"""The format that is accepted (a cloud-optimised GeoTIFF is one): others follow links inside files or use the network."""


def gdal_environment() -> rasterio.Env:
    """A context in which rasterio works with `OPTIONS`."""
    return rasterio.Env(**OPTIONS)


class _Damage(logging.Handler):
    """Keeps what the decoder of one thread complains about."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread and "JPEGLib" in (said := record.getMessage()):
            self.said.append(said)


@contextmanager
def damage_is_an_error() -> Iterator[None]:
    """Within it, a JPEG block of which only a part can be decoded is an error: GDAL warns, and fills the rest with grey.

    Raises:
        RasterioIOError: on leaving, when the decoder complained.
    """
    logger, handler = logging.getLogger("rasterio._err"), _Damage()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    if handler.said:
        raise RasterioIOError(handler.said[0])
