"""What the tests of the `files` source share: a folder, a source over it, and what a runner keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.errors import Place
from penstock.project.model import Column, SourceFile, Stream
from penstock.sources.base import RawBatch, Receipt, Refusal, SourceContext
from penstock.sources.files import Files
from penstock.sqltypes import TEXT

NOW = {"stable_for": "0s"}
"""`ready` of tests: what stands there is complete."""


@dataclass
class Drops:
    """A source and what a runner does with it: rows, cursor and receipts are kept together, batch by batch."""

    root: Path
    config: dict[str, Any] = field(default_factory=dict)
    keyed: bool = False
    columns: tuple[Column, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    columns_used: frozenset[str] | None = None
    type_hints: Mapping[str, pa.DataType] = field(default_factory=dict)
    batch_rows: int = 131_072
    timezone: str = "UTC"
    cursor: Mapping[str, Any] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    batches: list[RawBatch] = field(default_factory=list)
    source: Files | None = None

    @property
    def folder(self) -> Path:
        return self.root / "drops"

    def put(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def context(self) -> SourceContext:
        stream = Stream("sales", self.columns or (Column("id", TEXT),), ("id",) if self.keyed else ())
        config = Files.Config.model_validate({"path": "drops", "ready": NOW, **self.config})
        place = Place("sources/drops.yaml", 1, 1)
        file = SourceFile(
            "drops", "files", "sales", fields=self.fields, timezone=self.timezone, config=config, place=place
        )
        state = self.root / "state"
        return SourceContext(file, stream, self.root, state, self.type_hints, self.columns_used, self.batch_rows)

    def start(self) -> Files:
        """Makes the source anew, as a process does, and opens it with what was committed."""
        self.close()
        self.source = Files(self.context())
        self.source.open(self.cursor, dict(self.receipts))
        return self.source

    def read(self, *, die_after: int | None = None, before_effects: bool = False) -> list[RawBatch]:
        """Reads a round; after `die_after` batches the process dies, maybe before it moved or deleted files."""
        source = self.source or self.start()
        seen: list[RawBatch] = []
        batches = source.round()
        for batch in batches:
            assert batch.table.num_rows == len(batch.positions)
            seen.append(batch)
            self.cursor = batch.cursor
            self.receipts |= {r.item: r for r in batch.receipts}
            dies = len(seen) == die_after
            if not (dies and before_effects):
                source.committed(batch)
            if dies:
                batches.close()  # type: ignore[attr-defined]
                self.close()
                break
        self.batches += seen
        return seen

    def rows(self, **how: Any) -> list[dict[str, Any]]:
        return [row for batch in self.read(**how) for row in own(batch)]

    def states(self) -> dict[str, str]:
        return {name: receipt.state for name, receipt in sorted(self.receipts.items())}

    def close(self) -> None:
        if self.source is not None:
            self.source.close()
            self.source = None


def own(batch: RawBatch) -> list[dict[str, Any]]:
    """The rows without the columns every file has."""
    names = [n for n in batch.table.column_names if n not in ("_file", "_line", "_modified_at")]
    return batch.table.select(names).to_pylist() if names else []


def refusals(batches: list[RawBatch]) -> list[Refusal]:
    return [refusal for batch in batches for refusal in batch.refusals]


def short(refusal: Refusal) -> tuple[str, str, bytes]:
    return refusal.position, refusal.rule, refusal.original
