"""The planner's own syntax tree: typed, with no dialect in it. Rendering to SQL is `render.py`'s business.

Expressions over rows have `column` leaves. Over groups, the leaves are `group` (the n-th grouping expression) and
`aggregate`; `window` nodes stand above both. `state` leaves name columns of a relation that a statement reads.
Equality leaves places out, so equal nodes mean the same wherever they were written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from penstock.errors import Place
from penstock.sqltypes import BIGINT, BOOLEAN, INTEGER, SqlType, decimal

NULL = SqlType("null")
"""The type of a bare NULL."""
TUPLE = SqlType("tuple")
INTERVAL = SqlType("interval")


@dataclass(frozen=True)
class Order:
    """One term of an ORDER BY. NULLs are never left to a default."""

    node: Node
    descending: bool = False
    nulls_first: bool = False


@dataclass(frozen=True)
class Node:
    """One typed expression. `op` says what `args` and `value` are:

    column (value: name), literal (value: canonical text), call (value: function or operator), cast, case (condition,
    value, ..., else), ratio (numerator, denominator: an exact quotient not yet rounded), quotient (a ratio rounded to
    `type`; value: round, floor, ceil or trunc), local and instant (value: time zone), slot (see times.py), tuple,
    group (value: index), aggregate (value: kind), window (value: function), state (value: name).
    """

    op: str
    type: SqlType
    args: tuple[Node, ...] = ()
    value: str = ""
    nullable: bool = True
    filter: Node | None = None
    partition: tuple[Node, ...] = ()
    order: tuple[Order, ...] = ()
    place: Place | None = field(default=None, compare=False, repr=False)

    @property
    def children(self) -> tuple[Node, ...]:
        """Returns every node directly below, filter, partition and order included."""
        extra = (self.filter,) if self.filter else ()
        return (*self.args, *extra, *self.partition, *(o.node for o in self.order))

    def walk(self) -> Iterator[Node]:
        """Yields the node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def has(self, *ops: str) -> bool:
        """Tells whether any node of these ops is in the tree."""
        return any(n.op in ops for n in self.walk())


def transform(node: Node, change: Callable[[Node], Node | None]) -> Node:
    """Returns the tree with every topmost node for which `change` returns a node replaced by that node."""
    changed = change(node)
    if changed is not None:
        return changed
    return rebuild(node, lambda child: transform(child, change))


def rebuild(node: Node, each: Callable[[Node], Node]) -> Node:
    """Returns `node` with `each` applied to its direct children."""
    if not node.children:
        return node
    return replace(
        node,
        args=tuple(each(a) for a in node.args),
        filter=each(node.filter) if node.filter else None,
        partition=tuple(each(p) for p in node.partition),
        order=tuple(replace(o, node=each(o.node)) for o in node.order),
    )


def column(name: str, type_: SqlType, *, nullable: bool = True, place: Place | None = None) -> Node:
    return Node("column", type_, value=name, nullable=nullable, place=place)


def literal(text: str, type_: SqlType, place: Place | None = None) -> Node:
    """Returns a literal; `text` is the bare value (no quotes), canonical for its type."""
    return Node("literal", type_, value=text, nullable=False, place=place)


def integer(number: int, place: Place | None = None) -> Node:
    """Returns the literal of a whole number: integer, bigint or decimal(38,0), the first that holds it."""
    size = abs(number)
    kind = INTEGER if size < 2**31 else BIGINT if size < 2**63 else decimal(38, 0)
    return literal(str(number), kind, place)


TRUE = literal("true", BOOLEAN)
NULL_LITERAL = Node("literal", NULL, value="null")


def call(name: str, type_: SqlType, *args: Node, nullable: bool | None = None, place: Place | None = None) -> Node:
    """Returns a call; it may be NULL when an argument may, unless said otherwise."""
    may = any(a.nullable for a in args) if nullable is None else nullable
    return Node("call", type_, args, name, may, place=place)


def case(type_: SqlType, *arms: Node, otherwise: Node = NULL_LITERAL, place: Place | None = None) -> Node:
    """Returns CASE WHEN arms[0] THEN arms[1] ... ELSE otherwise; arms may still need coercion to `type_`."""
    may = any(a.nullable for a in (*arms[1::2], otherwise))
    return Node("case", type_, (*arms, otherwise), "", may, place=place)


def state(name: str, type_: SqlType, *, nullable: bool = True) -> Node:
    return Node("state", type_, value=name, nullable=nullable)


def conjuncts(node: Node | None) -> tuple[Node, ...]:
    """Returns the terms of a condition joined by AND."""
    if node is None:
        return ()
    if node.op == "call" and node.value == "and":
        return tuple(t for a in node.args for t in conjuncts(a))
    return (node,)


def all_of(terms: tuple[Node, ...]) -> Node | None:
    """Returns the terms joined by AND, None for none."""
    if not terms:
        return None
    return terms[0] if len(terms) == 1 else call("and", BOOLEAN, *terms)


def columns_of(node: Node) -> frozenset[str]:
    """Returns the stream's columns an expression reads."""
    return frozenset(n.value for n in node.walk() if n.op == "column")
