"""The columns of a table or query in PostgreSQL, and how each comes to Arrow without loss.

A column has a natural type (what expressions in `fields:` see) and may have a wanted one (what the contract makes of
it, when it is read as it is). Whole numbers are int64, numeric(p,s) decimals, reals the double of their shortest
text, times microseconds; everything that Arrow has no exact type for is PostgreSQL's own text: numeric without
precision, uuid, json, enums, intervals, bytes as hex. Arrays and composites are JSON text, money is a number's text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from psycopg import errors as pg

from penstock.errors import nearest
from penstock.sources._postgres_wire import Connection, translated
from penstock.sources.errors import PostgresColumnMissing, PostgresRetyped, PostgresTableMissing

_UTC = pa.timestamp("us", tz="UTC")
_NATURAL = {
    "bool": pa.bool_(), "int2": pa.int64(), "int4": pa.int64(), "int8": pa.int64(), "oid": pa.int64(),
    "float4": pa.float64(), "float8": pa.float64(), "date": pa.date32(), "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"), "timestamptz": _UTC,
}  # fmt: skip
_NUMBERS = ("int2", "int4", "int8", "oid", "numeric", "float4", "float8")
UTC_NAMES = ("UTC", "Etc/UTC", "Z", "Zulu", "Etc/Zulu", "GMT", "Etc/GMT")

_TYPES = """
SELECT t.oid::bigint, t.typname::text, t.typtype::text, t.typcategory::text, n.nspname = 'pg_catalog'
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = ANY(%s)
"""


_VISIBLE = """
SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN c.relname ELSE n.nspname || '.' || c.relname END
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
LIMIT 1000
"""


@dataclass(frozen=True)
class PgColumn:
    """One column as PostgreSQL describes it."""

    name: str
    base: str
    """pg_type's name for built-in types (`int4`), else `enum`, `composite`, `array` or `other`."""
    typmod: int
    sql_type: str
    """As format_type prints it: `numeric(10,2)`."""

    @property
    def precision_scale(self) -> tuple[int, int] | None:
        """Of numeric(p,s), when Arrow's decimal128 can hold it; else None."""
        if self.base != "numeric" or self.typmod < 4:
            return None
        precision, scale = (self.typmod - 4) >> 16 & 0xFFFF, ((self.typmod - 4) & 0x7FF ^ 1024) - 1024
        return (precision, scale) if precision <= 38 and 0 <= scale <= precision else None

    @property
    def fraction_digits(self) -> int:
        """Digits of the second of a time type, 0 to 6."""
        return self.typmod if 0 <= self.typmod <= 6 and self.base in ("timestamp", "timestamptz") else 6

    @property
    def natural(self) -> pa.DataType:
        if ps := self.precision_scale:
            return pa.decimal128(*ps)
        return _NATURAL.get(self.base, pa.string())

    def select(self) -> str:
        """Returns the expression that prints the column, over the alias q."""
        name = f"q.{quote(self.name)}"
        if self.base in ("array", "composite"):
            return f"pg_catalog.to_json({name})"
        return f"{name}::numeric" if self.base == "money" else name

    def wanted(self, hint: pa.DataType | None, timezone: str) -> pa.DataType:
        """Returns the type to try first for a column that the contract reads as `hint` (None: natural)."""
        if hint is None:
            return self.natural
        if self.base in _NUMBERS and (
            pa.types.is_decimal(hint) or pa.types.is_signed_integer(hint) or pa.types.is_float64(hint)
        ):
            return hint
        same = hint == self.natural and self.base in _NATURAL
        if same or (self.base == "bool") or (self.base == "timestamp" and hint == _UTC and timezone in UTC_NAMES):
            return self.natural
        return pa.string()


def quote(name: str) -> str:
    """Returns `name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Returns `text` as an SQL literal (standard_conforming_strings is on in our sessions)."""
    return "'" + text.replace("'", "''") + "'"


