"""`collateral dashboard`: serves the dashboard until it is told to stop."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import waitress
from waitress.server import BaseWSGIServer, MultiSocketServer

from collateral.command import Command, Outcome
from collateral.errors import ServiceError, UsageError
from collateral.settings import Settings
from dashboard.app import create_app
from dashboard.queries import Queries

log = logging.getLogger(__name__)
THREADS = 8


@contextmanager
def serving(settings: Settings, host: str, port: int) -> Iterator[str]:
    """Serves in a thread while the block runs; gives the address. Port 0 takes a free one.

    Raises:
        UsageError: no such port.
        ServiceError: the address cannot be listened on.
    """
    if not 0 <= port <= 65_535:
        raise UsageError(f"Port {port} does not exist; use 1 to 65535, or 0 for a free one.")
    queries = Queries(settings.require_database(), THREADS)
    app = create_app(settings, queries)
    try:
        server = waitress.create_server(app.server, host=host, port=port, threads=THREADS, ident="collateral")
    except OSError as error:
        queries.close()
        raise ServiceError(
            f"The dashboard cannot listen on {host} port {port} ({error.strerror}); name another with --host and --port."
        ) from error
    thread = threading.Thread(target=server.run, name="dashboard", daemon=True)
    thread.start()
    try:
        yield address(server, host)
    finally:
        server.close()
        thread.join(timeout=10)
        queries.close()


def address(server: BaseWSGIServer | MultiSocketServer, host: str) -> str:
    """Where a browser on this machine finds the server."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "*") else host  # noqa: S104 (comparison)
    port = server.effective_port if hasattr(server, "effective_port") else server.effective_listen[0][1]
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


def _run(args: argparse.Namespace, settings: Settings) -> Outcome:
    host = args.host or settings.dashboard.host
    port = settings.dashboard.port if args.port is None else args.port
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    state = settings.runtime / "dashboard.json"
    with serving(settings, host, port) as url:
        settings.runtime.mkdir(parents=True, exist_ok=True)
        partial = state.with_suffix(".partial")
        partial.write_text(json.dumps({"url": url, "pid": os.getpid()}))
        partial.replace(state)
        log.info("dashboard ready at %s", url)
        stop.wait()
    state.unlink(missing_ok=True)
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
