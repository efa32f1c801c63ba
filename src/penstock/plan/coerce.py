"""Which types go together: comparisons, arithmetic, CASE arms, and casts over all kinds of values."""

from __future__ import annotations

from penstock.plan import exact, times
from penstock.plan.errors import SqlTypeError
from penstock.plan.oracle import constant_error
from penstock.plan.render import text as quoted_text
from penstock.plan.tree import INTERVAL, NULL, NULL_LITERAL, TUPLE, Node, call, case
from penstock.sqltypes import BIGINT, BOOLEAN, DATE, INTEGER, TEXT, TIME, SqlType

_TEXTS = (TEXT, SqlType("json"))


def boolean(node: Node) -> Node:
    """Returns a condition as it is. Raises SqlTypeError when it is no boolean."""
    if node.type == NULL:
        return cast(node, BOOLEAN, "UTC")
    if node.type != BOOLEAN:
        msg = f"a condition is needed here, not {node.type}"
        raise SqlTypeError(msg, hint="compare it with something: x > 0, x IS NOT NULL", place=node.place)
    return node


def text(node: Node) -> Node:
    """Returns a text as it is. Raises SqlTypeError for anything else."""
    if node.type == NULL:
        return cast(node, TEXT, "UTC")
    if node.type not in _TEXTS:
        msg = f"text is needed here, not {node.type}"
        raise SqlTypeError(msg, hint="cast it: CAST(x AS VARCHAR)", place=node.place)
    return node


def as_text(node: Node) -> Node:
    """Returns any value as text where that does not depend on a session (|| and concat)."""
    return node if node.type in _TEXTS else cast(node, TEXT, "UTC")


def cast(node: Node, type_: SqlType, zone: str, mode: str = "") -> Node:
    """Returns CAST(node AS type_). Raises SqlTypeError when there is no such cast."""
    if node.type in (TUPLE, INTERVAL):
        msg = f"{'a tuple' if node.type == TUPLE else 'an interval'} cannot be cast to {type_}"
        raise SqlTypeError(msg, hint="use date_diff('day', a, b) for the length between two times", place=node.place)
    if not _castable(node.type, type_):
        msg = f"{node.type} cannot be cast to {type_}"
        hint = "use date_part('year', x) or epoch_us(x); make_date(y, m, d) or to_timestamp(seconds)"
        raise SqlTypeError(msg, hint=hint, place=node.place)
    if node.op == "literal" and node.type == TEXT and type_ not in _TEXTS and not times.is_time(type_) and not mode:
        _check_literal(node, type_)
    return times.cast(node, type_, zone, mode)


def _castable(from_: SqlType, to: SqlType) -> bool:
    """Tells whether DuckDB has the cast: it accepts some that fail on every row."""
    if NULL in (from_, to) or from_ in _TEXTS or to in _TEXTS or from_ == to:
        return True
    numbers = [exact.is_number(t) or t == BOOLEAN for t in (from_, to)]
    if any(numbers):
        return all(numbers)
    if TIME in (from_, to):
        return from_.kind in ("timestamp", "local_timestamp")
    return times.is_time(from_) and times.is_time(to)


def _check_literal(node: Node, type_: SqlType) -> None:
    if constant_error(f"CAST({quoted_text(node.value)} AS {type_.duckdb})"):
        msg = f"{node.value!r} is no {type_}"
        raise SqlTypeError(msg, hint=f"write a value of type {type_}", place=node.place)


def common_type(nodes: list[Node]) -> SqlType:
    """Returns the type all these values have or can be given without a doubt. Raises SqlTypeError."""
    typed = [n for n in nodes if n.type != NULL]
    firm = [n for n in typed if not (n.op == "literal" and n.type == TEXT)] or typed
    if not firm:
        return NULL
    types = {n.type for n in firm}
    if len(types) == 1:
        return firm[0].type if firm[0].op != "ratio" or len(firm) == 1 else exact.common(firm)
    if all(exact.is_number(t) for t in types):
        return exact.common(firm)
    if all(times.is_time(t) for t in types):
        return times.common(firm)
    if types <= set(_TEXTS):
        return TEXT
    names = " and ".join(sorted(str(t) for t in types))
    msg = f"{names} do not go together"
    raise SqlTypeError(msg, hint="cast one of them")


def same_type(nodes: list[Node], zone: str) -> list[Node]:
    """Returns the nodes cast to their common type (NULLs as they are)."""
    type_ = common_type(nodes)
    return [n if n.type == NULL or type_ == NULL else cast(n, type_, zone) for n in nodes]


def compare(op: str, left: Node, right: Node, zone: str) -> Node:
    """Returns left op right. Tuples compare term by term for = and <>."""
    if TUPLE in (left.type, right.type):
        return _compare_tuples(op, left, right, zone)
    a, b = same_type([left, right], zone)
    nullable = False if "distinct" in op else None
    return call(op, BOOLEAN, exact.settle(a), exact.settle(b), nullable=nullable)


