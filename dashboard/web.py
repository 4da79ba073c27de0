"""The web server of the dashboard: listens in a thread and ends with nothing left open (`waitress`)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import waitress
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, MultiSocketServer
from waitress.task import ThreadedTaskDispatcher
from waitress.trigger import trigger

from collateral.errors import ServiceError, UsageError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = logging.getLogger(__name__)
THREADS = 8
"""Requests answered at the same time."""
GRACE_S = 5.0
"""What is under way at the end has so long, seconds."""


@contextmanager
def listening(app: WSGIApplication, host: str, port: int, ended: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Serves `app` in a thread while the block runs; gives the address. Port 0 takes a free one.

    At the end requests under way are answered, for at most `GRACE_S`; then every connection is closed. `ended` is called
    when the thread ends, by itself too.

    Raises:
        UsageError: no such port or host.
        ServiceError: the address cannot be listened on.
    """
    if not 0 <= port <= 65_535:
        raise UsageError(f"Port {port} does not exist; use 1 to 65535, or 0 for a free one.")
    sockets: dict[int, Any] = {}
    workers = ThreadedTaskDispatcher()  # waitress would start threads before it binds, and leave them where that fails
    try:
        server = waitress.create_server(app, map=sockets, _dispatcher=workers, host=host, port=port, ident="collateral")
    except ValueError:
        raise UsageError(f"There is no host {host!r} on this machine; use 127.0.0.1, or an address that it has.") from None
    except OSError as error:
        wasyncore.close_all(sockets)
        raise ServiceError(
            f"The dashboard cannot listen on {host} port {port} ({error.strerror}); name another with --host and --port."
        ) from error
    workers.set_thread_count(THREADS)
    ending = trigger(sockets)
    thread = threading.Thread(target=_run, args=(server, ended), name="dashboard", daemon=True)
    thread.start()
    try:
        yield address(server, host)
    finally:
        until = time.monotonic() + GRACE_S
        workers.shutdown(timeout=GRACE_S)
        while thread.is_alive() and _unsent(sockets) and time.monotonic() < until:
            time.sleep(0.02)
        if thread.is_alive():
            # by the thread that waits for the sockets: to close them under its feet is an error there (EBADF)
            ending.pull_trigger(lambda: _close(sockets))
            thread.join(timeout=10)
        else:
            _close(sockets)


def address(server: BaseWSGIServer | MultiSocketServer, host: str) -> str:
    """Where a browser on this machine finds the server."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "*") else host  # noqa: S104 (comparison)
    port = server.effective_port if hasattr(server, "effective_port") else server.effective_listen[0][1]
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


def _run(server: BaseWSGIServer | MultiSocketServer, ended: Callable[[], None]) -> None:
    try:
        server.run()
    except Exception:
        log.exception("the web server of the dashboard ended by itself")
    finally:
        ended()


def _unsent(sockets: dict[int, Any]) -> bool:
    return any(isinstance(one, HTTPChannel) and one.total_outbufs_len for one in list(sockets.values()))


def _close(sockets: dict[int, Any]) -> None:
    """Connections first, with what they hold in files: a worker that still writes is told so before its trigger is gone."""
    held = list(sockets.values())
    for one in held:
        if isinstance(one, HTTPChannel):
            for request in (one.request, *one.requests):
                if request is not None:
                    request.close()
            one.handle_close()
    for one in held:
        if not isinstance(one, HTTPChannel):
            one.close()
