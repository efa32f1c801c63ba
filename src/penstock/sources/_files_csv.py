"""CSV into columns of text, exactly and row by row.

Arrow's reader does the work on blocks of whole rows; the row scanner tells it where those end, and names the rows it
must not see: malformed quotes, bytes that are no text in the file's encoding, NUL. Ragged rows are what Arrow finds to
have another number of fields than the header. All of them become refusals with line number and original bytes.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pc

from penstock.sources._files_blocks import Block, Rows, count_newlines
from penstock.sources._files_content import WIDE, Unreadable
from penstock.sources._files_decoded import Decoded, exact_in_arrow, line_texts, too_large, valid_utf8
from penstock.sources._files_scan import CR, Marks, Scan, scan
from penstock.sources.base import Refusal


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written. Marks are single ASCII characters, '' = none."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    header: bool = True
    columns: tuple[str, ...] = ()
    encoding: str = "utf-8"
    nulls: tuple[str, ...] = ()

    @property
    def marks(self) -> Marks:
        return Marks(*(ord(mark) if mark else 0 for mark in (self.delimiter, self.quote, self.escape)))


@dataclass
class _Found:
    """The rows of a block that Arrow may see, and the refusals of the others."""

    scan: Scan
    keep: npt.NDArray[np.bool_]
    refusals: list[Refusal] = field(default_factory=list)


class CsvDecoder:
    """Decodes the blocks of one file, in order."""

    def __init__(
        self,
        dialect: Dialect,
        wanted: Iterable[str] | None,
        header: Sequence[str] = (),
        hints: Mapping[str, pa.DataType] | None = None,
    ) -> None:
        self._dialect, self._wanted = dialect, None if wanted is None else {name.lower() for name in wanted}
        self._codec = None if dialect.encoding in ("utf-8", *WIDE) else dialect.encoding
        self.header: tuple[str, ...] = tuple(header) or dialect.columns
        self._scanned: Scan | None = None
        """Of the data last cut, when there were quotes in it."""
        self._hints = {n.lower(): kind for n, kind in (hints or {}).items() if exact_in_arrow(kind)}
        self._misfits: Counter[str] = Counter()
        """How many blocks had values of a column that its hinted type does not take."""
        self._ragged: list[pc.InvalidRow] = []
        self.rows = Rows(self._cut, count_lines, first_line)

    def decode(self, block: Block) -> Decoded:
        """Decodes whole rows; the first block of a file without a known header begins with it. Raises Unreadable."""
        data, line = block.data, block.line
        if not self.header:
            length, lines = self._read_header(data)
            data, line = data[length:], line + lines
        if not data:
            return Decoded(self._no_rows(), pa.array([], pa.int64()))
        return self._quick(data, line) or self._careful(data, line)

    def _cut(self, buffer: bytearray, have: int, at_end: bool) -> int:
        self._scanned = None
        marks = self._dialect.marks
        if any(mark and buffer.find(mark, 0, have) >= 0 for mark in (marks.quote, marks.escape)):
            self._scanned = scan(buffer, have, marks, at_end)
            return self._scanned.rest
        return have if at_end else max(buffer.rfind(b"\n", 0, have), buffer.rfind(b"\r", 0, have - 1)) + 1

    def _read_header(self, data: bytes) -> tuple[int, int]:
        """Takes the header from the first row that is not blank; returns its length and its line ends."""
        found = scan(data, len(data), self._dialect.marks, True)
        for start, end, bad in zip(found.starts.tolist(), found.ends.tolist(), found.bad.tolist(), strict=True):
            text = data[start:end]
            if text.strip(b"\r\n"):
                self.header = self._names(text, bad)
                return end, count_lines(data[:end])
        return len(data), count_lines(data)

    def _names(self, text: bytes, bad: bool) -> tuple[str, ...]:
        problem = "its quotes are malformed" if bad else self._undecodable(text)
        if problem:
            message = f"the header cannot be read: {problem}"
            raise Unreadable(message, "header")
        d = self._dialect
        marks: dict[str, Any] = {"quotechar": d.quote} if d.quote else {"quoting": csv.QUOTE_NONE}
        text_ = io.StringIO(self._as_utf8(text).decode(), newline="")
        try:
            names = tuple(next(csv.reader(text_, delimiter=d.delimiter, escapechar=d.escape or None, **marks)))
        except csv.Error as e:
            message = f"the header cannot be read: {e}"
            raise Unreadable(message, "header") from e
        twice = sorted({n for n in names if names.count(n) > 1 and (self._wanted is None or n.lower() in self._wanted)})
        if twice:
            message = f"the header has the column {twice[0]!r} twice"
            raise Unreadable(message, "header")
        return names

    def _quick(self, data: bytes, line: int) -> Decoded | None:
        """The usual block: one row a line, nothing to refuse. None when it is anything else."""
        if self._scanned is not None and bool(self._scanned.bad.any()):
            return None
        if self._undecodable(data) or (CR in data and not _only_crlf(data)):
            return None
        lines = count_newlines(data) + (data[-1] != 10)
        table = self._parse(data)
        if table is None or self._ragged or table.num_rows != lines:
            return None
        numbers = np.arange(line, line + lines)
        return Decoded(table, pa.array(numbers), original=lambda rows: self._lines(data, rows))

    def _careful(self, data: bytes, line: int) -> Decoded:
        rows = self._scanned if self._scanned is not None and self._scanned.rest == len(data) else None
        found = self._sorted_out(data, line, rows or scan(data, len(data), self._dialect.marks, True))
        kept = np.flatnonzero(found.keep)
        table, ragged = self._parse_rows(data, found.scan, kept)
        for index, reason in ragged.items():
            self._refuse(found, data, line, int(kept[index]), "ragged", reason)
        whole = np.ones(len(kept), np.bool_)
        whole[list(ragged)] = False
        lines = pa.array(found.scan.lines[kept[whole]] + line)
        found.refusals.sort(key=lambda r: int(r.position))
        places = kept[whole]
        return Decoded(
            table, lines, tuple(found.refusals), lambda wanted: self._texts(data, found.scan, places[wanted])
        )

    def _sorted_out(self, data: bytes, line: int, rows: Scan) -> _Found:
        """Leaves out blank rows and refuses those Arrow must not see."""
        size = rows.ends - rows.starts
        first = np.frombuffer(data, np.uint8)[rows.starts]
        blank = (size <= 2) & ((first == 10) | (first == 13))
        found = _Found(rows, ~(blank | rows.bad))
        for index in np.flatnonzero(rows.bad).tolist():
            reason = "text follows a closing quote, or a quoted field does not end"
            self._refuse(found, data, line, index, "quote", reason)
        if self._undecodable(data):
            for index in np.flatnonzero(found.keep).tolist():
                if problem := self._undecodable(data[rows.starts[index] : rows.ends[index]]):
                    found.keep[index] = False
                    self._refuse(found, data, line, index, "nul" if "NUL" in problem else "encoding", problem)
        return found

    def _refuse(self, found: _Found, data: bytes, line: int, index: int, rule: str, reason: str) -> None:
        rows = found.scan
        text = data[rows.starts[index] : rows.ends[index]].rstrip(b"\r\n")
        position = str(line + int(rows.lines[index]))
        found.refusals.append(Refusal(position, rule, reason, self._original(text)))

    def _lines(self, data: bytes, rows: Sequence[int]) -> list[bytes]:
        return [self._original(text) for text in line_texts(data, rows)]

    def _texts(self, data: bytes, rows: Scan, wanted: npt.NDArray[np.int64]) -> list[bytes]:
        return [self._original(data[rows.starts[i] : rows.ends[i]].rstrip(b"\r\n")) for i in wanted.tolist()]

    def _original(self, text: bytes) -> bytes:
        """A row's bytes as they stand in the file."""
        if self._dialect.encoding not in WIDE:
            return text
        codec = WIDE[self._dialect.encoding] or "utf-16-le"
        return text.decode("utf-8", "surrogatepass").encode(codec, "surrogatepass")

    def _parse_rows(self, data: bytes, rows: Scan, kept: npt.NDArray[np.int64]) -> tuple[pa.Table, dict[int, str]]:
        """Parses the kept rows; also returns which of them (by index) are ragged, and why."""
        if not len(kept):
            return self._no_rows(), {}
        text = data if len(kept) == len(rows.ends) else _joined(data, rows, kept)
        table = self._parse(text, numbered=bool(len(kept)))
        ragged = {int(r.number) - 1: _ragged(r) for r in self._ragged}
        if table is not None and table.num_rows + len(ragged) == len(kept):
            return table, ragged
        return self._halved(data, rows, kept)

    def _halved(self, data: bytes, rows: Scan, kept: npt.NDArray[np.int64]) -> tuple[pa.Table, dict[int, str]]:
        """Where Arrow sees other rows than the scanner: looks closer until the row is found, and refuses that."""
        if len(kept) == 1:
            return self._no_rows(), {0: "the row cannot be told from its neighbours"}
        middle = len(kept) // 2
        table, ragged = self._parse_rows(data, rows, kept[:middle])
        more, others = self._parse_rows(data, rows, kept[middle:])
        return _stacked([table, more]), ragged | {middle + i: why for i, why in others.items()}

    def _parse(self, data: bytes, numbered: bool = False) -> pa.Table | None:
        """The block as a table; ragged rows are left in `_ragged`, with their numbers if asked.

        Columns are text, or in the contract's type when all their values in this block are exact in it.
        """
        names = [str(i) for i in range(len(self.header))]
        wanted = [str(i) for i, name in enumerate(self.header) if self._wanted is None or name.lower() in self._wanted]
        types = {str(i): self._type(name) for i, name in enumerate(self.header)}
        read = pc.ReadOptions(column_names=names, use_threads=not numbered, block_size=_block_size(data, numbered))
        # Arrow takes an empty last field for a quoted one when no line end follows it.
        text = self._as_utf8(data if data[-1:] in (b"\r", b"\n") else data + b"\n")
        while True:
            self._ragged = []
            convert = self._convert_options(types, wanted or names[:1])
            try:
                table = pc.read_csv(pa.BufferReader(text), read, self._parse_options(), convert)
            except pa.ArrowInvalid as e:
                if not self._as_text_instead(types, str(e)):
                    return None
                continue
            if not too_large(table):
                return table.rename_columns([self.header[int(i)] for i in table.column_names])
            types = dict.fromkeys(names, pa.string())

    def _type(self, name: str) -> pa.DataType:
        return pa.string() if self._misfits[name] > 2 else self._hints.get(name.lower(), pa.string())

    def _as_text_instead(self, types: dict[str, pa.DataType], error: str) -> bool:
        """After a value did not fit: asks for its column (all, if unknown) as text. False when all are already."""
        named = re.match(r"In CSV column #(\d+):", error)
        typed = [i for i, kind in types.items() if kind != pa.string()]
        for index in [named[1]] if named and named[1] in typed else typed:
            types[index] = pa.string()
            self._misfits[self.header[int(index)]] += 1
        return bool(typed)

    def _parse_options(self) -> pc.ParseOptions:
        d = self._dialect
        return pc.ParseOptions(
            delimiter=d.delimiter,
            quote_char=d.quote or False,
            escape_char=d.escape or False,
            newlines_in_values=True,
            invalid_row_handler=self._skip,
        )

    def _skip(self, row: pc.InvalidRow) -> str:
        self._ragged.append(row)
        return "skip"

    def _convert_options(self, types: Mapping[str, pa.DataType], wanted: Sequence[str]) -> pc.ConvertOptions:
        return pc.ConvertOptions(
            column_types=types,
            include_columns=wanted,
            null_values=["", *self._dialect.nulls],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            check_utf8=False,
        )

    def _no_rows(self) -> pa.Table:
        names = [name for name in self.header if self._wanted is None or name.lower() in self._wanted] or self.header[
            :1
        ]
        return pa.table({name: pa.array([], pa.string()) for name in names})

    def _as_utf8(self, data: bytes) -> bytes:
        return data.decode(self._codec).encode() if self._codec else data

    def _undecodable(self, data: bytes) -> str:
        """What is wrong with the bytes as text; '' = nothing."""
        if 0 in data:
            return f"byte {data.index(0) + 1} is NUL"
        try:
            if self._codec:
                data.decode(self._codec)
            elif not valid_utf8(data):
                data.decode("utf-8")
        except UnicodeDecodeError as e:
            return f"byte {e.start + 1}, {data[e.start]:#04x}, is no {self._dialect.encoding}"
        return ""


