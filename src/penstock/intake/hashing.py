"""The hashes by which memory knows keys, contents and unique values: DuckDB's 64 bits, keyed by the project's secret.

They may differ between versions of DuckDB. So none in memory is ever compared with one of another version (`probe` is
part of memory's fingerprint), and when memory is rebuilt they are computed anew from the rows of the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.intake.expressions import literal, quote
from penstock.project.model import Stream

Words = npt.NDArray[np.uint64]
ROWS = "hashed_rows"
CONNECTION: dict[str, str | int | bool | float | list[str]] = {
    "memory_limit": "512MB",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "enable_external_access": False,
}
"""Settings of every DuckDB connection of intake: expressions see rows, not files."""


@dataclass(frozen=True)
class Hashes:
    """Hashes of some rows, in their order."""

    keys: Words | None
    """Of the primary key; None for a stream without one."""
    contents: Words | None
    """Of the whole content; None for a stream without a primary key, which never compares contents."""
    uniques: Mapping[str, Words]
    """Of each `unique` property by name, 0 where it is NULL."""


class Hasher:
    """Computes the hashes of one stream on a connection of the caller's, for one thread."""

    def __init__(self, stream: Stream, secret: bytes, con: duckdb.DuckDBPyConnection, bits: int = 64) -> None:
        """`bits` below 64 make different keys share hashes: for tests of what happens then."""
        self._con = con
        self._list = _select_list(stream, secret, bits)

    def of(self, rows: pa.Table) -> Hashes:
        """Returns the hashes of `rows`, which have the contract's columns."""
        if not self._list:
            return Hashes(None, None, {})
        self._con.register(ROWS, rows)
        found = self._con.sql(f"SELECT {self._list} FROM {ROWS}").to_arrow_table()
        self._con.unregister(ROWS)
        arrays = {name: found[name].combine_chunks().to_numpy() for name in found.schema.names}
        uniques = {name[2:]: a for name, a in arrays.items() if name.startswith("u_")}
        return Hashes(arrays.get("_key"), arrays.get("_content"), uniques)


def _select_list(stream: Stream, secret: bytes, bits: int) -> str:
    """The content's hash holds the key once more behind the secret, so that two keys with one `_key` do not get one
    `_content` as well, and nobody without the secret can make two that do."""
    salt = literal(secret.hex())
    columns = []
    if stream.primary_key:
        keys = [quote(k) for k in stream.primary_key]
        salted = ", ".join(f"concat({salt}, CAST({k} AS VARCHAR))" for k in keys)
        content = ", ".join(quote(c.name) for c in stream.columns)
        mask = "" if bits == 64 else f" & {(2**64 - 1) ^ (2 ** (64 - bits) - 1)}::UBIGINT"
        columns += [f"hash({', '.join(keys)}){mask} AS _key", f"hash({salt}, {salted}, {content}) AS _content"]
    for c in stream.columns:
        if is_unique(stream, c.name):
            x = quote(c.name)
            columns.append(f"CASE WHEN {x} IS NULL THEN 0 ELSE hash({salt}, {x}) END AS {quote(f'u_{c.name}')}")
    return ", ".join(columns)


def is_unique(stream: Stream, name: str) -> bool:
    """Whether a property's values are remembered on their own: a primary key of one column already is."""
    return stream.column(name).unique and stream.primary_key != (name,)


def probe(con: duckdb.DuckDBPyConnection) -> str:
    """Returns what tells one hash function of DuckDB from another."""
    mixed = "hash('penstock', NULL, 1.50::DECIMAL(12,2), 7::BIGINT, true, TIMESTAMPTZ '2026-01-23 10:00:00Z')"
    return str(con.sql(f"SELECT {mixed}, hash('ä' || repeat('x', 40)), hash(1.5::DOUBLE)").fetchall()[0])
