"""The statements that keep one plan's state in DuckDB. Pure text, no connection.

State tables, in the schema the caller names: `s` (one row per group: the group columns, `n`, sums, extremes, kept
columns and the number of distinct values), one `d_<name>` per distinct aggregate (values with counts, as deltas: equal
rows add up), `r` (the result as the store confirmed it), `w` (windows). Scratch tables are temporary: `p` (partials),
`dp_<name>`, `dn_<name>` (change in the number of values), `m` (merged groups), `u` (touched units), `f` (finished),
`up` and `gone` (what differs), `lw` (late rows per window).

An extreme is kept as a struct whose last field is the value and whose first fields are what is compared, so that one
`max` or `min` over structs picks, keeps and merges it. No statement needs an index: every join is a hash join whose
build side is what was touched, and the big tables are read within `lo` and `hi` of one column that orders them, so
that zone maps skip the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from penstock.plan.model import Distinct, Extreme, Group, Plan
from penstock.sqltypes import SqlType

EVENT_LOW, EVENT_HIGH = "_et0", "_et1"
"""Columns of `p` and `w`: the least and greatest event time of a window's rows."""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def quote(name: str) -> str:
    """Returns `name` as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def instant(microseconds: int) -> datetime:
    """Returns the UTC instant that DuckDB's `epoch_us` gives as a number (its own datetimes would need pytz)."""
    return _EPOCH + timedelta(microseconds=microseconds)


def same(left: str, right: str, columns: Iterable[str]) -> str:
    """Returns the condition that two relations agree on `columns`, NULL being equal to NULL; `true` for none."""
    pairs = [f"{left}.{quote(c)} IS NOT DISTINCT FROM {right}.{quote(c)}" for c in columns]
    return " AND ".join(pairs) or "true"


def listed(parts: Iterable[str]) -> str:
    """Joins parts of a select list."""
    return ", ".join(parts)


def _grouped(count: int) -> str:
    return f" GROUP BY {listed(str(i + 1) for i in range(count))}" if count else ""


@dataclass(frozen=True)
class Mode:
    """What a chunk of rows holds: statements are simpler, and faster, for the usual rows."""

    weighted: bool
    """Some `_weight` is not 1."""
    late: bool
    """Some row may be late."""


