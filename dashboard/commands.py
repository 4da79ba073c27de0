"""`collateral dashboard`: serves the dashboard until it is told to stop."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from collateral.command import Command, Outcome
from collateral.errors import ServiceError
from collateral.settings import Settings
from dashboard.app import create_app
from dashboard.queries import Queries
from dashboard.web import THREADS, listening

log = logging.getLogger(__name__)


@contextmanager
def serving(settings: Settings, host: str, port: int, ended: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Serves the dashboard while the block runs; gives the address (see `dashboard.web.listening`, for errors too)."""
    queries = Queries(settings.require_database(), THREADS)
    try:
        with listening(create_app(settings, queries).server, host, port, ended) as url:
            yield url
    finally:
        queries.close()


def _run(args: argparse.Namespace, settings: Settings) -> Outcome:
    host = args.host or settings.dashboard.host
    port = settings.dashboard.port if args.port is None else args.port
    asked: SimpleQueue[bool] = SimpleQueue()  # whether the end was asked for: the first to say so counts
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.put(True))
    state = settings.runtime / "dashboard.json"
    with serving(settings, host, port, lambda: asked.put(False)) as url:
        settings.runtime.mkdir(parents=True, exist_ok=True)
        partial = state.with_suffix(".partial")
        partial.write_text(json.dumps({"url": url, "pid": os.getpid()}))
        partial.replace(state)
        log.info("dashboard ready at %s", url)
        stopped = asked.get()
    state.unlink(missing_ok=True)
    if not stopped:
        raise ServiceError(f"The web server of the dashboard at {url} ended by itself; the log says why. Start it again.")
    return Outcome({"url": url}, f"The dashboard at {url} has stopped.")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on; default: COLLATERAL_DASHBOARD_HOST, else 127.0.0.1")
    parser.add_argument(
        "--port", type=int, help="port to listen on, 0 for a free one; default: COLLATERAL_DASHBOARD_PORT, else 8050"
    )


COMMANDS = {
    "dashboard": Command(
        "Serve the map dashboard; the address is logged and written to RUNTIME/dashboard.json.",
        "collateral dashboard --port 0",
        _run,
        _configure,
    )
}
