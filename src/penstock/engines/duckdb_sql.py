"""From partials to the state, and from the state to the result: the statements of merge, recompute and finish.

Scratch tables are temporary: `p` (partials), `dp_<name>` (values), `k_<name>` (values looked up), `m` (merged
groups), `u` (units touched before), `lw` (late rows per window), `stale` (groups to recompute), `x_<name>` (what their
rows hold). No statement needs an index: every join is a hash join on what was touched, and the big tables
on disk are read within bounds of the column that orders them, so that zone maps skip the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from penstock.engines.duckdb_distinct import Values
from penstock.engines.duckdb_layout import EVENT_LOW, Layout, create, grouped, listed, picker, quote, same
from penstock.engines.duckdb_partial import Partials, taken_name


class Statements:
    """The SQL of one plan."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.partials = Partials(layout)
        self.plan, self.steps = layout.plan, layout.steps
        self.values = {d.name: Values(layout, d) for d in self.steps.distincts}

    @cached_property
    def table_names(self) -> list[str]:
        """Names of the tables of `tables`, quoted."""
        return ["s", *(t for v in self.values.values() for t in (v.kept, v.counts))]

    def tables(self, schema: str, *, hashed: bool = False) -> list[str]:
        """Returns CREATE TABLE statements of the state in `schema`; `hashed` for tables in memory."""
        columns = [(g.name, g.type.duckdb) for g in self.steps.groups]
        columns += [(name, type_) for name, type_, _ in self.layout.measures]
        values = [t for v in self.values.values() for t in v.tables(schema, hashed=hashed)]
        return [create(f"{schema}.s", columns), *values]

    # ---- what was touched ----------------------------------------------------------------------------------------

    def blocks(self) -> str:
        """Returns the SELECT of the blocks in `p`, as printed."""
        assert self.layout.ordering
        return f"SELECT DISTINCT {quote(self.layout.ordering.name)}::VARCHAR FROM p"

    def bounds(self, relation: str) -> str | None:
        """Returns the SELECT of (low, high) block as printed in `p` or `u`, NULL when it cannot bound."""
        if not self.layout.ordering:
            return None
        c = quote(self.layout.ordering.name)
        return f"SELECT min({c})::VARCHAR, CASE WHEN count(*) = count({c}) THEN max({c})::VARCHAR END FROM {relation}"

    def units(self, after: str | None) -> str:
        """Returns the SELECT of the units that `p` touches and `after`, if given, does not hold."""
        if not self.layout.unit:
            return "SELECT 1 AS whole"
        others = f" ANTI JOIN {after} ON ({same('p', after, self.layout.unit)})" if after else ""
        return f"SELECT DISTINCT {listed(f'p.{quote(g)}' for g in self.layout.unit)} FROM p{others}"

    def window_lows(self) -> str:
        """Returns the SELECT of the windows in `p`, as printed, and their least event times in microseconds."""
        assert self.layout.window_group
        low = f"epoch_us(min({EVENT_LOW}))" if self.layout.event_time else "NULL::BIGINT"
        return f"SELECT {quote(self.layout.window_group.name)}::VARCHAR, {low} FROM p GROUP BY 1"

    def windows(self, *, late: bool) -> str:
        """Returns the SELECT of the windows in `p`, and in `lw` if `late`: key, shown, ends, low, late, in_p.

        Times are microseconds; `shown` is the window as PostgreSQL prints it.
        """
        group, time = self.layout.window_group, self.layout.event_time
        assert group
        assert self.plan.window
        low = EVENT_LOW if time else "NULL::TIMESTAMPTZ"
        rows = f"SELECT {quote(group.name)} AS win, {low} AS low, 0::BIGINT AS late, true AS in_p FROM p"
        if late:
            rows += f" UNION ALL SELECT win, {EVENT_LOW}, late, false FROM lw"
        per = "SELECT win, min(low) AS low, sum(late)::BIGINT AS late, bool_or(in_p) AS in_p"
        per = f"{per} FROM ({rows}) GROUP BY win"
        ends = "NULL::BIGINT"
        if time:
            ends = f"epoch_us({self.plan.window.end})"
            per = f"SELECT *, low AS {quote(time)} FROM ({per})"
        shown = "(win AT TIME ZONE 'UTC')::VARCHAR || '+00'" if group.type.kind == "timestamp" else "win::VARCHAR"
        return f"SELECT win::VARCHAR, {shown}, {ends}, epoch_us(low), late, in_p FROM ({per}) ORDER BY win"

    # ---- merge ---------------------------------------------------------------------------------------------------

    def merged(self, schema: str, within: str) -> str:
        """Returns the SELECT of the touched groups' new state from `p`, `s` and the `k_` tables."""
        columns = self.layout.state_columns
        parts = [f"SELECT {listed(columns)} FROM p"]
        old = f"SELECT {listed('s.' + c for c in columns)} FROM {schema}.s AS s"
        parts.append(f"{old} SEMI JOIN p ON ({same('s', 'p', self.layout.groups)}) WHERE {within}")
        for d in self.steps.distincts:
            empty = [f"{'k' if n == d.name else nothing} AS {quote(n)}" for n, _, nothing in self.layout.measures]
            parts.append(f"SELECT {self.layout.group_list()}{listed(empty)} FROM ({self.values[d.name].change()})")
        select = self.layout.group_list() + listed(self._merges())
        return f"SELECT {select} FROM ({' UNION ALL '.join(parts)}){grouped(len(self.layout.groups))}"

    def joined(self, schema: str, within: str) -> str:
        """Returns `merged` for a `p` that holds each group once, as after a single chunk: joins are cheaper then."""
        groups, columns = self.layout.groups, [f"p.{quote(g)}" for g in self.layout.groups]
        columns.append("p.n + coalesce(s.n, 0) AS n")
        columns += [f"p.{a} + coalesce(s.{a}, 0) AS {a}" for a in (quote(a.name) for a in self.steps.additives)]
        for e in self.steps.extremes:
            name, better = quote(e.name), ">" if picker(e) == "max" else "<"
            columns.append(
                f"CASE WHEN s.{name} IS NULL OR p.{name} {better} s.{name} THEN p.{name} ELSE s.{name} END AS {name}"
            )
        columns += ["coalesce(p.kept, s.kept) AS kept"] if self.steps.kept else []
        joins = f" LEFT JOIN (SELECT * FROM {schema}.s AS s WHERE {within}) AS s ON ({same('p', 's', groups)})"
        for i, d in enumerate(self.steps.distincts):
            name = quote(d.name)
            columns.append(f"coalesce(s.{name}, 0) + coalesce(c{i}.k, 0) AS {name}")
            joins += f" LEFT JOIN ({self.values[d.name].change()}) AS c{i} ON ({same('p', f'c{i}', groups)})"
        return f"SELECT {listed(columns)} FROM p{joins}"

    def _merges(self) -> list[str]:
        out = ["coalesce(sum(n), 0)::BIGINT AS n"]
        for a in self.steps.additives:
            out.append(f"coalesce(sum({quote(a.name)}), 0)::{a.type.duckdb} AS {quote(a.name)}")
        out += [f"{picker(e)}({quote(e.name)}) AS {quote(e.name)}" for e in self.steps.extremes]
        out += ['arg_max(kept, kept."at") AS kept'] if self.steps.kept else []
        return out + [f"coalesce(sum({quote(d.name)}), 0)::BIGINT AS {quote(d.name)}" for d in self.steps.distincts]

    def store_merged(self, schema: str, within: str) -> list[str]:
        """Returns the statements that put `m` in the place of the touched groups' rows of `s`."""
        return [
            f"DELETE FROM {schema}.s AS s USING m WHERE {same('s', 'm', self.layout.groups)} AND {within}",
            f"INSERT INTO {schema}.s SELECT * FROM m WHERE n <> 0",
        ]

    # ---- recompute: extremes that were taken back ----------------------------------------------------------------

    def stale(self) -> str:
        """Returns the SELECT of the groups whose extreme may have been taken back, from `p` and `m`."""
        names = [(e, quote(taken_name(e))) for e in self.steps.extremes]
        taken = listed(f"{picker(e)}({t}) AS {t}" for e, t in names)
        gone = f"SELECT {self.layout.group_list()}{taken} FROM p{grouped(len(self.layout.groups))}"
        less = {e.name: "<" if picker(e) == "max" else ">" for e in self.steps.extremes}
        beaten = [
            f"(t.{t} IS NOT NULL AND NOT coalesce(t.{t} {less[e.name]} m.{quote(e.name)}, false))" for e, t in names
        ]
        own = listed(f"m.{quote(g)}" for g in self.layout.groups) or "1 AS whole"
        both = f"({gone}) AS t JOIN m ON ({same('t', 'm', self.layout.groups)})"
        return f"SELECT {own} FROM {both} WHERE {' OR '.join(beaten)}"

    def stale_windows(self) -> str:
        """Returns the SELECT of the windows of `stale`, as printed."""
        assert self.layout.window_group
        return f"SELECT DISTINCT {quote(self.layout.window_group.name)}::VARCHAR FROM stale"

    def recomputed(self, schema: str) -> str:
        """Returns the SELECT of the groups of `stale` with their extremes taken from the `x_` tables."""
        fresh = {e.name: quote("x_" + e.name) for e in self.steps.extremes}
        columns = [f"s.{quote(g)}" for g in self.layout.groups]
        columns += [
            f"{fresh[n]}.x AS {quote(n)}" if n in fresh else f"s.{quote(n)}" for n, _, _ in self.layout.measures
        ]
        keys, groups, joins = self.layout.group_list(), self.layout.groups, ""
        for e in self.steps.extremes:
            table = fresh[e.name]
            net = f"SELECT {keys}x FROM {table} GROUP BY ALL HAVING sum(c) > 0"
            best = f"SELECT {keys}{picker(e)}(x) AS x FROM ({net}){grouped(len(groups))}"
            joins += f" LEFT JOIN ({best}) AS {table} ON ({same('s', table, groups)})"
        rows = f"SELECT s.* FROM {schema}.s AS s SEMI JOIN stale ON ({same('s', 'stale', groups)})"
        return f"SELECT {listed(columns)} FROM ({rows}) AS s{joins}"

    # ---- finish --------------------------------------------------------------------------------------------------

    def finished(self, schema: str, touched: str) -> str:
        """Returns the SELECT of the result rows of state rows that `touched` (joins and WHERE on `s`) picks."""
        rows = f"SELECT {listed(self._visible())} FROM {schema}.s AS s{touched} AND s.n > 0"
        if not self.layout.groups:
            nothing = listed(f"{empty} AS {quote(name)}" for name, _, empty in self.layout.measures)
            base = f"SELECT * FROM {schema}.s WHERE n > 0"
            either = f"SELECT * FROM ({base}) UNION ALL SELECT {nothing} WHERE NOT EXISTS ({base})"
            rows = f"SELECT {listed(self._visible())} FROM ({either}) AS s"
        columns = listed(f"CAST({quote(c.name)} AS {c.type.duckdb}) AS {quote(c.name)}" for c in self.plan.columns)
        return f"WITH s AS ({rows}) SELECT {columns} FROM ({self.steps.finish})"

    def touched(self, relation: str, within: str) -> str:
        """Returns the `touched` of `finished`: the units that `relation` has."""
        if not self.layout.unit:
            return f" WHERE {within}"
        return f" SEMI JOIN {relation} ON ({same('s', relation, self.layout.unit)}) WHERE {within}"

    def touched_blocks(self, blocks: Sequence[str | None]) -> str:
        """Returns the `touched` of `finished`: whole blocks."""
        return f" WHERE {self.layout.block_is('s', blocks)}"

    def _visible(self) -> list[str]:
        out = [f"s.{quote(c)}" for c in [*self.layout.groups, "n", *(a.name for a in self.steps.additives)]]
        out += [f"s.{quote(e.name)}{'.v' if e.order else ''} AS {quote(e.name)}" for e in self.steps.extremes]
        out += [f's.kept."row".{quote(k.name)} AS {quote(k.name)}' for k in self.steps.kept]
        return out + [f"s.{quote(d.name)}" for d in self.steps.distincts]
