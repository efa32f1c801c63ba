"""One SELECT, with its CTEs and subqueries, reduced to one level of grouping: the `Query`.

A CTE or subquery that only filters and computes is laid into the SELECT above it. One that groups may be read by
SELECTs that compute, filter and rank its rows: their WHERE becomes HAVING (or QUALIFY after window functions).
Grouping what is grouped already is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from sqlglot import exp

from penstock.errors import PenstockError, Place, nearest
from penstock.plan import shape, understood
from penstock.plan.errors import (
    GroupingError,
    PlanError,
    ResultColumnError,
    UnknownColumnError,
    UnknownStreamError,
    UnsupportedSqlError,
)
from penstock.plan.expressions import Expressions
from penstock.plan.places import Places, said
from penstock.plan.tree import Node, column, columns_of, conjuncts
from penstock.project.model import Stream


@dataclass(frozen=True)
class Output:
    name: str
    node: Node
    place: Place


@dataclass(frozen=True)
class Query:
    """What a SELECT means. `groups` None = one row out for each row in; () = one row in all.

    With groups, outputs, having and qualify have `group` and `aggregate` leaves; without, `column` leaves.
    """

    stream: Stream
    outputs: tuple[Output, ...]
    where: tuple[Node, ...] = ()
    groups: tuple[Node, ...] | None = None
    having: tuple[Node, ...] = ()
    qualify: tuple[Node, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it only filters and computes, so that a SELECT above can take its place."""
        return self.groups is None and not self.qualify and not any(o.node.has("window") for o in self.outputs)

    @property
    def has_windows(self) -> bool:
        return bool(self.qualify) or any(o.node.has("window") for o in self.outputs)


@dataclass
class Context:
    """What all SELECTs of one pipeline share; errors are collected, so that all are told at once."""

    streams: Mapping[str, Stream]
    places: Places
    zone: str
    errors: list[PenstockError] = field(default_factory=list)

    @contextmanager
    def collecting(self, place: Place | None = None) -> Iterator[None]:
        """Collects a PlanError raised within; `place` is where, when the error does not know."""
        try:
            yield
        except PlanError as e:
            e.place = e.place or place
            self.errors.append(e)


def read(context: Context, select: exp.Expr, ctes: Mapping[str, Query] | None = None) -> Query:
    """Returns the meaning of a SELECT. Raises PlanError when nothing can be made of it; see also context.errors."""
    place = context.places.of(select)
    if isinstance(select, exp.Subquery):
        return read(context, select.this, ctes)
    if not isinstance(select, exp.Select):
        raise shape.not_a_select(select, place)
    for part in _parts(select):
        with context.collecting():
            _check_part(context, part)
    known = dict(ctes or {})
    with_ = select.args.get("with_")
    if with_ is not None:
        if with_.args.get("recursive"):
            msg = "WITH RECURSIVE cannot be kept current"
            raise UnsupportedSqlError(msg, hint="use plain CTEs", place=place)
        for cte in with_.expressions:
            known[cte.alias.lower()] = read(context, cte.this, known)
    for problem in shape.problems(select, context.places):
        context.errors.append(problem)
    return _Select(context, select, known).query()


def _parts(select: exp.Select) -> Iterator[exp.Expr]:
    """Yields the syntax around the expressions of a SELECT: what may carry a meaning nobody reads."""
    yield select
    for key in ("with_", "group", "distinct"):
        if select.args.get(key) is not None:
            yield select.args[key]
    tables = [select.args["from_"].this] if select.args.get("from_") else []
    with_ = select.args.get("with_")
    for holder in (*tables, *(with_.expressions if with_ is not None else ())):
        yield holder
        if holder.args.get("alias") is not None:
            yield holder.args["alias"]


def _check_part(context: Context, part: exp.Expr) -> None:
    try:
        if isinstance(part, exp.TableAlias) and part.args.get("columns"):
            msg = f"column names in an alias are not supported: {said(part)}"
            raise UnsupportedSqlError(msg, hint="name the columns inside with AS")
        understood.check(part)
    except PlanError as e:
        e.place = context.places.of(part)
        raise


