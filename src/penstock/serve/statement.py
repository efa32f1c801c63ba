"""The one statement behind an answer: rows as text, and the versions they belong to, from one snapshot.

PostgreSQL writes the JSON (measured: quicker than decoding rows and encoding them again, and numerics keep every
digit). One statement sees one snapshot, so an answer and the version it is labelled with cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.project.model import EndpointFile
from penstock.serve.describe import AnswerColumn, Description
from penstock.serve.sql import literal, quoted

_OID_JSON = (114, 3802)
_OID_FLOAT = (700, 701)
_OID_NUMERIC = 1700
_OID_TIMESTAMP = 1114
_OID_TIMESTAMPTZ = 1184
_OID_BYTEA = 17

VERSION = "concat_ws(' ', p.name, p.position, coalesce(p.batch_id::text, '-'), p.generation, p.fingerprint)"
"""A pipeline's version as text, over the store's table `pipeline p`: equal only for equal results."""


MOST_BYTES = 64 * 1024 * 1024
"""The largest body that is sent at once."""


@dataclass(frozen=True)
class AnswerStatement:
    """SQL that yields one row: version, marks, as_of, watermark, rows, body, last, and one column per window.

    version: a line per pipeline; marks: their watermarks in microseconds, with commas; as_of, watermark: of them all;
    rows: how many; body: JSON objects joined by a separator, or CSV's lines, NULL when it is too large; last: the
    paging key of the last row as a JSON array of texts, NULL when no more rows follow; windows: see `_window`.
    """

    sql: str
    order: tuple[str, ...]
    """The parameters in the order of their numbers; `page_size` and `after:0`... are paging's own."""


def _instant(sql: str) -> str:
    plain = f"to_char({sql}, 'YYYY-MM-DD\"T\"HH24:MI:SS')"
    part = f"rtrim(rtrim(to_char({sql}, '.US'), '0'), '.')"
    return f"{plain} || {part} || 'Z'"


def as_json(column: AnswerColumn, decimals: str) -> str:
    """Returns SQL for the column as `row_to_json` shall see it: NaN and infinities as NULL, instants ending in Z."""
    name = f"q.{quoted(column.name)}"
    if column.oid in _OID_FLOAT:
        return f"CASE WHEN {name} IN ('NaN', 'Infinity', '-Infinity') THEN NULL ELSE {name} END"
    if column.oid == _OID_NUMERIC:
        shown = f"{name}::text" if decimals == "string" else name
        if "(" in column.type:
            return shown
        return f"CASE WHEN {name} IN ('NaN', 'Infinity', '-Infinity') THEN NULL ELSE {shown} END"
    if column.oid == _OID_TIMESTAMPTZ:
        return f"CASE WHEN isfinite({name}) THEN {_instant(name)} END"
    if column.oid == _OID_BYTEA:
        return f"encode({name}, 'base64')"
    return name


def _csv_cell(column: AnswerColumn, decimals: str) -> str:
    value = f"({as_json(column, decimals)})::text"
    kind = column.type.split("(")[0]
    if column.oid == _OID_TIMESTAMP:
        value = f"replace({value}, ' ', 'T')"
    if kind in ("bigint", "integer", "smallint", "numeric", "date", "double precision", "real", "uuid"):
        return f"coalesce({value}, '')"
    if kind == "boolean":
        return (
            f"CASE WHEN q.{quoted(column.name)} THEN 'true' WHEN NOT q.{quoted(column.name)} THEN 'false' ELSE '' END"
        )
    doubled = f"'\"' || replace({value}, '\"', '\"\"') || '\"'"
    return f"CASE WHEN {value} ~ '[\",\\r\\n]|^$' THEN {doubled} ELSE coalesce({value}, '') END"


def _row_text(columns: Sequence[AnswerColumn], decimals: str, form: str) -> str:
    if form == "csv":
        return " || ',' || ".join(_csv_cell(c, decimals) for c in columns) + " || E'\\r\\n'"
    items = ", ".join(f"{as_json(c, decimals)} AS {quoted(c.name)}" for c in columns)
    return f"(SELECT row_to_json(o) FROM (SELECT {items}) o)::text"


_SEPARATORS = {"json": "','", "ndjson": "E'\\n'", "csv": "''"}


