"""A query decomposed: what is kept per group (partial, merge, recompute), and the SELECTs that finish it.

The typed SELECT and the finish end in the same expressions; they differ in their leaves. In the typed SELECT an
aggregate is itself, in the finish it is read from the state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.plan import exact
from penstock.plan.model import Additive, Distinct, Extreme, Group, Kept, Steps
from penstock.plan.query import Query
from penstock.plan.render import lower, quoted, render
from penstock.plan.tree import Node, all_of, call, case, integer, state, transform
from penstock.sqltypes import BIGINT, BOOLEAN, SqlType

_HUGEINT = SqlType("hugeint")
_ROWS = state("n", BIGINT, nullable=False)


def where_sql(query: Query) -> str | None:
    """Returns the WHERE of a query as SQL."""
    return _condition(query.where)


def _condition(terms: tuple[Node, ...]) -> str | None:
    whole = all_of(terms)
    return render(lower(whole)) if whole else None


def _select(items: list[str], relation: str, where: str | None, rest: str = "") -> str:
    """Returns a SELECT laid out for reading: one item a line."""
    condition = f"\nWHERE {where}" if where else ""
    return "SELECT\n  " + ",\n  ".join(items) + f"\nFROM {relation}{condition}{rest}"


def _nested(select: str) -> str:
    return f"(\n{select}\n)"  # not indented: a text literal may hold line ends


@dataclass
class _States:
    """The state columns asked for so far; the same thing asked for twice is one column."""

    grouped: bool
    additives: dict[Node, Additive] = field(default_factory=dict)
    extremes: dict[Node, Extreme] = field(default_factory=dict)
    distincts: dict[Node, Distinct] = field(default_factory=dict)
    kept: dict[Node, Kept] = field(default_factory=dict)

    def of(self, node: Node) -> Node:
        """Returns an aggregate read from the state."""
        if node.value == "sum":
            return self._sum(node)
        if node.value == "count":
            return self._count(node)
        if node.value == "count_distinct":
            return state(self._distinct(node).name, BIGINT, nullable=False)
        return state(self._extreme(node).name, node.type)

    def _sum(self, node: Node) -> Node:
        operand = node.args[0]
        whole = exact.is_whole(operand.type)
        value = operand if node.filter is None else case(operand.type, node.filter, operand)
        total: Node = state(self._additive(value, _HUGEINT if whole else node.type).name, node.type)
        if whole:
            total = Node("cast", node.type, (state(total.value, _HUGEINT),))
        if self.grouped and not operand.nullable and node.filter is None:
            return total
        count = Node("aggregate", BIGINT, node.args if operand.nullable else (), "count", False, node.filter)
        return case(node.type, exact.greater_than_zero(self._count(count)), total)

    def _count(self, node: Node) -> Node:
        terms = [node.filter] if node.filter else []
        terms += [call("is not null", BOOLEAN, a, nullable=False) for a in node.args if a.nullable]
        counted = all_of(tuple(terms))
        if counted is None:
            return _ROWS
        return state(self._additive(case(BIGINT, counted, integer(1)), BIGINT).name, BIGINT, nullable=False)

    def _additive(self, value: Node, type_: SqlType) -> Additive:
        if value not in self.additives:
            sql = render(lower(value))
            self.additives[value] = Additive(f"a{len(self.additives)}", sql, type_)
        return self.additives[value]

    def _distinct(self, node: Node) -> Distinct:
        if node not in self.distincts:
            values = tuple((render(v), v.type) for v in map(lower, node.args))
            self.distincts[node] = Distinct(f"d{len(self.distincts)}", values, _optional(node.filter))
        return self.distincts[node]

    def _extreme(self, node: Node) -> Extreme:
        if node not in self.extremes:
            order = tuple((render(o), o.type) for o in (lower(o.node) for o in node.order))
            terms = [node.filter] if node.filter else []
            if node.order and node.args[0].nullable:
                terms.append(call("is not null", BOOLEAN, node.args[0], nullable=False))
            name = f"e{len(self.extremes)}"
            value = render(lower(node.args[0]))
            self.extremes[node] = Extreme(name, node.value, value, node.type, order, _optional(all_of(tuple(terms))))
        return self.extremes[node]

    def keep(self, node: Node) -> Node:
        """Returns a value of the row read from a list's state."""
        low = lower(node)
        if low not in self.kept:
            self.kept[low] = Kept(f"k{len(self.kept)}", render(low), low.type)
        return state(self.kept[low].name, low.type, nullable=low.nullable)


def _optional(condition: Node | None) -> str | None:
    return render(lower(condition)) if condition else None


