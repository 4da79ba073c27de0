"""Requests to devices never fill the pipe between the two processes of ingest."""

from __future__ import annotations

import multiprocessing
import threading
from collections import deque

from iot.settle import Missing
from iot.sparkplug_nodes import Rebirth
from iot.writer import ASKS_AT_ONCE, _ask


def test_thousands_of_gaps_at_once_do_not_block_the_writer() -> None:
    ours, theirs = multiprocessing.Pipe()
    asks: deque[Missing | Rebirth] = deque(Missing("s" * 64, f"{n:064d}", n, 2**62) for n in range(10_000))
    sending = threading.Thread(target=_ask, args=(theirs, asks), daemon=True)
    sending.start()
    sending.join(5.0)
    assert not sending.is_alive(), "nobody reads: the network process is writing a batch"
    assert [gap.first for gap in ours.recv() if isinstance(gap, Missing)] == list(range(ASKS_AT_ONCE))
    assert len(asks) == 10_000 - ASKS_AT_ONCE
    ours.close()
    theirs.close()
