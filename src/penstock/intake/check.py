"""Decodes and checks one batch of raw rows: the part of intake that needs no memory of earlier rows.

A Checker belongs to one source, is used by that source's thread and keeps nothing between batches but its DuckDB
connection and the mappings it has compiled. It works in two steps, each a fast way and a thorough one:

1. *Mapping.* Columns that already have the contract's type pass as the same Arrow buffers. The others are computed
   by one query; values it is not sure of are read one by one by `exact.py`.
2. *Rules.* Facts of whole columns prove most rules. What is left is one aggregate query that counts bad rows; only
   when it counts some is the first broken rule of each row asked for.

Rows refused in either step get the first rule they break in the contract's order as their reason.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.intake import exact
from penstock.intake.errors import BadExpression
from penstock.intake.expressions import at, literal
from penstock.intake.hashing import CONNECTION, Hasher, Hashes
from penstock.intake.mapping import RAW, Compiler, Computed, Mapping
from penstock.intake.refusals import Refused, mapped_json, of_source, quoted, sentence
from penstock.intake.rules import AHEAD, COERCION, EXPRESSION, Facts, Rule, rules
from penstock.intake.texts import Texts, for_duckdb
from penstock.observe.events import Notice, emit
from penstock.project.model import SourceFile, Stream
from penstock.sources.base import RawBatch

ROWS = "checked_rows"
"""The name under which rows of the contract's types are registered."""
DELETED = "_deleted"
Indices = npt.NDArray[np.int64]
FIRST_OF_ALL = -1
"""Number of a failure that leaves nothing of the row to look at."""
_ROW_ERRORS = (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException)


@dataclass(frozen=True)
class Checked:
    """A batch whose rows all keep the contract's row rules; refused ones are named beside it."""

    raw: RawBatch
    table: pa.Table
    """The contract's columns in its order, of its types."""
    indices: Indices | None
    """The row of `raw.table` of each row; None when they are the same."""
    deleted: npt.NDArray[np.bool_] | None
    """Which rows are deletes; None when none is. Of a delete only key and version are kept."""
    hashes: Hashes
    refused: tuple[Refused, ...]
    read: int
    missing: tuple[str, ...]
    """Columns the mapping mentions and the source does not have."""
    unmapped: tuple[str, ...]
    """Columns of the source that nothing maps, for `status`."""


@dataclass
class _Verdicts:
    """Numbers of the first rule each row breaks (0: none) and what is known of the reasons."""

    numbers: npt.NDArray[np.int64]
    reasons: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    """Row -> (rule, column, reason) where step one already knows. Stands when `numbers` is none of a Rule."""

    def refuse(self, row: int, number: int, why: tuple[str, str, str]) -> None:
        if not self.numbers[row] or number < self.numbers[row]:
            self.numbers[row] = number
            self.reasons[row] = why


