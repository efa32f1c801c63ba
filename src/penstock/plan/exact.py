"""How exact numbers are typed: addition, multiplication, division, rounding and casts (rule 3).

Whole numbers add up in BIGINT. Decimals keep every digit: a sum has one more digit than its operands, a product has
the digits and decimals of both, up to 38 digits in all; what does not fit then is an error when it happens. Division
of exact numbers stays a `ratio` (numerator and denominator), through further arithmetic, until something asks for a
scale: a cast to DECIMAL or an integer, `round`, `floor`; then it is rounded once, half away from zero. A ratio that
nobody rounds becomes DECIMAL(38, 16), or the numerator's scale when that is larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from penstock.plan.errors import OverflowCertainError
from penstock.plan.tree import NULL, Node, call, case, integer
from penstock.sqltypes import BIGINT, BOOLEAN, DOUBLE, INTEGER, SMALLINT, SqlType, decimal

_WHOLE = {"smallint": 5, "integer": 10, "bigint": 19, "hugeint": 38}
_RATIO_SCALE = 16
SUM_OF_WHOLE = decimal(38, 0)


def is_whole(type_: SqlType) -> bool:
    return type_.kind in _WHOLE


def is_number(type_: SqlType) -> bool:
    return type_.is_exact_number or type_.kind == "double"


def digits(node: Node) -> tuple[int, int]:
    """Returns (digits before, digits after) the point that values of an exact number may have."""
    if node.op == "literal" and is_whole(node.type):
        return max(1, len(node.value.lstrip("-"))), 0
    if node.type.kind == "decimal":
        return node.type.precision - node.type.scale, node.type.scale
    return _WHOLE[node.type.kind], 0


def ratio_type(numerator: Node) -> SqlType:
    return decimal(38, max(_RATIO_SCALE, digits(numerator)[1]))


def as_decimal(node: Node) -> Node:
    """Returns an exact number as DECIMAL, unchanged when it is one."""
    if node.type.kind == "decimal":
        return node
    before, _ = digits(node)
    return cast(node, decimal(before, 0))


def add(op: str, left: Node, right: Node) -> Node:
    """Returns left `op` right, op being + or -, of two numbers."""
    if DOUBLE in (left.type, right.type):
        return call(op, DOUBLE, cast(left, DOUBLE), cast(right, DOUBLE))
    if "ratio" in (left.op, right.op):
        a, b = _parts(left), _parts(right)
        if fits_product(a[0], b[1]) and fits_product(b[0], a[1]) and fits_product(a[1], b[1]):
            return ratio(add(op, multiply(a[0], b[1]), multiply(b[0], a[1])), multiply(a[1], b[1]))
        left, right = settle(left), settle(right)
    if is_whole(left.type) and is_whole(right.type):
        return call(op, BIGINT, cast(left, BIGINT), cast(right, BIGINT))
    (i, s), (j, t) = digits(left), digits(right)
    scale = max(s, t)
    return call(op, decimal(min(38, max(i, j) + 1 + scale), scale), as_decimal(left), as_decimal(right))


def fits_product(left: Node, right: Node) -> bool:
    """Tells whether a product's decimals fit 38 digits."""
    return digits(left)[1] + digits(right)[1] <= 38


def multiply(left: Node, right: Node) -> Node:
    """Returns left * right. Raises OverflowCertainError when the decimals alone pass 38 digits."""
    if DOUBLE in (left.type, right.type):
        return call("*", DOUBLE, cast(left, DOUBLE), cast(right, DOUBLE))
    if "ratio" in (left.op, right.op):
        a, b = _parts(left), _parts(right)
        if fits_product(a[0], b[0]) and fits_product(a[1], b[1]):
            return ratio(multiply(a[0], b[0]), multiply(a[1], b[1]))
        left, right = settle(left), settle(right)
    if _is_one(right):
        return left
    if _is_one(left):
        return right
    if is_whole(left.type) and is_whole(right.type):
        return call("*", BIGINT, cast(left, BIGINT), cast(right, BIGINT))
    return _multiply_decimals(as_decimal(left), as_decimal(right))


def _multiply_decimals(left: Node, right: Node) -> Node:
    scale = left.type.scale + right.type.scale
    if scale > 38:
        msg = f"{left.type} * {right.type} needs {scale} decimals; exact numbers have at most 38 digits"
        hint = f"cast an operand to fewer decimals: CAST(... AS DECIMAL(18,{min(6, left.type.scale)}))"
        raise OverflowCertainError(msg, hint=hint)
    precision = left.type.precision + right.type.precision
    if precision > 18 and left.type.precision <= 18 and right.type.precision <= 18:
        # DuckDB multiplies two 64-bit decimals in 64 bits; the wider type makes room for the whole product.
        left = cast(left, decimal(19, left.type.scale))
        precision = 19 + right.type.precision
    return call("*", decimal(min(38, precision), scale), left, right)


def _is_one(node: Node) -> bool:
    return node.op == "literal" and is_whole(node.type) and node.value == "1"


