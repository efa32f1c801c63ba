"""Compaction: many small blocks become few bigger ones. Numbers, ids and rows stay; only the bytes' place changes.

Batches of one stream with the same schema are laid one after another into a block of a new segment. The manifest rows
are pointed there in one transaction, which proves that the token is still the writer's. A replaced segment is deleted
once no transaction is open that began before that commit; whoever read an entry outside a transaction looks it up again
when its segment is gone.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import pyarrow as pa

from penstock.log import blocks, manifest
from penstock.log.manifest import Connection, Located
from penstock.log.rowlog import RowLog
from penstock.observe import emit
from penstock.observe.events import Step

SMALL = 1024 * 1024
"""Blocks below this many bytes are worth merging."""
BLOCK_TARGET = 16 * 1024 * 1024
"""Uncompressed bytes of a merged block: what a reader has to hold to get at one of its batches."""
FEWEST = 32
"""Small blocks there must be before it is worth the work."""
MOST_BYTES = 16 * 1024 * 1024
"""Compressed bytes merged in one go: all of them are in memory, several times as big."""
KEPT_BACK = 16
"""The newest batches stay as they are: they are being read from memory, and the next compaction takes them along."""


@dataclass
class _Group:
    """Batches that become one block."""

    found: list[Located] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)
    bytes: int = 0


def tend(log: RowLog, connection: Connection, token: str) -> int:
    """Does what the log needs from time to time: merges all that is worth it and deletes what was replaced before.

    Returns how many blocks became fewer. For the writer alone, on a connection of its own. Raises LogError, and
    psycopg's errors as they are.
    """
    fewer = 0
    while merged := compact(log, connection, token):
        fewer += merged
    collect(log, connection)
    return fewer


def compact(log: RowLog, connection: Connection, token: str, *, fewest: int = FEWEST) -> int:
    """Merges small blocks, if at least `fewest` are to be had. Returns how many blocks became fewer.

    For the writer alone, in autocommit. Merges at most MOST_BYTES; call again until it returns 0.
    """
    chosen, are_all = _choose(connection)
    small = len({found.entry.checksum for found in chosen})
    if are_all and small < fewest:
        return 0
    groups = _group(log, connection, chosen)
    if len(groups) >= small:
        return 0
    name = f"{uuid.uuid4()}.arrow"
    parts = [_merged(group) for group in groups]
    log.segments.put(name, pa.py_buffer(b"".join(part.to_pybytes() for part in parts)))
    with connection.transaction():
        connection.execute("SELECT check_token(%s)", [token])
        _point_there(connection, name, groups, parts)
    emit(Step("log.compacted", name))
    return small - len(groups)


def collect(log: RowLog, connection: Connection) -> int:
    """Deletes replaced segments that no reader can need any more. Returns how many."""
    rows = connection.execute(
        "SELECT segment FROM segment_garbage g WHERE replaced_by < pg_snapshot_xmin(pg_current_snapshot())"
        " AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.backend_xmin IS NOT NULL"
        " AND a.pid <> pg_backend_pid() AND age(a.backend_xmin) >= age(g.replaced_by::xid))"
    ).fetchall()
    for (segment,) in rows:
        log.segments.delete(segment)
        connection.execute("DELETE FROM segment_garbage WHERE segment = %s", [segment])
    return len(rows)


def _choose(connection: Connection) -> tuple[list[Located], bool]:
    """Returns the batches with small blocks, oldest first, and whether there are no more than those."""
    rows = connection.execute(
        "WITH small AS (SELECT checksum, min(position) AS first, min(block_bytes) AS bytes FROM batch"
        " WHERE position <= (SELECT max(position) FROM batch) - %s AND block_bytes < %s GROUP BY checksum),"
        " chosen AS (SELECT checksum, sum(bytes) OVER (ORDER BY first) AS bytes FROM small)"
        " SELECT position, (SELECT max(bytes) FROM chosen) <= %s FROM batch"
        " WHERE checksum IN (SELECT checksum FROM chosen WHERE bytes <= %s)",
        [KEPT_BACK, SMALL, MOST_BYTES, MOST_BYTES],
    ).fetchall()
    if not rows:
        return [], True
    wanted = {row[0] for row in rows}
    found = manifest.located(connection, min(wanted) - 1, max(wanted))
    return [each for each in found if each.entry.point.position in wanted], rows[0][1]


def _group(log: RowLog, connection: Connection, chosen: list[Located]) -> list[_Group]:
    """Reads the chosen batches and groups them by stream and schema, in order, a group no bigger than BLOCK_TARGET."""
    done: list[_Group] = []
    open_groups: dict[tuple[str, str], _Group] = {}
    for found, table in log.stored(connection, chosen):
        key = (found.entry.stream, table.schema.to_string())
        group = open_groups.setdefault(key, _Group())
        group.found.append(found)
        group.tables.append(table)
        group.bytes += table.nbytes
        if group.bytes >= BLOCK_TARGET:
            done.append(open_groups.pop(key))
    return done + list(open_groups.values())


def _merged(group: _Group) -> pa.Buffer:
    table = pa.concat_tables(group.tables).combine_chunks()
    return blocks.encode(table, [found.entry for found in group.found])


def _point_there(connection: Connection, name: str, groups: list[_Group], parts: list[pa.Buffer]) -> None:
    """Points the manifest at the new segment and notes the segments that nothing names any more."""
    moved: list[tuple[object, ...]] = []
    offset = 0
    for group, part in zip(groups, parts, strict=True):
        row = 0
        for found in group.found:
            place = (name, offset, part.size, row, blocks.checksum(part))
            moved.append((*place, int(found.entry.point.position), found.entry.checksum))
            row += found.entry.rows
        offset += part.size
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE batch SET inline = NULL, segment = %s, segment_offset = %s, block_bytes = %s, block_row = %s,"
            " checksum = %s WHERE position = %s AND checksum = %s",
            moved,
        )
    old = {found.entry.segment for group in groups for found in group.found} - {None}
    connection.execute(
        "INSERT INTO segment_garbage (segment) SELECT old FROM unnest(%s::text[]) old"
        " WHERE NOT EXISTS (SELECT FROM batch WHERE segment = old) ON CONFLICT DO NOTHING",
        [sorted(str(name) for name in old)],
    )