class Statements:
    """The SQL of one plan. `event_time` is the stream's column that the window is computed from, or None."""

    def __init__(self, plan: Plan, event_time: str | None) -> None:
        self.plan = plan
        self.steps = plan.steps
        self.event_time = event_time if plan.window else None
        self.groups = [g.name for g in plan.steps.groups]
        self.unit = self.groups if plan.steps.unit is None else list(plan.steps.unit)
        self.result_of = {g.name: g.column for g in plan.steps.groups}

    # ---- columns -------------------------------------------------------------------------------------------------

    @cached_property
    def window_group(self) -> Group | None:
        """The group that is the window."""
        window = self.plan.window
        return next((g for g in self.steps.groups if window and g.column == window.column), None)

    @cached_property
    def ordering(self) -> Group | None:
        """The group column by which big tables are read in ranges: the window, else the first of the unit."""
        if self.window_group and self.window_group.name in self.unit:
            return self.window_group
        return next((g for g in self.steps.groups if g.name in self.unit), None)

    @cached_property
    def measures(self) -> list[tuple[str, str, str]]:
        """Name, type and empty value of the state's columns after the groups."""
        out = [("n", "BIGINT", "0::BIGINT")]
        out += [(a.name, a.type.duckdb, f"0::{a.type.duckdb}") for a in self.steps.additives]
        out += [(e.name, type_, f"NULL::{type_}") for e in self.steps.extremes for type_ in [_extreme_type(e)]]
        if self.steps.kept:
            fields = listed(f"{quote(k.name)} {k.type.duckdb}" for k in self.steps.kept)
            type_ = f'STRUCT("at" BIGINT, "row" STRUCT({fields}))'
            out.append(("kept", type_, f"NULL::{type_}"))
        return out + [(d.name, "BIGINT", "0::BIGINT") for d in self.steps.distincts]

    @cached_property
    def result_columns(self) -> list[str]:
        return [c.name for c in self.plan.columns]

    @cached_property
    def table_names(self) -> list[str]:
        """Names of the state's tables, quoted."""
        return ["s", "r", *(quote("d_" + d.name) for d in self.steps.distincts), *(["w"] if self.window_group else [])]

    def tables(self, schema: str) -> list[str]:
        """Returns CREATE TABLE statements of the state in `schema`."""
        groups = [(g.name, g.type.duckdb) for g in self.steps.groups]
        out = [_create(f"{schema}.s", groups + [(name, type_) for name, type_, _ in self.measures])]
        for d in self.steps.distincts:
            out.append(_create(f"{schema}.{quote('d_' + d.name)}", groups + _value_columns(d) + [("c", "BIGINT")]))
        out.append(_create(f"{schema}.r", [(c.name, c.type.duckdb) for c in self.plan.columns]))
        if self.window_group:
            out.append(_create(f"{schema}.w", self._window_columns(self.window_group.type)))
        return out

    def _window_columns(self, type_: SqlType) -> list[tuple[str, str]]:
        times = [("ends", "TIMESTAMPTZ"), (EVENT_LOW, "TIMESTAMPTZ"), (EVENT_HIGH, "TIMESTAMPTZ")]
        return [("win", type_.duckdb), *times, ("restated", "BIGINT"), ("set_aside", "BIGINT")]

    # ---- partial: a chunk of the log -----------------------------------------------------------------------------

    def late(self) -> str:
        """Returns the condition that a row is late."""
        assert self.plan.window
        return f"coalesce(({self.plan.window.end}) <= _watermark, false)"

    def counting(self, mode: Mode, *extra: str) -> str:
        """Returns the WHERE clause of the rows of `chunk` that count in this pipeline."""
        conditions = [f"({self.steps.where})"] if self.steps.where else []
        conditions += ["_weight <> 0"] if mode.weighted else []
        if mode.late and self.plan.late == "set_aside":
            conditions.append(f"NOT {self.late()}")
        conditions += extra
        return " WHERE " + " AND ".join(conditions) if conditions else ""

    def partial(self, mode: Mode, relation: str = "chunk") -> str:
        """Returns the SELECT of partials: one row per group with the state's columns (distinct counts 0)."""
        measures = [f"{self._count(mode)} AS n"]
        measures += [f"{_summed(a.sql, a.type.duckdb, mode)} AS {quote(a.name)}" for a in self.steps.additives]
        measures += [f"{_extreme(e, mode)} AS {quote(e.name)}" for e in self.steps.extremes]
        measures += [f"{self._kept(mode)} AS kept"] if self.steps.kept else []
        measures += [f"0::BIGINT AS {quote(d.name)}" for d in self.steps.distincts]
        if self.event_time:
            column = quote(self.event_time)
            measures += [f"min({column}) AS {EVENT_LOW}", f"max({column}) AS {EVENT_HIGH}"]
        measures += [f"{_taken(e, mode)} AS {quote(taken_name(e))}" for e in self.steps.extremes]
        keys = [f"{g.sql} AS {quote(g.name)}" for g in self.steps.groups]
        return f"SELECT {listed(keys + measures)} FROM {relation}{self.counting(mode)}{_grouped(len(keys))}"

    def _count(self, mode: Mode) -> str:
        return "sum(_weight)::BIGINT" if mode.weighted else "count(*)"

    def _kept(self, mode: Mode) -> str:
        row = listed(f"{quote(k.name)} := {k.sql}" for k in self.steps.kept)
        place = "(_batch::BIGINT * 1000000000 + _row)"
        only = " FILTER (WHERE _weight > 0)" if mode.weighted else ""
        packed = f'struct_pack("at" := {place}, "row" := struct_pack({row}))'
        return f"arg_max({packed}, {place}){only}"

    def partial_distinct(self, distinct: Distinct, mode: Mode) -> str:
        """Returns the SELECT of one distinct aggregate's values with counts per group."""
        keys = [f"{g.sql} AS {quote(g.name)}" for g in self.steps.groups]
        keys += [f"{sql} AS {quote(f'v{i}')}" for i, (sql, _) in enumerate(distinct.values)]
        known = [f"({sql}) IS NOT NULL" for sql, _ in distinct.values]
        known += [f"({distinct.filter})"] if distinct.filter else []
        select = f"SELECT {listed(keys)}, {self._count(mode)} AS c"
        return f"{select} FROM chunk{self.counting(mode, *known)}{_grouped(len(keys))}"

    def late_windows(self, mode: Mode) -> str:
        """Returns the SELECT of the late rows per window: win, late, _et0, _et1."""
        assert self.window_group
        conditions = [f"({self.steps.where})"] if self.steps.where else []
        conditions += ["_weight <> 0", self.late()]
        time = quote(self.event_time) if self.event_time else "NULL::TIMESTAMPTZ"
        return (
            f"SELECT {self.window_group.sql} AS win, {self._count(mode)} AS late, min({time}) AS {EVENT_LOW}, "
            f"max({time}) AS {EVENT_HIGH} FROM chunk WHERE {' AND '.join(conditions)} GROUP BY 1"
        )

    # ---- merge: partials into the state --------------------------------------------------------------------------

    def bounds(self, relation: str) -> str | None:
        """Returns the SELECT of (low, high) as text of the ordering column in `p` or `u`, NULL when it cannot bound."""
        if not self.ordering:
            return None
        c = quote(self.ordering.name)
        return f"SELECT min({c})::VARCHAR, CASE WHEN count(*) = count({c}) THEN max({c})::VARCHAR END FROM {relation}"

    def within(self, column: str, low: str | None, high: str | None) -> str:
        """Returns the condition that `column` lies within the bounds; `true` when there are none."""
        if not self.ordering or low is None or high is None:
            return "true"
        type_ = self.ordering.type.duckdb
        literals = ["'" + bound.replace("'", "''") + f"'::{type_}" for bound in (low, high)]
        return f"{column} BETWEEN {literals[0]} AND {literals[1]}"

    def state_within(self, alias: str, low: str | None, high: str | None) -> str:
        """Returns `within` for the ordering column of a state table called `alias`."""
        return self.within(f"{alias}.{quote(self.ordering.name)}", low, high) if self.ordering else "true"

    def result_within(self, alias: str, low: str | None, high: str | None) -> str:
        """Returns `within` for the ordering column of the result table called `alias`."""
        return self.within(f"{alias}.{quote(self.ordering.column)}", low, high) if self.ordering else "true"

    def new_values(self, schema: str, distinct: Distinct, within: str) -> str:
        """Returns the SELECT of how many values each group of `dp_` gains or loses: groups, k."""
        table, values = quote("d_" + distinct.name), [name for name, _ in _value_columns(distinct)]
        columns = [*map(quote, self.groups), *values]
        delta = quote("dp_" + distinct.name)
        matches = " AND ".join([same("d", "q", self.groups), *(f"d.{v} = q.{v}" for v in values)])
        old = f"SELECT d.* FROM {schema}.{table} AS d SEMI JOIN {delta} AS q ON ({matches}) WHERE {within}"
        both = (
            f"SELECT {listed(columns)}, c, 0::BIGINT AS o FROM {delta} "
            f"UNION ALL SELECT {listed(columns)}, c, c AS o FROM ({old})"
        )
        counts = f"SELECT {listed(columns)}, sum(c) AS c, sum(o) AS o FROM ({both}) GROUP BY ALL"
        gained = "count(*) FILTER (WHERE c > 0) - count(*) FILTER (WHERE o > 0)"
        keys = listed(map(quote, self.groups))
        return f"SELECT {keys + ', ' if keys else ''}{gained} AS k FROM ({counts}){_grouped(len(self.groups))}"

    def merged(self, schema: str, within: str) -> str:
        """Returns the SELECT of the touched groups' new state from `p`, `s` and the `dn_` tables."""
        columns = [*map(quote, self.groups), *(quote(name) for name, _, _ in self.measures)]
        parts = [f"SELECT {listed(columns)} FROM p"]
        old = f"SELECT {listed('s.' + c for c in columns)} FROM {schema}.s AS s"
        parts.append(f"{old} SEMI JOIN p ON ({same('s', 'p', self.groups)}) WHERE {within}")
        for d in self.steps.distincts:
            empty = [f"{'k' if name == d.name else nothing} AS {quote(name)}" for name, _, nothing in self.measures]
            parts.append(f"SELECT {listed([*map(quote, self.groups), *empty])} FROM {quote('dn_' + d.name)}")
        select = listed([*map(quote, self.groups), *self._merges()])
        return f"SELECT {select} FROM ({' UNION ALL '.join(parts)}){_grouped(len(self.groups))}"

    def _merges(self) -> list[str]:
        out = ["coalesce(sum(n), 0)::BIGINT AS n"]
        for a in self.steps.additives:
            out.append(f"coalesce(sum({quote(a.name)}), 0)::{a.type.duckdb} AS {quote(a.name)}")
        out += [f"{_picker(e)}({quote(e.name)}) AS {quote(e.name)}" for e in self.steps.extremes]
        out += ['arg_max(kept, kept."at") AS kept'] if self.steps.kept else []
        return out + [f"coalesce(sum({quote(d.name)}), 0)::BIGINT AS {quote(d.name)}" for d in self.steps.distincts]

    def store_merged(self, schema: str, within: str) -> list[str]:
        """Returns the statements that put `m` in the place of the touched groups' rows of `s`."""
        return [
            f"DELETE FROM {schema}.s AS s USING m WHERE {same('s', 'm', self.groups)} AND {within}",
            f"INSERT INTO {schema}.s SELECT * FROM m WHERE n <> 0",
        ]

    def windows(self) -> str:
        """Returns the SELECT of the windows in `p`: win, late, _et0, _et1, as `late_windows` has them."""
        assert self.window_group
        low, high = (EVENT_LOW, EVENT_HIGH) if self.event_time else ("NULL::TIMESTAMPTZ", "NULL::TIMESTAMPTZ")
        return (
            f"SELECT {quote(self.window_group.name)} AS win, 0::BIGINT AS late, min({low}) AS {EVENT_LOW}, "
            f"max({high}) AS {EVENT_HIGH} FROM p GROUP BY 1"
        )

    def new_windows(self, schema: str) -> str:
        """Returns the SELECT of the touched windows' new rows of `w`, from `lw` and `w`."""
        assert self.plan.window
        new = (
            f"SELECT win, sum(late)::BIGINT AS late, min({EVENT_LOW}) AS {EVENT_LOW}, "
            f"max({EVENT_HIGH}) AS {EVENT_HIGH} FROM lw WHERE win IS NOT NULL GROUP BY win"
        )
        ends = "NULL::TIMESTAMPTZ"
        if self.event_time:
            ends = self.plan.window.end
            new = f"SELECT *, {EVENT_HIGH} AS {quote(self.event_time)} FROM ({new})"
        restated, aside = ("x.late", "0") if self.plan.late == "restate" else ("0", "x.late")
        return (
            f"SELECT x.win, x.ends, least(x.{EVENT_LOW}, w.{EVENT_LOW}) AS {EVENT_LOW}, "
            f"greatest(x.{EVENT_HIGH}, w.{EVENT_HIGH}) AS {EVENT_HIGH}, "
            f"(coalesce(w.restated, 0) + {restated})::BIGINT AS restated, "
            f"(coalesce(w.set_aside, 0) + {aside})::BIGINT AS set_aside "
            f"FROM (SELECT *, {ends} AS ends FROM ({new})) AS x "
            f"LEFT JOIN {schema}.w AS w ON w.win IS NOT DISTINCT FROM x.win"
        )

    def store_windows(self, schema: str) -> list[str]:
        """Returns the statements that put `nw` in the place of the touched windows' rows of `w`."""
        return [
            f"DELETE FROM {schema}.w AS w USING nw WHERE w.win IS NOT DISTINCT FROM nw.win",
            f"INSERT INTO {schema}.w SELECT * FROM nw",
        ]

    def shown_windows(self) -> str:
        """Returns the SELECT of Changes.windows from `nw`."""
        assert self.window_group
        text = "win::VARCHAR"
        if self.window_group.type.kind == "timestamp":
            text = "(win AT TIME ZONE 'UTC')::VARCHAR || '+00'"
        return f"SELECT {text} AS window_start, ends AS window_end, restated, set_aside FROM nw ORDER BY win"

    # ---- recompute: extremes that were taken back ----------------------------------------------------------------

    def stale(self) -> str:
        """Returns the SELECT of the groups whose extreme may have been taken back, from `p` and `m`."""
        keys = listed(map(quote, self.groups))
        names = [(e, quote(taken_name(e))) for e in self.steps.extremes]
        taken = listed(f"{_picker(e)}({t}) AS {t}" for e, t in names)
        gone = f"SELECT {keys + ', ' if keys else ''}{taken} FROM p{_grouped(len(self.groups))}"
        less = {e.name: "<" if _picker(e) == "max" else ">" for e in self.steps.extremes}
        beaten = [
            f"(t.{t} IS NOT NULL AND NOT coalesce(t.{t} {less[e.name]} m.{quote(e.name)}, false))" for e, t in names
        ]
        own = listed(f"m.{quote(g)}" for g in self.groups) or "1 AS whole"
        return f"SELECT {own} FROM ({gone}) AS t JOIN m ON ({same('t', 'm', self.groups)}) WHERE {' OR '.join(beaten)}"

    def stale_times(self, schema: str) -> str:
        """Returns the SELECT of the least and greatest event time of the windows of `stale`, in µs."""
        assert self.window_group
        name = quote(self.window_group.name)
        return (
            f"SELECT epoch_us(min({EVENT_LOW})), epoch_us(max({EVENT_HIGH})) FROM {schema}.w AS w "
            f"SEMI JOIN stale ON (w.win IS NOT DISTINCT FROM stale.{name})"
        )

    def candidates(self, extreme: Extreme, mode: Mode) -> str:
        """Returns the SELECT of an extreme's values in `chunk`, net, of the groups of `stale`: groups, x, c."""
        keys = [f"{g.sql} AS {quote(g.name)}" for g in self.steps.groups]
        rows = f"SELECT {listed([*keys, f'{_packed(extreme)} AS x', '_weight'])} FROM chunk"
        rows += self.counting(mode, *_takes_part(extreme))
        groups = listed([*(f"q.{quote(g)}" for g in self.groups), "q.x"])
        joined = f"SELECT {groups}, sum(_weight)::BIGINT AS c FROM ({rows}) AS q"
        return f"{joined} SEMI JOIN stale ON ({same('q', 'stale', self.groups)}) GROUP BY ALL"

    def recomputed(self, schema: str) -> str:
        """Returns the SELECT of the groups of `stale` with their extremes taken from the `x_` tables."""
        fresh = {e.name: quote("x_" + e.name) for e in self.steps.extremes}
        columns = [f"s.{quote(g)}" for g in self.groups]
        columns += [f"{fresh[n]}.x AS {quote(n)}" if n in fresh else f"s.{quote(n)}" for n, _, _ in self.measures]
        keys = listed(map(quote, self.groups))
        joins = ""
        for e in self.steps.extremes:
            table = fresh[e.name]
            net = f"SELECT {keys + ', ' if keys else ''}x FROM {table} GROUP BY ALL HAVING sum(c) > 0"
            best = f"SELECT {keys + ', ' if keys else ''}{_picker(e)}(x) AS x FROM ({net}){_grouped(len(self.groups))}"
            joins += f" LEFT JOIN ({best}) AS {table} ON ({same('s', table, self.groups)})"
        groups = f"{schema}.s AS s SEMI JOIN stale ON ({same('s', 'stale', self.groups)})"
        return f"SELECT {listed(columns)} FROM (SELECT s.* FROM {groups}) AS s{joins}"

    # ---- finish: touched units into changes ----------------------------------------------------------------------

    def units(self) -> str:
        """Returns the SELECT of the units that `p` touches."""
        return f"SELECT DISTINCT {listed(map(quote, self.unit)) or '1 AS whole'} FROM p"

    def finished(self, schema: str, within: str) -> str:
        """Returns the SELECT of the touched units' result rows."""
        touched = f" SEMI JOIN u ON ({same('s', 'u', self.unit)})" if self.unit else ""
        rows = f"SELECT {listed(self._visible())} FROM {schema}.s AS s{touched} WHERE s.n > 0 AND {within}"
        if not self.groups:
            nothing = listed(f"{empty} AS {quote(name)}" for name, _, empty in self.measures)
            base = f"SELECT * FROM {schema}.s WHERE n > 0"
            either = f"SELECT * FROM ({base}) UNION ALL SELECT {nothing} WHERE NOT EXISTS ({base})"
            rows = f"SELECT {listed(self._visible())} FROM ({either}) AS s"
        columns = listed(f"CAST({quote(c.name)} AS {c.type.duckdb}) AS {quote(c.name)}" for c in self.plan.columns)
        return f"WITH s AS ({rows}) SELECT {columns} FROM ({self.steps.finish})"

    def _visible(self) -> list[str]:
        out = [f"s.{quote(c)}" for c in [*self.groups, "n", *(a.name for a in self.steps.additives)]]
        out += [f"s.{quote(e.name)}{'.v' if e.order else ''} AS {quote(e.name)}" for e in self.steps.extremes]
        out += [f's.kept."row".{quote(k.name)} AS {quote(k.name)}' for k in self.steps.kept]
        return out + [f"s.{quote(d.name)}" for d in self.steps.distincts]

    def upserts(self, schema: str, within: str) -> str:
        """Returns the SELECT of rows of `f` that the result does not hold as they are."""
        old = f"(SELECT * FROM {schema}.r AS r WHERE {within})"
        return f"SELECT f.* FROM f ANTI JOIN {old} AS r ON ({same('f', 'r', self.result_columns)})"

    def gone(self, schema: str, within: str) -> str:
        """Returns the SELECT of keys of the touched units that `f` has no longer."""
        units = " AND ".join(f"r.{quote(self.result_of[g])} IS NOT DISTINCT FROM u.{quote(g)}" for g in self.unit)
        touched = f" SEMI JOIN u ON ({units})" if units else ""
        keys = listed(f"r.{quote(c)}" for c in self.plan.key) or "1 AS one"
        old = f"(SELECT * FROM {schema}.r AS r{touched} WHERE {within})"
        return f"SELECT {keys} FROM {old} AS r ANTI JOIN f ON ({same('r', 'f', self.plan.key)})"

    def store_result(self, schema: str, within: str) -> list[str]:
        """Returns the statements that bring `r` to what `up` and `gone` say."""
        by_key = f"{same('r', 'x', self.plan.key)} AND {within}"
        return [
            f"DELETE FROM {schema}.r AS r USING up AS x WHERE {by_key}",
            f"DELETE FROM {schema}.r AS r USING gone AS x WHERE {by_key}",
            f"INSERT INTO {schema}.r SELECT * FROM up",
        ]