class _Select:
    """One SELECT being read: its scope of names, and its clauses in the order SQL evaluates them."""

    def __init__(self, context: Context, select: exp.Select, ctes: Mapping[str, Query]) -> None:
        self.context = context
        self.select = select
        self.base, self.base_name = self._from(ctes)
        self.columns = {o.name.lower(): o.node for o in self.base.outputs}
        self.below = [o.node for o in self.base.outputs]
        self.sql_of_alias = self._aliases()
        self.expressions = Expressions(self, context.places, context.zone)
        self.open_aliases: list[str] = []
        self.alias_first = False

    # -- names ---------------------------------------------------------------------------------------------------

    def _from(self, ctes: Mapping[str, Query]) -> tuple[Query, str]:
        clause = self.select.args.get("from_")
        if clause is None:
            msg = "there is no FROM"
            raise UnsupportedSqlError(msg, hint="select from a stream", place=self.context.places.of(self.select))
        table = clause.this
        place = self.context.places.of(table)
        if isinstance(table, exp.Subquery):
            return read(self.context, table.this, ctes), table.alias.lower()
        if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
            msg = f"FROM {said(table)} is no stream"
            raise UnsupportedSqlError(msg, hint="select from a stream, a CTE or a subquery", place=place)
        name = table.name
        if name.lower() in ctes and not table.args.get("db"):
            return ctes[name.lower()], (table.alias or name).lower()
        by_lower = {s.lower(): s for s in self.context.streams}
        if name.lower() not in by_lower or table.args.get("db"):
            msg = f"there is no stream '{said(table).split(' AS ')[0]}'"
            hint = nearest(name, [*self.context.streams, *ctes])
            raise UnknownStreamError(msg, hint=hint, place=place)
        return _whole_stream(self.context.streams[by_lower[name.lower()]], place), (table.alias or name).lower()

    def _aliases(self) -> dict[str, exp.Expr]:
        return {e.alias.lower(): e.this for e in reversed(self.select.expressions) if isinstance(e, exp.Alias)}

    def resolve(self, sql: exp.Column, place: Place) -> Node:
        """Returns the node a name stands for: a column of FROM, else an alias of this SELECT (HAVING: the reverse)."""
        if isinstance(sql.this, exp.Star):
            msg = "* cannot stand here"
            raise UnsupportedSqlError(msg, hint="name the columns", place=place)
        name, table = sql.name.lower(), sql.table.lower()
        if table and table != self.base_name:
            msg = f"there is no table '{sql.table}' in FROM"
            raise UnknownColumnError(msg, hint=nearest(table, [self.base_name]), place=place)
        aliased = not table and name in self.sql_of_alias
        if name in self.columns and not (aliased and self.alias_first):
            return replace(self.columns[name], place=place)
        if aliased:
            return self._alias(name, place)
        if name.startswith("_"):
            msg = f"'{sql.name}' is no column; Penstock's stamps are not for pipelines"
            raise UnknownColumnError(msg, hint="select columns of the contract", place=place)
        msg = f"there is no column '{sql.name}'"
        raise UnknownColumnError(msg, hint=nearest(sql.name, {*self.columns, *self.sql_of_alias}), place=place)

    def _alias(self, name: str, place: Place) -> Node:
        if name in self.open_aliases:
            msg = f"'{name}' is defined by itself"
            raise UnknownColumnError(msg, hint=nearest(name, self.columns), place=place)
        self.open_aliases.append(name)
        try:
            with self.inside_aggregate():
                return replace(self.expressions.build(self.sql_of_alias[name]), place=place)
        finally:
            self.open_aliases.pop()

    @contextmanager
    def inside_aggregate(self) -> Iterator[None]:
        """Makes columns of FROM come before aliases, as they do inside an aggregate of HAVING."""
        first, self.alias_first = self.alias_first, False
        try:
            yield
        finally:
            self.alias_first = first

    def window_named(self, name: str) -> exp.Expr | None:
        """Returns the definition of WINDOW name."""
        for window in self.select.args.get("windows") or ():
            if window.name.lower() == name.lower() or window.this.name.lower() == name.lower():
                return window  # type: ignore[no-any-return]  # sqlglot's args are untyped
        return None

    # -- clauses -------------------------------------------------------------------------------------------------

    def query(self) -> Query:
        """Returns the meaning of the SELECT; what is wrong is collected in the context."""
        where = self._conditions("where", "WHERE")
        outputs = self._outputs()
        groups = self._in_order_of(outputs, self._groups())
        self.alias_first = True
        having = self._conditions("having", "HAVING")
        self.alias_first = False
        qualify = self._conditions("qualify", "QUALIFY")
        if groups is None and self.base.is_plain and self._aggregates(outputs, having, qualify):
            groups = ()
        if not self.base.is_plain:
            return self._over_groups(where, groups, outputs, having, qualify)
        return self._over_rows(where, groups, outputs, having, qualify)

    @staticmethod
    def _aggregates(outputs: tuple[Output, ...], having: tuple[Node, ...], qualify: tuple[Node, ...]) -> bool:
        return bool(having) or any(n.has("aggregate") for n in (*(o.node for o in outputs), *qualify))

    def _conditions(self, key: str, clause: str) -> tuple[Node, ...]:
        sql = self.select.args.get(key)
        if sql is None:
            return ()
        terms: list[Node] = []
        with self.context.collecting():
            node = self.expressions.condition(sql.this)
            shape.check_level(node, clause, self.below, self.context.places.of(sql.this))
            terms += conjuncts(node)
        return tuple(terms)

    def _groups(self) -> tuple[Node, ...] | None:
        group = self.select.args.get("group")
        if group is None:
            return self._distinct_groups()
        found: list[Node] = []
        for sql in self._group_expressions(group):
            with self.context.collecting(self.context.places.of(sql)):
                node = shape.settled(self.expressions.build(sql))
                shape.check_level(node, "GROUP BY", self.below, self.context.places.of(sql))
                if node not in found:
                    found.append(node)
        # A constant divides no group; it counts only where there is nothing else to group by.
        return tuple(n for n in found if columns_of(n)) or tuple(found)

    @staticmethod
    def _in_order_of(outputs: tuple[Output, ...], groups: tuple[Node, ...] | None) -> tuple[Node, ...] | None:
        """Returns the groups in the order of the SELECT, so that GROUP BY a, b and GROUP BY b, a are one plan."""
        if groups is None:
            return None
        place = {o.node: i for i, o in reversed(list(enumerate(outputs)))}
        return tuple(sorted(groups, key=lambda g: place.get(g, len(place))))

    def _group_expressions(self, group: exp.Group) -> list[exp.Expr]:
        if group.args.get("all"):
            return [e.this if isinstance(e, exp.Alias) else e for e in self.select.expressions
                    if not shape.mentions_aggregate(e, self.sql_of_alias)]  # fmt: skip
        found: list[exp.Expr] = []
        for sql in group.expressions:
            if isinstance(sql, exp.Literal) and not sql.is_string and sql.name.isdigit():
                with self.context.collecting():
                    found.append(self._ordinal(sql))
            elif not isinstance(sql, shape.GROUPING_SETS):
                found += sql.expressions if isinstance(sql, exp.Tuple) else [sql]
        return found

    def _ordinal(self, sql: exp.Literal) -> exp.Expr:
        items, n = self.select.expressions, int(sql.name)
        if not 1 <= n <= len(items):
            msg = f"GROUP BY {n}: the SELECT has {len(items)} columns"
            raise GroupingError(msg, hint="count from 1", place=self.context.places.of(items[-1]))
        item = items[n - 1]
        return item.this if isinstance(item, exp.Alias) else item  # type: ignore[no-any-return]

    def _distinct_groups(self) -> tuple[Node, ...] | None:
        """SELECT DISTINCT a, b is SELECT a, b GROUP BY a, b."""
        distinct = self.select.args.get("distinct")
        if distinct is None or distinct.args.get("on") is not None or not self.base.is_plain:
            return None
        if any(shape.mentions_aggregate(e, self.sql_of_alias) for e in self.select.expressions):
            return None
        return tuple(dict.fromkeys(shape.settled(o.node) for o in self._outputs(collect=False)))

    def _outputs(self, *, collect: bool = True) -> tuple[Output, ...]:
        found: list[Output] = []
        for sql in self.select.expressions:
            place = self.context.places.of(sql)
            try:
                found += self._output(sql, place)
            except PlanError as e:
                e.place = e.place or place
                if collect:
                    self.context.errors.append(e)
        return tuple(found)

    def _output(self, sql: exp.Expr, place: Place) -> list[Output]:
        if isinstance(sql, exp.Star) or (isinstance(sql, exp.Column) and isinstance(sql.this, exp.Star)):
            return self._star(sql, place)
        if isinstance(sql, exp.Alias):
            return [Output(sql.alias, shape.settled(self.expressions.build(sql.this)), place)]
        if isinstance(sql, exp.Column):
            name = next((o.name for o in self.base.outputs if o.name.lower() == sql.name.lower()), sql.name)
            return [Output(name, self.expressions.build(sql), place)]
        self.expressions.build(sql)
        msg = f"{said(sql)} has no name"
        raise ResultColumnError(msg, hint=f"{said(sql)} AS name", place=place)

    def _star(self, sql: exp.Expr, place: Place) -> list[Output]:
        star = sql if isinstance(sql, exp.Star) else sql.this
        if any(star.args.get(k) for k in ("except_", "replace", "rename")):
            msg = "* EXCLUDE, REPLACE and RENAME are not supported"
            raise UnsupportedSqlError(msg, hint="name the columns", place=place)
        if self.base.groups is None and not self.base.where and self.select.parent is None:
            names = ", ".join(o.name for o in self.base.outputs)
            msg = "SELECT * would change the result table whenever the contract gains a column"
            raise UnsupportedSqlError(msg, hint=f"name the columns you need of {names}", place=place)
        return [replace(o, place=place) for o in self.base.outputs]

    # -- the two shapes ------------------------------------------------------------------------------------------

    def _over_rows(
        self,
        where: tuple[Node, ...],
        groups: tuple[Node, ...] | None,
        outputs: tuple[Output, ...],
        having: tuple[Node, ...],
        qualify: tuple[Node, ...],
    ) -> Query:
        where = (*self.base.where, *where)
        if groups is None:
            return Query(self.base.stream, outputs, where, None, having, qualify)
        bound: list[Output] = []
        for output in outputs:
            with self.context.collecting():
                bound.append(replace(output, node=shape.over_groups(output.node, groups, output.place)))
        return Query(
            self.base.stream, tuple(bound), where, groups, self._bind(having, groups), self._bind(qualify, groups)
        )

    def _bind(self, terms: tuple[Node, ...], groups: tuple[Node, ...]) -> tuple[Node, ...]:
        bound: list[Node] = []
        for term in terms:
            with self.context.collecting():
                bound.append(shape.over_groups(term, groups, term.place))
        return tuple(bound)

    def _over_groups(
        self,
        where: tuple[Node, ...],
        groups: tuple[Node, ...] | None,
        outputs: tuple[Output, ...],
        having: tuple[Node, ...],
        qualify: tuple[Node, ...],
    ) -> Query:
        base = self.base
        if groups is not None or having or self.select.args.get("distinct"):
            msg = "this SELECT groups the rows of one that groups or ranks already; one level can be kept"
            hint = "group once, or keep the inner SELECT as a pipeline and group its table in the endpoint"
            raise UnsupportedSqlError(msg, hint=hint, place=self.context.places.of(self.select))
        inherited = shape.windows_in(o.node for o in base.outputs)
        ranks = not shape.windows_in([*(o.node for o in outputs), *qualify]) <= inherited
        for output in outputs:
            with self.context.collecting():
                shape.check_nesting(output.node)
        if ranks and base.has_windows and (where or base.qualify):
            msg = "window functions over rows that window functions have filtered cannot be kept"
            hint = "use one QUALIFY, with all window functions in one SELECT"
            raise UnsupportedSqlError(msg, hint=hint, place=self.context.places.of(self.select))
        if base.has_windows:
            return replace(base, outputs=outputs, qualify=(*base.qualify, *where, *qualify))
        if base.groups is None:
            return replace(base, outputs=outputs, where=(*base.where, *where), qualify=qualify)
        return replace(base, outputs=outputs, having=(*base.having, *where), qualify=(*base.qualify, *qualify))


def _whole_stream(stream: Stream, place: Place) -> Query:
    outputs = (Output(c.name, column(c.name, c.type, nullable=not c.required), place) for c in stream.columns)
    return Query(stream, tuple(outputs))