def table_name(conn: Connection, table: str) -> str:
    """Returns the table's name as SQL, found as the role's search_path finds it; a name with capitals or blanks may
    stand unquoted. Raises PostgresTableMissing."""
    with translated(f"table {table}"):
        for candidate in (table, ".".join(quote(p) for p in table.split("."))):
            if found := _regclass(conn, candidate):
                return found
        known = conn.execute(_VISIBLE).fetchall()
    found = f"table {table} does not exist, or the role cannot see it"
    raise PostgresTableMissing(found, hint=nearest(table, [str(k[0]) for k in known]), place="table")


def _regclass(conn: Connection, name: str) -> str | None:
    try:
        row = conn.execute("SELECT pg_catalog.to_regclass(%s)::text", (name,)).fetchone()
    except (pg.InvalidName, pg.SyntaxError):
        return None
    return str(row[0]) if row and row[0] else None


def probe(conn: Connection, relation: str, what: str) -> dict[str, PgColumn]:
    """Returns the columns of `relation` (a FROM item with the alias q), by name in their order, without reading rows.

    Raises PostgresColumnMissing when two columns have one name, and what `translated` raises.
    """
    with translated(what):
        cursor = conn.execute(f"SELECT q.* FROM {relation} LIMIT 0")
        described, result = cursor.description or [], cursor.pgresult
        oids = sorted({d.type_code for d in described})
        types = {int(r[0]): r[1:] for r in conn.execute(_TYPES, (oids,)).fetchall()}
        mods = [max(result.fmod(i), -1) if result else -1 for i in range(len(described))]
        names = _formatted(conn, [(d.type_code, m) for d, m in zip(described, mods, strict=True)])
    columns: dict[str, PgColumn] = {}
    for d, mod, sql_type in zip(described, mods, names, strict=True):
        if d.name in columns:
            hint = "give each its own name in `query:` (AS ...)"
            raise PostgresColumnMissing(f"two columns are called {d.name}", hint=hint, place="query")
        columns[d.name] = PgColumn(d.name, _base(types.get(d.type_code)), mod, sql_type)
    return columns


def _base(row: Sequence[object] | None) -> str:
    if row is None:
        return "other"
    name, kind, category, built_in = row
    if category == "A":
        return "array"
    if kind in ("c", "e"):
        return "composite" if kind == "c" else "enum"
    if name == "record":
        return "composite"
    return str(name) if built_in else "other"


def _formatted(conn: Connection, types: Sequence[tuple[int, int]]) -> list[str]:
    if not types:
        return []
    rows = conn.execute(
        "SELECT pg_catalog.format_type(t.o, t.m)"
        " FROM ROWS FROM (pg_catalog.unnest(%s::oid[]), pg_catalog.unnest(%s::int4[])) WITH ORDINALITY AS t(o, m, n)"
        " ORDER BY t.n",
        ([t[0] for t in types], [t[1] for t in types]),
    ).fetchall()
    return [str(r[0]) for r in rows]


def check_present(columns: Mapping[str, PgColumn], needed: Iterable[str], why: str) -> None:
    """Raises PostgresColumnMissing for the first of `needed` that is not among `columns`; `why` is who needs it."""
    for name in needed:
        if name not in columns:
            raise PostgresColumnMissing(
                f"{why} needs the column {name}, which is not there", hint=nearest(name, columns)
            )


_FAMILIES = {
    "smallint": "number", "integer": "number", "bigint": "number", "numeric": "number", "real": "number",
    "double precision": "number", "text": "text", "character varying": "text", "character": "text", "name": "text",
    "json": "json", "jsonb": "json",
}  # fmt: skip


def _family(sql_type: str) -> str:
    bare = re.sub(r"\([\d,-]+\)", "", sql_type)
    return _FAMILIES.get(bare, bare)


def check_unchanged(before: Mapping[str, str], columns: Mapping[str, PgColumn], what: str) -> None:
    """Raises PostgresColumnMissing or PostgresRetyped when a column of `before` (name to SQL type) went or means
    something else now. A wider number or a longer text is the same."""
    check_present(columns, before, "the source file")
    for name, old in before.items():
        new = columns[name].sql_type
        if _family(old) != _family(new):
            found = f"{what}: column {name} was {old} and is now {new}"
            hint = "say in `query:` or `fields:` how it is to be read (a changed file accepts the new type)"
            raise PostgresRetyped(found, hint=hint, place=name)
