"""Reads one file from a place in it to its end, in chunks that each say where to go on.

The formats differ only here: text formats go through blocks of whole rows and a decoder, Parquet through row groups.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.sources._files_array import ArrayReader
from penstock.sources._files_blocks import Block, Blocks, Limits
from penstock.sources._files_config import CsvConfig, FilesConfig
from penstock.sources._files_content import PACKINGS, Content, Unreadable, stored_hash
from penstock.sources._files_csv import CsvDecoder, Dialect
from penstock.sources._files_decoded import Decoded
from penstock.sources._files_json import JsonDecoder
from penstock.sources._files_parquet import pieces as parquet_pieces
from penstock.sources._files_store import Item, Raw
from penstock.sources._files_values import Values
from penstock.sources.base import Refusal, SourceContext

BOM = codecs.BOM_UTF8
FORMATS = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class Start:
    """Where in a file to begin: its start, or where an earlier reading ended."""

    offset: int = 0
    line: int = 1
    """Number of the next line (of the next row in JSON arrays and Parquet)."""
    header: tuple[str, ...] = ()
    """The columns of a CSV file that is not begun at its start."""
    prefix: str = ""
    """Hash of the first `stored` stored bytes as they were; '' = nothing to compare."""
    stored: int = 0
    ending: str = ""
    """How the part that was read ended: '' after a line end, `open` in a line without one, `sealed` where nothing may
    follow (a JSON array, Parquet)."""


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file in their order."""

    table: pa.Table
    lines: pa.Array
    """int64, one per row."""
    next: Start
    hash: str
    """Of the stored bytes so far; of the whole file in the last chunk."""
    last: bool
    refusals: tuple[Refusal, ...] = ()
    original: Callable[[Sequence[int]], list[bytes]] | None = None


class Changed(Exception):
    """What was read of the file before is not what stands there now."""


@dataclass(frozen=True)
class Reading:
    """What every format needs to know to read files of one source."""

    config: FilesConfig
    context: SourceContext
    columns: frozenset[str] | None
    """The file's own columns that are wanted, None = all."""
    values: Values

    @property
    def limits(self) -> Limits:
        return Limits(self.context.batch_rows, self.config.max_line_size)

    def chunks(self, raw: Raw, item: Item, start: Start) -> Iterator[Chunk]:
        """Yields the file's rows from `start` on, at least one chunk. Raises Unreadable, Gone, Changed."""
        read = {"csv": self._csv, "jsonl": self._json_lines, "json": self._json_array, "parquet": self._parquet}
        yield from read[self.format_of(item.name)](raw, item, start)

    def format_of(self, name: str) -> str:
        """The format of a file. Raises Unreadable when its ending says nothing and `format` is not set."""
        if self.config.format:
            return self.config.format
        found = known_format(name)
        if not found:
            message = f"the ending of {name!r} says no format; set `format`"
            raise Unreadable(message)
        return found

    def _csv(self, raw: Raw, item: Item, start: Start) -> Iterator[Chunk]:
        dialect = _dialect(self.config.csv, item.name)
        content = self._entered(raw, item, start, dialect.encoding)
        hints = {name: kind for name, kind in self.context.type_hints.items() if not self.values.takes(name)}
        decoder = CsvDecoder(dialect, self.columns, start.header, hints)
        for block in Blocks(content, start.line, self.limits, decoder.rows):
            yield self._chunk(content, block, self.values.read(decoder.decode(block)), decoder.header)

    def _json_lines(self, raw: Raw, item: Item, start: Start) -> Iterator[Chunk]:
        content = self._entered(raw, item, start)
        decoder = JsonDecoder(self.columns, self.context.type_hints)
        for block in Blocks(content, start.line, self.limits):
            yield self._chunk(content, block, decoder.decode(block.data, block.line))

    def _json_array(self, raw: Raw, item: Item, start: Start) -> Iterator[Chunk]:
        content = self._entered(raw, item, start)
        decoder = JsonDecoder(self.columns, self.context.type_hints)
        for some in ArrayReader(content, start.line, self.limits, start.offset > 0):
            found = decoder.decode_records(some.records)
            stored = some.end if content.plain else content.size
            following = Start(some.end, some.number, (), content.hash, stored, "sealed" if some.last else "")
            yield Chunk(found.table, found.lines, following, content.hash, some.last, found.refusals, found.original)

    def _parquet(self, raw: Raw, item: Item, start: Start) -> Iterator[Chunk]:
        whole = stored_hash(raw, item.size)
        if start.prefix and start.prefix != whole:
            raise Changed
        limit = self.config.max_file_size
        for piece in parquet_pieces(raw, item, self.columns, self.limits.rows, limit, start.offset):
            lines = pa.array(np.arange(piece.first, piece.first + piece.table.num_rows))
            following = Start(piece.after, piece.after + 1, (), whole, item.size, "sealed")
            yield Chunk(piece.table, lines, following, whole, piece.last, piece.refusals)

    def _entered(self, raw: Raw, item: Item, start: Start, encoding: str = "utf-8") -> Content:
        """The content at `start`. Raises Changed when what comes before is not what it was."""
        content = Content(raw, item, encoding, self.config.max_file_size, start.stored)
        prefix = content.enter(start.offset)
        if start.prefix and (prefix != start.prefix or not _continues(content, start.ending)):
            raise Changed
        if content.offset == 0 and content.peek(len(BOM)) == BOM:
            content.consume(content.read(len(BOM)))
        return content

    def _chunk(self, content: Content, block: Block, found: Decoded, header: tuple[str, ...] = ()) -> Chunk:
        stored = block.end if content.plain else content.size
        ending = "open" if block.last and block.data and block.data[-1] not in b"\r\n" else ""
        following = Start(block.end, block.line + block.lines, header, content.hash, stored, ending)
        refusals = (*block.refusals, *found.refusals)
        return Chunk(found.table, found.lines, following, content.hash, block.last, refusals, found.original)


def _continues(content: Content, ending: str) -> bool:
    """Whether what follows can follow: after a line that was read without a line end, only that line end."""
    if not ending or content.at_end:
        return True
    if ending == "sealed":
        return False
    ahead = content.peek(2)
    length = 2 if ahead == b"\r\n" else int(ahead[:1] in (b"\r", b"\n"))
    content.consume(content.read(length))
    return length > 0


def known_format(name: str) -> str:
    """The format a name's ending stands for, '' for none."""
    lowered = name.lower()
    for packing in PACKINGS:
        lowered = lowered.removesuffix(packing)
    return next((kind for ending, kind in FORMATS.items() if lowered.endswith(ending)), "")


def _dialect(csv: CsvConfig, name: str) -> Dialect:
    tabs = ".tsv" in name.lower() and "delimiter" not in csv.model_fields_set
    return Dialect(
        "\t" if tabs else csv.delimiter, csv.quote, csv.escape, csv.header, csv.columns, csv.encoding, csv.nulls
    )


def start_of(details: Mapping[str, Any]) -> Start:
    """The place an earlier reading left in a receipt."""
    return Start(
        int(details.get("offset", 0)),
        int(details.get("line", 1)),
        tuple(details.get("header", ())),
        str(details.get("prefix", "")),
        int(details.get("stored", 0)),
        str(details.get("ending", "")),
    )
