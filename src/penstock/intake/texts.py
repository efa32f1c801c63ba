"""Rows as texts, for reasons and for quarantine: exact, and whatever the values are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa

from penstock.intake import coerce
from penstock.intake.expressions import quote
from penstock.intake.refusals import mapped_json
from penstock.sources.base import RawBatch

SHOWN = "shown_rows"


class Texts:
    """Writes rows as texts on a connection of the caller's, for one thread."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con

    def rows(self, table: pa.Table, names: Sequence[str] | None = None) -> list[dict[str, str | None]]:
        """Returns the rows, column -> value as text."""
        wanted = table.schema.names if names is None else names
        if not wanted or not table.num_rows:
            return [{} for _ in range(table.num_rows)]
        self._con.register(SHOWN, for_duckdb(table))
        relation = self._con.sql(f"SELECT * FROM {SHOWN}")
        types = dict(zip(table.schema.names, relation.types, strict=True))
        columns = ", ".join(f"{coerce.as_text(quote(n), str(types[n]))} AS {quote(n)}" for n in wanted)
        rows: list[dict[str, Any]] = self._con.sql(f"SELECT {columns} FROM {SHOWN}").to_arrow_table().to_pylist()
        self._con.unregister(SHOWN)
        return rows

    def json(self, table: pa.Table) -> list[str]:
        """Returns the mapped rows as quarantine keeps them."""
        return [mapped_json(row) for row in self.rows(table)]

    def originals(self, raw: RawBatch, rows: Sequence[int]) -> list[bytes]:
        """Returns the original bytes of rows of `raw`; as JSON of texts where the source has none."""
        if raw.original is not None:
            return raw.original(rows) if len(rows) else []
        return [json.dumps(row, ensure_ascii=False).encode() for row in self.rows(raw.table.take(pa.array(rows)))]


def for_duckdb(table: pa.Table) -> pa.Table:
    """Casts what DuckDB cannot scan, without loss: half floats, decimals above 38 digits."""
    for i, f in enumerate(table.schema):
        if pa.types.is_float16(f.type):
            table = table.set_column(i, f.name, table.column(i).cast(pa.float32()))
        elif pa.types.is_decimal256(f.type):
            table = table.set_column(i, f.name, table.column(i).cast(pa.string()))
    return table
