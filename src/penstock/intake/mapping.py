"""Compiles a source's mapping for one schema of raw rows: which columns pass as they are, and SQL for the others.

Compiled once per schema. Columns that already have the contract's type are handed on as the same Arrow buffers; the
others are computed in one query, in which an expression that fails on a row yields a missing struct for that row
(`TRY`) and goes on with the next.
"""

from __future__ import annotations

from collections.abc import Mapping as Mapped
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from penstock.errors import nearest
from penstock.intake import coerce
from penstock.intake.errors import AmbiguousColumn, BadExpression
from penstock.intake.expressions import Mentions, at, mentions, quote
from penstock.intake.rules import COERCION, EXPRESSION, PER_COLUMN
from penstock.project.model import Column, SourceFile, Stream

RAW = "raw"
"""The name under which raw rows are registered."""
OPERATION = "_operation"
WHERE = "_where"


@dataclass(frozen=True)
class Computed:
    """A column that the query computes. `number` is that of its EXPRESSION rule less one."""

    column: Column
    source: str
    """SQL over the raw row: what is coerced, or for an expression a struct that holds it as `v`."""
    x: str
    """SQL of what is coerced, over the above."""
    failed: str | None
    """SQL that is true when the expression failed; None where it cannot."""
    text: str
    """SQL of `x` as text."""
    value: str
    """SQL of the coerced value, NULL when unfit."""
    readable: bool
    """Whether `exact.py` may read the text: not where the text is only how DuckDB shows bytes."""
    volatile: bool
    """Whether a failing row makes the whole query fail, since TRY does not take the expression."""
    number: int
    expression: str
    mentioned: tuple[str, ...]


@dataclass(frozen=True)
class Mapping:
    """A compiled mapping."""

    passing: tuple[tuple[int, str], ...]
    """(index of the contract's column, name of the raw column) for those that need no work."""
    computed: tuple[tuple[int, Computed], ...]
    sql: str
    """Yields the computed columns as c0, c1, ... by index and `_bad`, the lowest broken number or 0; '' when every
    column passes."""
    details: str
    """Yields the found values as texts, c0, c1, ... by index, and for expressions whether they failed, f0, f1, ..."""
    where: str
    """Yields one small integer per row: 0 not ours, 1 ours, 2 failed; '' without `where`."""
    operation: str
    """Yields 0 upsert, 1 delete, 2 neither; '' without `operation`."""
    missing: tuple[str, ...]
    """Columns that are mentioned and that the source does not have: taken as NULL."""
    unmapped: tuple[str, ...]
    """Columns of the source that nothing mentions."""
    lacking: Mapped[str, str]
    """Property -> what to add to the reason when it is NULL because the source lacks a column."""


