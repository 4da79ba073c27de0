"""Sparkplug B on the wire: topics, and payloads into metrics. Pure; what births mean later on: `iot.sparkplug_nodes`.

Source: Eclipse Sparkplug specification 3.0.0, chapters 4 (topics) and 6 (payloads). The protobuf runtime decodes; the schema
is stated here by its field numbers, so that no generated code and no client library is needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from collateral.domain import TOPIC_ID
from iot.payload import LIMITS, Rejection

PREFIX = b"spBv1.0/"
REBIRTH = "Node Control/Rebirth"
BD_SEQ = "bdSeq"
CONTROL = (BD_SEQ, "Node Control/", "Device Control/", "Node Info/", "Device Info/", "Properties/")
"""Metrics with these names, or names that begin so, are about the device itself: no readings."""
BOOLEAN = 11
_TOPIC = re.compile(
    rf"spBv1\.0/({TOPIC_ID})/(N)(BIRTH|DATA|DEATH)/({TOPIC_ID})|"
    rf"spBv1\.0/({TOPIC_ID})/(D)(BIRTH|DATA|DEATH)/({TOPIC_ID})/({TOPIC_ID})".encode()
)
_SIGNED_BITS = {1: 8, 2: 16, 3: 32, 4: 64}
"""Of the datatypes Int8 to Int64."""
_NUMBERS = frozenset(range(1, 12))
"""Datatypes Int8 to Boolean."""
_FIELD = descriptor_pb2.FieldDescriptorProto


class Place(NamedTuple):
    """A topic."""

    group_id: str
    kind: str
    """`BIRTH`, `DATA` or `DEATH`."""
    node_id: str
    device_id: str
    """Behind the node; empty for the node itself."""

    @property
    def subject(self) -> str:
        """The registered device that speaks."""
        return self.device_id or self.node_id


class Metric(NamedTuple):
    """One metric of a payload."""

    name: str
    """Empty when only the alias was sent."""
    alias: int | None
    time_ms: int | None
    """Its own time, or the payload's."""
    datatype: int
    """0 when it was left out."""
    value: float | int | bool | str | None
    """None when it is null. What is no single value is a text that says so. Integers are unsigned still."""

    @property
    def is_control(self) -> bool:
        """About the device itself."""
        return self.name.startswith(CONTROL)


@dataclass(frozen=True, slots=True)
class Packet:
    """A payload."""

    time_ms: int | None
    seq: int | None
    metrics: tuple[Metric, ...]


def parse_place(topic: bytes) -> Place | None:
    """The parts of a topic that ingest reads, or None. Ids are as on the JSON topics."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        return None
    parts = [part.decode("ascii") for part in match.groups() if part is not None]
    return Place(parts[0], parts[2], parts[3], parts[4] if len(parts) == 5 else "")


def parse_packet(payload: bytes) -> Packet | Rejection:
    """Any bytes into metrics, or why not. Never raises."""
    if len(payload) > LIMITS.payload_bytes:
        return Rejection("too_large", f"{len(payload)} bytes; the limit is {LIMITS.payload_bytes}")
    try:
        body = _PAYLOAD.FromString(payload)
        metrics = tuple(_metric(metric, body.timestamp if body.HasField("timestamp") else None) for metric in body.metrics)
    except (DecodeError, ValueError, RecursionError) as error:
        return Rejection("not_protobuf", f"no Sparkplug payload: {ascii(str(error))[:120]}")
    if body.body and not metrics:
        return Rejection("schema", "the payload is compressed or not of metrics")
    if len(metrics) > LIMITS.points:
        return Rejection("too_large", f"{len(metrics)} metrics in one message; the limit is {LIMITS.points}")
    if any("\0" in metric.name for metric in metrics):
        return Rejection("schema", "a metric's name holds NUL")
    seq = body.seq if body.HasField("seq") else None
    if seq is not None and seq > 255:
        return Rejection("schema", f"seq is {seq}; it counts from 0 to 255")
    return Packet(body.timestamp if body.HasField("timestamp") else None, seq, metrics)


def quantity_of(name: str) -> str:
    """The quantity a metric's name stands for: what follows its last `/`."""
    return name.rpartition("/")[2]


