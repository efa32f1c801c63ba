"""What a connector brings to the conformance suite, and the runner that the checks drive it with.

A connector's kit is the class `Kit` in `tests/sources/kit_<type>.py`. The suite finds the connectors by the registry
and fails for one without a kit. A check that a connector cannot pass is excused in its kit by name, with the reason;
an excuse for a check that passes is a failure too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from penstock.errors import Place
from penstock.project.model import Column, SourceFile, Stream
from penstock.sources.base import RawBatch, Receipt, Source, SourceContext
from penstock.sources.registry import sources
from penstock.sqltypes import TEXT, decimal

Row = Mapping[str, str | None]
"""A row of the suite: `id` (digits), `name` (any text or None), `amount` (digits with two decimals)."""


class SourceKit(ABC):
    """A place of one connector, made for one test."""

    excuses: ClassVar[Mapping[str, str]] = {}
    """Name of a check -> why this connector cannot pass it."""
    slow: ClassVar[bool] = False
    """Whether it needs a server."""

    def __init__(self, request: pytest.FixtureRequest, root: Path) -> None:
        self.request, self.root = request, root

    @abstractmethod
    def config(self) -> Mapping[str, Any]:
        """Returns the connector's own keys that read the place."""

    @abstractmethod
    def add(self, rows: Sequence[Row]) -> None:
        """Puts rows into the place, visible when it returns. Rows may have more columns than those before."""

    @abstractmethod
    def vanish(self) -> None:
        """Makes the place unreachable, as an outage does."""

    @abstractmethod
    def come_back(self) -> None:
        """Undoes `vanish`; nothing is lost."""


@dataclass
class Run:
    """A source and what a runner keeps of it: cursor and receipts, batch by batch."""

    kit: SourceKit
    type: str
    batch_rows: int = 131_072
    cursor: Mapping[str, Any] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    source: Source | None = None

    def make(self) -> Source:
        cls = sources()[self.type]
        columns = (Column("id", TEXT, required=True), Column("name", TEXT), Column("amount", decimal(12, 2)))
        config = cls.Config.model_validate(self.kit.config())
        file = SourceFile("place", self.type, "rows", config=config, place=Place("sources/place.yaml", 1, 1))
        stream = Stream("rows", columns, ("id",))
        return cls(SourceContext(file, stream, self.kit.root, self.kit.root / "state", batch_rows=self.batch_rows))

    def start(self) -> Source:
        """Makes and opens the source anew with what was committed, as a process does that starts."""
        self.close()
        source = self.make()
        source.open(self.cursor, dict(self.receipts))
        self.source = source
        return source

    def commit(self, batch: RawBatch) -> None:
        self.cursor = batch.cursor
        self.receipts |= {r.item: r for r in batch.receipts}
        if self.source is not None:
            self.source.committed(batch)

    def round(self, batches: int | None = None) -> list[RawBatch]:
        """Reads a round; after `batches` of it the process dies."""
        seen: list[RawBatch] = []
        reading = (self.source or self.start()).round()
        for batch in reading:
            seen.append(batch)
            self.commit(batch)
            if len(seen) == batches:
                reading.close()  # type: ignore[attr-defined]
                self.close()
                break
        return seen

    def rows(self, batches: int | None = None) -> list[Row]:
        return rows_of(self.round(batches))

    def close(self) -> None:
        if self.source is not None:
            self.source.close()
            self.source = None


def rows_of(batches: Sequence[RawBatch]) -> list[Row]:
    """The suite's columns as texts, ordered by id."""
    found = []
    for batch in batches:
        names = [n for n in ("id", "name", "amount") if n in batch.table.column_names]
        for row in batch.table.select(names).to_pylist() if names else []:
            found.append({n: None if row.get(n) is None else str(row[n]) for n in ("id", "name", "amount")})
    return sorted(found, key=lambda row: int(row["id"] or 0))


def some(first: int, last: int) -> list[Row]:
    """Rows with the ids `first` to `last`."""
    return [{"id": str(i), "name": f"n{i}", "amount": f"{i}.50"} for i in range(first, last + 1)]
