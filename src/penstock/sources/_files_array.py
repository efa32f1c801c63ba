"""One JSON array: finds its elements, which are then decoded like JSON lines.

An element ends where its brackets close; so a broken element is refused alone as long as its brackets and quotes are
balanced. Elements are numbered from 1: that number is their position, since a whole array may stand on one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.sources._files_blocks import BLOCK, Limits
from penstock.sources._files_content import Content, Unreadable
from penstock.sources._files_json import Record

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb"[^\s,\]\[{}\"]+")
_OPENING = b"{["
_TO_BLANKS = bytes(32 if b in (10, 13) else b for b in range(256))


@dataclass(frozen=True)
class Elements:
    """Some elements in their order, and where to go on behind them."""

    records: tuple[Record, ...]
    end: int
    number: int
    """Of the next element."""
    last: bool


class ArrayReader:
    """Iterates over the elements of a content, entered at its start or, `inside`, behind an element's comma."""

    def __init__(self, content: Content, number: int, limits: Limits, inside: bool) -> None:
        self._content, self._number, self._limits = content, number, limits
        self._data = b""
        self._inside = inside

    def __iter__(self) -> Iterator[Elements]:
        self._fill(BLOCK)
        if not self._inside:
            self._open()
        last = False
        while not last:
            found = self._some()
            last = found.last
            yield found

    def _fill(self, want: int) -> None:
        parts = [self._data]
        have = len(self._data)
        while have < want and (part := self._content.read(want - have)):
            parts.append(part)
            have += len(part)
        self._data = b"".join(parts)

    def _open(self) -> None:
        start = self._blank(0)
        if self._data[start : start + 1] != b"[":
            message = "the file is no JSON array, it does not begin with [; `format: jsonl` is one object a line"
            raise Unreadable(message)
        self._take(start + 1)
        if self._data[self._blank(0) :][:1] == b"]":
            self._inside = True

    def _some(self) -> Elements:
        """As many elements as a block and a batch take."""
        records: list[Record] = []
        at, last = 0, False
        while len(records) < self._limits.rows:
            found = self._element(at)
            if found is None:
                if records or not self._more():
                    break
                continue
            start, end, at, last = found
            if start < end:
                data = self._data[start:end]
                records.append(Record(self._number, data, _flat(data)))
                self._number += 1
            if last:
                break
        if not records and not last:
            message = f"the file ends inside the array, in element {self._number}"
            raise Unreadable(message, "truncated")
        self._take(at)
        self._fill(BLOCK)
        if last and (self._blank(0) < len(self._data) or not self._content.at_end):
            message = f"text follows the end of the array after element {self._number - 1}"
            raise Unreadable(message)
        return Elements(tuple(records), self._content.offset - len(self._data), self._number, last)

    def _more(self) -> bool:
        """Reads on for an element that is not all there; False at the end. Raises Unreadable for one too long."""
        if self._content.at_end:
            return False
        if len(self._data) > self._limits.line:
            message = f"element {self._number} has more than {self._limits.line} bytes (max_line_size)"
            raise Unreadable(message, "line_too_long")
        self._fill(min(len(self._data) * 2, self._limits.line + 1) if len(self._data) >= BLOCK else BLOCK)
        return True

    def _element(self, at: int) -> tuple[int, int, int, bool] | None:
        """(start, end, behind its comma, whether the array ends) of the element at `at`; None = not all there."""
        start = self._blank(at)
        first = self._data[start : start + 1]
        if first == b"]":
            return start, start, start + 1, True
        end = self._end(start) if first else 0
        if not end:
            return None
        behind = self._blank(end)
        mark = self._data[behind : behind + 1]
        if not mark:
            return None
        if mark not in b",]":
            message = f"a comma is missing after element {self._number}: {self._data[behind : behind + 20]!r}"
            raise Unreadable(message)
        return start, end, behind + 1, mark == b"]"

    def _end(self, start: int) -> int:
        """Behind the value that begins at `start`; 0 = not all there."""
        data = self._data
        if data[start] not in b'{["':
            scalar = _SCALAR.match(data, start)
            if scalar is None:
                message = f"element {self._number} is missing: {data[start : start + 20]!r}"
                raise Unreadable(message)
            return scalar.end() if scalar.end() < len(data) else 0
        depth = 0
        for token in _TOKEN.finditer(data, start):
            mark = data[token.start()]
            if mark in _OPENING:
                depth += 1
            elif mark != 34:
                depth -= 1
            if depth == 0:
                return token.end()
        return 0

    def _blank(self, at: int) -> int:
        found = _SPACE.match(self._data, at)
        return found.end() if found else at

    def _take(self, length: int) -> None:
        self._content.consume(self._data[:length])
        self._data = self._data[length:]


def _flat(data: bytes) -> bytes:
    """The element on one line, b'' when it is. A line end inside a text is an error of the file, and stays one."""
    if b"\n" not in data and b"\r" not in data:
        return b""
    parts, at = [], 0
    for token in _TOKEN.finditer(data):
        if data[token.start()] == 34:
            parts += [data[at : token.start()].translate(_TO_BLANKS), token.group()]
            at = token.end()
    parts.append(data[at:].translate(_TO_BLANKS))
    return b"".join(parts)
