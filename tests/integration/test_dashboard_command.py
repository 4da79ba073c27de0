"""`collateral dashboard` ends when it is told to, and says so when it ended by itself."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import orjson
import pytest

from collateral.cli import main
from collateral.settings import Settings


@pytest.fixture
def served(database: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(settings.runtime))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield settings
    for number, handler in before.items():
        signal.signal(number, handler)


def run(settings: Settings, act: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, object]]:
    """Serves until `act`, done once the page answers; exit status and what was printed."""
    state = settings.runtime / "dashboard.json"

    def when_ready() -> None:
        until = time.monotonic() + 60
        while not state.exists() and time.monotonic() < until:
            time.sleep(0.05)
        url = orjson.loads(state.read_bytes())["url"]
        connection = HTTPConnection(url.removeprefix("http://"), timeout=20)
        connection.request("GET", "/login")
        assert connection.getresponse().status == 200
        connection.close()
        act()

    visitor = threading.Thread(target=when_ready)
    visitor.start()
    capsys.readouterr()
    code = main(["dashboard", "--port", "0", "--json"])
    visitor.join(20)
    assert not state.exists()
    found: dict[str, object] = orjson.loads(capsys.readouterr().out)
    return code, found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(served: Settings, number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run(served, lambda: os.kill(os.getpid(), number), capsys)
    assert code == 0 and str(found["url"]).startswith("http://127.0.0.1:")


def test_an_end_by_itself_is_an_error(
    served: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    code, found = run(served, lambda: monkeypatch.setattr("waitress.server.BaseWSGIServer.readable", fail), capsys)
    assert code == 1 and "ended by itself" in str(found["error"])
