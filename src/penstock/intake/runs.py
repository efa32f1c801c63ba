"""Sorted runs: the immutable pieces a key memory is made of, in RAM or as one file each.

An entry is (hash, content, place[, event time]), 24 or 32 bytes; a run holds its entries sorted by hash, those of one
hash from old to new, as one array per field. A file is a header, then the arrays one after the other; it is mapped,
never read whole, and its pages are given back after each use, so that resident memory does not grow with the keys
(they stay in the system's cache). A file is written under a temporary name and never changed. Behind the arrays lies
a filter, one bit for each of 16 to 32 times as many ranges of hashes as there are entries, set where the range is not
empty: most keys are new, and for these a few pages of filters are all that is looked at.

Hashes are evenly spread, so runs are merged range by range of hashes, each of bounded size.
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from penstock.intake.errors import MemoryUnusable

Words = npt.NDArray[np.uint64]
Columns = tuple[Words, ...]
"""Hash, content, place and, where keys are forgotten, event time (microseconds since 1970 as two's complement)."""

Bits = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]

MERGE_ROWS = 131_072
"""Entries merged at a time."""
FIND_ROWS = 4_194_304
"""Entries whose pages a lookup maps at a time, about."""
_PER_MISS = 8192
"""Entries on the pages the system maps around the one that is read (64 KiB)."""
_HASHED_BYTES = 16_777_216
_HEADER = 4096
_WORD = 8


class DamagedRun(Exception):
    """A run's file is not what was written; the memory must be rebuilt."""


@dataclass(frozen=True)
class Run:
    """Entries sorted by hash. Empty runs do not exist."""

    columns: Columns
    filter: Bits | None = None
    path: Path | None = None
    mapped: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self.columns[0])

    def find(self, hashes: Words) -> tuple[Indices, Indices]:
        """Returns which of the sorted `hashes` (by index) are here, and where the newest entry of each is."""
        asked = None
        if self.filter is not None:
            asked = np.flatnonzero(_maybe(self.filter, hashes))
            hashes = hashes[asked]
        pieces = 1 + min(len(self), len(hashes) * _PER_MISS) // FIND_ROWS
        parts = np.array_split(hashes, pieces)
        found = [self._find(part) for part in parts]
        starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
        hit = np.concatenate([start + where for start, (where, _) in zip(starts, found, strict=True)])
        return (hit if asked is None else asked[hit]), np.concatenate([at for _, at in found])

    def _find(self, hashes: Words) -> tuple[Indices, Indices]:
        keys = self.columns[0]
        at = np.searchsorted(keys, hashes, side="right").astype(np.int64) - 1
        hit = np.flatnonzero((at >= 0) & (keys[np.maximum(at, 0)] == hashes))
        self.forget_pages()
        return hit, at[hit]

    def all_of(self, hash_: int) -> Iterator[tuple[int, ...]]:
        """Yields the entries of one hash, from new to old."""
        keys = self.columns[0]
        low = int(np.searchsorted(keys, np.uint64(hash_), side="left"))
        high = int(np.searchsorted(keys, np.uint64(hash_), side="right"))
        for i in range(high - 1, low - 1, -1):
            yield tuple(int(column[i]) for column in self.columns)

    def forget_pages(self) -> None:
        """Gives the mapped pages back to the system."""
        if self.mapped is not None:
            self.mapped.madvise(mmap.MADV_DONTNEED)


def _slots(filter_: Bits, hashes: Words) -> Words:
    """The filter's bit of each hash: their leading bits, so that sorted hashes ask from left to right."""
    return hashes >> np.uint64(64 - (len(filter_).bit_length() - 1) - 3)


def _maybe(filter_: Bits, hashes: Words) -> Bits:
    slots = _slots(filter_, hashes)
    bits: Bits = (filter_[slots >> np.uint64(3)] >> (slots & np.uint64(7)).astype(np.uint8)) & np.uint8(1)
    return bits


def _empty_filter(entries: int) -> Bits:
    return np.zeros(max(8, 2 << max(entries - 1, 1).bit_length()), np.uint8)


def _set(filter_: Bits, hashes: Words) -> None:
    """Sets the bits of sorted `hashes`."""
    slots = _slots(filter_, hashes)
    octets = (slots >> np.uint64(3)).astype(np.int64)
    bits = np.left_shift(np.uint8(1), (slots & np.uint64(7)).astype(np.uint8))
    starts = np.flatnonzero(np.diff(octets, prepend=-1))
    filter_[octets[starts]] |= np.bitwise_or.reduceat(bits, starts)


def in_memory(columns: Columns) -> Run:
    """Returns a run of unsorted `columns`, whose entries are from old to new."""
    order = stable_order(columns[0])
    return Run(tuple(column[order] for column in columns))


