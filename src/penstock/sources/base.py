"""The contract of a source. Read this before writing one; `files.py` and `postgres.py` are the examples.

A source yields raw rows in Arrow batches with where each came from. It decodes bytes into columns and decides nothing
else: coercion to the contract's types, rules, duplicates and lateness are intake's. Rows that cannot even be decoded
(a broken line) are handed over as `Refusal`s in the same batch, so that they are counted and kept.
"""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from penstock.errors import PenstockError
from penstock.project.model import SourceFile, Stream

Cursor = Mapping[str, Any]
"""How far a source has been read: a small JSON object only the source itself understands. {} = nothing yet."""


class SourceConfig(BaseModel):
    """The base of every connector's own keys. Declare each with Field(description=..., examples=[...])."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    positions_order_versions: ClassVar[bool] = True
    """Whether of two rows with one key the later read one is the newer. Where not (files come in any order), upsert
    streams need a `version` property."""


@dataclass(frozen=True)
class Refusal:
    """A row (or a whole file) that could not be decoded."""

    position: str
    """Where: a line number, a key; '' for a whole file."""
    rule: str
    """Short machine word for grouping, e.g. `json`, `ragged`, `encoding`, `unreadable_file`."""
    reason: str
    """One sentence: what was found."""
    original: bytes
    """The bytes as they stood in the source (whole files: at most the first 64 KiB)."""
    origin: str = ""
    """The file or table, when it is not the batch's."""


@dataclass(frozen=True)
class Receipt:
    """What is known of one item (a file) of a source; kept in the store, one row per (source, item)."""

    item: str
    state: str
    """pending, reading, done, unreadable, gone, same_content."""
    size: int = 0
    hash: str = ""
    """Content hash (hex), '' while unknown."""
    modified_at: datetime | None = None
    rows_read: int = 0
    """Rows and refusals read of this item so far. accepted, quarantined, duplicates are counted by intake."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """The source's own: byte offset to go on from, line number, ..."""


@dataclass(frozen=True)
class RawBatch:
    """Rows as read. `read` of a batch = table.num_rows + len(refusals)."""

    table: pa.Table
    """The source's columns, by the source's names. Text where the format has only text."""
    origin: str
    """The file (relative to the source's path) or table, the same for every row of the batch."""
    positions: pa.Array
    """One per row, int64 (a line number, an integer id) or string (a key, a timestamp and key)."""
    cursor: Cursor
    """The cursor that holds once this batch is committed."""
    read_at: datetime
    """When the rows were read (aware, UTC)."""
    refusals: tuple[Refusal, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    """Items whose receipt changes with this batch; upserted in the batch's transaction."""
    original: Callable[[Sequence[int]], list[bytes]] | None = None
    """Gives the original bytes of rows by index, when intake refuses them; None = intake writes them as JSON."""
    item: str | None = None
    """The receipt that intake adds accepted, quarantined and duplicates of this batch to."""


@dataclass(frozen=True)
class SourceContext:
    """What a source is given when it is made."""

    file: SourceFile
    stream: Stream
    root: Path
    """The project folder; relative paths are relative to it."""
    state: Path
    """A folder of the source's own for scratch files; may vanish at any time between rounds."""
    type_hints: Mapping[str, pa.DataType] = field(default_factory=dict)
    """Columns that the contract reads as they are, and the Arrow type they end up with: a source may decode such a
    column right into that type when that is exact, else must yield text. Never needed for correctness."""
    columns_used: frozenset[str] | None = None
    """The source columns any expression mentions; None = cannot be told, read all."""
    batch_rows: int = 131_072
    """The number of rows a batch should have at the most."""


class Source(ABC):
    """One source of a running project. Made anew for every start; used by one thread; has no state but its cursor."""

    type: ClassVar[str]
    """The word after `type:`; the module's name."""
    Config: ClassVar[builtins.type[SourceConfig]]
    first_round_may_resume: ClassVar[bool] = True

    def __init__(self, context: SourceContext) -> None:
        self.context = context
        self.stop_requested: Callable[[], bool] = lambda: False
        """Set by the runner; a source that waits or reads long looks at it between batches."""

    @abstractmethod
    def open(self, cursor: Cursor, receipts: Mapping[str, Receipt]) -> None:
        """Connects and takes up the committed cursor and receipts. Called before the first round and again after a
        failure; may block up to a connect timeout. Raises PenstockError (class says whether it is retryable).
        Classic mistake: keeping something from before a failure instead of starting from `cursor`.
        """

    @abstractmethod
    def round(self) -> Iterator[RawBatch]:
        """Reads one round: from the committed cursor to the end that stood when the round began.

        Yields batches in order; each is committed before the next is asked for, so memory holds one. Ends by
        returning: then everything that stood at the beginning has been yielded. A round cut off by a crash is taken
        up again through `open` with the last committed cursor, and must then end where the first would have ended
        (put that end into the cursor) or later. May yield an empty table to move the cursor or receipts.
        Classic mistake: a cursor of the last row seen instead of the last row yielded.
        """

    def committed(self, batch: RawBatch) -> None:  # noqa: B027 (optional)
        """Called after `batch` is durable: the place for effects on the source (move or delete a file). Not called
        for batches committed just before a crash; `open` must make up for that. Must be repeatable."""

    def complete(self) -> bool:
        """Whether the last round reached the end that stood when it began. False while rows below that end are held
        back (`waiting` says by what): the round is then still open, and the next `round` goes on with it."""
        return True

    def waiting(self) -> str:
        """Says what holds rows back right now (`pid 4711 has an open transaction since ...`), '' = nothing."""
        return ""

    def wait_for_change(self, seconds: float) -> bool:
        """Waits until the source may have something new (True), at most `seconds` (False). The default returns False at
        once: the runner sleeps by itself. Never the only way something new is noticed."""
        return False

    @classmethod
    def warnings(cls, file: SourceFile, stream: Stream) -> tuple[str, ...]:
        """Says what `validate` should warn of, one sentence each. Must not connect to anything."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """Lets go of everything. May be called twice, and after a failed open. Not guaranteed to be called."""


class ColumnsProbe(ABC):
    """Mixed into a source that can tell its columns before reading (postgres, Parquet): name to Arrow type."""

    @abstractmethod
    def columns(self) -> Mapping[str, pa.DataType]:
        """Returns the source's columns. Raises PenstockError as `open` does."""


class SourceError(PenstockError):
    """Base of the sources' errors (codes PEN2xx)."""