class Checker:
    """Checks the batches of one source. Not to be shared between threads."""

    def __init__(
        self, stream: Stream, file: SourceFile, secret: bytes, *, threads: int = 2, key_bits: int = 64
    ) -> None:
        """Raises BadRule, BadExpression."""
        if file.operation is not None and stream.changes != "upsert":
            found = f"stream {stream.name} is append: its rows are facts, none can be deleted"
            raise BadExpression(
                found, hint="leave `operation` out, or let `changes` be upsert", place=at(file, "operation")
            )
        self._stream, self._file = stream, file
        self._con = duckdb.connect(config={**CONNECTION, "threads": threads})
        self._con.execute(f"SET TimeZone = {literal(file.timezone)}").fetchall()
        self._zone = ZoneInfo(file.timezone)
        self._compiler = Compiler(stream, file, self._con)
        self._compiled: dict[pa.Schema, Mapping] = {}
        self._rules = rules(stream)
        self._by_number = {rule.number: rule for rule in self._rules}
        self._schema = pa.schema([pa.field(c.name, c.type.arrow) for c in stream.columns])
        self._texts = Texts(self._con)
        self._hasher = Hasher(stream, secret, self._con, key_bits)

    def close(self) -> None:
        """Lets go of the connection. May be called twice."""
        self._con.close()

    def check(self, raw: RawBatch) -> Checked:
        """Returns the checked rows of `raw`. Raises BadExpression when a mapping works on no row of this schema."""
        table, mapping = self._prepare(raw.table)
        indices, refused = None, [of_source(r, raw.origin) for r in raw.refusals]
        read = raw.table.num_rows + len(raw.refusals)
        if mapping.where and table.num_rows:
            table, indices, read = self._ours(table, mapping, raw, refused)
        verdicts = _Verdicts(np.zeros(table.num_rows, np.int64))
        deleted = self._operations(table, mapping, verdicts)
        rows = self._map(table, mapping, verdicts)
        self._apply_rules(rows, deleted, raw.read_at, verdicts)
        if verdicts.numbers.any():
            refused += self._refusals(_Refusing(raw, rows, indices, verdicts, mapping.lacking))
            good = np.flatnonzero(verdicts.numbers == 0)
            rows = rows.take(good)
            deleted = deleted[good] if deleted is not None else None
            indices = indices[good] if indices is not None else good
        if deleted is not None and deleted.any():
            rows = self._emptied(rows, deleted)
        found = self._hasher.of(rows)
        for name in (RAW, ROWS):
            self._con.unregister(name)
        return Checked(raw, rows, indices, deleted, found, tuple(refused), read, mapping.missing, mapping.unmapped)

    def _prepare(self, table: pa.Table) -> tuple[pa.Table, Mapping]:
        """Returns the raw rows as DuckDB takes them, registered as RAW, and their mapping."""
        table = for_duckdb(table)
        missing = self._compiler.missing(table.schema)
        for name in missing:
            table = table.append_column(name, pa.nulls(table.num_rows))
        self._con.register(RAW, table)
        mapping = self._compiled.get(table.schema)
        if mapping is None:
            mapping = self._compiler.compile(table.schema, missing)
            if missing and table.num_rows:
                what = f"the source has no column {', '.join(map(repr, missing))}; taken as NULL"
                emit(Notice(what, self._file.name))
            self._compiled[table.schema] = mapping
        return table, mapping

    def _ours(
        self, table: pa.Table, mapping: Mapping, raw: RawBatch, refused: list[Refused]
    ) -> tuple[pa.Table, Indices, int]:
        """Returns the rows that `where` keeps, their places, and how many were read; adds those on which it fails."""
        kept, errors = self._each_row(mapping.where, table)
        kept = np.where([i in errors for i in range(len(kept))], 2, kept) if errors else kept
        failed = np.flatnonzero(kept == 2)
        reason = f"where: {exact.shorten(self._file.where or '')} fails on this row"
        refused += _whole(raw, failed, self._texts.originals(raw, failed.tolist()), "where", reason)
        indices = np.flatnonzero(kept == 1)
        return table.take(indices), indices, len(indices) + len(failed) + len(raw.refusals)

    def _each_row(self, sql: str, table: pa.Table) -> tuple[npt.NDArray[np.int64], dict[int, str]]:
        result, errors = self._run(sql, table, 0)
        return result["c"].fill_null(0).to_numpy().astype(np.int64), errors

    def _operations(self, table: pa.Table, mapping: Mapping, verdicts: _Verdicts) -> npt.NDArray[np.bool_] | None:
        if not mapping.operation or not table.num_rows:
            return None
        found, errors = self._each_row(mapping.operation, table)
        for row in {*np.flatnonzero(found == 2).tolist(), *errors}:
            wants = f"{exact.shorten(self._file.operation or '')} must yield 'upsert' or 'delete'"
            verdicts.refuse(row, FIRST_OF_ALL, ("operation", "", f"operation: {wants}"))
        return np.equal(found, 1)

    def _run(self, sql: str, table: pa.Table, offset: int) -> tuple[pa.Table, dict[int, str]]:
        """Runs `sql` over `table`; rows on which it fails although TRY is there come back as nulls, by number, with
        DuckDB's words. Halves the batch to find them."""
        self._con.register(RAW, table)
        try:
            return self._con.sql(sql).to_arrow_table(), {}
        except _ROW_ERRORS as error:
            if table.num_rows == 1:
                empty = self._con.sql(f"{sql} LIMIT 0").to_arrow_table().schema
                nulls = pa.table([pa.nulls(1, f.type) for f in empty], schema=empty)
                return nulls, {offset: str(error).split("\n", 1)[0]}
        half = table.num_rows // 2
        first, some = self._run(sql, table.slice(0, half), offset)
        second, others = self._run(sql, table.slice(half), offset + half)
        return pa.concat_tables([first, second]), {**some, **others}

    def _map(self, table: pa.Table, mapping: Mapping, verdicts: _Verdicts) -> pa.Table:
        """Step one: returns all rows in the contract's types, with NULL for values that are refused."""
        columns: dict[int, pa.ChunkedArray] = {i: table[name] for i, name in mapping.passing}
        if mapping.sql:
            result, errors = self._run(mapping.sql, table, 0)
            columns |= {i: result[f"c{i}"] for i, _ in mapping.computed}
            self._blame(mapping, errors, verdicts)
            doubtful = np.flatnonzero(result["_bad"].fill_null(0).to_numpy())
            if len(doubtful):
                columns |= self._look_closer(table, mapping, columns, doubtful, verdicts)
        arrays = [columns[i].cast(f.type) for i, f in enumerate(self._schema)]
        return pa.Table.from_arrays(arrays, schema=self._schema)

    def _blame(self, mapping: Mapping, errors: MappingOf[int, str], verdicts: _Verdicts) -> None:
        volatile = next((c for _, c in mapping.computed if c.volatile), None)
        for row, said in errors.items():
            c = volatile or mapping.computed[0][1]
            reason = f"{c.column.name}: {exact.shorten(c.expression)} fails on this row: {exact.shorten(said, 200)}"
            verdicts.refuse(row, FIRST_OF_ALL, ("expression", c.column.name, reason))

    def _look_closer(
        self,
        table: pa.Table,
        mapping: Mapping,
        columns: MappingOf[int, pa.ChunkedArray],
        doubtful: Indices,
        verdicts: _Verdicts,
    ) -> dict[int, pa.ChunkedArray]:
        """Reads the values of `doubtful` rows that the query was not sure of; returns the columns it mends."""
        some = table.take(doubtful)
        details, _ = self._run(mapping.details, some, 0)
        mended: dict[int, pa.ChunkedArray] = {}
        for i, c in mapping.computed:
            if c.failed:
                self._failed(c, some, doubtful, np.flatnonzero(details[f"f{i}"].to_numpy()), verdicts)
            unsure = np.flatnonzero(
                details[f"c{i}"].is_valid().to_numpy() & columns[i].take(doubtful).is_null().to_numpy()
            )
            values = self._read(c, doubtful[unsure], details[f"c{i}"].take(unsure).to_pylist(), verdicts)
            if values:
                mended[i] = _patched(columns[i].cast(c.column.type.arrow), values)
        return mended

    def _failed(self, c: Computed, some: pa.Table, doubtful: Indices, failed: Indices, verdicts: _Verdicts) -> None:
        if not len(failed):
            return
        shown = self._texts.rows(some.take(failed), [n for n in some.schema.names if n in c.mentioned])
        for i, row in zip(doubtful[failed].tolist(), shown, strict=True):
            values = ", ".join(f"{name} = {quoted(v)}" for name, v in row.items())
            reason = f"{c.column.name}: {exact.shorten(c.expression)} fails on {values or 'this row'}"
            verdicts.refuse(i, c.number + EXPRESSION, ("expression", c.column.name, reason))

    def _read(self, c: Computed, rows: Indices, texts: list[str], verdicts: _Verdicts) -> dict[int, exact.Value]:
        values: dict[int, exact.Value] = {}
        for row, text in zip(rows.tolist(), texts, strict=True):
            try:
                if not c.readable:
                    raise exact.Unfit(exact.TYPE, f"{c.column.type} is wanted, not bytes; decode them in `fields`")
                values[row] = exact.read(c.column, text, self._zone)
            except exact.Unfit as unfit:
                why = (unfit.rule, c.column.name, sentence(c.column.name, text, unfit.why))
                verdicts.refuse(row, c.number + COERCION, why)
        return values

    def _apply_rules(
        self, rows: pa.Table, deleted: npt.NDArray[np.bool_] | None, read_at: datetime, verdicts: _Verdicts
    ) -> None:
        """Step two: notes the first broken rule of each row."""
        ahead = _latest(read_at, self._stream)
        facts = {c.name: Facts(rows[c.name], ahead) for c in self._stream.columns}
        doubted = [r for r in self._rules if not r.proof(facts[r.column.name])]
        if not doubted or not rows.num_rows:
            return
        asked = rows if deleted is None else rows.append_column(DELETED, pa.array(deleted))
        self._con.register(ROWS, asked)
        bad = [(r.number, self._bad(r, deleted is not None).replace(AHEAD, ahead.isoformat())) for r in doubted]
        counted = f"SELECT count(*) FILTER (WHERE {' OR '.join(f'({b})' for _, b in bad)}) FROM {ROWS}"
        if self._con.sql(counted).fetchall()[0][0]:
            cases = " ".join(f"WHEN {b} THEN {n}" for n, b in bad)
            found = self._con.sql(f"SELECT CAST(CASE {cases} ELSE 0 END AS BIGINT) AS n FROM {ROWS}").to_arrow_table()
            numbers = found["n"].to_numpy()
            better = (numbers > 0) & ((verdicts.numbers == 0) | (numbers < verdicts.numbers))
            verdicts.numbers[better] = numbers[better]

    def _bad(self, rule: Rule, deletes: bool) -> str:
        kept_of_deletes = (*self._stream.primary_key, self._stream.version)
        return f"NOT {DELETED} AND ({rule.bad})" if deletes and rule.column.name not in kept_of_deletes else rule.bad

    def _refusals(self, r: _Refusing) -> list[Refused]:
        bad = np.flatnonzero(r.verdicts.numbers)
        raw_rows = r.indices[bad] if r.indices is not None else bad
        originals = self._texts.originals(r.raw, raw_rows.tolist())
        shown = self._texts.rows(r.rows.take(bad))
        positions = r.raw.positions.take(pa.array(raw_rows)).to_pylist()
        return [
            self._refused(r, row, shown[i], (originals[i], r.raw.origin, str(positions[i])))
            for i, row in enumerate(bad.tolist())
        ]

    def _refused(
        self, r: _Refusing, row: int, shown: MappingOf[str, str | None], whence: tuple[bytes, str, str]
    ) -> Refused:
        rule = self._by_number.get(int(r.verdicts.numbers[row]))
        if rule is None:
            word, column, reason = r.verdicts.reasons[row]
        else:
            word, column = rule.word, rule.column.name
            reason = sentence(column, shown[column], rule.wants + r.lacking.get(column, ""))
        return Refused(word, column, reason, *whence, mapped_json(shown))

    def _emptied(self, rows: pa.Table, deleted: npt.NDArray[np.bool_]) -> pa.Table:
        """Takes everything but key and version out of deletes."""
        kept = {*self._stream.primary_key, self._stream.version}
        mask = pa.array(deleted)
        for i, f in enumerate(rows.schema):
            if f.name not in kept:
                empty = pa.compute.if_else(mask, pa.scalar(None, f.type), rows[f.name])
                rows = rows.set_column(i, f, empty)
        return rows