def stable_order(hashes: Words) -> Indices:
    """Returns the order that sorts `hashes`, equal ones as they came. Much faster than numpy's stable sort where
    few are equal."""
    order = np.argsort(hashes)
    sorted_ = hashes[order]
    equal = sorted_[1:] == sorted_[:-1]
    if equal.any():
        in_group = np.flatnonzero(np.append(equal, False) | np.insert(equal, 0, False))
        order[in_group] = order[in_group][np.lexsort((order[in_group], sorted_[in_group]))]
    return order


Keep = Callable[[Columns], npt.NDArray[np.bool_]]
"""Says which of some sorted entries (all of each hash among them) a merge keeps."""


def _ranges(runs: Sequence[Run]) -> Iterator[list[Columns]]:
    """Yields the runs' entries by ranges of hashes, each run's part in the order of `runs`."""
    parts = max(1, sum(map(len, runs)) // MERGE_ROWS)
    bounds = np.array([(i << 64) // parts for i in range(1, parts)], np.uint64)
    cuts = [[0, *np.searchsorted(run.columns[0], bounds).tolist(), len(run)] for run in runs]
    for i in range(parts):
        yield [
            tuple(column[cut[i] : cut[i + 1]] for column in run.columns) for run, cut in zip(runs, cuts, strict=True)
        ]


def _merged(runs: Sequence[Run], keep: Keep) -> Iterator[Columns]:
    for pieces in _ranges(runs):
        together = tuple(np.concatenate(columns) for columns in zip(*pieces, strict=True))
        order = np.argsort(together[0], kind="stable")
        sorted_ = tuple(column[order] for column in together)
        kept = keep(sorted_)
        yield sorted_ if kept.all() else tuple(column[kept] for column in sorted_)
        for run in runs:
            run.forget_pages()


def merge_in_memory(runs: Sequence[Run], keep: Keep) -> Run:
    """Returns `runs` (from old to new) as one run in RAM."""
    pieces = list(_merged(runs, keep))
    return Run(tuple(np.concatenate(columns) for columns in zip(*pieces, strict=True)))


def merge_to_file(runs: Sequence[Run], keep: Keep, path: Path) -> Run | None:
    """Returns `runs` (from old to new) as one run in the file `path`, None when nothing is kept.

    Raises MemoryUnusable when the file cannot be written.
    """
    temporary = path.with_suffix(".tmp")
    width, capacity = len(runs[0].columns), sum(map(len, runs))
    count, checks, filter_ = 0, [0] * width, _empty_filter(capacity)
    try:
        with temporary.open("wb") as file:
            for columns in _merged(runs, keep):
                for i, column in enumerate(columns):
                    checks[i] = zlib.crc32(_bytes(column), checks[i])
                    _write(file.fileno(), _bytes(column), _HEADER + (i * capacity + count) * _WORD)
                if len(columns[0]):
                    _set(filter_, columns[0])
                count += len(columns[0])
            _write(file.fileno(), _bytes(filter_), _HEADER + width * capacity * _WORD)
            checks.append(zlib.crc32(_bytes(filter_)))
            header = {"entries": count, "capacity": capacity, "fields": width, "filter": len(filter_), "checks": checks}
            _write(file.fileno(), memoryview(json.dumps(header).encode().ljust(_HEADER)), 0)
        if not count:
            temporary.unlink()
            return None
        temporary.rename(path)
    except OSError as error:
        raise MemoryUnusable(f"{path}: {error.strerror}", hint="make room or mend the rights") from error
    return open_run(path, verify=False)


def _checksum(run: Run, column: Words | Bits) -> int:
    data, check = _bytes(column), 0
    for start in range(0, len(data), _HASHED_BYTES):
        check = zlib.crc32(data[start : start + _HASHED_BYTES], check)
        run.forget_pages()
    return check


def _bytes(column: Words | Bits) -> memoryview:
    return np.ascontiguousarray(column).view(np.uint8).data


def _write(file: int, data: memoryview, offset: int) -> None:
    while len(data):
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


def open_run(path: Path, *, verify: bool = True) -> Run:
    """Returns the run that `path` holds. Raises DamagedRun."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(_HEADER))
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        entries, capacity, width, bits = (header[k] for k in ("entries", "capacity", "fields", "filter"))
        end = _HEADER + width * capacity * _WORD
        if len(mapped) != end + bits or not 0 < entries <= capacity:
            msg = f"{path}: {len(mapped)} bytes are not the size its header tells"
            raise DamagedRun(msg)
        words = np.frombuffer(mapped, np.uint64, width * capacity, _HEADER)
        filter_ = np.frombuffer(mapped, np.uint8, bits, end)
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path}: {error}"
        raise DamagedRun(msg) from error
    run = Run(tuple(words[i * capacity : i * capacity + entries] for i in range(width)), filter_, path, mapped)
    arrays: list[Words | Bits] = [*run.columns, filter_]
    if verify and [_checksum(run, array) for array in arrays] != header["checks"]:
        msg = f"{path}: checksums differ"
        raise DamagedRun(msg)
    run.forget_pages()
    return run
