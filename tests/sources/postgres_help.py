"""What the tests of the `postgres` source share: a server with prepared transactions, a source over it, its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

from penstock.errors import Place
from penstock.project.model import Column, SourceFile, Stream
from penstock.sources.base import RawBatch, SourceContext
from penstock.sources.postgres import PostgresConfig, PostgresSource
from penstock.sqltypes import TEXT


@dataclass
class Reader:
    """A source and what a runner does with it: rows and cursor are kept together, batch by batch."""

    url: str
    state: Path
    config: Mapping[str, Any]
    keyed: bool = True
    columns_used: frozenset[str] | None = None
    type_hints: Mapping[str, pa.DataType] = field(default_factory=dict)
    batch_rows: int = 131_072
    timezone: str = "UTC"
    changes: Any = "append"
    fields: Mapping[str, str] = field(default_factory=dict)
    cursor: Mapping[str, Any] = field(default_factory=dict)
    batches: list[RawBatch] = field(default_factory=list)
    source: PostgresSource | None = None

    def context(self) -> SourceContext:
        stream = Stream("sales", (Column("id", TEXT),), ("id",) if self.keyed else (), changes=self.changes)
        config = PostgresConfig(connection=self.url, **self.config)
        place = Place("sources/shop.yaml", 1, 1)
        file = SourceFile(
            "shop", "postgres", "sales", fields=self.fields, timezone=self.timezone, config=config, place=place
        )
        return SourceContext(file, stream, Path("."), self.state, self.type_hints, self.columns_used, self.batch_rows)

    def start(self) -> PostgresSource:
        """Makes the source anew, as a process does, and opens it with the kept cursor."""
        self.close()
        source = PostgresSource(self.context())
        try:
            source.open(self.cursor, {})
        except BaseException:
            source.close()
            raise
        self.source = source
        return source

    def round(self, stop_after: int | None = None) -> list[dict[str, Any]]:
        """Reads a round and returns its rows; after `stop_after` batches the process dies."""
        source = self.source or self.start()
        rows: list[dict[str, Any]] = []
        batches = source.round()
        for n, batch in enumerate(batches, 1):
            assert batch.table.num_rows == len(batch.positions)
            self.cursor = batch.cursor
            self.batches.append(batch)
            source.committed(batch)
            rows += batch.table.to_pylist()
            if n == stop_after:
                batches.close()  # type: ignore[attr-defined]
                self.close()
                break
        return rows

    def ids(self, **how: Any) -> list[Any]:
        return [row["id"] for row in self.round(**how)]

    def close(self) -> None:
        if self.source is not None:
            self.source.close()
            self.source = None


def run(url: str, *statements: str) -> None:
    """Runs statements, each committed."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query).fetchall()