@dataclass(frozen=True)
class _Refusing:
    """What reasons are made from."""

    raw: RawBatch
    rows: pa.Table
    indices: Indices | None
    verdicts: _Verdicts
    lacking: MappingOf[str, str]
    """Property -> what its mapping misses in the source."""


def positions_of(checked: Checked) -> pa.Array:
    """Returns the source's position of each row of `checked.table`."""
    found = checked.raw.positions
    return found if checked.indices is None else found.take(pa.array(checked.indices))


def _latest(read_at: datetime, stream: Stream) -> datetime:
    try:
        return (read_at + stream.max_ahead).astimezone(UTC)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _patched(column: pa.ChunkedArray, values: MappingOf[int, exact.Value]) -> pa.ChunkedArray:
    mask = np.zeros(len(column), bool)
    mask[list(values)] = True
    ordered = pa.array([values[i] for i in sorted(values)], column.type)
    return pa.compute.replace_with_mask(column.combine_chunks(), pa.array(mask), ordered)


def _whole(raw: RawBatch, rows: Indices, originals: list[bytes], rule: str, reason: str) -> list[Refused]:
    """Rows refused before anything of them was mapped."""
    positions = raw.positions.take(pa.array(rows)).to_pylist()
    return [
        Refused(rule, "", reason, original, raw.origin, str(position), None)
        for original, position in zip(originals, positions, strict=True)
    ]