def divide(left: Node, right: Node) -> Node:
    """Returns left / right: a ratio for exact numbers, a DOUBLE when an operand is one."""
    if DOUBLE in (left.type, right.type):
        return call("/", DOUBLE, cast(left, DOUBLE), cast(right, DOUBLE))
    a, b = _parts(left), _parts(right)
    if fits_product(a[0], b[1]) and fits_product(a[1], b[0]):
        return ratio(multiply(a[0], b[1]), multiply(a[1], b[0]))
    return ratio(settle(left), settle(right))


def ratio(numerator: Node, denominator: Node) -> Node:
    nullable = numerator.nullable or denominator.nullable
    return Node("ratio", ratio_type(numerator), (numerator, denominator), "", nullable)


def _parts(node: Node) -> tuple[Node, Node]:
    if node.op == "ratio":
        return node.args[0], node.args[1]
    return settle(node), integer(1)


def negate(node: Node) -> Node:
    if node.op == "ratio":
        return ratio(negate(node.args[0]), node.args[1])
    if node.op == "literal" and is_number(node.type):
        text = node.value[1:] if node.value.startswith("-") else "-" + node.value
        return replace(node, value=text)
    if is_whole(node.type):
        return call("negate", BIGINT, cast(node, BIGINT))
    return call("negate", node.type, settle(node))


def settle(node: Node) -> Node:
    """Returns the node with a ratio at its top rounded to the scale of its type; anything else unchanged."""
    return round_ratio(node, node.type) if node.op == "ratio" else node


def round_ratio(node: Node, type_: SqlType, mode: str = "round") -> Node:
    return Node("quotient", type_, node.args, mode, node.nullable, place=node.place)


_PUSHED_INTO = ("coalesce", "greatest", "least")


def is_open(node: Node) -> bool:
    """Tells whether a rounding asked from outside must reach a ratio inside: through CASE, coalesce and the like."""
    if node.op == "ratio":
        return True
    if node.op == "case":
        return any(is_open(a) for a in (*node.args[1:-1:2], node.args[-1]))
    return node.op == "call" and node.value in _PUSHED_INTO and any(is_open(a) for a in node.args)


def cast(node: Node, type_: SqlType, mode: str = "") -> Node:
    """Returns the node as `type_`. Rounds a ratio once, also inside CASE and coalesce. `mode` 'try' is TRY_CAST.

    Knows no time zones: casts between kinds of times go through times.cast.
    """
    if node.type == type_ and node.op != "ratio":
        return node
    if node.op == "ratio" and (type_.kind == "decimal" or is_whole(type_)):
        if type_.kind == "decimal":
            return round_ratio(node, type_)
        return cast(round_ratio(node, SUM_OF_WHOLE), type_)
    if is_open(node) and type_.kind == "decimal" and not mode:
        return replace(node, type=type_)
    if is_open(node) and is_whole(type_):
        return cast(replace(node, type=SUM_OF_WHOLE), type_, mode)
    return Node("cast", type_, (settle(node),), mode, node.nullable or mode == "try", place=node.place)


def round_to(node: Node, scale: int) -> Node:
    """Returns round(node, scale) of an exact number, half away from zero; scale may be negative."""
    if scale < 0:
        unit = integer(10**-scale)
        return multiply(cast(divide(node, unit), SUM_OF_WHOLE), unit)
    if is_open(node):
        return cast(node, decimal(38, min(scale, 38)))
    if is_whole(node.type) or node.type.scale <= scale:
        return node
    return cast(node, decimal(node.type.precision, scale))


def common(types: Sequence[Node]) -> SqlType:
    """Returns the type that holds the values of all these numbers. Never more than 38 digits."""
    nodes = [n for n in types if n.type != NULL]
    if any(n.type == DOUBLE for n in nodes):
        return DOUBLE
    if all(is_whole(n.type) for n in nodes):
        order = (SMALLINT, INTEGER, BIGINT)
        return max((n.type for n in nodes), key=lambda t: order.index(t) if t in order else 9)
    before, after = zip(*(digits(n) for n in nodes), strict=True)
    return decimal(min(38, max(before) + max(after)), max(after))


def round_open(node: Node, mode: str) -> Node:
    """Returns floor, ceil or trunc of a node in which a ratio is open: exactly, arm by arm."""
    if node.op == "ratio":
        return round_ratio(node, SUM_OF_WHOLE, mode)
    if node.op == "case":
        arms = tuple(a if i % 2 == 0 else round_open(a, mode) for i, a in enumerate(node.args[:-1]))
        return replace(node, type=SUM_OF_WHOLE, args=(*arms, round_open(node.args[-1], mode)))
    if node.op == "call" and node.value in _PUSHED_INTO:
        return replace(node, type=SUM_OF_WHOLE, args=tuple(round_open(a, mode) for a in node.args))
    return node if node.type == NULL else round_open(ratio(node, integer(1)), mode)


def sign_known(node: Node) -> Node:
    """Returns abs(node), keeping a ratio open."""
    if node.op == "ratio":
        return ratio(sign_known(node.args[0]), sign_known(node.args[1]))
    return call("abs", node.type, node)


def when(condition: Node, value: Node) -> Node:
    """Returns CASE WHEN condition THEN value END."""
    return case(value.type, condition, value)


def greater_than_zero(node: Node) -> Node:
    return call(">", BOOLEAN, node, integer(0))
