"""The shape of a SELECT: which clauses it may have, and what may stand in each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlglot import exp

from penstock.errors import PenstockError, Place
from penstock.plan import exact
from penstock.plan.aggregates import is_aggregate
from penstock.plan.errors import GroupingError, SqlTypeError, UnsupportedSqlError
from penstock.plan.places import Places
from penstock.plan.tree import INTERVAL, TUPLE, Node, transform

_CLAUSES = {
    "joins": ("JOIN needs rows of more than one stream", "join at intake: in the source's query:, or in the endpoint"),
    "laterals": ("LATERAL needs more than one row at a time", "map lists to columns at intake"),
    "order": ("a table has no order", "leave ORDER BY out here and order in the endpoint"),
    "limit": ("LIMIT picks rows by an order no table has", "QUALIFY row_number() OVER (ORDER BY ..., key) <= 100"),
    "offset": ("OFFSET picks rows by an order no table has", "QUALIFY row_number() OVER (ORDER BY ..., key) > 100"),
    "sample": ("a sample is by chance", "filter with WHERE"),
    "pivots": ("PIVOT makes columns of values", "sum(x) FILTER (WHERE kind = 'a') AS a, ..."),
    "connect": ("CONNECT BY is not supported", "use plain columns"),
}


GROUPING_SETS = (exp.Rollup, exp.Cube, exp.GroupingSets)


def not_a_select(sql: exp.Expr, place: Place) -> UnsupportedSqlError:
    """Returns why something that is no SELECT is refused."""
    if isinstance(sql, exp.SetOperation):
        name = sql.key.upper()
        msg = f"{name} needs more than one SELECT"
        hint = "one pipeline for each, or one SELECT with CASE and FILTER; put them together in the endpoint"
        return UnsupportedSqlError(msg, hint=hint, place=place)
    msg = f"a pipeline is one SELECT, not {sql.key.upper()}"
    return UnsupportedSqlError(msg, hint="SELECT ... FROM stream GROUP BY ...", place=place)


def problems(select: exp.Select, places: Places) -> Iterator[PenstockError]:
    """Yields what a SELECT has that cannot be kept, clause by clause."""
    for key, (reason, hint) in _CLAUSES.items():
        for sql in _as_list(select.args.get(key)):
            yield UnsupportedSqlError(f"{_clause_name(key)}: {reason}", hint=hint, place=places.of(sql))
    table = select.args["from_"].this if select.args.get("from_") else None
    for key in ("joins", "laterals", "sample", "pivots"):
        for sql in _as_list(table.args.get(key) if table is not None else None):
            reason, hint = _CLAUSES[key]
            yield UnsupportedSqlError(f"{_clause_name(key)}: {reason}", hint=hint, place=places.of(sql))
    distinct = select.args.get("distinct")
    if distinct is not None and distinct.args.get("on") is not None:
        hint = "QUALIFY row_number() OVER (PARTITION BY a ORDER BY at, id) = 1, or GROUP BY a with arg_max"
        yield UnsupportedSqlError("DISTINCT ON picks rows by an order", hint=hint, place=places.of(distinct))
    group = select.args.get("group")
    if group is not None:
        yield from _grouping_problems(group, places)


def _grouping_problems(group: exp.Group, places: Places) -> Iterator[PenstockError]:
    found: list[exp.Expr] = [e for e in group.expressions if isinstance(e, GROUPING_SETS)]
    for key in ("rollup", "cube", "grouping_sets"):
        found += [e for e in _as_list(group.args.get(key)) if isinstance(e, exp.Expr)]
    for sql in found:
        msg = f"{sql.key.upper()} groups the rows several times over"
        hint = "one pipeline for each grouping; a coarser one can be added up in the endpoint"
        yield UnsupportedSqlError(msg, hint=hint, place=places.of(sql))


def _as_list(value: object) -> list[exp.Expr]:
    if value is None:
        return []
    return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, exp.Expr)]


def _clause_name(key: str) -> str:
    return {"joins": "JOIN", "order": "ORDER BY", "pivots": "PIVOT", "laterals": "LATERAL"}.get(key, key.upper())


def mentions_aggregate(sql: exp.Expr, aliases: Mapping[str, exp.Expr], depth: int = 0) -> bool:
    """Tells whether an item of the SELECT has an aggregate or window function, also through aliases."""
    for node in sql.walk():
        if isinstance(node, exp.Window) or is_aggregate(node):
            return True
        if isinstance(node, exp.Column) and node.name.lower() in aliases and depth < 20:
            target = aliases[node.name.lower()]
            itself = target is sql or target is getattr(sql, "this", None)
            if not itself and mentions_aggregate(target, aliases, depth + 1):
                return True
    return False


def settled(node: Node) -> Node:
    """Returns a value that can be a column: a quotient rounded to its own scale. Raises SqlTypeError."""
    if node.type in (TUPLE, INTERVAL):
        what = "a tuple" if node.type == TUPLE else "an interval"
        msg = f"{what} cannot be a column"
        raise SqlTypeError(msg, hint="name its terms one by one; date_diff('second', a, b) for lengths of time")
    return node


def check_level(node: Node, clause: str, below: Sequence[Node], place: Place) -> None:
    """Raises GroupingError when an aggregate or window function stands where none can be.

    `below` are the columns of FROM: what they bring along from a subquery may be filtered.
    """
    over_groups = any(n.has("group", "aggregate", "window") for n in below)
    if clause in ("WHERE", "GROUP BY"):
        if windows_in([node]) - windows_in(below):
            msg = f"a window function cannot stand in {clause}"
            raise GroupingError(msg, hint="filter with QUALIFY", place=place)
        if node.has("aggregate") and not over_groups:
            msg = f"an aggregate cannot stand in {clause}"
            raise GroupingError(msg, hint="filter groups with HAVING", place=place)
    if clause == "HAVING" and node.has("window"):
        msg = "a window function cannot stand in HAVING"
        raise GroupingError(msg, hint="filter with QUALIFY", place=place)
    check_nesting(node)


def check_nesting(node: Node) -> None:
    """Raises GroupingError for an aggregate in an aggregate, or a window function in a window function."""
    for n in node.walk():
        below = [d for c in n.children for d in c.walk()]
        if n.op == "aggregate" and any(d.op in ("aggregate", "window", "group") for d in below):
            msg = f"{n.value}() over what is aggregated already"
            hint = "sum(sum(x)) OVER (...) adds up results; two levels of GROUP BY cannot be kept"
            raise GroupingError(msg, hint=hint, place=n.place)
        if n.op == "window" and any(d.op == "window" for d in below):
            msg = f"{n.value}() over what is a window function already"
            raise GroupingError(msg, hint="keep one of them here, and compute the other in the endpoint", place=n.place)


def over_groups(node: Node, groups: tuple[Node, ...], place: Place | None) -> Node:
    """Returns the node with its grouping expressions replaced by `group` leaves. Raises GroupingError."""
    check_nesting(node)

    def change(n: Node) -> Node | None:
        if n in groups:
            index = groups.index(n)
            return Node("group", exact.settle(n).type, (), str(index), n.nullable, place=n.place)
        if n.op == "aggregate":
            return n
        if n.op == "column":
            msg = f"'{n.value}' is neither grouped by nor aggregated"
            hint = f"add it to GROUP BY, or say which one: arg_max({n.value}, (at, id)), min({n.value})"
            raise GroupingError(msg, hint=hint, place=n.place or place)
        return None

    return transform(node, change)


def windows_in(nodes: Iterable[Node]) -> frozenset[Node]:
    """Returns the window functions in some nodes."""
    return frozenset(n for node in nodes for n in node.walk() if n.op == "window")
