"""Reading, forward pass and decoding of tiles at the same time: each in a thread of its own, one tile ahead of the next.

GDAL, OpenCV and both engines release the interpreter's lock while they work, so threads are enough. At most `AHEAD` tiles
wait at each step: memory does not grow with the number of tiles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from detection.runtime import Runtime
from detection.tiling import Tile

AHEAD = 1
"""Tiles read before they are needed, and forward passes that wait to be decoded."""
_Item = TypeVar("_Item")
_Out = TypeVar("_Out")


def run_tiles(
    tiles: Iterable[Tile],
    read: Callable[[Tile], NDArray[np.uint8] | None],
    runtime: Runtime,
    decode: Callable[[Tile, tuple[Tensor, ...]], _Out],
) -> Iterator[_Out]:
    """Yields what `decode` makes of each tile, in order.

    Args:
        tiles: in the order in which they are read.
        read: rows x columns x 3 uint8 RGB of a tile; None where it shows nothing, which skips it.
        runtime: the network.
        decode: turns the maps of one tile (batch of one) into the answer.

    What any of them raises is raised here.
    """
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "decode") as decoder:
        decoding: deque[Future[_Out]] = deque()
        for tile, pixels in _ahead(tiles, read, reader):
            if pixels is not None:
                decoding.append(decoder.submit(decode, tile, runtime(pixels[None])))
            while len(decoding) > AHEAD:
                yield decoding.popleft().result()
        while decoding:
            yield decoding.popleft().result()


def _ahead(
    items: Iterable[_Item], work: Callable[[_Item], _Out], pool: ThreadPoolExecutor
) -> Iterator[tuple[_Item, _Out]]:
    waiting: deque[tuple[_Item, Future[_Out]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(work, item)))
        if len(waiting) > AHEAD:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()
