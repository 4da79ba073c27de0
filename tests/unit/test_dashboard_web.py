"""The dashboard's web server starts and ends without losing an answer."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterable
from http.client import HTTPConnection, HTTPException

import pytest

from collateral.errors import ServiceError, UsageError
from dashboard.web import listening

Start = Callable[[str, list[tuple[str, str]]], object]


def hello(environ: dict[str, object], start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def get(url: str) -> bytes:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=20)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def test_request_under_way_is_answered_and_idle_connections_are_closed() -> None:
    asked, go = threading.Event(), threading.Event()
    answers: list[bytes] = []

    def slow(environ: dict[str, object], start: Start) -> Iterable[bytes]:
        asked.set()
        assert go.wait(20)
        return hello(environ, start)

    with listening(slow, "127.0.0.1", 0) as url:
        port = int(url.rsplit(":", 1)[1])
        idle = socket.create_connection(("127.0.0.1", port), timeout=20)
        client = threading.Thread(target=lambda: answers.append(get(url)))
        client.start()
        assert asked.wait(20)
        threading.Timer(0.3, go.set).start()  # while the server is being closed
    client.join(20)
    assert answers == [b"hello"]
    with idle:
        assert idle.recv(1) == b""
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_answer_that_is_being_read_arrives_whole() -> None:
    size = 24 << 20

    def large(environ: dict[str, object], start: Start) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(size))])
        return [b"x" * size]

    got: list[bytes] = []
    with listening(large, "127.0.0.1", 0) as url:
        connection = HTTPConnection(url.removeprefix("http://"), timeout=20)
        connection.request("GET", "/")
        answer = connection.getresponse()
        reader = threading.Thread(target=lambda: got.append(answer.read()))
        reader.start()
    reader.join(20)
    connection.close()
    assert len(got[0]) == size


def test_slow_client_of_a_long_request_leaves_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is being made when the grace is over, and nobody reads it: its worker must not write to what is closed."""
    monkeypatch.setattr("dashboard.web.GRACE_S", 1.0)
    asked = threading.Event()

    def endless(environ: dict[str, object], start: Start) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        asked.set()
        for _ in range(600):
            time.sleep(0.02)
            yield b"x" * 65_536

    with listening(endless, "127.0.0.1", 0) as url:
        client = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=20)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert asked.wait(20)
    with client:
        while client.recv(1 << 20):
            pass
    gc.collect()


def test_thread_that_ends_by_itself_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    with listening(hello, "127.0.0.1", 0, ended.set) as url:
        port = int(url.rsplit(":", 1)[1])
        assert not ended.is_set()

        def fail(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr("waitress.server.BaseWSGIServer.readable", fail)
        assert ended.wait(20)
        monkeypatch.undo()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_answer_nobody_fetches_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network did not take lies in a file by then: left open it is a warning, which is an error here."""
    monkeypatch.setattr("dashboard.web.GRACE_S", 1.0)

    def large(environ: dict[str, object], start: Start) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(32 << 20))])
        return [b"x" * (32 << 20)]

    with listening(large, "127.0.0.1", 0) as url:
        client = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=20)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(4) == b"HTTP"
    client.close()
    gc.collect()


def test_thread_ends_quietly_under_load() -> None:
    """An error in the server's thread is a warning of pytest, which is an error here."""
    for _ in range(12):
        with listening(hello, "127.0.0.1", 0) as url:
            stop = threading.Event()
            clients = [threading.Thread(target=_ask, args=(url, stop)) for _ in range(4)]
            for client in clients:
                client.start()
            assert get(url) == b"hello"
        stop.set()
        for client in clients:
            client.join(20)
        assert "dashboard" not in {thread.name for thread in threading.enumerate()}


def _ask(url: str, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            get(url)
        except (OSError, HTTPException):  # the server has gone
            return


def test_address_in_use_and_impossible_port_are_said() -> None:
    with listening(hello, "127.0.0.1", 0) as url:
        taken, threads = int(url.rsplit(":", 1)[1]), threading.enumerate()
        with pytest.raises(ServiceError, match="cannot listen"), listening(hello, "127.0.0.1", taken):
            pass
        assert set(threading.enumerate()) <= set(threads), "nothing waits for requests that cannot come"
    with pytest.raises(UsageError, match="70000"), listening(hello, "127.0.0.1", 70_000):
        pass
    with pytest.raises(UsageError, match="no host '999"), listening(hello, "999.1.1.1", 0):
        pass