def _create(table: str, columns: Sequence[tuple[str, str]]) -> str:
    return f"CREATE TABLE {table} ({listed(f'{quote(n)} {t}' for n, t in columns)})"


def _value_columns(distinct: Distinct) -> list[tuple[str, str]]:
    return [(f"v{i}", t.duckdb) for i, (_, t) in enumerate(distinct.values)]


def _extreme_type(extreme: Extreme) -> str:
    if not extreme.order:
        return extreme.type.duckdb
    order = [f"o{i} {type_.duckdb}" for i, (_, type_) in enumerate(extreme.order)]
    return f"STRUCT({listed([*order, f'v {extreme.type.duckdb}'])})"


def _picker(extreme: Extreme) -> str:
    return "min" if extreme.kind.endswith("min") else "max"


def _summed(sql: str, type_: str, mode: Mode) -> str:
    if mode.weighted:
        sql = f"CASE WHEN _weight > 0 THEN ({sql})::{type_} ELSE -(({sql})::{type_}) END"
    return f"coalesce(sum({sql}), 0)::{type_}"


def taken_name(extreme: Extreme) -> str:
    """Returns the column of `p` that holds the extreme of the rows taken back."""
    return "t_" + extreme.name


def _extreme(extreme: Extreme, mode: Mode) -> str:
    known = [*_takes_part(extreme), *(["_weight > 0"] if mode.weighted else [])]
    return f"{_picker(extreme)}({_packed(extreme)}) FILTER (WHERE {' AND '.join(known)})"


def _taken(extreme: Extreme, mode: Mode) -> str:
    if not mode.weighted:
        return f"NULL::{_extreme_type(extreme)}"
    known = " AND ".join([*_takes_part(extreme), "_weight < 0"])
    return f"{_picker(extreme)}({_packed(extreme)}) FILTER (WHERE {known})"


def _takes_part(extreme: Extreme) -> list[str]:
    known = [f"({sql}) IS NOT NULL" for sql, _ in extreme.order] or [f"({extreme.sql}) IS NOT NULL"]
    if extreme.order and "null" not in extreme.kind:
        known.append(f"({extreme.sql}) IS NOT NULL")
    known += [f"({extreme.filter})"] if extreme.filter else []
    return known


def _packed(extreme: Extreme) -> str:
    order = [f"o{i} := {sql}" for i, (sql, _) in enumerate(extreme.order)]
    return f"struct_pack({listed([*order, f'v := {extreme.sql}'])})" if order else f"({extreme.sql})"
