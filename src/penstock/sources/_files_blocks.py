"""Cuts a content into blocks of whole rows, in bounded memory.

A format says where complete rows end (`cut`); the blocks know their place in the file: offset, line number, whether
they are the last. A row longer than `max_line` is refused by its first 64 KiB and read over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from penstock.sources._files_content import STEP, Content
from penstock.sources.base import Refusal

BLOCK = 16 << 20
"""Bytes of a block at the most, one longer row aside."""
KEPT = 64 << 10
"""Bytes kept of what is too long to keep whole."""


@dataclass(frozen=True)
class Limits:
    """Rows of a batch, and bytes of a row."""

    rows: int
    line: int


@dataclass(frozen=True)
class Rows:
    """How a format finds its rows."""

    cut: Callable[[bytes, bool], int]
    """(data, whether the content ends with it) -> length of the complete rows at its beginning, 0 = none."""
    lines: Callable[[bytes], int]
    """data -> number of line ends."""
    newline: Callable[[bytes], int]
    """data -> length of its first line with the line end, 0 = it has none."""


@dataclass(frozen=True)
class Block:
    """Whole rows of a content."""

    data: bytes
    end: int
    """Offset behind the block, in the content."""
    line: int
    """Number of the first line, from 1."""
    lines: int
    """Line ends in the block (and one for a last line without)."""
    last: bool
    """Whether the content ends with it."""
    refusals: tuple[Refusal, ...] = ()
    """What was read over instead; then `data` is empty."""


def cut_lines(data: bytes, at_end: bool) -> int:
    """The cut of formats whose rows are lines."""
    return len(data) if at_end else data.rfind(b"\n") + 1


def count_newlines(data: bytes) -> int:
    """The number of lines that end with a newline."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == 10))


LINES = Rows(cut_lines, count_newlines, lambda data: data.find(b"\n") + 1)


class Blocks:
    """Iterates over the blocks from the content's present offset on. At least one, the last of which says so."""

    def __init__(self, content: Content, line: int, limits: Limits, rows: Rows = LINES) -> None:
        self._content, self._line, self._limits, self._rows = content, line, limits, rows
        self._data = b""
        self._want = min(BLOCK, limits.line + 1)

    def __iter__(self) -> Iterator[Block]:
        last = False
        while not last:
            block = self._next()
            last = block.last
            yield block

    def _next(self) -> Block:
        want = self._want
        while True:
            self._fill(want)
            seen = self._data[:want]
            all_seen = len(seen) == len(self._data) and self._content.at_end
            length = self._rows.cut(seen, all_seen)
            if length or not seen:
                return self._take(self._limited(length))
            if len(seen) > self._limits.line or all_seen:
                return self._too_long()
            want = min(len(seen) + (1 << 20), self._limits.line + 1)

    def _fill(self, want: int) -> None:
        parts, have = [self._data], len(self._data)
        while have < want and (part := self._content.read(want - have)):
            parts.append(part)
            have += len(part)
        self._data = b"".join(parts) if self._data else b"".join(parts[1:])

    def _limited(self, length: int) -> int:
        """Shortens a block that has more lines than a batch may have rows, and sizes the next ones by it."""
        if length <= self._limits.rows or self._rows.lines(self._data[:length]) <= self._limits.rows:
            return length
        ends = np.flatnonzero(np.isin(np.frombuffer(self._data, np.uint8, length), (10, 13)))
        short = self._rows.cut(self._data[: int(ends[self._limits.rows - 1]) + 1], False)
        self._want = min(self._want, max(1 << 16, short + short // 16))
        return short or length

    def _take(self, length: int) -> Block:
        data = self._data if length == len(self._data) else self._data[:length]
        self._data = self._data[length:]
        self._content.consume(data)
        lines = self._rows.lines(data) + (bool(data) and data[-1] not in b"\r\n")
        return self._block(data, lines, ())

    def _block(self, data: bytes, lines: int, refusals: tuple[Refusal, ...]) -> Block:
        end = self._content.offset - len(self._data)
        last = not self._data and self._content.at_end
        block = Block(data, end, self._line, lines, last, refusals)
        self._line += lines
        return block

    def _too_long(self) -> Block:
        """Reads over the first line of the data, which no row end was found for."""
        size = self._rows.newline(self._data)
        head = self._data[: min(size or KEPT, KEPT)]
        self._content.consume(self._data[: size or None])
        if size:
            self._data = self._data[size:]
        else:
            size = self._read_over()
        reason = f"the line has {size} bytes; a row may have {self._limits.line} (max_line_size)"
        if size <= self._limits.line:
            reason = "a quoted field that begins on this line does not end"
        return self._block(b"", 1, (Refusal(str(self._line), "line_too_long", reason, head.rstrip(b"\r\n")),))

    def _read_over(self) -> int:
        """Reads to the end of the line without keeping it; returns its length."""
        size = len(self._data)
        while part := self._content.read(STEP):
            found = self._rows.newline(part)
            self._content.consume(part[: found or None])
            if found:
                self._data = part[found:]
                return size + found
            size += len(part)
        self._data = b""
        return size
