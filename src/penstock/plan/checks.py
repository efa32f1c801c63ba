"""What must hold of a query as a whole: its key, its result columns, its orders, its indexes."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.errors import PenstockError, nearest
from penstock.plan.aggregates import NEEDS_TOTAL_ORDER
from penstock.plan.errors import (
    KeyNotSelectedError,
    OrderNotTotalError,
    ResultColumnError,
    UnknownIndexColumnError,
)
from penstock.plan.model import ResultColumn
from penstock.plan.query import Query
from penstock.plan.tree import NULL, Node, column, columns_of
from penstock.project.model import PipelineFile

_SYSTEM = frozenset(["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "oid"])


def all_problems(query: Query, pipeline: PipelineFile, columns: tuple[ResultColumn, ...]) -> list[PenstockError]:
    """Returns every reason why a query cannot be kept as a table."""
    return [*_columns(query, columns), *_key(query), *_orders(query), *_indexes(pipeline, columns)]


def key_of(query: Query) -> tuple[str, ...]:
    """Returns the result columns that identify a row."""
    return tuple(name for name in (_name_of(query, node) for node in _key_nodes(query)) if name is not None)


def _key_nodes(query: Query) -> list[Node]:
    if query.groups is not None:
        return [Node("group", g.type, (), str(i)) for i, g in enumerate(query.groups)]
    stream = query.stream
    return [column(n, stream.column(n).type) for n in stream.primary_key]


def _name_of(query: Query, node: Node) -> str | None:
    for output in query.outputs:
        if output.node.op == node.op and output.node.value == node.value:
            return output.name
    return None


def _key(query: Query) -> Iterator[PenstockError]:
    place = query.outputs[0].place if query.outputs else None
    if query.groups is None and not query.stream.primary_key:
        msg = f"a list needs the primary key of '{query.stream.name}', and its contract has none"
        hint = "give the contract a primaryKey, or GROUP BY"
        yield KeyNotSelectedError(msg, hint=hint, place=place)
        return
    for index, node in enumerate(_key_nodes(query)):
        if _name_of(query, node) is not None:
            continue
        if query.groups is None:
            msg = f"a list is keyed by the primary key, and '{node.value}' is not selected"
            yield KeyNotSelectedError(msg, hint=f"select {node.value}, or GROUP BY", place=place)
        else:
            group = query.groups[index]
            what = ", ".join(sorted(columns_of(group))) or "it"
            msg = f"GROUP BY column {index + 1} (over {what}) is not selected as it is"
            hint = (
                "select the grouping expression itself, it is the key of the result table "
                "(a name that is both a column and an alias means the column: GROUP BY its number)"
            )
            yield KeyNotSelectedError(msg, hint=hint, place=group.place or place)


def _columns(query: Query, columns: tuple[ResultColumn, ...]) -> Iterator[PenstockError]:
    seen: set[str] = set()
    for output, result in zip(query.outputs, columns, strict=True):
        name = output.name
        if name.lower() in seen:
            msg = f"two result columns are called '{name}'"
            yield ResultColumnError(msg, hint="rename one with AS", place=output.place)
        seen.add(name.lower())
        if name.startswith("_") or name.lower() in _SYSTEM or len(name.encode()) > 63:
            msg = f"'{name}' cannot be a column of a result table"
            hint = (
                "names begin with no underscore, are none of PostgreSQL's own (xmin, ctid, ...) and have up to 63 bytes"
            )
            yield ResultColumnError(msg, hint=hint, place=output.place)
        if result.type == NULL:
            msg = f"'{name}' is always NULL and has no type"
            yield ResultColumnError(msg, hint="CAST(NULL AS VARCHAR)", place=output.place)


def _orders(query: Query) -> Iterator[PenstockError]:
    for node in _everything(query):
        if node.op == "aggregate" and node.value in ("arg_min", "arg_max"):
            yield from _arg_order(query, node)
        if node.op == "window" and node.value in NEEDS_TOTAL_ORDER:
            yield from _window_order(query, node)


def _everything(query: Query) -> dict[Node, None]:
    roots = [*(o.node for o in query.outputs), *query.having, *query.qualify]
    return dict.fromkeys(n for r in roots for n in r.walk())


def _arg_order(query: Query, node: Node) -> Iterator[PenstockError]:
    """Ties must not matter: the order holds the primary key, or whatever the value is computed from."""
    fixed = {o.node.value for o in node.order if o.node.op == "column"}
    fixed |= {g.value for g in query.groups or () if g.op == "column"}
    key = set(query.stream.primary_key)
    if (key and key <= fixed) or columns_of(node.args[0]) <= fixed or node.args[0] in [o.node for o in node.order]:
        return
    missing = [k for k in query.stream.primary_key if k not in fixed]
    more = missing or sorted(columns_of(node.args[0]) - fixed)
    shown = ", ".join([*(o.node.value or "..." for o in node.order), *more])
    msg = f"{node.value}(): rows may tie, and then chance would decide"
    value = node.args[0].value if node.args[0].op == "column" else "..."
    yield OrderNotTotalError(msg, hint=f"{node.value}({value}, ({shown}))", place=node.place)


def _window_order(query: Query, node: Node) -> Iterator[PenstockError]:
    terms = {(n.op, n.value) for n in (*node.partition, *(o.node for o in node.order))}
    missing = [n for n in _key_nodes(query) if (n.op, n.value) not in terms]
    if not missing:
        return
    names = [_name_of(query, n) or n.value for n in missing]
    msg = f"{node.value}(): rows may tie, and then chance would decide"
    hint = f"add {', '.join(names)} to its ORDER BY, or use rank(), which lets ties share"
    yield OrderNotTotalError(msg, hint=hint, place=node.place)


def _indexes(pipeline: PipelineFile, columns: tuple[ResultColumn, ...]) -> Iterator[PenstockError]:
    names = [c.name for c in columns] + ["id", "created_at", "updated_at"]
    for index in pipeline.indexes:
        for name, _ in index:
            if name not in names:
                msg = f"indexes: there is no result column '{name}'"
                yield UnknownIndexColumnError(msg, hint=nearest(name, names), place=pipeline.place)