def number_of(value: float | int | bool | str | None, datatype: int) -> float | int | bool | str | None:
    """The value by its datatype; integers become signed where it says so, and what is no number a text."""
    if datatype not in _NUMBERS and not isinstance(value, str) and value is not None:
        return f"{value!r} of datatype {datatype}"
    bits = _SIGNED_BITS.get(datatype)
    if bits is None or type(value) is not int:
        return value
    least = 1 << bits - 1
    for width in {bits, 32, 64}:  # encoders write -1 as the 8, 16, 32 or 64 bits of it
        if width >= bits and (1 << width) - least <= value < 1 << width:
            return value - (1 << width)
    return value


def encode_rebirth(time_ms: int) -> bytes:
    """The command that asks a node to say all its births again."""
    return encode(time_ms, None, [(REBIRTH, None, BOOLEAN, True)])


def encode(
    time_ms: int, seq: int | None, metrics: list[tuple[str, int | None, int, float | int | bool | None]]
) -> bytes:
    """A payload. `metrics`: (name or empty, alias, datatype, value), numbers and booleans only."""
    body = _PAYLOAD(timestamp=time_ms)
    if seq is not None:
        body.seq = seq
    for name, alias, datatype, value in metrics:
        metric = body.metrics.add(timestamp=time_ms, datatype=datatype)
        if name:
            metric.name = name
        if alias is not None:
            metric.alias = alias
        if value is None:
            metric.is_null = True
        elif type(value) is bool:
            metric.boolean_value = value
        elif type(value) is float:
            metric.double_value = value
        else:
            metric.long_value = int(value) % (1 << 64)
    return bytes(body.SerializeToString())


def _metric(metric: Any, packet_ms: int | None) -> Metric:
    if not isinstance(metric.name, str):
        raise ValueError("a metric's name is not UTF-8")
    which = None if metric.is_null else metric.WhichOneof("value")
    value: Any = None
    if which in ("int_value", "long_value", "float_value", "double_value", "boolean_value"):
        value = getattr(metric, which)
    elif which == "string_value":
        value = f"{metric.string_value[:200]!r}"
    elif which is not None:
        value = f"a {which.removesuffix('_value')}"
    return Metric(
        metric.name,
        metric.alias if metric.HasField("alias") else None,
        metric.timestamp if metric.HasField("timestamp") else packet_ms,
        metric.datatype,
        value,
    )


def _payload_class() -> Any:
    """The messages `Payload` and `Payload.Metric`; parts that carry no readings are kept as bytes."""
    file = descriptor_pb2.FileDescriptorProto(name="collateral/sparkplug_b.proto", package="collateral.sparkplug")
    payload = file.message_type.add(name="Payload")
    metric = payload.nested_type.add(name="Metric")
    metric.oneof_decl.add(name="value")
    one, many = _FIELD.LABEL_OPTIONAL, _FIELD.LABEL_REPEATED
    kinds = {
        "u32": _FIELD.TYPE_UINT32, "u64": _FIELD.TYPE_UINT64, "bool": _FIELD.TYPE_BOOL, "text": _FIELD.TYPE_STRING,
        "bytes": _FIELD.TYPE_BYTES, "f32": _FIELD.TYPE_FLOAT, "f64": _FIELD.TYPE_DOUBLE,
    }  # fmt: skip
    for number, name, kind in ((1, "timestamp", "u64"), (3, "seq", "u64"), (4, "uuid", "bytes"), (5, "body", "bytes")):
        payload.field.add(name=name, number=number, type=kinds[kind], label=one)
    payload.field.add(
        name="metrics", number=2, type=_FIELD.TYPE_MESSAGE, label=many, type_name=".collateral.sparkplug.Payload.Metric"
    )
    plain = (
        (1, "name", "text"), (2, "alias", "u64"), (3, "timestamp", "u64"), (4, "datatype", "u32"),
        (5, "is_historical", "bool"), (6, "is_transient", "bool"), (7, "is_null", "bool"), (8, "metadata", "bytes"),
        (9, "properties", "bytes"),
    )  # fmt: skip
    for number, name, kind in plain:
        metric.field.add(name=name, number=number, type=kinds[kind], label=one)
    values = (
        (10, "int_value", "u32"), (11, "long_value", "u64"), (12, "float_value", "f32"), (13, "double_value", "f64"),
        (14, "boolean_value", "bool"), (15, "string_value", "text"), (16, "bytes_value", "bytes"),
        (17, "dataset_value", "bytes"), (18, "template_value", "bytes"), (19, "extension_value", "bytes"),
    )  # fmt: skip
    for number, name, kind in values:
        metric.field.add(name=name, number=number, type=kinds[kind], label=one, oneof_index=0)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("collateral.sparkplug.Payload"))


_PAYLOAD = _payload_class()