class Compiler:
    """Compiles mappings of one source file into its stream, on a connection of the caller's."""

    def __init__(self, stream: Stream, file: SourceFile, con: duckdb.DuckDBPyConnection) -> None:
        self._stream, self._file, self._con = stream, file, con
        self._missing: tuple[str, ...] = ()
        self._fields = [self._mentions(c.name) for c in stream.columns]
        self._where = mentions(file.where, at(file, "where")) if file.where else None
        self._operation = mentions(file.operation, at(file, "operation")) if file.operation else None

    def _mentions(self, name: str) -> Mentions:
        expression = self._file.fields.get(name)
        if expression is None:
            return Mentions((name,), False, name)
        return mentions(expression, at(self._file, f"fields.{name}"))

    def missing(self, schema: pa.Schema) -> tuple[str, ...]:
        """Returns the mentioned columns that `schema` lacks; add them as nulls before `compile`."""
        have = {name.lower() for name in schema.names}
        wanted = dict.fromkeys(name for m in self._all() for name in m.columns)
        return tuple(name for name in wanted if name.lower() not in have)

    def _all(self) -> list[Mentions]:
        return [*self._fields, *(m for m in (self._where, self._operation) if m is not None)]

    def compile(self, schema: pa.Schema, missing: tuple[str, ...]) -> Mapping:
        """Returns the mapping of raw rows of `schema`, which are registered as RAW. Raises BadExpression."""
        self._missing = missing
        self._must_be_clear(schema)
        passing, computed = [], []
        for index, column in enumerate(self._stream.columns):
            name = self._raw_name(index, schema)
            if name is not None and coerce.passes(schema.field(name).type, column):
                passing.append((index, name))
            else:
                computed.append((index, self._computed(index, column, name)))
        used = {name.lower() for m in self._all() for name in m.columns}
        stars = any(m.all_columns for m in self._all())
        unmapped = tuple(n for n in schema.names if not stars and n.lower() not in used and not n.startswith("_"))
        return Mapping(
            tuple(passing),
            tuple(computed),
            _query(computed) if computed else "",
            _details(computed) if computed else "",
            self._condition(),
            self._operation_sql(),
            missing,
            unmapped,
            self._lacking(missing, [n for n in schema.names if n not in missing]),
        )

    def _lacking(self, missing: tuple[str, ...], have: list[str]) -> dict[str, str]:
        said = {}
        for column, m in zip(self._stream.columns, self._fields, strict=True):
            for name in dict.fromkeys(n for n in m.columns if n in missing):
                said[column.name] = f"; the source has no column '{name}' ({nearest(name, have)})"
        return said

    def _must_be_clear(self, schema: pa.Schema) -> None:
        """Raises AmbiguousColumn where a mentioned name fits several columns: in SQL, upper and lower case are one."""
        alike: dict[str, list[str]] = {}
        for name in schema.names:
            alike.setdefault(name.lower(), []).append(name)
        for m in self._all():
            for name in m.columns:
                if len(fitting := alike.get(name.lower(), [])) > 1:
                    found = f"'{name}' may be any of {', '.join(map(repr, fitting))}"
                    raise AmbiguousColumn(
                        found, hint="give the source's columns names that differ", place=self._file.place
                    )

    def _raw_name(self, index: int, schema: pa.Schema) -> str | None:
        """The raw column that a bare mapping names, as the schema spells it."""
        bare = self._fields[index].bare
        if bare is None:
            return None
        return next((n for n in schema.names if n.lower() == bare.lower()), None)

    def _computed(self, index: int, column: Column, name: str | None) -> Computed:
        expression = self._file.fields.get(column.name, quote(column.name))
        path = f"fields.{column.name}"
        plain = quote(name) if name is not None else f"({expression}\n)"
        type_ = self._type(plain, expression, path)
        x = f"_e{index}" if name is not None else f"_e{index}.v"
        source = plain if name is not None else self._tried(expression, path)
        return Computed(
            column,
            source,
            x,
            f"_e{index} IS NULL" if name is None else None,
            coerce.as_text(x, type_),
            coerce.value(x, type_, column),
            type_ != "BLOB",
            name is None and not source.startswith("TRY"),
            index * PER_COLUMN,
            expression,
            tuple(dict.fromkeys(self._fields[index].columns)),
        )

    def _tried(self, expression: str, path: str) -> str:
        """Returns SQL that yields a struct with `v`, or NULL for a row on which the expression fails."""
        self._must_bind(expression, path)
        tried = f"TRY({{'v': ({expression}\n)}})"
        try:
            self._con.sql(f"SELECT {tried} FROM {RAW}")
        except duckdb.BinderException:
            # TRY refuses volatile functions; a failing row is then found by halving the batch.
            tried = f"{{'v': ({expression}\n)}}"
        return tried

    def _must_bind(self, expression: str, path: str) -> None:
        """Raises BadExpression where `expression` works on no row. WHERE admits no aggregates and windows."""
        try:
            self._con.sql(f"SELECT 1 FROM {RAW} WHERE ({expression}\n) IS NULL")
        except duckdb.Error as error:
            raise self._bad(expression, path, error) from error

    def _type(self, sql: str, expression: str, path: str) -> str:
        try:
            return str(self._con.sql(f"SELECT {sql} FROM {RAW}").types[0])
        except duckdb.Error as error:
            raise self._bad(expression, path, error) from error

    def _bad(self, expression: str, path: str, error: duckdb.Error) -> BadExpression:
        said = str(error).split("\n", 1)[0]
        columns = [c for c in self._con.sql(f"SELECT * FROM {RAW}").columns if c not in self._missing]
        unknown = [n for n in mentions(expression, at(self._file, path)).columns if n in self._missing]
        hint = "see DuckDB's functions; an expression sees one row"
        if unknown:
            hint = f"the source has no column '{unknown[0]}': {nearest(unknown[0], columns)}"
        return BadExpression(f"{expression!r}: {said}", hint=hint, place=at(self._file, path))

    def _condition(self) -> str:
        if self._file.where is None:
            return ""
        tried = self._tried(self._file.where, "where")
        case = f"CASE WHEN {WHERE} IS NULL THEN 2 WHEN CAST({WHERE}.v AS BOOLEAN) THEN 1 ELSE 0 END"
        return f"SELECT CAST({case} AS UTINYINT) AS c FROM (SELECT {tried} AS {WHERE} FROM {RAW})"

    def _operation_sql(self) -> str:
        if self._file.operation is None:
            return ""
        tried = self._tried(self._file.operation, "operation")
        case = f"CASE CAST({OPERATION}.v AS VARCHAR) WHEN 'upsert' THEN 0 WHEN 'delete' THEN 1 ELSE 2 END"
        return f"SELECT CAST({case} AS UTINYINT) AS c FROM (SELECT {tried} AS {OPERATION} FROM {RAW})"


def _query(computed: Sequence[tuple[int, Computed]]) -> str:
    values = ", ".join(f"{c.value} AS c{i}" for i, c in computed)
    cases = " ".join(_cases(i, c) for i, c in computed)
    columns = ", ".join(f"c{i}" for i, _ in computed)
    return (
        f"SELECT {columns}, CAST(CASE {cases} ELSE 0 END AS INTEGER) AS _bad "
        f"FROM (SELECT *, {values} FROM {_sources(computed)})"
    )


def _sources(computed: Sequence[tuple[int, Computed]]) -> str:
    return f"(SELECT {', '.join(f'{c.source} AS _e{i}' for i, c in computed)} FROM {RAW})"


def _cases(index: int, c: Computed) -> str:
    failed = f"WHEN {c.failed} THEN {c.number + EXPRESSION} " if c.failed else ""
    return f"{failed}WHEN {c.x} IS NOT NULL AND c{index} IS NULL THEN {c.number + COERCION}"


def _details(computed: Sequence[tuple[int, Computed]]) -> str:
    columns = [f"{c.text} AS c{i}" for i, c in computed]
    columns += [f"{c.failed} AS f{i}" for i, c in computed if c.failed]
    return f"SELECT {', '.join(columns)} FROM {_sources(computed)}"