def steps(query: Query, key: tuple[str, ...]) -> Steps:
    """Returns how a query's answer is kept. `key` are the result columns of the groups (lists: the primary key)."""
    states = _States(grouped=query.groups != ())
    groups = _groups(query, key)
    leaf = _list_leaf(query, states) if query.groups is None else _group_leaf(states)
    final = _Final(query, leaf)
    return Steps(
        where=where_sql(query),
        groups=groups,
        additives=tuple(states.additives.values()),
        extremes=tuple(states.extremes.values()),
        distincts=tuple(states.distincts.values()),
        kept=tuple(states.kept.values()),
        is_list=query.groups is None,
        finish=final.sql("s"),
        unit=final.unit(),
    )


def _groups(query: Query, key: tuple[str, ...]) -> tuple[Group, ...]:
    nodes = query.groups if query.groups is not None else _key_columns(query)
    lows = [lower(n) for n in nodes]
    return tuple(Group(f"g{i}", render(n), n.type, name) for i, (n, name) in enumerate(zip(lows, key, strict=True)))


def _key_columns(query: Query) -> tuple[Node, ...]:
    stream = query.stream
    return tuple(
        Node("column", stream.column(name).type, (), name, not stream.column(name).required)
        for name in stream.primary_key
    )


def _group_leaf(states: _States) -> Callable[[Node], Node | None]:
    def leaf(node: Node) -> Node | None:
        if node.op == "group":
            return state(f"g{node.value}", node.type, nullable=node.nullable)
        return states.of(node) if node.op == "aggregate" else None

    return leaf


def _list_leaf(query: Query, states: _States) -> Callable[[Node], Node | None]:
    keys = {n: f"g{i}" for i, n in enumerate(_key_columns(query))}

    def leaf(node: Node) -> Node | None:
        if node in keys:
            return state(keys[node], node.type, nullable=node.nullable)
        if node.has("column") and not node.has("window"):
            return states.keep(node)
        return None

    return leaf


class _Final:
    """The last two levels of a SELECT: window functions over the groups, then QUALIFY and the result columns."""

    def __init__(self, query: Query, leaf: Callable[[Node], Node | None]) -> None:
        def bound(node: Node) -> Node:
            return lower(transform(node, leaf))

        self.outputs = [(o.name, bound(o.node)) for o in query.outputs]
        self.having = tuple(bound(n) for n in query.having)
        self.qualify = tuple(bound(n) for n in query.qualify)
        self.windows: dict[Node, str] = {}
        for node in (*(n for _, n in self.outputs), *self.qualify):
            for w in node.walk():
                if w.op == "window" and w not in self.windows:
                    self.windows[w] = f"_w{len(self.windows)}"

    def sql(self, relation: str, where: str | None = None) -> str:
        """Returns the SELECT over `relation`; `where` filters its rows first."""
        terms = [t for t in (where, _condition(self.having)) if t]
        items = [f"{render(self._flat(n))} AS {quoted(name)}" for name, n in self.outputs]
        qualify = [render(self._flat(q)) for q in self.qualify]
        if not self.windows:
            return _select(items, relation, " AND ".join([*terms, *qualify]))
        windows = [f"{render(w)} AS {name}" for w, name in self.windows.items()]
        inner = _select(["*", *windows], relation, " AND ".join(terms))
        return _select(items, f"{_nested(inner)} AS windowed", " AND ".join(qualify))

    def _flat(self, node: Node) -> Node:
        def change(n: Node) -> Node | None:
            return state(self.windows[n], n.type, nullable=n.nullable) if n.op == "window" else None

        return transform(node, change)

    def unit(self) -> tuple[str, ...] | None:
        """Returns the state's group columns that every window function partitions by."""
        if not self.windows:
            return None
        sets = [{p.value for p in w.partition if p.op == "state" and p.value.startswith("g")} for w in self.windows]
        return tuple(sorted(set.intersection(*sets), key=lambda name: int(name[1:])))


def typed_select(query: Query) -> str:
    """Returns the SELECT with rule 3's types over the stream, whole."""
    relation = quoted(query.stream.name)
    if query.groups is None:
        return _Final(query, lambda n: None).sql(relation, where_sql(query))
    aggregates: dict[Node, str] = {}

    def leaf(node: Node) -> Node | None:
        if node.op == "group":
            return state(f"g{node.value}", node.type, nullable=node.nullable)
        if node.op != "aggregate":
            return None
        return state(aggregates.setdefault(node, f"v{len(aggregates)}"), node.type, nullable=node.nullable)

    final = _Final(query, leaf).sql("grouped")
    items = [f"{render(lower(g))} AS g{i}" for i, g in enumerate(query.groups)]
    items += [f"{render(lower(a))} AS {name}" for a, name in aggregates.items()]
    if not items:
        items = ["count(*) AS v0"]
    grouping = f"\nGROUP BY {', '.join(str(i + 1) for i in range(len(query.groups)))}" if query.groups else ""
    return f"WITH grouped AS {_nested(_select(items, relation, where_sql(query), grouping))}\n{final}"
