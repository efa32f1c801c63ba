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

BLOCK = 32 << 20
"""Bytes of a block at the most, one longer row aside."""
PIECE = 1 << 18
"""Bytes looked at together where a pass over them should stay in the cache."""
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

    cut: Callable[[bytearray, int, bool], int]
    """(buffer, bytes in it, whether the content ends with them) -> length of the complete rows at its beginning."""
    lines: Callable[[bytes], int]
    """data -> number of line ends."""
    newline: Callable[[bytes | bytearray], int]
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


def cut_lines(buffer: bytearray, have: int, at_end: bool) -> int:
    """The cut of formats whose rows are lines."""
    return have if at_end else buffer.rfind(b"\n", 0, have) + 1


def count_newlines(data: bytes) -> int:
    """The number of lines that end with a newline."""
    every = np.frombuffer(data, np.uint8)
    return sum(int(np.count_nonzero(every[at : at + PIECE] == 10)) for at in range(0, len(data), PIECE))


def _behind_line(data: bytes, number: int) -> int:
    """The offset behind the line of that number, from 1; the data's length when it has fewer."""
    every, mark = np.frombuffer(data, np.uint8), 10 if b"\n" in data else 13
    for at in range(0, len(data), PIECE):
        ends = every[at : at + PIECE] == mark
        found = int(np.count_nonzero(ends))
        if found >= number:
            return at + int(np.flatnonzero(ends)[number - 1]) + 1
        number -= found
    return len(data)


LINES = Rows(cut_lines, count_newlines, lambda data: data.find(b"\n") + 1)


class Blocks:
    """Iterates over the blocks from the content's present offset on. At least one, the last of which says so."""

    def __init__(self, content: Content, line: int, limits: Limits, rows: Rows = LINES) -> None:
        self._content, self._line, self._limits, self._rows = content, line, limits, rows
        self._buffer, self._have = bytearray(), 0
        self._want = BLOCK if limits.line >= BLOCK // 8 else limits.line + 1

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
            seen = min(self._have, want)
            if seen > self._limits.line + 1 and self._may_hold_a_long_line(seen):
                seen = self._limits.line + 1
            all_seen = seen == self._have and self._content.at_end
            length = self._rows.cut(self._buffer, seen, all_seen)
            if length or not seen:
                return self._rows_of(length)
            if seen > self._limits.line or all_seen:
                return self._too_long()
            want = min(seen + (1 << 20), self._limits.line + 1)

    def _may_hold_a_long_line(self, seen: int) -> bool:
        """Whether a line of the buffer may be longer than allowed: it then covers a whole window of half that size."""
        window = self._limits.line // 2
        ends = (b"\n", b"\r")
        starts = range(0, seen - window, window)
        return any(all(self._buffer.find(end, at, at + window) < 0 for end in ends) for at in starts)

    def _fill(self, want: int) -> None:
        """Reads on until the buffer holds `want` bytes. It is used again for every block: big ones are slow to get."""
        while self._have < want and (ahead := self._content.ahead):
            room = min(want, self._have + ahead)
            if len(self._buffer) < room:
                self._buffer.extend(bytes(room - len(self._buffer)))
            with memoryview(self._buffer) as view:
                self._have += self._content.read_into(view[self._have : room])

    def _rows_of(self, length: int) -> Block:
        """A block of the first `length` bytes, or of less when they have more lines than a batch may have rows."""
        with memoryview(self._buffer) as view:
            data = bytes(view[:length])
        lines = self._rows.lines(data)
        if lines > self._limits.rows:
            short = self._rows.cut(self._buffer, _behind_line(data, self._limits.rows), False)
            self._want = min(self._want, max(1 << 16, short - short // 64))
            data = data[: short or length]
            lines = self._rows.lines(data)
        self._drop(data)
        return self._block(data, lines + (bool(data) and data[-1] not in b"\r\n"), ())

    def _drop(self, data: bytes) -> None:
        """Takes `data` out of the buffer's beginning."""
        self._content.consume(data)
        rest = self._have - len(data)
        with memoryview(self._buffer) as view:
            view[:rest] = bytes(view[len(data) : self._have])
        self._have = rest

    def _block(self, data: bytes, lines: int, refusals: tuple[Refusal, ...]) -> Block:
        end = self._content.offset - self._have
        last = not self._have and self._content.at_end
        block = Block(data, end, self._line, lines, last, refusals)
        self._line += lines
        return block

    def _too_long(self) -> Block:
        """Reads over the first line of the buffer, which no row end was found for."""
        data = bytes(self._buffer[: self._have])
        size = self._rows.newline(data)
        self._drop(data[: size or None])
        if not size:
            size = self._read_over(len(data))
        reason = f"the line has {size} bytes; a row may have {self._limits.line} (max_line_size)"
        if size <= self._limits.line:
            reason = "a quoted field that begins on this line does not end"
        original = data[: min(size, KEPT)].rstrip(b"\r\n")
        return self._block(b"", 1, (Refusal(str(self._line), "line_too_long", reason, original),))

    def _read_over(self, size: int) -> int:
        """Reads to the end of the line, of which `size` bytes are gone, without keeping it; returns its length."""
        while part := self._content.read(STEP):
            found = self._rows.newline(part)
            self._content.consume(part[: found or None])
            if found:
                rest = part[found:]
                self._buffer[: len(rest)] = rest
                self._have = len(rest)
                return size + found
            size += len(part)
        return size
