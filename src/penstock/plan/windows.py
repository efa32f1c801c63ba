"""Window functions over the results: ranks, and aggregates of a whole partition or up to the current row."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from penstock.plan import coerce, exact
from penstock.plan.aggregates import WINDOW_ONLY
from penstock.plan.errors import InexactError, SqlTypeError, UnsupportedSqlError
from penstock.plan.functions import function_name
from penstock.plan.scope import Builder
from penstock.plan.tree import INTERVAL, NULL, TUPLE, Node, Order
from penstock.sqltypes import BIGINT, DOUBLE, SqlType, decimal

_AGGREGATES: dict[type, str] = {
    exp.Sum: "sum", exp.Count: "count", exp.Avg: "avg", exp.Min: "min", exp.Max: "max",
}  # fmt: skip
_COUNTING = {"rank", "dense_rank", "row_number", "ntile"}


def build(builder: Builder, sql: exp.Expr) -> Node:
    """Returns the node of `function OVER (...)`. Raises PlanError."""
    partition, order = _frame(builder, sql)
    inner = sql.this
    condition: Node | None = None
    if isinstance(inner, exp.Filter):
        condition = builder.condition(inner.expression.this)
        inner = inner.this
    if isinstance(inner, (exp.IgnoreNulls, exp.RespectNulls)):
        msg = "IGNORE NULLS is not supported in window functions"
        raise UnsupportedSqlError(msg, hint="leave it out, or use FILTER")
    if type(inner) in WINDOW_ONLY:
        return _ranking(builder, inner, partition, order)
    kind = _AGGREGATES.get(type(inner))
    if kind is None:
        msg = f"{function_name(inner)}() cannot be used as a window function"
        hint = "rank, dense_rank, row_number, ntile, lag, lead, first_value, sum, count, avg, min, max"
        raise UnsupportedSqlError(msg, hint=hint)
    return _aggregate(builder, inner, kind, Node("window", NULL, partition=partition, order=order, filter=condition))


def _frame(builder: Builder, sql: exp.Expr) -> tuple[tuple[Node, ...], tuple[Order, ...]]:
    if sql.args.get("spec"):
        msg = "a window frame (ROWS, RANGE, GROUPS) is not supported"
        raise UnsupportedSqlError(msg, hint="leave it out: ORDER BY alone means up to the current row and its peers")
    named = sql.args.get("alias")
    name = named.name if named is not None else ""
    source = builder.scope.window_named(name) if name else sql
    if source is None:
        msg = f"there is no WINDOW {name}"
        raise UnsupportedSqlError(msg, hint="define it: WINDOW w AS (PARTITION BY ... ORDER BY ...)")
    if source is not sql:
        return _frame(builder, source)
    partition = tuple(_plain(builder.build(p)) for p in sql.args.get("partition_by") or ())
    ordered = sql.args["order"].expressions if sql.args.get("order") else ()
    return partition, tuple(order_term(builder, o) for o in ordered)


def order_term(builder: Builder, sql: exp.Expr) -> Order:
    """Returns one term of ORDER BY; NULLs go last in both directions where nothing is said, as in DuckDB."""
    if not isinstance(sql, exp.Ordered):
        return Order(_plain(builder.build(sql)))
    return Order(_plain(builder.build(sql.this)), bool(sql.args.get("desc")), bool(sql.args.get("nulls_first")))


def _plain(node: Node) -> Node:
    settled = exact.settle(node)
    if settled.type in (TUPLE, INTERVAL):
        msg = f"a {settled.type} cannot be partitioned or ordered by here"
        raise SqlTypeError(msg, hint="list its terms one by one", place=node.place)
    return settled


def _ranking(builder: Builder, sql: exp.Expr, partition: tuple[Node, ...], order: tuple[Order, ...]) -> Node:
    name = WINDOW_ONLY[type(sql)]
    if not order:
        msg = f"{name}() needs ORDER BY in its window"
        raise UnsupportedSqlError(msg, hint=f"{name}() OVER (PARTITION BY ... ORDER BY ... DESC)")
    if name == "last_value":
        msg = "last_value() sees rows up to the current one only"
        raise UnsupportedSqlError(msg, hint="first_value(x) OVER (... ORDER BY ... the other way round)")
    keys = ("this", "offset", "default") if name in ("lag", "lead") else ("this",)
    args = [_plain(builder.build(sql.args[k])) for k in keys if sql.args.get(k) is not None]
    if name in _COUNTING or name in ("percent_rank", "cume_dist"):
        type_ = BIGINT if name in _COUNTING else DOUBLE
        return Node("window", type_, tuple(args), name, False, partition=partition, order=order)
    type_ = args[0].type
    if len(args) > 2:
        args[2] = coerce.cast(args[2], type_, builder.zone)
    return Node("window", type_, tuple(args), name, True, partition=partition, order=order)


def _aggregate(builder: Builder, sql: exp.Expr, kind: str, frame: Node) -> Node:
    argument = sql.this
    if argument is None or isinstance(argument, exp.Star):
        return replace(frame, type=BIGINT, value="count", nullable=False)
    if isinstance(argument, (exp.Distinct, exp.Order)):
        msg = f"{kind}(DISTINCT or ORDER BY) cannot be used as a window function"
        raise UnsupportedSqlError(msg, hint=f"{kind}(x) OVER (...)")
    value = _plain(builder.build(argument))
    if kind == "count":
        return replace(frame, type=BIGINT, args=(value,), value="count", nullable=False)
    if kind in ("min", "max"):
        return replace(frame, type=value.type, args=(value,), value=kind)
    total = replace(frame, type=_sum_type(kind, value), args=(value,), value="sum")
    if kind == "sum":
        return total
    return exact.ratio(total, replace(frame, type=BIGINT, args=(value,), value="count", nullable=False))


def _sum_type(kind: str, value: Node) -> SqlType:
    if value.type == DOUBLE:
        msg = f"{kind}() over DOUBLE depends on the order of addition"
        raise InexactError(msg, hint=f"cast it: {kind}(CAST(x AS DECIMAL(18,2))) OVER (...)")
    if not value.type.is_exact_number:
        msg = f"{kind}() takes numbers, not {value.type}"
        raise SqlTypeError(msg, hint="cast it: CAST(x AS DECIMAL(15,2))")
    return decimal(38, exact.digits(value)[1])
