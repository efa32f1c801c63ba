"""Typed trees to DuckDB's SQL. Every expression renders to SQL whose type in DuckDB is the node's own type.

`lower` first makes a tree renderable: ratios that nobody rounded are rounded to their own scale, and the arms of CASE,
COALESCE and the like are cast to their common type.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.plan import exact
from penstock.plan.macros import LIMIT
from penstock.plan.times import span_of
from penstock.plan.tree import NULL, Node, Order, rebuild
from penstock.sqltypes import DOUBLE, TIMESTAMP, SqlType, decimal

_INFIX = frozenset(
    ["+", "-", "*", "/", "//", "%", "=", "<>", "<", "<=", ">", ">=", "||", "and", "or", "like", "ilike",
     "is distinct from", "is not distinct from"]
)  # fmt: skip
_COMMON_ARMS = frozenset(["coalesce", "greatest", "least", "nullif"])


def lower(node: Node) -> Node:
    """Returns the tree with every open ratio rounded and every arm cast to its common type."""
    if node.op == "ratio":
        return lower(exact.settle(node))
    if node.op == "case":
        arms = [a if i % 2 == 0 else _arm(a, node.type) for i, a in enumerate(node.args[:-1])]
        node = _with_args(node, (*arms, _arm(node.args[-1], node.type)))
    elif node.op == "call" and node.value in _COMMON_ARMS:
        node = _with_args(node, tuple(_arm(a, node.type) for a in node.args))
    return rebuild(node, lower)


def _with_args(node: Node, args: tuple[Node, ...]) -> Node:
    return Node(node.op, node.type, args, node.value, node.nullable, place=node.place)


def _arm(node: Node, type_: SqlType) -> Node:
    return node if NULL in (node.type, type_) else exact.cast(node, type_)


def render(node: Node) -> str:
    """Returns the SQL of a lowered tree."""
    return _RENDERERS[node.op](node)


def quoted(name: str) -> str:
    """Returns a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """Returns a string literal."""
    return "'" + value.replace("'", "''") + "'"


def _literal(node: Node) -> str:
    kind = node.type.kind
    if kind == "null":
        return "NULL"
    if kind in ("text", "json"):
        return text(node.value)
    if kind in ("boolean", "integer"):
        return node.value
    if kind == "interval":
        return f"INTERVAL {text(node.value)}"
    return f"CAST({text(node.value)} AS {node.type.duckdb})"


def _call(node: Node) -> str:
    name = node.value
    args = [render(a) for a in node.args]
    if name in ("+", "-") and node.type == TIMESTAMP:
        return f"make_timestamptz(epoch_us({args[0]}) {name} {span_of(node.args[1]).microseconds})"
    if name in _INFIX:
        return f"({f' {name.upper()} '.join(args)})"
    if name in _SPECIAL:
        return _SPECIAL[name](args)
    return f"{name}({', '.join(args)})"


def _in(args: list[str]) -> str:
    return f"({args[0]} IN ({', '.join(args[1:])}))"


_SPECIAL: dict[str, Callable[[list[str]], str]] = {
    "not": lambda a: f"(NOT {a[0]})",
    "negate": lambda a: f"(-{a[0]})",
    "is null": lambda a: f"({a[0]} IS NULL)",
    "is not null": lambda a: f"({a[0]} IS NOT NULL)",
    "in": _in,
    "like escape": lambda a: f"({a[0]} LIKE {a[1]} ESCAPE {a[2]})",
    "penstock_values": lambda a: f"ROW({', '.join(a)})",
}


def _cast(node: Node) -> str:
    inner, target = node.args[0], node.type
    sql = render(inner)
    if inner.type == DOUBLE and target.kind == "decimal":
        sql = f"CAST({sql} AS VARCHAR)"  # the shortest decimal that prints the double, as intake takes it
    return f"{'TRY_CAST' if node.value == 'try' else 'CAST'}({sql} AS {target.duckdb})"


def _case(node: Node) -> str:
    pairs = zip(node.args[:-1:2], node.args[1:-1:2], strict=True)
    whens = " ".join(f"WHEN {render(c)} THEN {render(v)}" for c, v in pairs)
    return f"CASE {whens} ELSE {_as_typed(node.args[-1], node.type)} END"


def _as_typed(node: Node, type_: SqlType) -> str:
    if node.type == NULL and type_ != NULL:
        return f"CAST(NULL AS {type_.duckdb})"
    return render(node)


def _unscaled(node: Node) -> str:
    """Renders an exact number times 10 ** its scale as HUGEINT."""
    if node.type.kind != "decimal":
        return f"CAST({render(node)} AS HUGEINT)"
    if node.type.scale == 0:
        return f"CAST({render(node)} AS HUGEINT)"
    scale = node.type.scale
    wide = f"CAST({render(node)} AS {decimal(38, scale).duckdb})"
    return f"CAST({wide} * {_power(scale)} AS HUGEINT)"


def _power(exponent: int) -> str:
    return (
        f"CAST('1{'0' * exponent}' AS DECIMAL({exponent + 1},0))"
        if exponent < 38
        else f"CAST('1{'0' * 38}' AS HUGEINT)"
    )


def _quotient(node: Node) -> str:
    """Renders an exact quotient rounded to the node's scale.

    On unscaled integers: n / 10**s / (d / 10**t) at scale u is n * 10**(u - s + t) / d.
    """
    scale = node.type.scale
    sql = f"CAST({_whole_quotient(node)} AS DECIMAL(38,0))"
    if scale:
        # A product with the smallest decimal moves the point without touching a digit.
        sql = f"{sql} * CAST('{10**-scale:.{scale}f}' AS DECIMAL({scale},{scale}))"
    return sql if node.type == decimal(38, scale) and not scale else f"CAST({sql} AS {node.type.duckdb})"


