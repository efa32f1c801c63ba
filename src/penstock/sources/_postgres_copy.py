"""COPY out of PostgreSQL into Arrow: CSV pieces as the server sends them, parsed column-wise, in bounded memory.

CSV tells NULL (nothing) from an empty text (""), and pyarrow parses it exactly into decimals and times. Each column is
tried in its wanted type; where a value does not fit (NaN, infinity, a year beyond 9999), a column the contract reads
as it is falls back to text for that batch, for intake to judge; in a column that expressions use, the row is refused
here, as there is no value to give to the expression.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from penstock.sources._postgres_columns import PgColumn
from penstock.sources._postgres_wire import ENCODING_HINT, Connection, translated
from penstock.sources.base import Refusal
from penstock.sources.errors import PostgresEncoding

PIECE_BYTES = 32 << 20
"""A piece is cut at this size even when it has few rows."""

REASON, ORIGINAL = "\0reason", "\0original"
"""Names of the columns beside those of the source; PostgreSQL has no such names."""

BLOCK_BYTES = 4 << 20
"""What pyarrow parses at a time; a row larger than that makes the piece one block."""

_FAILED_COLUMN = re.compile(r"In CSV column #(\d+)")
_FITS = {
    "date": r"^\d{4}-\d\d-\d\d$",
    "timestamp": r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?(\+00)?$",
    "time": r"^([01]\d|2[0-3]):",
    "number": r"^-?[0-9.]+(e[-+]?\d+)?$",
}


@dataclass(frozen=True)
class Target:
    """One column of the COPY: what it is called, and the type to try. `strict`: no falling back to text."""

    name: str
    type: pa.DataType
    strict: bool


def target(column: PgColumn, hint: pa.DataType | None, timezone: str) -> Target:
    """Returns how `column` is parsed; `hint` is the contract's type when it reads the column as it is."""
    return Target(column.name, column.wanted(hint, timezone), strict=hint is None)


def pieces(conn: Connection, select: str, what: str, rows: int) -> Iterator[tuple[bytes, bool]]:
    """Yields CSV of up to `rows` whole rows each, as the server sends it, and whether it surely is the last.

    Raises what `translated` raises.
    """
    with translated(what), conn.cursor() as cursor, cursor.copy(f"COPY ({select}) TO STDOUT (FORMAT csv)") as copy:
        parts: list[bytes | bytearray | memoryview] = []
        size = 0
        for part in copy:
            parts.append(part)
            size += len(part)
            if len(parts) >= rows or size >= PIECE_BYTES:
                yield b"".join(parts), False
                parts, size = [], 0
        if parts:
            yield b"".join(parts), True


def parse(data: bytes, targets: Sequence[Target]) -> pa.Table:
    """Parses CSV into the targets' types, and two columns more: REASON and ORIGINAL of rows that are refused.

    Raises PostgresEncoding.
    """
    texts, demoted = _parse_demoting(data, [t.type for t in targets])
    table = texts.rename_columns([t.name for t in targets])
    reasons: dict[int, str] = {}
    for i in demoted:
        if targets[i].strict:
            bad = _misfits(table.column(i), targets[i])
            reasons |= {int(r): f"{targets[i].name} is {texts.column(i)[int(r)].as_py()}" for r in bad}
            mask = np.zeros(table.num_rows, dtype=bool)
            mask[bad] = True
            fitting = pc.if_else(pa.array(mask), None, table.column(i))
            table = table.set_column(i, targets[i].name, fitting.cast(targets[i].type))
    originals = {r: _as_json(texts, targets, r) for r in reasons}
    return table.append_column(REASON, _sparse(reasons, table.num_rows)).append_column(
        ORIGINAL, _sparse(originals, table.num_rows)
    )


def _sparse(values: dict[int, str], rows: int) -> pa.Array:
    if not values:
        return pa.nulls(rows, pa.string())
    return pa.array([values.get(i) for i in range(rows)], pa.string())


def _as_json(texts: pa.Table, targets: Sequence[Target], row: int) -> str:
    """Returns one row as JSON with every value as text, for quarantine."""
    values = texts.slice(row, 1)
    named = {t.name: values.column(i)[0].as_py() for i, t in enumerate(targets) if not t.name.startswith("\0")}
    return json.dumps(named, ensure_ascii=False, default=str)


def joined(first: pa.Table | None, second: pa.Table) -> pa.Table:
    """Returns both tables as one; a column that is text in only one of them becomes text."""
    if first is None or not first.num_rows:
        return second
    for i, (a, b) in enumerate(zip(first.schema, second.schema, strict=True)):
        if a.type != b.type:
            first = first.set_column(i, a.name, first.column(i).cast(pa.string()))
            second = second.set_column(i, b.name, second.column(i).cast(pa.string()))
    return pa.concat_tables([first, second])


def without_refused(rows: pa.Table, positions: pa.Array) -> tuple[pa.Table, pa.Array, tuple[Refusal, ...]]:
    """Takes the refused rows and the two columns about them out of `rows` (as `parse` returns them)."""
    reasons = rows.column(REASON)
    if reasons.null_count == rows.num_rows:
        return rows.drop_columns([REASON, ORIGINAL]), positions, ()
    kept = pc.is_null(reasons)
    refused = rows.filter(pc.invert(kept)).select([REASON, ORIGINAL]).to_pylist()
    where = positions.filter(pc.invert(kept).combine_chunks()).to_pylist()
    refusals = tuple(
        Refusal(str(p), "type", f"{r[REASON]}: it has no value in this column's type", r[ORIGINAL].encode())
        for p, r in zip(where, refused, strict=True)
    )
    return rows.filter(kept).drop_columns([REASON, ORIGINAL]), positions.filter(kept.combine_chunks()), refusals


def _parse_demoting(data: bytes, types: list[pa.DataType]) -> tuple[pa.Table, list[int]]:
    """Parses, making text of each column in which a value does not fit; returns the table and those columns."""
    demoted: list[int] = []
    block = BLOCK_BYTES
    while True:
        wanted = {f"c{i}": pa.string() if i in demoted else t for i, t in enumerate(types)}
        try:
            return _read_csv(data, wanted, block), demoted
        except pa.ArrowInvalid as e:
            if "straddling" in str(e) and block <= len(data):
                block = len(data) + 1
                continue
            column = _FAILED_COLUMN.search(str(e))
            if column is None or int(column[1]) in demoted:
                raise PostgresEncoding(f"a text cannot be read: {e}", hint=ENCODING_HINT) from e
            demoted.append(int(column[1]))


def _read_csv(data: bytes, types: dict[str, pa.DataType], block: int) -> pa.Table:
    return csv.read_csv(
        pa.BufferReader(data),
        read_options=csv.ReadOptions(column_names=list(types), block_size=block),
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
            true_values=["t"], false_values=["f"],
        ),
    )  # fmt: skip


def _misfits(texts: pa.ChunkedArray, wanted: Target) -> np.ndarray:
    """Returns the indices of the rows whose text has no value in the wanted type."""
    kind = "number"
    if pa.types.is_date(wanted.type):
        kind = "date"
    elif pa.types.is_timestamp(wanted.type):
        kind = "timestamp"
    elif pa.types.is_time(wanted.type):
        kind = "time"
    fits = pc.fill_null(pc.match_substring_regex(texts, _FITS[kind]), True)
    return np.flatnonzero(~fits.to_numpy(zero_copy_only=False))
