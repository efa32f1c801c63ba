"""How one plan's state lies in DuckDB: tables, columns, and the small words of SQL that all statements share.

State tables, in the schema the caller names: `s` (one row per group: the group columns, `n`, sums, extremes, kept
columns and the number of distinct values), `d_<name>` and `i_<name>` per distinct aggregate (duckdb_distinct.py) and,
on disk only, `w` (windows) and `meta`. The result is not kept: it is what finish makes of `s`.

An extreme with an order is kept as a struct whose last field is the value and whose first fields are what is compared,
so that one `max` or `min` over structs picks, keeps and merges it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property

import sqlglot
from sqlglot import exp

from penstock.log.model import STAMPS
from penstock.plan.model import Distinct, Extreme, Group, Plan

EVENT_LOW = "_et0"
"""Column of `p`: the least event time of a group's rows."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def quote(name: str) -> str:
    """Returns `name` as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str, type_: str) -> str:
    """Returns a literal of DuckDB's type `type_` that `text` is the printed form of."""
    return "'" + text.replace("'", "''") + f"'::{type_}"


def same(left: str, right: str, columns: Iterable[str]) -> str:
    """Returns the condition that two relations agree on `columns`, NULL being equal to NULL; `true` for none."""
    pairs = [f"{left}.{quote(c)} IS NOT DISTINCT FROM {right}.{quote(c)}" for c in columns]
    return " AND ".join(pairs) or "true"


def listed(parts: Iterable[str]) -> str:
    """Joins parts of a select list."""
    return ", ".join(parts)


def grouped(count: int) -> str:
    """Returns GROUP BY the first `count` columns; '' for none."""
    return f" GROUP BY {listed(str(i + 1) for i in range(count))}" if count else ""


def instant(microseconds: int) -> datetime:
    """Returns the UTC instant that DuckDB's `epoch_us` gives as a number (its own datetimes would need pytz)."""
    return _EPOCH + timedelta(microseconds=microseconds)


def picker(extreme: Extreme) -> str:
    """Returns the aggregate that merges an extreme: `min` or `max`."""
    return "min" if extreme.kind.split("_null")[0].endswith("min") else "max"


def extreme_type(extreme: Extreme) -> str:
    """Returns the type of an extreme in the state."""
    if not extreme.order:
        return extreme.type.duckdb
    order = [f"o{i} {type_.duckdb}" for i, (_, type_) in enumerate(extreme.order)]
    return f"STRUCT({listed([*order, f'v {extreme.type.duckdb}'])})"


def value_names(distinct: Distinct) -> list[str]:
    """Returns the columns of a distinct aggregate's values."""
    return [f"v{i}" for i in range(len(distinct.values))]


def event_time_of(plan: Plan) -> str | None:
    """Returns the stream's column that the window's end is computed from, None when it is not exactly one."""
    if plan.window is None:
        return None
    found = {c.name for c in sqlglot.parse_one(plan.window.end, dialect="duckdb").find_all(exp.Column)} - {*STAMPS}
    return found.pop() if len(found) == 1 else None


class Layout:
    """Names and types of one plan's state."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.steps = plan.steps
        self.event_time = event_time_of(plan)
        self.groups = [g.name for g in plan.steps.groups]
        self.unit = self.groups if plan.steps.unit is None else list(plan.steps.unit)

    @cached_property
    def window_group(self) -> Group | None:
        """The group that is the window."""
        window = self.plan.window
        return next((g for g in self.steps.groups if window and g.column == window.column), None)

    @cached_property
    def ordering(self) -> Group | None:
        """The group whose values cut the state into blocks of whole units: the window, else the first of the unit.

        None where there is no such cut: groups that are units of their own and have no window, or one whole unit.
        """
        if self.window_group and self.window_group.name in self.unit:
            return self.window_group
        if self.steps.unit is None:
            return None
        return next((g for g in self.steps.groups if g.name in self.unit), None)

    @cached_property
    def measures(self) -> list[tuple[str, str, str]]:
        """Name, type and empty value of the state's columns after the groups."""
        out = [("n", "BIGINT", "0::BIGINT")]
        out += [(a.name, a.type.duckdb, f"0::{a.type.duckdb}") for a in self.steps.additives]
        out += [(e.name, type_, f"NULL::{type_}") for e in self.steps.extremes for type_ in [extreme_type(e)]]
        if self.steps.kept:
            fields = listed(f"{quote(k.name)} {k.type.duckdb}" for k in self.steps.kept)
            type_ = f'STRUCT("at" BIGINT, "row" STRUCT({fields}))'
            out.append(("kept", type_, f"NULL::{type_}"))
        return out + [(d.name, "BIGINT", "0::BIGINT") for d in self.steps.distincts]

    @cached_property
    def state_columns(self) -> list[str]:
        """The columns of `s`, quoted."""
        return [*map(quote, self.groups), *(quote(name) for name, _, _ in self.measures)]

    def group_list(self, alias: str = "") -> str:
        """Returns the group columns as the beginning of a select list, with a comma after them if there are any."""
        dot = f"{alias}." if alias else ""
        return "".join(f"{dot}{quote(g)}, " for g in self.groups)

    def keyed(self) -> list[str]:
        """Returns the grouping expressions, over the stream's columns, under their names."""
        return [f"{g.sql} AS {quote(g.name)}" for g in self.steps.groups]

    def block_is(self, alias: str, blocks: Sequence[str | None]) -> str:
        """Returns the condition that a state row belongs to one of the blocks, given as printed values."""
        if not self.ordering:
            return "true"
        column, type_ = f"{alias}.{quote(self.ordering.name)}", self.ordering.type.duckdb
        known = listed(literal(b, type_) for b in blocks if b is not None)
        parts = [f"{column} IN ({known})"] if known else []
        parts += [f"{column} IS NULL"] if None in blocks else []
        return f"({' OR '.join(parts) or 'false'})"

    def within(self, alias: str, low: str | None, high: str | None) -> str:
        """Returns the condition that a state row's block lies within bounds given as printed values."""
        if not self.ordering or low is None or high is None:
            return "true"
        type_ = self.ordering.type.duckdb
        return f"{alias}.{quote(self.ordering.name)} BETWEEN {literal(low, type_)} AND {literal(high, type_)}"


def create(table: str, columns: Sequence[tuple[str, str]]) -> str:
    """Returns CREATE TABLE with columns of (name, type)."""
    return f"CREATE TABLE {table} ({listed(f'{quote(n)} {t}' for n, t in columns)})"
