"""Finds the rows of a piece of CSV: where each begins and ends, its line number, and which are malformed.

Quotes count only where they open a field (right after a delimiter or line end); elsewhere in an unquoted field they
are ordinary characters. After a closing quote only a delimiter or a line end may follow, else the row is malformed.
When a malformed quoted field runs over several lines, its opening quote is taken to be the mistake: only the line it
stands on is refused, and the next line begins a row. Line ends are \\n, \\r\\n and \\r.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]
LF, CR = 10, 13


@dataclass(frozen=True)
class Marks:
    """The bytes that structure a CSV file; 0 = none."""

    delimiter: int
    quote: int
    escape: int


@dataclass(frozen=True)
class Scan:
    """Rows as offsets into the data."""

    starts: Offsets
    ends: Offsets
    """Behind the row's line end."""
    lines: Offsets
    """Line ends before the row."""
    bad: npt.NDArray[np.bool_]
    """Rows with a malformed quoted field."""
    rest: int
    """Where the incomplete last row begins; the data's length when there is none."""


def scan(data: bytes | bytearray, length: int, marks: Marks, at_end: bool) -> Scan:
    """Finds the rows of the first `length` bytes, which begin with one."""
    bytes_ = np.frombuffer(data, np.uint8, length)
    breaks = _breaks(bytes_, at_end)
    bad = np.zeros(0, np.int64)
    opened = length
    row_ends = breaks
    has_escapes = marks.escape and data.find(marks.escape, 0, length) >= 0
    escaped = _escaped(bytes_, marks.escape) if has_escapes else bad
    if has_escapes:
        row_ends = breaks[~np.isin(breaks - 1, escaped)]
    if marks.quote and data.find(marks.quote, 0, length) >= 0:
        quotes = np.flatnonzero(bytes_ == marks.quote)
        if has_escapes:
            quotes = quotes[~np.isin(quotes, escaped)]
        if _well_formed(bytes_, quotes, marks, at_end):
            opened = int(quotes[-1]) if len(quotes) % 2 else opened
            row_ends = row_ends[np.searchsorted(quotes, row_ends) % 2 == 0]
        else:
            inside, bad, opened = _walk(bytes_, quotes, breaks, marks, at_end)
            row_ends = row_ends[np.searchsorted(inside, row_ends) % 2 == 0]
    return _rows(length, breaks, row_ends, bad, at_end and opened == length)


def _rows(length: int, breaks: Offsets, row_ends: Offsets, bad: Offsets, all_of_it: bool) -> Scan:
    if all_of_it and length and (not len(row_ends) or row_ends[-1] < length):
        row_ends = np.append(row_ends, length)
    starts = np.concatenate([np.zeros(1, np.int64), row_ends[:-1]]) if len(row_ends) else row_ends
    flags = np.zeros(len(row_ends), np.bool_)
    hit = np.searchsorted(row_ends, bad, "right")
    flags[hit[hit < len(flags)]] = True
    rest = int(row_ends[-1]) if len(row_ends) else 0
    return Scan(starts, row_ends, np.searchsorted(breaks, starts, "right"), flags, rest)


def _breaks(bytes_: npt.NDArray[np.uint8], at_end: bool) -> Offsets:
    """The offsets behind each line end."""
    newlines = np.flatnonzero(bytes_ == LF) + 1
    returns = np.flatnonzero(bytes_ == CR)
    if not len(returns):
        return newlines
    inner = returns[returns < len(bytes_) - 1]
    bare = inner[bytes_[inner + 1] != LF] + 1
    if at_end and bytes_[-1] == CR:
        bare = np.append(bare, len(bytes_))
    return np.sort(np.concatenate([newlines, bare])) if len(bare) else newlines


def _escaped(bytes_: npt.NDArray[np.uint8], escape: int) -> Offsets:
    """The offsets of characters that an escape takes their meaning from."""
    found = np.flatnonzero(bytes_ == escape)
    first = np.concatenate([[True], np.diff(found) != 1])
    start = np.maximum.accumulate(np.where(first, np.arange(len(found)), 0))
    active = (np.arange(len(found)) - start) % 2 == 0
    return np.asarray(found[active] + 1, np.int64)


def _well_formed(bytes_: npt.NDArray[np.uint8], quotes: Offsets, marks: Marks, at_end: bool) -> bool:
    """Whether every quote opens, closes or doubles where it may."""
    opening, closing = quotes[0::2], quotes[1::2]
    if at_end and len(opening) != len(closing):
        return False
    before = bytes_[np.maximum(opening - 1, 0)]
    may_open = (opening == 0) | (before == marks.delimiter) | (before == LF) | (before == CR)
    doubled = np.concatenate([[False], opening[1:] == closing[: len(opening) - 1] + 1])
    if not bool(np.all(may_open | doubled)):
        return False
    behind = closing + 1
    after = bytes_[np.minimum(behind, len(bytes_) - 1)]
    may_close = (behind == len(bytes_)) | (after == marks.delimiter) | (after == LF) | (after == CR)
    doubles = np.zeros(len(closing), np.bool_)
    doubles[: len(opening) - 1] = doubled[1:]
    return bool(np.all(may_close | doubles))


def _walk(
    bytes_: npt.NDArray[np.uint8], quotes: Offsets, breaks: Offsets, marks: Marks, at_end: bool
) -> tuple[Offsets, Offsets, int]:
    """Goes from quote to quote: the pairs that enclose fields, offsets of mistakes, an opening one left at the end."""
    ends_field = {marks.delimiter, LF, CR}
    inside: list[int] = []
    bad: list[int] = []
    opened, length = -1, len(bytes_)
    before = bytes_[np.maximum(quotes - 1, 0)].tolist()
    after = bytes_[np.minimum(quotes + 1, length - 1)].tolist()
    places = quotes.tolist()
    i = 0
    while True:
        if i >= len(places):
            if opened < 0 or not at_end:
                break
            bad.append(opened)
            i = int(np.searchsorted(quotes, _next_break(breaks, opened, length)))
            opened = -1
            continue
        at = places[i]
        i += 1
        if opened < 0:
            if at == 0 or before[i - 1] in ends_field:
                opened = at
            continue
        if i < len(places) and places[i] == at + 1:
            i += 1
            continue
        if at + 1 == length or after[i - 1] in ends_field:
            inside += [opened, at]
        else:
            bad.append(opened)
            line_end = _next_break(breaks, opened, length)
            if line_end <= at:
                i = int(np.searchsorted(quotes, line_end))
        opened = -1
    if opened >= 0:
        inside.append(opened)
    return np.array(inside, np.int64), np.array(bad, np.int64), opened if opened >= 0 else length


def _next_break(breaks: Offsets, at: int, length: int) -> int:
    found = int(np.searchsorted(breaks, at, "right"))
    return int(breaks[found]) if found < len(breaks) else length