def build(
    endpoint: EndpointFile, description: Description, own_schema: str, form: str, after: Sequence[bool] | None
) -> AnswerStatement:
    """Returns the statement for an answer in `form` (json, ndjson, csv).

    `after` is for paging: which of the key values to continue after are not NULL; None for the first page.
    """
    source, order = description.statement, list(description.order)
    kept, last, ranked = "TRUE", "NULL::text", ""
    if endpoint.paging:
        source = _page(endpoint, description, after, order)
        size = f"(${order.index('page_size') + 1}::bigint)"
        ranked = "row_number() OVER () AS _penstock_n, "
        kept = f"q._penstock_n <= {size}"
        keys = ", ".join(f"q.{quoted(name)}::text" for name, _ in endpoint.paging.by)
        key = f"(array_agg(to_json(ARRAY[{keys}])::text) FILTER (WHERE q._penstock_n = {size}))[1]"
        last = f"CASE WHEN count(*) > {size} THEN {key} END"
    row = _row_text(description.columns, endpoint.decimals, form)
    body = f"string_agg({row}, {_SEPARATORS[form]}) FILTER (WHERE {kept})"
    types = {c.name: c.type for c in description.columns}
    windows = [_window(column, types[column], kept) for column, _ in description.windows]
    items = [f"count(*) FILTER (WHERE {kept}) AS rows", f"coalesce({body}, '') AS body", f"{last} AS last"]
    items += [f"{window} AS w{i}" for i, window in enumerate(windows)]
    answer = f"SELECT {', '.join(items)} FROM (SELECT {ranked}r.* FROM ({source}\n) r) q"
    return AnswerStatement(f"{_versions(description, own_schema, len(windows))}, ({answer}) a", tuple(order))


def _versions(description: Description, own_schema: str, windows: int) -> str:
    answer = f"a.rows, CASE WHEN octet_length(a.body) <= {MOST_BYTES} THEN a.body END AS body, a.last"
    answer += "".join(f", a.w{i}" for i in range(windows))
    if not description.pipelines:
        nothing = ", ".join(f"NULL::text AS {name}" for name in ("version", "marks", "as_of", "watermark"))
        return f"SELECT {nothing}, {answer} FROM (SELECT) v"
    names = ", ".join(literal(name) for name in description.pipelines)
    return (
        f"SELECT v.*, {answer}"
        f" FROM (SELECT string_agg({VERSION}, E'\\n' ORDER BY p.name) AS version,"
        " string_agg(coalesce((extract(epoch FROM p.watermark) * 1000000)::bigint::text, ''), ',' ORDER BY p.name)"
        " AS marks, min(p.as_of) AS as_of,"
        " CASE WHEN count(*) = count(p.watermark) THEN min(p.watermark) END AS watermark"
        f" FROM {quoted(own_schema)}.pipeline p WHERE p.name IN ({names})) v"
    )


def _window(column: str, type_name: str, kept: str) -> str:
    """Returns SQL for the windows that decide: the latest where they are ordered by time, else all; NULL if one is."""
    name = f"q.{quoted(column)}"
    ordered = type_name == "date" or type_name.startswith("timestamp")
    starts = f"max({name})::text" if ordered else f"string_agg({name}::text, E'\\x1f')"
    if kept != "TRUE":
        starts = starts.replace(")", f") FILTER (WHERE {kept})", 1)
    return f"CASE WHEN count(*) FILTER (WHERE {kept}) = count({name}) FILTER (WHERE {kept}) THEN {starts} END"


def _page(endpoint: EndpointFile, description: Description, after: Sequence[bool] | None, order: list[str]) -> str:
    """Returns the endpoint's rows from `after` on, one more than the page; adds its parameters to `order`."""
    paging = endpoint.paging
    assert paging is not None
    types = {c.name: c.type for c in description.columns}
    where = ""
    if after is not None:
        where = f" WHERE {_beyond(paging.by, types, after, order)}"
    order.append("page_size")
    by = ", ".join(f"k.{quoted(name)}{' DESC' if down else ''}" for name, down in paging.by)
    limit = f"(${len(order)}::bigint) + 1"
    return f"SELECT * FROM ({description.statement}\n) k{where} ORDER BY {by} LIMIT {limit}"


def _beyond(by: Sequence[tuple[str, bool]], types: Mapping[str, str], after: Sequence[bool], order: list[str]) -> str:
    """Returns the condition that a row comes after the key; NULLs as PostgreSQL sorts them (last, first in DESC)."""
    alternatives, equal = [], ""
    for i, ((name, down), present) in enumerate(zip(by, after, strict=True)):
        column = f"k.{quoted(name)}"
        if present:
            order.append(f"after:{i}")
            value = f"(${len(order)}::{types[name]})"
            greater = f"{column} < {value}" if down else f"({column} > {value} OR {column} IS NULL)"
            same = f"{column} = {value}"
        else:
            greater = f"{column} IS NOT NULL" if down else "FALSE"
            same = f"{column} IS NULL"
        alternatives.append(f"({equal}{greater})")
        equal += f"{same} AND "
    return "(" + " OR ".join(alternatives) + ")"
