"""`mode: bulk`: everything, once, from one snapshot.

The snapshot is copied into a file of the source's state folder (Arrow IPC) and handed out from there, so a kill in the
middle goes on where it was and the server's snapshot is held only as long as the copy takes. The file's name is a
random word that the cursor remembers. If the file is gone, a stream with a key is read again (known keys are
duplicates); without one that would count rows twice, and is refused.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.errors import Place
from penstock.sources._postgres_columns import PgColumn
from penstock.sources._postgres_copy import Target, parse, pieces
from penstock.sources._postgres_wire import Connection
from penstock.sources.errors import PostgresBulkCutOff


@dataclass(frozen=True)
class Progress:
    """How far a bulk reading is: its copy's name ('' = none), rows handed out of it, and whether that was all."""

    copy: str = ""
    rows: int = 0
    done: bool = False

    @staticmethod
    def load(saved: Mapping[str, Any] | None) -> Progress:
        return Progress(**saved) if saved else Progress()

    def save(self) -> dict[str, Any]:
        return {"copy": self.copy, "rows": self.rows, "done": self.done}


def copy_down(
    conn: Connection, relation: str, what: str, columns: list[PgColumn], targets: list[Target], folder: Path, rows: int
) -> str:
    """Copies all rows into a new file of `folder`; returns its name. The file is there whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("bulk-*"):
        old.unlink(missing_ok=True)
    name = f"bulk-{secrets.token_hex(8)}.arrow"
    part = folder / f"{name}.part"
    expressions = ", ".join([*(c.select() for c in columns), "0"])
    with part.open("wb") as file:
        _write(file, pieces(conn, f"SELECT {expressions} FROM {relation}", what, rows), targets)
        file.flush()
        os.fsync(file.fileno())
    part.rename(folder / name)
    return name


def _write(file: Any, data: Iterator[tuple[bytes, bool]], targets: list[Target]) -> None:
    """Writes pieces one after another as IPC streams of their own: a column may be text in one and typed in another."""
    for piece, _ in data:
        table = parse(piece, [*targets, Target("\0", pa.string(), strict=False)])
        table = table.drop_columns(["\0"]).combine_chunks()
        with pa.ipc.new_stream(file, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_table(table)


def hand_out(folder: Path, progress: Progress) -> Iterator[tuple[pa.Table, Progress]]:
    """Yields what the copy holds after `progress`, each table (as `parse` returns it) with the progress after it."""
    if not (folder / progress.copy).stat().st_size:
        return
    with pa.memory_map(str(folder / progress.copy)) as file:
        size = file.size()
        passed = 0
        while file.tell() < size:
            table = pa.ipc.open_stream(file).read_all()
            first, passed = passed, passed + table.num_rows
            if passed > progress.rows:
                yield (
                    table.slice(max(progress.rows - first, 0)),
                    replace(progress, rows=passed, done=file.tell() >= size),
                )


def check_copy(folder: Path, progress: Progress, keyed: bool, place: Place) -> Progress:
    """Returns the progress to go on from. Raises PostgresBulkCutOff when the copy is gone and rows have no key."""
    if progress.done or not progress.copy or (folder / progress.copy).is_file():
        return progress
    if keyed or not progress.rows:
        return Progress()
    found = f"{progress.rows} rows of the bulk reading are in the log, and its local copy {progress.copy} is gone"
    hint = "retract those rows and reset the source, or give the contract a primaryKey"
    raise PostgresBulkCutOff(found, hint=hint, place=place)
