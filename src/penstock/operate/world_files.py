"""The sample world as files: CSV, JSON lines and Parquet of the same sales, written at once or dropped live.

A file appears whole: it is written beside the folder and renamed into it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from penstock.operate.world import SCHEMA, Made, SalesSpec, chunk_of, sales

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)

_JSON = "SELECT * REPLACE (strftime(sold_at, '%Y-%m-%dT%H:%M:%S.%fZ') AS sold_at) FROM chunks"


def write_sales(target: Path, spec: SalesSpec, format: Format = "csv", files: int = 1) -> tuple[Made, list[Path]]:
    """Writes the sales of `spec`; returns what was made and the files.

    `files` 1: `target` is the file. More: `target` is a folder, and the files in it hold the rows one after another.
    Raises OSError.
    """
    made = Made()
    chunks = sales(spec, made)
    if files == 1:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target, chunks, format)
        return made, [target]
    target.mkdir(parents=True, exist_ok=True)
    edges = [spec.rows * n // files for n in range(files + 1)]
    paths = [target / f"sales-{n:04d}.{format}" for n in range(1, files + 1)]
    for path, part in zip(paths, split(chunks, edges), strict=True):
        write(path, part, format)
    return made, paths


def split(chunks: Iterable[pa.Table], edges: Sequence[int]) -> Iterator[Iterator[pa.Table]]:
    """Yields, for each pair of neighbouring row numbers in `edges`, the rows between; take each part up before the
    next."""
    source = iter(chunks)
    left: pa.Table = SCHEMA.empty_table()

    def part(rows: int) -> Iterator[pa.Table]:
        nonlocal left
        while rows:
            if not left.num_rows:
                left = next(source)
            yield left.slice(0, rows)
            taken = min(rows, left.num_rows)
            rows, left = rows - taken, left.slice(taken)

    for first, end in itertools.pairwise(edges):
        yield part(end - first)


def write(path: Path, chunks: Iterable[pa.Table], format: Format) -> None:
    """Writes tables of world.SCHEMA as one file, which appears whole."""
    with _appearing(path) as part:
        if format == "csv":
            with csv.CSVWriter(part, SCHEMA) as writer:
                for chunk in chunks:
                    writer.write_table(chunk)
        elif format == "parquet":
            with pq.ParquetWriter(part, SCHEMA) as parquet:
                for chunk in chunks:
                    parquet.write_table(chunk)
        else:
            _write_json(part, chunks)


def _write_json(path: Path, chunks: Iterable[pa.Table]) -> None:
    with duckdb.connect(config={"autoinstall_known_extensions": "false", "memory_limit": "512MB"}) as con:
        con.execute("SET TimeZone = 'UTC'")
        batches = itertools.chain.from_iterable(chunk.to_batches() for chunk in chunks)
        con.register("chunks", pa.RecordBatchReader.from_batches(SCHEMA, batches))
        con.execute(f"COPY ({_JSON}) TO '{str(path).replace(chr(39), chr(39) * 2)}' (FORMAT json)")


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """Gives a path beside the folder to write to, and renames it into place."""
    beside = path.parent.parent / f".{path.parent.name}-incoming"
    beside.mkdir(parents=True, exist_ok=True)
    part = beside / path.name
    try:
        yield part
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
        if not any(beside.iterdir()):
            beside.rmdir()


@dataclass
class Dropper:
    """Drops files of sales that happen now, in each format in turn.

    `drop` makes one file; `run` keeps a rate. The sales of file n follow from the seed; only their times are now's.
    """

    folder: Path
    spec: SalesSpec = field(default_factory=lambda: SalesSpec(prefix="f-"))
    formats: Sequence[Format] = FORMATS
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    made: Made = field(default_factory=Made)
    files: int = 0
    session: str = ""
    """A word in names and ids, so that a second demo in the same folder makes new sales."""

    def drop(self, rows: int) -> Path:
        """Writes one file of `rows` sales and returns its path. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        format = self.formats[self.files % len(self.formats)]
        rng = np.random.default_rng([self.spec.seed, 3, self.files])
        numbers = np.arange(self.made.rows, self.made.rows + rows)
        at = np.full(rows, int(self.now().timestamp() * 1e6))
        spec = replace(self.spec, prefix=f"{self.spec.prefix}{self.session}")
        table, made = chunk_of(spec, numbers, at, rng)
        self.files += 1
        path = self.folder / f"sales-{self.session}{self.files:06d}.{format}"
        write(path, [table], format)
        self.made.add(made)
        return path

    def run(self, rate: float, stop: Callable[[float], bool], every: float = 1.0) -> None:
        """Drops about `rate` rows a second, a file each `every` seconds, until `stop(seconds)`, which waits that long
        (an Event's wait), returns True."""
        debt = 0.0
        while not stop(every):
            debt += rate * every
            if debt >= 1:
                self.drop(int(debt))
                debt -= int(debt)
