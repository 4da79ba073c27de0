"""The web server of the dashboard: listens in a thread and ends with nothing left open (`waitress`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import waitress
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, MultiSocketServer
from waitress.trigger import trigger

from collateral.errors import ServiceError, UsageError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

THREADS = 8
"""Requests answered at the same time."""


@contextmanager
def listening(app: WSGIApplication, host: str, port: int) -> Iterator[str]:
    """Serves `app` in a thread while the block runs; gives the address. Port 0 takes a free one.

    Requests under way at the end are answered, for at most five seconds; then every connection is closed.

    Raises:
        UsageError: no such port.
        ServiceError: the address cannot be listened on.
    """
    if not 0 <= port <= 65_535:
        raise UsageError(f"Port {port} does not exist; use 1 to 65535, or 0 for a free one.")
    sockets: dict[int, Any] = {}
    try:
        server = waitress.create_server(app, map=sockets, host=host, port=port, threads=THREADS, ident="collateral")
    except OSError as error:
        wasyncore.close_all(sockets)
        raise ServiceError(
            f"The dashboard cannot listen on {host} port {port} ({error.strerror}); name another with --host and --port."
        ) from error
    ending = trigger(sockets)
    thread = threading.Thread(target=server.run, name="dashboard", daemon=True)
    thread.start()
    try:
        yield address(server, host)
    finally:
        server.task_dispatcher.shutdown()
        # by the thread that waits for the sockets: to close them under its feet is an error there (EBADF)
        ending.pull_trigger(lambda: _close(sockets))
        thread.join(timeout=10)


def _close(sockets: dict[int, Any]) -> None:
    for one in list(sockets.values()):
        if isinstance(one, HTTPChannel):
            one.handle_close()  # with the answers that the other end has not fetched yet
        else:
            one.close()


def address(server: BaseWSGIServer | MultiSocketServer, host: str) -> str:
    """Where a browser on this machine finds the server."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "*") else host  # noqa: S104 (comparison)
    port = server.effective_port if hasattr(server, "effective_port") else server.effective_listen[0][1]
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
