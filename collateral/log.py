"""Logging: one line per event on standard error, UTC with a zone, secrets masked."""

from __future__ import annotations

import logging
import re
import sys
import time

_PASSWORD_IN_URL = re.compile(r"(?P<head>[a-z][a-z0-9+.-]{0,20}://[^:/@\s]{0,200}:)\S+@")
"""To the last @, for a password may hold one; its head is bounded, so that a long line without an address costs linear
time."""


def mask_secrets(text: str) -> str:
    """Replaces the password of every URL in `text` by `***`."""
    return _PASSWORD_IN_URL.sub(r"\g<head>***@", text)


class _MaskingFormatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return mask_secrets(super().format(record))


def configure_logging(verbose: bool = False) -> None:
    """Sends the log of the whole process to standard error. Called once, in the entry point."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _MaskingFormatter("%(asctime)sZ %(levelname)s %(name)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    for noisy in ("rasterio", "matplotlib", "werkzeug", "waitress", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
