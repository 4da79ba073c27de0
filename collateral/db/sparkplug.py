"""What is kept of Sparkplug edge nodes; the columns are described in migration 0016. Inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import Json, execute_values


@dataclass(frozen=True)
class NodeRow:
    """One edge node."""

    group_id: str
    node_id: str
    born_ms: int
    """Time of its last birth by its own clock; -1 before any."""
    bd_seq: int | None
    seq: int | None
    seq_ms: int
    died_us: int
    """Our clock at its last death; 0 before any."""
    alive: tuple[str, ...]
    """Devices born since; '' is the node itself."""


@dataclass(frozen=True)
class BirthRow:
    """What the metrics of a node ('' for `device_id`) or of a device behind it are."""

    group_id: str
    node_id: str
    device_id: str
    born_ms: int
    received_us: int
    after_us: int
    """The node's last death before it, by our clock."""
    metrics: tuple[tuple[str, int | None, int], ...]
    """(name, alias, datatype)."""


def read_nodes(
    connection: Connection, keys: Sequence[tuple[str, str]]
) -> tuple[list[NodeRow], list[BirthRow]]:
    """Those of the nodes (group, node) that were heard before, and their births, oldest first."""
    groups, nodes = [key[0] for key in keys], [key[1] for key in keys]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT group_id, node_id, born_ms, bd_seq, seq, seq_ms, died_us, alive FROM sparkplug_node"
            " JOIN unnest(%s::text[], %s::text[]) AS w(group_id, node_id) USING (group_id, node_id)",
            (groups, nodes),
        )
        found = [NodeRow(*[*row[:7], tuple(row[7])]) for row in _rows(cursor)]
        cursor.execute(
            "SELECT group_id, node_id, device_id, born_ms, received_us, after_us, metrics FROM sparkplug_birth"
            " JOIN unnest(%s::text[], %s::text[]) AS w(group_id, node_id) USING (group_id, node_id) ORDER BY born_ms",
            (groups, nodes),
        )
        births = [BirthRow(*[*row[:6], tuple(map(tuple, row[6]))]) for row in _rows(cursor)]
    return found, births


def _rows(cursor: Any) -> list[Sequence[Any]]:
    return list(cursor.fetchall())


def write_nodes(connection: Connection, nodes: Sequence[NodeRow], births: Sequence[BirthRow]) -> None:
    """Puts nodes in place of what was; births that are there already stay."""
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            "INSERT INTO sparkplug_node (group_id, node_id, born_ms, bd_seq, seq, seq_ms, died_us, alive) VALUES %s"
            " ON CONFLICT (group_id, node_id) DO UPDATE SET born_ms = excluded.born_ms, bd_seq = excluded.bd_seq,"
            " seq = excluded.seq, seq_ms = excluded.seq_ms, died_us = excluded.died_us, alive = excluded.alive",
            [
                (n.group_id, n.node_id, n.born_ms, n.bd_seq, n.seq, n.seq_ms, n.died_us, list(n.alive))
                for n in sorted(nodes, key=lambda n: (n.group_id, n.node_id))
            ],
        )
        execute_values(
            cursor,
            "INSERT INTO sparkplug_birth (group_id, node_id, device_id, born_ms, received_us, after_us, metrics) VALUES %s"
            " ON CONFLICT DO NOTHING",
            [
                (b.group_id, b.node_id, b.device_id, b.born_ms, b.received_us, b.after_us, Json(list(b.metrics)))
                for b in sorted(births, key=lambda b: (b.group_id, b.node_id, b.device_id, b.born_ms))
            ],
        )
