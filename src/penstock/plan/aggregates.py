"""Aggregates and window functions to nodes.

Seven kinds are kept as they are: sum, count, count_distinct, min, max, arg_min, arg_max. All others are made of them:
avg is the ratio of sum and count, bool_and counts, variance comes from the exact sums of x and x * x.
How each of the seven takes a row back: sum and count invert; count_distinct counts per value; the others recompute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlglot import exp

from penstock.plan import coerce, exact
from penstock.plan.errors import InexactError, SqlTypeError, UnsupportedFunctionError, UnsupportedSqlError
from penstock.plan.functions import function_name
from penstock.plan.places import said
from penstock.plan.scope import Builder
from penstock.plan.tree import (
    INTERVAL,
    NULL_LITERAL,
    TUPLE,
    Node,
    Order,
    call,
    case,
    integer,
    literal,
)  # fmt: skip
from penstock.sqltypes import BIGINT, BOOLEAN, DATE, DOUBLE, LOCAL_TIMESTAMP, TIMESTAMP, SqlType, decimal

SUBTRACTS = {
    "sum": "inverts: the row's value is subtracted",
    "count": "inverts: one is subtracted",
    "count_distinct": "counts per value: a value is gone when its count is zero",
    "min": "recomputes the group from the rows that count",
    "max": "recomputes the group from the rows that count",
    "arg_min": "recomputes the group from the rows that count",
    "arg_max": "recomputes the group from the rows that count",
}

_NAMES: dict[type, str] = {
    exp.Sum: "sum", exp.Count: "count", exp.Avg: "avg", exp.Min: "min", exp.Max: "max", exp.ArgMax: "arg_max",
    exp.ArgMin: "arg_min", exp.LogicalAnd: "bool_and", exp.LogicalOr: "bool_or", exp.Stddev: "stddev_samp",
    exp.StddevSamp: "stddev_samp", exp.StddevPop: "stddev_pop", exp.Variance: "var_samp",
    exp.VariancePop: "var_pop", exp.CountIf: "count_if", exp.First: "first", exp.Last: "last",
}  # fmt: skip
_ANONYMOUS = {
    "mean": "avg", "every": "bool_and", "argmax": "arg_max", "argmin": "arg_min", "max_by": "arg_max",
    "min_by": "arg_min", "var_samp": "var_samp", "var_pop": "var_pop", "count_star": "count",
}  # fmt: skip
_REFUSED = {
    "median": "the middle of all values cannot be kept from sums; nearest: avg(x), or min(x) and max(x)",
    "mode": "the commonest value may be shared; nearest: GROUP BY the value and count(*)",
    "first": "say which is first: first(x ORDER BY at, id), or arg_min(x, (at, id))",
    "any_value": "which value is by chance; nearest: min(x), or arg_min(x, (at, id))",
    "list": "lists are no values of a result table; nearest: a list pipeline (no GROUP BY), keyed by the primary key",
    "quantile": "quantiles cannot be kept from sums; nearest: avg(x), stddev(x), or counts per range with FILTER",
    "string": "a text grown from all rows cannot be taken back; nearest: a list pipeline, put together in the endpoint",
    "approx": "it is approximate; use count(DISTINCT x), which is exact",
    "product": "a product cannot be taken back when a factor is zero; nearest: exp(sum(ln(x))) at the endpoint",
    "": "nearest: sum, count, avg, min, max, arg_max, stddev, or count(DISTINCT x)",
}
WINDOW_ONLY: dict[type, str] = {
    exp.Rank: "rank", exp.DenseRank: "dense_rank", exp.RowNumber: "row_number", exp.PercentRank: "percent_rank",
    exp.CumeDist: "cume_dist", exp.Ntile: "ntile", exp.Lag: "lag", exp.Lead: "lead", exp.FirstValue: "first_value",
    exp.LastValue: "last_value",
}  # fmt: skip
RANKING = frozenset(["rank", "dense_rank", "row_number", "percent_rank", "cume_dist", "ntile"])
NEEDS_TOTAL_ORDER = frozenset(["row_number", "ntile", "lag", "lead", "first_value", "last_value"])


def is_aggregate(sql: exp.Expr) -> bool:
    """Tells whether a call is an aggregate or window function (known or refused)."""
    if isinstance(sql, exp.AggFunc) or type(sql) in _NAMES or type(sql) in WINDOW_ONLY:
        return True
    if isinstance(sql, (exp.IgnoreNulls, exp.RespectNulls, exp.WithinGroup)):
        return True
    name = function_name(sql)
    return isinstance(sql, exp.Anonymous) and (name in _ANONYMOUS or name in _ANONYMOUS_REFUSED)


def is_kept(sql: exp.Expr) -> bool:
    """Tells whether an aggregate is one that is kept; others are refused by name, whatever they carry."""
    return type(sql) in _NAMES or type(sql) in WINDOW_ONLY


_ANONYMOUS_REFUSED = frozenset(
    ["product", "fsum", "kahan_sum", "sumkahan", "favg", "entropy", "histogram", "listagg", "sum_no_overflow",
     "reservoir_quantile", "mad", "sem", "geomean", "geometric_mean", "regr_slope", "bitstring_agg", "arbitrary",
     "approx_top_k", "arg_max_null", "arg_min_null", "arg_max_nulls_last", "arg_min_nulls_last", "max_n", "min_n"]
)  # fmt: skip


def build(builder: Builder, sql: exp.Expr) -> Node:
    """Returns the node of an aggregate. Raises PlanError."""
    if type(sql) in WINDOW_ONLY:
        name = WINDOW_ONLY[type(sql)]
        msg = f"{name}() needs a window: {name}() OVER (...)"
        raise UnsupportedSqlError(msg, hint=f"{name}() OVER (PARTITION BY ... ORDER BY ...)")
    name = _NAMES.get(type(sql)) or _ANONYMOUS.get(function_name(sql), "")
    if isinstance(sql, exp.Anonymous):
        return _BUILDERS[name](builder, name, list(sql.expressions)) if name else _refuse(sql)
    if not name or sql.args.get("count") or (name in ("first", "last") and not isinstance(sql.this, exp.Order)):
        return _refuse(sql)
    arguments = [a for a in (sql.args.get("this"), sql.args.get("expression")) if a is not None]
    if name in ("arg_min", "arg_max", "first", "last", "count"):
        return _BUILDERS[name](builder, name, arguments)
    if arguments and isinstance(arguments[0], exp.Order):
        arguments[0] = arguments[0].this  # the order of the rows does not change these
    return _BUILDERS[name](builder, name, arguments)


def _refuse(sql: exp.Expr) -> Node:
    inner = sql.this if isinstance(sql, (exp.IgnoreNulls, exp.RespectNulls, exp.WithinGroup)) else sql
    name = function_name(inner)
    words = {"percentile": "quantile", "array": "list", "group_concat": "string", "listagg": "string",
             "last": "first", "arbitrary": "any_value", "arg": "list", "quantile": "quantile"}  # fmt: skip
    topic = next((t for w, t in words.items() if w in name), "")
    topic = topic or next((w for w in _REFUSED if w and w in name), "")
    msg = f"{name}() cannot be kept current row by row"
    raise UnsupportedFunctionError(msg, hint=_REFUSED[topic])


def aggregate(kind: str, type_: SqlType, *args: Node, nullable: bool = True, order: tuple[Order, ...] = ()) -> Node:
    return Node("aggregate", type_, args, kind, nullable, order=order)


def _operand(builder: Builder, name: str, arguments: list[exp.Expr]) -> tuple[Node, bool]:
    """Returns the single argument of an aggregate, settled, and whether it says DISTINCT."""
    sql = arguments[0]
    distinct = isinstance(sql, exp.Distinct)
    if distinct and len(sql.expressions) != 1:
        msg = f"{name}(DISTINCT ...) takes one value"
        raise UnsupportedSqlError(msg, hint="count(DISTINCT (a, b)) counts pairs")
    node = exact.settle(builder.build(sql.expressions[0] if distinct else sql))
    if node.type in (TUPLE, INTERVAL):
        msg = f"{name}() takes no {node.type}"
        raise SqlTypeError(msg, hint="take a single value")
    return node, distinct


def _number(builder: Builder, name: str, arguments: list[exp.Expr]) -> Node:
    node, distinct = _operand(builder, name, arguments)
    if distinct:
        msg = f"{name}(DISTINCT x) is not supported"
        raise UnsupportedSqlError(msg, hint="GROUP BY x as well, and add up in the endpoint")
    if node.type == BOOLEAN:
        node = case(BIGINT, node, integer(1), call("not", BOOLEAN, node), integer(0))
    if node.type == DOUBLE:
        msg = f"{name}() over DOUBLE depends on the order of addition"
        raise InexactError(msg, hint=f"cast it: {name}(CAST({said(arguments[0])} AS DECIMAL(18,2)))")
    if not node.type.is_exact_number:
        msg = f"{name}() takes numbers, not {node.type}"
        raise SqlTypeError(msg, hint="cast it: CAST(x AS DECIMAL(15,2))")
    return node


def sum_of(node: Node) -> Node:
    """Returns sum(node): DECIMAL(38, s), exact."""
    return aggregate("sum", decimal(38, exact.digits(node)[1]), node)


def count_of(node: Node) -> Node:
    """Returns count(node): count(*) when it is never NULL."""
    return aggregate("count", BIGINT, *((node,) if node.nullable else ()), nullable=False)


def _sum(builder: Builder, name: str, arguments: list[exp.Expr]) -> Node:
    return sum_of(_number(builder, name, arguments))


def _avg(builder: Builder, name: str, arguments: list[exp.Expr]) -> Node:
    node = _number(builder, name, arguments)
    return exact.ratio(sum_of(node), count_of(node))


def _count(builder: Builder, name: str, arguments: list[exp.Expr]) -> Node:
    if not arguments or isinstance(arguments[0], exp.Star):
        return aggregate("count", BIGINT, nullable=False)
    if isinstance(arguments[0], exp.Distinct):
        return _count_distinct(builder, arguments[0].expressions)
    node = exact.settle(builder.build(arguments[0]))
    return count_of(replace(node, nullable=False) if node.type == TUPLE else node)


def _count_distinct(builder: Builder, expressions: list[exp.Expr]) -> Node:
    """count(DISTINCT a, b) leaves out rows with a NULL; in count(DISTINCT (a, b)) a NULL is a value like others."""
    nodes = [builder.build(e) for e in expressions]
    if len(nodes) == 1 and nodes[0].type == TUPLE:
        parts = tuple(p for n in nodes[0].args for p in _null_as_value(exact.settle(n)))
    else:
        parts = tuple(exact.settle(n) for n in nodes)
    if any(p.type in (TUPLE, INTERVAL) for p in parts):
        msg = "count(DISTINCT ...) takes plain values"
        raise SqlTypeError(msg, hint="count(DISTINCT (a, b))")
    return aggregate("count_distinct", BIGINT, *parts, nullable=False)


def _null_as_value(node: Node) -> tuple[Node, ...]:
    if not node.nullable:
        return (node,)
    filled = call("coalesce", node.type, node, _some_value(node.type), nullable=False)
    return call("is null", BOOLEAN, node, nullable=False), filled


def _some_value(type_: SqlType) -> Node:
    texts = {BOOLEAN: "false", DATE: "1970-01-01", LOCAL_TIMESTAMP: "1970-01-01 00:00:00",
             TIMESTAMP: "1970-01-01 00:00:00+00:00"}  # fmt: skip
    if type_.kind == "uuid":
        return literal("00000000-0000-0000-0000-000000000000", type_)
    if type_.kind in ("text", "json"):
        return literal("", type_)
    return literal(texts.get(type_, "00:00:00" if type_.kind == "time" else "0"), type_)


def _extreme(builder: Builder, name: str, arguments: list[exp.Expr]) -> Node:
    node, _ = _operand(builder, name, arguments)
    return aggregate(name, node.type, node)


def _arg_extreme(builder: Builder, name: str, arguments: list[exp.Expr]) -> Node:
    if len(arguments) != 2:
        msg = f"{name}() takes a value and what decides"
        raise UnsupportedSqlError(msg, hint=f"{name}(x, (at, id))")
    value = exact.settle(builder.build(arguments[0]))
    by = builder.build(arguments[1])
    terms = by.args if by.type == TUPLE else (by,)
    order = tuple(Order(exact.settle(t), name == "arg_max") for t in terms)
    if value.type in (TUPLE, INTERVAL) or any(o.node.type in (TUPLE, INTERVAL) for o in order):
        msg = f"{name}() takes plain values"
        raise SqlTypeError(msg, hint=f"{name}(x, (at, id))")
    return aggregate(name, value.type, value, order=order)


def _first(builder: Builder, name: str, arguments: list[exp.Expr]) -> Node:
    """first(x ORDER BY ...) of a value that is never NULL is arg_min; last, or a descending order, arg_max."""
    ordered = arguments[0]
    value = exact.settle(builder.build(ordered.this))
    terms = [(exact.settle(builder.build(o.this)), bool(o.args.get("desc"))) for o in ordered.expressions]
    if value.nullable or len({d for _, d in terms}) != 1 or any(t.nullable for t, _ in terms):
        msg = f"{name}(x ORDER BY ...) needs values that are never NULL and one direction"
        raise UnsupportedSqlError(msg, hint="arg_min(x, (at, id)) leaves NULLs out, arg_max takes the last")
    kind = "arg_max" if (name == "last") != terms[0][1] else "arg_min"
    return aggregate(kind, value.type, value, order=tuple(Order(t, kind == "arg_max") for t, _ in terms))


def _bool(builder: Builder, name: str, arguments: list[exp.Expr]) -> Node:
    node = coerce.boolean(builder.build(arguments[0]))
    wanted = call("not", BOOLEAN, node) if name == "bool_and" else node
    hits = replace(aggregate("count", BIGINT, nullable=False), filter=wanted)
    op = "=" if name == "bool_and" else ">"
    empty = call("=", BOOLEAN, count_of(node), integer(0), nullable=False)
    return case(BOOLEAN, empty, NULL_LITERAL, otherwise=call(op, BOOLEAN, hits, integer(0), nullable=False))


def _count_if(builder: Builder, name: str, arguments: list[exp.Expr]) -> Node:
    node = coerce.boolean(builder.build(arguments[0]))
    return replace(aggregate("count", BIGINT, nullable=False), filter=node)


def _spread(builder: Builder, name: str, arguments: list[exp.Expr]) -> Node:
    """Variance and standard deviation: one DOUBLE from exact sums, the same in whatever order rows came."""
    node = _number(builder, name, arguments)
    scale = exact.digits(node)[1]
    wide = exact.as_decimal(node)
    square = exact.multiply(wide, wide)
    n = count_of(node)
    squares = call("penstock_squares", DOUBLE, _whole(sum_of(wide)), _whole(sum_of(square)), _whole(n), nullable=True)
    of = n if name.endswith("pop") else call("-", BIGINT, n, integer(1))
    unit = literal(repr(float(10 ** (2 * scale))), DOUBLE)
    variance = call("/", DOUBLE, squares, call("*", DOUBLE, exact.cast(of, DOUBLE), unit))
    value = call("sqrt", DOUBLE, variance) if name.startswith("stddev") else variance
    return case(DOUBLE, exact.greater_than_zero(of), value)


def _whole(node: Node) -> Node:
    return Node("unscaled", SqlType("hugeint"), (node,), "", node.nullable)


_BUILDERS: dict[str, Callable[[Builder, str, list[exp.Expr]], Node]] = {
    "sum": _sum, "avg": _avg, "count": _count, "min": _extreme, "max": _extreme, "arg_min": _arg_extreme,
    "arg_max": _arg_extreme, "first": _first, "last": _first, "bool_and": _bool, "bool_or": _bool,
    "count_if": _count_if, "stddev_samp": _spread, "stddev_pop": _spread, "var_samp": _spread, "var_pop": _spread,
}  # fmt: skip


def build_filtered(builder: Builder, sql: exp.Expr) -> Node:
    """Returns aggregate FILTER (WHERE ...)."""
    if not is_aggregate(sql.this):
        msg = f"FILTER goes with an aggregate, not with {said(sql.this)}"
        raise UnsupportedSqlError(msg, hint="sum(x) FILTER (WHERE ...)")
    node = builder.build(sql.this)
    condition = builder.condition(sql.expression.this)
    return filtered(node, condition)


def filtered(node: Node, condition: Node) -> Node:
    """Returns the tree with the condition laid on every aggregate in it.

    DuckDB computes the operands of an aggregate before its FILTER; one that may fail (a division) on rows that the
    condition leaves out goes into a CASE instead. NULLs do not take part, so the meaning is the same.
    """
    if node.op != "aggregate":
        return replace(node, args=tuple(filtered(a, condition) for a in node.args))
    if node.filter is not None:
        return replace(node, filter=case(BOOLEAN, condition, node.filter))
    if all(_cannot_fail(n) for n in (*node.args, *(o.node for o in node.order))):
        return replace(node, filter=condition)
    args = tuple(case(n.type, condition, n) for n in node.args)
    order = tuple(replace(o, node=case(o.node.type, condition, o.node)) for o in node.order)
    return replace(node, args=args, order=order)


_SAFE = frozenset(["coalesce", "is null", "is not null", "not", "and", "or", "=", "<>", "<", "<=", ">", ">=", "in"])


def _cannot_fail(node: Node) -> bool:
    return all(n.op in ("column", "literal", "case") or (n.op == "call" and n.value in _SAFE) for n in node.walk())
