"""What intake remembers of a stream: for each hash the newest entry, on disk, at one point of the log.

`Table` holds entries of one kind (the primary key; each `unique` property) as a small log-structured merge tree of
`runs.py`: new entries gather in RAM, are written as a file when there are many, and files of like size are merged in
a thread beside, four into one. A lookup asks the runs from new to old.

`Memory` is the tables of a stream with the point of the log they stand for. It is never trusted, only kept: on disk
it is a manifest that names the files, the point, and everything the entries depend on (format, contract's columns,
secret, DuckDB's hash function); if anything differs or is damaged it starts empty and is told so. Files are written
without fsync: after a crash of the machine checksums tell.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from penstock.intake.errors import BatchTooLarge, MemoryUnusable
from penstock.intake.runs import Columns, DamagedRun, Run, Words, in_memory, merge_in_memory, merge_to_file, open_run
from penstock.log.model import ORIGIN, ChainPoint, Position

FORMAT = 1
RAM_ENTRIES = 262_144
"""Entries gathered in RAM before they are written."""
RAM_RUNS = 5
SAVE_EVERY = 1000
"""Confirmed batches after which memory is saved although RAM is not full."""
FAN_IN = 4
"""Files of like size that are merged into one."""
MOST_FILES = 24
"""Files at which a merge is waited for."""
_ROW_BITS = 24
MOST_ROWS = (1 << _ROW_BITS) - 1


@dataclass(frozen=True)
class Entry:
    """What is remembered of one hash."""

    content: int
    position: int
    row: int
    gone: bool
    """Deleted (upsert streams) or no longer held (`unique`)."""
    event: int = 0
    """Event time, microseconds since 1970; 0 where keys are remembered for ever."""


def pack(position: int, rows: npt.NDArray[np.int64], gone: npt.NDArray[np.bool_]) -> Words:
    """Returns places as one word each. Raises BatchTooLarge."""
    if len(rows) and int(rows.max()) > MOST_ROWS:
        found = f"row {int(rows.max())} of a batch"
        raise BatchTooLarge(found, hint="let the source yield smaller batches")
    head = np.uint64(position << (_ROW_BITS + 1))
    return head | (rows.astype(np.uint64) << np.uint64(1)) | gone.astype(np.uint64)


def entry(columns: Sequence[int]) -> Entry:
    """Returns the entry of one hash's fields (content, place[, event])."""
    content, place = columns[0], columns[1]
    event = columns[2] if len(columns) > 2 else 0
    signed = event - (1 << 64) if event >> 63 else event
    return Entry(content, place >> (_ROW_BITS + 1), (place >> 1) & MOST_ROWS, bool(place & 1), signed)


@dataclass(frozen=True)
class Found:
    """The newest entries of some hashes; fields of a hash that is not there mean nothing."""

    there: npt.NDArray[np.bool_]
    content: Words
    place: Words
    event: npt.NDArray[np.int64] | None

    def gone(self) -> npt.NDArray[np.bool_]:
        return (self.place & np.uint64(1)).astype(bool)


@dataclass(frozen=True)
class _Merging:
    """A merge under way in the thread beside."""

    group: list[Run]
    path: Path
    future: Future[Run | None]


