"""Every GDAL option the project sets, with the reason for it, in one place."""

from __future__ import annotations

from collections.abc import Mapping

import rasterio

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
