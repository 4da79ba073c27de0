"""The strict fast path of payloads: what is plainly right is read in a few microseconds, all else goes to `iot.payload`.

A payload is plain when its topic is known (registered device, numbered series), it carries `v`, `seq` and one of the three
forms and nothing else, and every value is a number within its range. Whatever is not plain in any way, a single value
included, is left to the full reader with the whole message: this module decides nothing, and a property test compares both.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from collateral.quantities import READING_QUANTITIES
from iot.intake import Block
from iot.payload import LIMITS, VERSION, iso_us

MAX_SEQUENCE = 2**62
_SHAPES = 64
"""Sets of quantities remembered per topic."""


class Route:
    """What is known of one topic."""

    __slots__ = ("device", "shapes", "slots")

    def __init__(self, device: int, slots: Mapping[str, int]) -> None:
        self.device = device
        self.slots = slots
        self.shapes: dict[tuple[str, ...], tuple[int, ...]] = {}

    def shape(self, names: tuple[str, ...]) -> tuple[int, ...] | None:
        """The slots of these quantities; None when one of them is not to be had here."""
        known = self.shapes.get(names)
        if known is None and all(name in self.slots for name in names) and names:
            known = tuple(self.slots[name] for name in names)
            if len(self.shapes) < _SHAPES:
                self.shapes[names] = known
        return known


@dataclass(frozen=True)
class Points:
    """Values in order of arrival; arrays of one length."""

    slot: NDArray[np.int32]
    """Which series, see `SlotBook`."""
    time_us: NDArray[np.int64]
    value: NDArray[np.float64]
    message: NDArray[np.int64]
    """Index into the messages they came with."""


@dataclass(frozen=True)
class Heard:
    """Messages in order of arrival; arrays of one length."""

    device: NDArray[np.int32]
    sequence: NDArray[np.int64]
    latest_us: NDArray[np.int64]
    """Newest time in the message."""
    received_us: NDArray[np.int64]


class SlotBook:
    """Series in the order in which they were seen: number, device and range of each slot."""

    def __init__(self) -> None:
        self._series: list[int] = []
        self._devices: list[int] = []
        self._low: list[float] = []
        self._high: list[float] = []
        self._slots: dict[int, int] = {}
        self._arrays: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]] | None = None

    def slot(self, series_id: int, device: int, quantity: str) -> int:
        """The slot of a series, new or not."""
        found = self._slots.get(series_id)
        if found is None:
            found = self._slots[series_id] = len(self._series)
            row = READING_QUANTITIES[quantity]
            self._series.append(series_id)
            self._devices.append(device)
            self._low.append(row.low)
            self._high.append(row.high)
            self._arrays = None
        return found

    def __len__(self) -> int:
        return len(self._series)

    def arrays(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
        """Series number, device, lowest and highest value by slot."""
        if self._arrays is None:
            self._arrays = (
                np.array(self._series, np.int32), np.array(self._devices, np.int32), np.array(self._low),
                np.array(self._high),
            )  # fmt: skip
        return self._arrays


class PlainReader:
    """Collects the plain messages of one batch."""

    def __init__(self, routes: Mapping[bytes, Route], book: SlotBook) -> None:
        self._routes = routes
        self._book = book
        self._slots = array("i")
        self._values: list[Any] = []
        self._moments: list[int] = []
        self._widths: list[int] = []
        self._devices: list[int] = []
        self._sequences: list[int] = []
        self._spans: list[int] = []
        self._received: list[int] = []
        self._origins: list[tuple[Block, int]] = []

    def read(self, blocks: Iterable[Block]) -> list[tuple[Block, int]]:
        """Takes what is plain; returns the others (block, number in it)."""
        others: list[tuple[Block, int]] = []
        for block in blocks:
            others.extend((block, n) for n in self._block(block, range(len(block)), block.bounds))
        return others

    def read_again(self, messages: Iterable[tuple[Block, int]]) -> list[tuple[Block, int]]:
        """As `read` for some messages, after more topics became known."""
        return [
            (block, n)
            for block, n in messages
            if self._block(block, (n,), block.bounds[4 * n : 4 * n + 4])
        ]

    def _block(self, block: Block, numbers: Iterable[int], bounds: array[int]) -> list[int]:
        routes, loads, data, received = self._routes, orjson.loads, block.data, block.received_us
        lowest, highest, longest = LIMITS.oldest_us, received + LIMITS.future_us, LIMITS.payload_bytes
        slots, values, moments, widths = self._slots.extend, self._values.extend, self._moments.append, self._widths.append
        others: list[int] = []
        ends = iter(bounds)
        for n, topic, topic_end, begin, end in zip(numbers, ends, ends, ends, ends, strict=False):
            route = routes.get(data[topic:topic_end]) if topic >= 0 else None
            if route is None or end - begin > longest:
                others.append(n)
                continue
            try:
                body = loads(data[begin:end])
                inner = body["values"]
                when = body["time"]
                moment = when * 1000 if type(when) is int else iso_us(when)
                shape = route.shapes.get(tuple(inner)) or route.shape(tuple(inner))
                version, sequence = body["v"], body["seq"]
                if (
                    shape is None or len(body) != 4 or type(inner) is not dict or not lowest <= moment <= highest
                    or version != VERSION or version is True or type(sequence) is not int
                    or not 0 <= sequence < MAX_SEQUENCE
                ):  # fmt: skip
                    others.append(n)
                    continue
            except KeyError:
                if not self._other_form(route, body, received + n, block, n, highest):
                    others.append(n)
                continue
            except (TypeError, ValueError, AttributeError):
                others.append(n)
                continue
            slots(shape)
            values(inner.values())
            moments(moment)
            widths(len(shape))
            self._devices.append(route.device)
            self._sequences.append(sequence)
            self._spans.append(1)
            self._received.append(received + n)
            self._origins.append((block, n))
        return others

    def _other_form(
        self, route: Route, body: Any, received_us: int, block: Block, n: int, highest: int
    ) -> bool:
        """Past samples, or one quantity alone; False when it is not plain. Nothing is kept then."""
        try:
            sequence = body["seq"]
            if body["v"] != VERSION or body["v"] is True or type(sequence) is not int or not 0 <= sequence < MAX_SEQUENCE:
                return False
            if "samples" not in body:
                if len(body) != 5:
                    return False
                samples = [{"time": body["time"], "values": {body["quantity"]: body["value"]}}]
            elif len(body) == 3 and type(body["samples"]) is list:
                samples = body["samples"]
            else:
                return False
            times = [entry["time"] for entry in samples]
            inner = [entry["values"] for entry in samples]
            names = [tuple(entry) for entry in inner]
            if set(map(type, times)) == {int}:
                moments = [time * 1000 for time in times]
            else:
                moments = [time * 1000 if type(time) is int else iso_us(time) for time in times]
            shapes = [route.shapes.get(entry) or route.shape(entry) for entry in names]
        except (KeyError, TypeError, ValueError, AttributeError):
            return False
        if not shapes or None in shapes or set(map(type, inner)) != {dict}:
            return False
        widths = list(map(len, names))
        if sum(widths) > LIMITS.points or not (LIMITS.oldest_us <= min(moments) and max(moments) <= highest):
            return False
        self._moments.extend(moments)
        self._widths.extend(widths)
        for shape in shapes:
            self._slots.extend(shape or ())
        for entry in inner:
            self._values.extend(entry.values())
        self._devices.append(route.device)
        self._sequences.append(sequence)
        self._spans.append(len(samples))
        self._received.append(received_us)
        self._origins.append((block, n))
        return True

    def finish(self) -> tuple[Points, Heard, list[tuple[Block, int]]]:
        """What was plain, checked for ranges; and the messages in which a value was not."""
        widths = np.array(self._widths, np.int64)
        spans = np.array(self._spans, np.int64)
        slot = np.array(self._slots, np.int32)
        moments = np.array(self._moments, np.int64)
        moment_message = np.repeat(np.arange(len(spans)), spans)
        message = np.repeat(moment_message, widths)
        value, numeric = _numbers(self._values)
        _, _, low, high = self._book.arrays()
        good = numeric & np.isfinite(value)
        if len(slot):
            good &= (value >= low[slot]) & (value <= high[slot])
        first = np.cumsum(spans) - spans
        latest = np.maximum.reduceat(moments, first) if len(spans) else moments
        points = Points(slot, np.repeat(moments, widths), value, message)
        heard = Heard(
            np.array(self._devices, np.int32),
            np.array(self._sequences, np.int64),
            latest,
            np.array(self._received, np.int64),
        )
        if good.all():
            return points, heard, []
        bad = np.unique(message[~good])
        return *_without(points, heard, bad), [self._origins[n] for n in bad.tolist()]


def _numbers(values: Sequence[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """`values` as floats, and which of them were JSON numbers."""
    if set(map(type, values)) <= {float, int}:
        return np.array(values, np.float64), np.ones(len(values), bool)
    numeric = np.fromiter((type(value) is float or type(value) is int for value in values), bool, len(values))
    cleared = (value if ok else np.nan for value, ok in zip(values, numeric, strict=True))
    return np.fromiter(cleared, np.float64, len(values)), numeric


def _without(points: Points, heard: Heard, bad: NDArray[np.int64]) -> tuple[Points, Heard]:
    kept = np.ones(len(heard.device), bool)
    kept[bad] = False
    renumbered = np.cumsum(kept) - 1
    chosen = kept[points.message]
    return (
        Points(points.slot[chosen], points.time_us[chosen], points.value[chosen], renumbered[points.message[chosen]]),
        Heard(heard.device[kept], heard.sequence[kept], heard.latest_us[kept], heard.received_us[kept]),
    )