def _compare_tuples(op: str, left: Node, right: Node, zone: str) -> Node:
    if op not in ("=", "<>") or left.type != right.type or len(left.args) != len(right.args):
        msg = f"tuples cannot be compared with {op} here"
        raise SqlTypeError(msg, hint="compare their terms one by one")
    terms = [compare("=", a, b, zone) for a, b in zip(left.args, right.args, strict=True)]
    equal = call("and", BOOLEAN, *terms) if len(terms) > 1 else terms[0]
    return equal if op == "=" else call("not", BOOLEAN, equal)


def case_of(arms: list[Node], otherwise: Node, zone: str) -> Node:
    """Returns CASE with these (condition, value) arms. Numbers stay open to a rounding asked from outside."""
    values = [*arms[1::2], otherwise]
    type_ = common_type(values)
    values = _fitted(values, type_, zone)
    pairs = [n for c, v in zip(arms[::2], values[:-1], strict=True) for n in (c, v)]
    return case(type_, *pairs, otherwise=values[-1])


def combined(name: str, nodes: list[Node], zone: str) -> Node:
    """Returns coalesce, greatest or least of the nodes; numbers stay open to a rounding asked from outside."""
    type_ = common_type(nodes)
    nodes = _fitted(nodes, type_, zone)
    return call(name, type_, *nodes, nullable=all(n.nullable for n in nodes))


def _fitted(nodes: list[Node], type_: SqlType, zone: str) -> list[Node]:
    """Returns the nodes cast to a type, except numbers to a number: those wait for `lower`, ratios still open."""
    waiting = exact.is_number(type_)
    keep = [n.type == NULL or type_ == NULL or (waiting and exact.is_number(n.type)) for n in nodes]
    return [n if stays else cast(n, type_, zone) for n, stays in zip(nodes, keep, strict=True)]


def arithmetic(op: str, left: Node, right: Node, zone: str) -> Node:
    """Returns left op right of numbers, or of dates, times and intervals. Raises SqlTypeError."""
    left, right = _null_operand(left, right), _null_operand(right, left)
    if exact.is_number(left.type) and exact.is_number(right.type):
        return _ARITHMETIC[op](op, left, right)
    moved = _move_time(op, left, right, zone)
    if moved is not None:
        return moved
    msg = f"{left.type} {op} {right.type} is not defined"
    raise SqlTypeError(msg, hint="cast the operands: CAST(x AS DECIMAL(15,2))", place=left.place or right.place)


def _null_operand(node: Node, other: Node) -> Node:
    if node.type != NULL:
        return node
    known = exact.is_number(other.type) or times.is_time(other.type)
    return cast(NULL_LITERAL, other.type if known else INTEGER, "UTC")


def _move_time(op: str, left: Node, right: Node, zone: str) -> Node | None:
    if op == "+" and (right.type == TIME or times.is_time(right.type)):
        left, right = right, left
    if op not in ("+", "-") or not (times.is_time(left.type) or left.type == TIME):
        return None
    if right.type == INTERVAL:
        return times.shift(op, left, right, zone)
    if left.type == DATE and exact.is_whole(right.type):
        return call(op, DATE, left, exact.cast(right, INTEGER))
    if op == "-" and left.type == right.type == DATE:
        return call("-", BIGINT, left, right)
    if op == "-" and times.is_time(right.type):
        a, b = same_type([left, right], zone)
        return call("-", INTERVAL, times.to_local(a, "UTC"), times.to_local(b, "UTC"))
    return None


def _whole_division(op: str, left: Node, right: Node) -> Node:
    a, b = exact.settle(left), exact.settle(right)
    if not (exact.is_whole(a.type) and exact.is_whole(b.type)):
        msg = f"{op} divides whole numbers, not {a.type} and {b.type}"
        raise SqlTypeError(msg, hint="write trunc(a / b)", place=left.place)
    return call(op, BIGINT, exact.cast(a, BIGINT), exact.cast(b, BIGINT))


def _modulo(op: str, left: Node, right: Node) -> Node:
    a, b = exact.settle(left), exact.settle(right)
    if exact.is_whole(a.type) and exact.is_whole(b.type):
        return call(op, BIGINT, exact.cast(a, BIGINT), exact.cast(b, BIGINT))
    type_ = exact.common([a, b])
    return call(op, type_, exact.cast(a, type_), exact.cast(b, type_))


_ARITHMETIC = {
    "+": exact.add,
    "-": exact.add,
    "*": lambda _, a, b: exact.multiply(a, b),
    "/": lambda _, a, b: exact.divide(a, b),
    "//": _whole_division,
    "%": _modulo,
}