class Table:
    """Entries of one kind."""

    def __init__(self, folder: Path, name: str, *, forgets: bool) -> None:
        """`forgets`: entries carry an event time. Of each hash only the newest entry counts, but of `shared` ones."""
        self._folder, self._name = folder, name
        self._fields = 4 if forgets else 3
        self._ram: list[Run] = []
        self._files: list[Run] = []
        self._merging: _Merging | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._number = 0
        self.shared: frozenset[int] = frozenset()
        """Hashes that more than one key has."""
        self.horizon: int | None = None
        """Event time (microseconds) before which entries are forgotten."""

    def __len__(self) -> int:
        return sum(map(len, self._runs()))

    @property
    def ram_entries(self) -> int:
        return sum(map(len, self._ram))

    def _runs(self) -> list[Run]:
        return [*self._files, *self._ram]

    def find(self, hashes: Words) -> Found:
        """Returns the newest entry of each of the sorted `hashes`."""
        n = len(hashes)
        there, content, place = np.zeros(n, bool), np.zeros(n, np.uint64), np.zeros(n, np.uint64)
        event = np.zeros(n, np.uint64) if self._fields == 4 else None
        for run in reversed(self._runs()):
            hit, at = run.find(hashes)
            new = ~there[hit]
            hit, at = hit[new], at[new]
            there[hit], content[hit], place[hit] = True, run.columns[1][at], run.columns[2][at]
            if event is not None:
                event[hit] = run.columns[3][at]
            run.forget_pages()
        return Found(there, content, place, None if event is None else event.view(np.int64))

    def all_of(self, hash_: int) -> Iterator[Entry]:
        """Yields every entry of one hash that may count, from new to old."""
        for run in reversed(self._runs()):
            for fields in run.all_of(hash_):
                yield entry(fields[1:])
                if hash_ not in self.shared:
                    return

    def add(self, columns: Columns) -> None:
        """Adds entries, in the order in which they came."""
        if len(columns[0]):
            self._ram.append(in_memory(columns[: self._fields]))
        if len(self._ram) > RAM_RUNS:
            self._ram = [merge_in_memory(self._ram, self._keep)]
        self._collect()

    def _keep(self, columns: Columns) -> npt.NDArray[np.bool_]:
        hashes = columns[0]
        kept = np.append(hashes[1:] != hashes[:-1], True)
        if self.shared:
            kept |= np.isin(hashes, np.array(sorted(self.shared), np.uint64))
        if self._fields == 4 and self.horizon is not None:
            kept &= columns[3].view(np.int64) >= self.horizon
        return kept

    def flush(self) -> None:
        """Writes what is in RAM as a file. Raises MemoryUnusable."""
        if self._ram:
            made = merge_to_file(self._ram, self._keep, self._next_path())
            self._ram = []
            if made is not None:
                self._files.append(made)
        self._merge()

    def _next_path(self) -> Path:
        self._number += 1
        return self._folder / f"{self._name}-{self._number:08}.run"

    def _merge(self) -> None:
        """Begins to merge neighbouring files of like size, in the thread beside, when there are enough of them."""
        if len(self._files) >= MOST_FILES:
            self._collect(wait=True)
        group = self._group()
        if self._merging is None and group:
            if self._worker is None:
                self._worker = ThreadPoolExecutor(1, f"memory-{self._name}")
            path = self._next_path()
            future = self._worker.submit(merge_to_file, group, self._keep, path)
            self._merging = _Merging(group, path, future)

    def _group(self) -> list[Run]:
        for start in range(len(self._files) - FAN_IN + 1):
            group = self._files[start : start + FAN_IN]
            if max(map(len, group)) < FAN_IN * min(map(len, group)):
                return group
        return self._files[-MOST_FILES // 2 :] if len(self._files) >= MOST_FILES else []

    def _collect(self, *, wait: bool = False) -> None:
        """Puts a finished merge in place of its files, which stay on disk until the manifest is written."""
        if self._merging is None or not (wait or self._merging.future.done()):
            return
        group, future = self._merging.group, self._merging.future
        self._merging = None
        made = future.result()
        at = next(i for i, run in enumerate(self._files) if run is group[0])
        self._files[at : at + len(group)] = [made] if made is not None else []

    def files(self) -> list[str]:
        """Returns the names of the files of what `flush` has written, from old to new."""
        return [run.path.name for run in self._files if run.path is not None]

    def kept(self) -> set[str]:
        """Returns the names of all files that must not be deleted."""
        making = [self._merging.path.name, self._merging.path.with_suffix(".tmp").name] if self._merging else []
        return {*self.files(), *making}

    def load(self, names: Sequence[str]) -> None:
        """Takes up files that an earlier process wrote. Raises DamagedRun."""
        self._files = [open_run(self._folder / name) for name in names]
        if any(len(run.columns) != self._fields for run in self._files):
            msg = f"{self._folder}: entries of another kind"
            raise DamagedRun(msg)
        self._number = max((int(name.rsplit("-", 1)[1].split(".")[0]) for name in names), default=0)

    def clear(self) -> None:
        """Forgets everything; files are left to `Memory`."""
        self.close()
        self._ram, self._files, self.shared, self.horizon = [], [], frozenset(), None

    def close(self) -> bool:
        """Waits for a merge under way; returns whether there was one."""
        merged = self._merging is not None
        self._collect(wait=True)
        if self._worker is not None:
            self._worker.shutdown()
            self._worker = None
        return merged


class Memory:
    """The tables of one stream and the point of the log they stand for."""

    def __init__(self, folder: Path, fingerprint: str, tables: Mapping[str, Table]) -> None:
        """Takes up what `folder` holds where that can be trusted; else starts empty, and `started` says why."""
        self._folder, self._fingerprint, self.tables = folder, fingerprint, tables
        self.point = ORIGIN
        self._unsaved = 0
        self.started = self._load()
        """'' when memory was taken up, else why it was not."""

    @property
    def _manifest(self) -> Path:
        return self._folder / "manifest.json"

    def _load(self) -> str:
        try:
            told = json.loads(self._manifest.read_bytes())
            body = told["memory"]
            if told["sha256"] != _digest(body):
                return "its manifest is damaged"
            if body["format"] != FORMAT or body["fingerprint"] != self._fingerprint:
                return "it was kept for another project, contract or version"
            for name, table in self.tables.items():
                table.load(body["tables"][name]["files"])
                table.shared = frozenset(body["tables"][name]["shared"])
                table.horizon = body["tables"][name]["horizon"]
            self.point = ChainPoint(Position(body["position"]), body["batch_id"])
        except FileNotFoundError as error:
            self._forget()
            return "there is none" if error.filename == str(self._manifest) else f"{error.filename} is missing"
        except (OSError, ValueError, KeyError, TypeError, DamagedRun) as error:
            self._forget()
            return str(error)
        self._sweep()
        return ""

    def _forget(self) -> None:
        for table in self.tables.values():
            table.clear()
        self.point = ORIGIN

    def reset(self) -> None:
        """Forgets everything and deletes the files. Raises MemoryUnusable."""
        self._forget()
        self._unsaved = 0
        try:
            self._manifest.unlink(missing_ok=True)
        except OSError as error:
            raise MemoryUnusable(f"{self._manifest}: {error.strerror}", hint="mend the rights") from error
        self._sweep()

    def add(self, entries: Mapping[str, Columns], shared: Mapping[str, set[int]], horizon: int | None) -> None:
        """Adds a batch's entries to the tables. Follow with `advance`."""
        for name, table in self.tables.items():
            if horizon is not None and (table.horizon is None or horizon > table.horizon):
                table.horizon = horizon
            if shared.get(name):
                table.shared |= shared[name]
            if name in entries:
                table.add(entries[name])

    def advance(self, point: ChainPoint) -> None:
        """Moves to `point`, which holds nothing of this stream but what `add` was given; saves now and then."""
        self.point = point
        self._unsaved += 1
        full = any(table.ram_entries >= RAM_ENTRIES for table in self.tables.values())
        if full or self._unsaved >= SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Writes everything to disk. Raises MemoryUnusable."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for table in self.tables.values():
                table.flush()
        except OSError as error:
            raise MemoryUnusable(f"{self._folder}: {error.strerror}", hint="make room or mend the rights") from error
        self._name_files()
        self._unsaved = 0

    def _name_files(self) -> None:
        """Writes the manifest: from here on the files it names are the memory, at the point of the last `save`."""
        body = {
            "format": FORMAT,
            "fingerprint": self._fingerprint,
            "position": self.point.position,
            "batch_id": self.point.batch_id,
            "tables": {
                name: {"files": t.files(), "shared": sorted(t.shared), "horizon": t.horizon}
                for name, t in self.tables.items()
            },
        }
        temporary = self._manifest.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps({"memory": body, "sha256": _digest(body)}))
            os.replace(temporary, self._manifest)
        except OSError as error:
            raise MemoryUnusable(f"{self._folder}: {error.strerror}", hint="make room or mend the rights") from error
        self._sweep()

    def _sweep(self) -> None:
        """Deletes files no manifest names: what merges have replaced, and what a killed process left."""
        named = {name for table in self.tables.values() for name in table.kept()}
        for path in (*self._folder.glob("*.run"), *self._folder.glob("*-*.tmp")):
            if path.name not in named:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Saves and ends. Raises MemoryUnusable."""
        if self._unsaved:
            self.save()
        if [table.close() for table in self.tables.values()].count(True):
            self._name_files()


def _digest(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
