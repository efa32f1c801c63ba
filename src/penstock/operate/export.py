"""The rows of a stream that count, written out: accepted, and neither corrected nor taken back since.

A log without -1 rows is streamed as it is, batch by batch. Else rows are netted in a scratch DuckDB file first: of
equal contents as many stay as were added more often than taken back, the latest of them.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from penstock.intake.expressions import quote
from penstock.log.model import ORIGIN, STAMPS
from penstock.log.rowlog import RowLog
from penstock.operate.core import open_log
from penstock.project.model import Project, Stream
from penstock.store.connect import Connection, Store, errors_explained

FORMATS = ("parquet", "csv", "jsonl")
CHUNK = 100_000
MEMORY = "512MB"


def export_stream(
    project: Project, store: Store, stream: Stream, form: str, out: Path | IO[bytes], *, stamps: bool
) -> int:
    """Writes the rows of `stream` that count, in log order, to `out`. Returns how many. `form` is one of FORMATS."""
    columns = pa.schema([(c.name, c.type.arrow) for c in stream.columns])
    names = [*columns.names, *(STAMPS if stamps else ())]
    written = 0
    with store.connect("penstock export") as connection, errors_explained(store):
        tables = rows_that_count(open_log(project, store), connection, stream)
        with _writer(form, out) as write:
            for table in tables:
                write(table.select(names))
                written += table.num_rows
            if not written:
                write(columns.empty_table())
    return written


def rows_that_count(log: RowLog, connection: Connection, stream: Stream) -> Iterator[pa.Table]:
    """Yields the rows of the log that count, contract columns and stamps, in log order, in chunks."""
    end = log.end(connection)
    columns = pa.schema([(c.name, c.type.arrow) for c in stream.columns])
    # The log knows the types of stamps by itself.
    wanted = pa.schema([*columns, *((name, pa.null()) for name in STAMPS)])
    entries = log.entries(connection, ORIGIN, end, streams=[stream.name])
    negative = any(entry.has_negative for entry in entries)
    slices = (s.table for s in log.read(connection, ORIGIN, end, streams=[stream.name], columns=wanted))
    yield from _netted(slices, columns.names) if negative else slices


def _netted(tables: Iterable[pa.Table], columns: list[str]) -> Iterator[pa.Table]:
    with tempfile.TemporaryDirectory(prefix="penstock-export-") as folder:
        con = duckdb.connect(str(Path(folder) / "rows.duckdb"), config={"memory_limit": MEMORY})
        con.execute("SET TimeZone='UTC'")
        made = False
        for table in tables:
            con.register("chunk", table)
            con.execute("INSERT INTO rows SELECT * FROM chunk" if made else "CREATE TABLE rows AS SELECT * FROM chunk")
            con.unregister("chunk")
            made = True
        if made:
            equal = ", ".join(quote(c) for c in columns)
            rows = con.sql(
                f"SELECT * EXCLUDE (_nth, _net) FROM (SELECT *, sum(_weight) OVER (PARTITION BY {equal}) AS _net,"
                f" row_number() OVER (PARTITION BY {equal}, _weight > 0 ORDER BY _batch DESC, _row DESC) AS _nth"
                " FROM rows) WHERE _weight > 0 AND _nth <= _net ORDER BY _batch, _row"
            )
            for batch in rows.to_arrow_reader(CHUNK):
                yield pa.Table.from_batches([batch])
        con.close()


@contextmanager
def _writer(form: str, out: Path | IO[bytes]) -> Iterator[Any]:
    """Yields a function that writes a table; the first one decides the columns."""
    if isinstance(out, Path) and out.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(out))
    beside = out.with_name(f"{out.name}.part") if isinstance(out, Path) else None
    sink = pa.OSFile(str(beside), "wb") if beside else pa.PythonFile(out, "w")
    opened: list[Any] = []

    def write(table: pa.Table) -> None:
        if form == "jsonl":
            sink.write(_json_lines(table))
            return
        if not opened:
            make = pyarrow.parquet.ParquetWriter if form == "parquet" else pyarrow.csv.CSVWriter
            opened.append(make(sink, table.schema))
        opened[0].write_table(table)

    try:
        yield write
        if opened:
            opened[0].close()
        if beside:
            sink.close()
            beside.rename(out)  # type: ignore[arg-type]
        else:
            sink.flush()
    except BaseException:
        # A file that is there is whole.
        if beside:
            sink.close()
            beside.unlink(missing_ok=True)
        raise


def _json_lines(table: pa.Table) -> bytes:
    """Numbers keep their digits, as DuckDB prints decimals; instants are ISO 8601 in UTC."""
    con = duckdb.connect()
    con.execute("SET TimeZone='UTC'")
    con.register("rows", table)
    fields = ", ".join(_json_field(f) for f in table.schema)
    lines = con.sql(f"SELECT to_json(struct_pack({fields}))::VARCHAR AS line FROM rows").to_arrow_table()
    con.close()
    return b"".join(f"{line}\n".encode() for line in lines["line"].to_pylist())


def _json_field(field: pa.Field) -> str:
    name = quote(field.name)
    if pa.types.is_timestamp(field.type):
        zone = "Z" if field.type.tz else ""
        return f"{name} := strftime({name}, '%Y-%m-%dT%H:%M:%S.%f{zone}')"
    return f"{name} := {name}"