def _whole_quotient(node: Node) -> str:
    """Renders the quotient times 10 ** its scale as HUGEINT."""
    numerator, denominator = node.args
    shift = node.type.scale - exact.digits(numerator)[1] + exact.digits(denominator)[1]
    n, d = _unscaled(numerator), _unscaled(denominator)
    if shift < 0:
        d = f"({d} * CAST('1{'0' * -shift}' AS HUGEINT))"
    up = max(shift, 0)
    powers = f"CAST({10 ** (up // 2)} AS HUGEINT), CAST({10 ** (up - up // 2)} AS HUGEINT)"
    if node.value != "round":
        return f"penstock_div_{node.value}({n}, {d}, {powers})"
    whole = f"penstock_div_round({n}, {d}, {powers}, CAST({LIMIT // 10**up} AS HUGEINT))"
    small_n, small_d = _small(numerator, up), _small(denominator, max(-shift, 0))
    if small_n is None or small_d is None:
        return whole
    quick = f"CAST(penstock_round({small_n[0]}, {small_d[0]}) AS HUGEINT)"
    return f"CASE WHEN {small_n[1]} AND {small_d[1]} THEN {quick} ELSE {whole} END"


def _small(node: Node, shift: int) -> tuple[str, str] | None:
    """Renders an exact number times 10 ** (its scale + shift) as BIGINT, and the condition under which it fits.

    None when it would fit too seldom to be worth the text.
    """
    scale = node.type.scale if node.type.kind == "decimal" else 0
    room = 17 - 2 * scale - shift
    if room < 6:
        return None
    sql, limit = render(node), 10**room
    fits = f"{sql} BETWEEN -{limit} AND {limit}"
    if node.type.kind != "decimal" or scale + shift == 0:
        power = f" * {10**shift}" if shift else ""
        return f"CAST({sql} AS BIGINT){power}", fits
    return f"CAST(CAST({sql} AS DECIMAL(18,{scale})) * {_power(scale + shift)} AS BIGINT)", fits


def _local(node: Node) -> str:
    inner = render(node.args[0])
    if node.value == "UTC":
        return f"make_timestamp(epoch_us({inner}))"
    return f"timezone({text(node.value)}, {inner})"


def _instant(node: Node) -> str:
    inner = render(node.args[0])
    if node.value == "UTC":
        return f"make_timestamptz(epoch_us({inner}))"
    return f"timezone({text(node.value)}, {inner})"


def _slot(node: Node) -> str:
    at, local, floor = (render(a) for a in node.args)
    return f"make_timestamptz(epoch_us({at}) - (epoch_us({local}) - epoch_us({floor})))"


def order_by(terms: tuple[Order, ...]) -> str:
    """Returns the terms of an ORDER BY, directions and NULLs said."""
    parts = []
    for term in terms:
        direction = "DESC" if term.descending else "ASC"
        parts.append(f"{render(term.node)} {direction} NULLS {'FIRST' if term.nulls_first else 'LAST'}")
    return ", ".join(parts)


def _window(node: Node) -> str:
    args = ", ".join(render(a) for a in node.args) or ("*" if node.value == "count" else "")
    within = f" FILTER (WHERE {render(node.filter)})" if node.filter else ""
    over = []
    if node.partition:
        over.append(f"PARTITION BY {', '.join(render(p) for p in node.partition)}")
    if node.order:
        over.append(f"ORDER BY {order_by(node.order)}")
    sql = f"{node.value}({args}){within} OVER ({' '.join(over)})"
    return f"CAST({sql} AS {node.type.duckdb})" if node.value == "sum" else sql


def _aggregate(node: Node) -> str:
    """Renders an aggregate whole, as the typed SELECT has it (the engine keeps it by its steps instead)."""
    kind = node.value
    terms = [render(node.filter)] if node.filter else []
    args = ", ".join(render(a) for a in node.args)
    if kind in ("arg_min", "arg_max"):
        terms += [f"{render(t)} IS NOT NULL" for t in (node.args[0], *(o.node for o in node.order)) if t.nullable]
        order = ", ".join(render(o.node) for o in node.order)
        args = f"{args}, {f'ROW({order})' if len(node.order) > 1 else order}"
    elif kind == "count_distinct":
        terms += [f"{render(t)} IS NOT NULL" for t in node.args if t.nullable]
        args = f"DISTINCT {f'ROW({args})' if len(node.args) > 1 else args}"
        kind = "count"
    elif kind == "count" and not node.args:
        args = "*"
    sql = f"{kind}({args})" + (f" FILTER (WHERE {' AND '.join(terms)})" if terms else "")
    return f"CAST({sql} AS {node.type.duckdb})" if kind == "sum" else sql


_RENDERERS: dict[str, Callable[[Node], str]] = {
    "column": lambda n: quoted(n.value),
    "state": lambda n: quoted(n.value),
    "literal": _literal,
    "call": _call,
    "cast": _cast,
    "case": _case,
    "quotient": _quotient,
    "unscaled": lambda n: _unscaled(n.args[0]),
    "local": _local,
    "instant": _instant,
    "slot": _slot,
    "tuple": lambda n: f"ROW({', '.join(render(a) for a in n.args)})",
    "window": _window,
    "aggregate": _aggregate,
}