def count_lines(data: bytes) -> int:
    """Line ends of all three kinds."""
    newlines = count_newlines(data)
    return newlines + data.count(b"\r") - data.count(b"\r\n") if CR in data else newlines


def first_line(data: bytes | bytearray) -> int:
    """The length of the first line with its end, 0 = it does not end in `data`."""
    ends = [at for at in (data.find(b"\n"), data.find(b"\r")) if at >= 0]
    if not ends:
        return 0
    end = min(ends) + 1
    return end + (data[end - 1 : end + 1] == b"\r\n")


def _only_crlf(data: bytes) -> bool:
    return data.count(b"\r") == data.count(b"\r\n")


def _block_size(data: bytes, whole: bool) -> int:
    return len(data) + 1024 if whole else max(1 << 20, len(data) // 8)


def _joined(data: bytes, rows: Scan, kept: npt.NDArray[np.int64]) -> bytes:
    """The kept rows in one piece: runs of neighbours are copied together."""
    breaks = np.flatnonzero(np.diff(kept) != 1)
    firsts = kept[np.concatenate([[0], breaks + 1])]
    lasts = kept[np.concatenate([breaks, [len(kept) - 1]])]
    return b"".join(data[a:b] for a, b in zip(rows.starts[firsts].tolist(), rows.ends[lasts].tolist(), strict=True))


def _stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """One table; columns that are typed in one and text in another become text."""
    kinds = [set(kinds) for kinds in zip(*(t.schema.types for t in tables), strict=True)]
    fields = zip(tables[0].column_names, kinds, strict=True)
    schema = pa.schema([(name, kind.pop() if len(kind) == 1 else pa.string()) for name, kind in fields])
    return pa.concat_tables([t.cast(schema) for t in tables])


def _ragged(row: pc.InvalidRow) -> str:
    fields = "field" if row.actual_columns == 1 else "fields"
    return f"the row has {row.actual_columns} {fields}, the header {row.expected_columns}"
