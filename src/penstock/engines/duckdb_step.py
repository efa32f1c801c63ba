"""One step of a state: chunks into partials, partials into the state, touched units into changes.

Runs within its caller's transaction, against the state tables of one schema. Scratch tables are temporary and made
anew by each step. After a failure the caller rolls back and then unregisters `chunk`: in a failed transaction DuckDB
allows neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from penstock.engines.duckdb_sql import Mode, Statements, instant, quote

EventRange = tuple[datetime, datetime]
"""Least and greatest event time, both included."""

Reread = Callable[[EventRange | None], Iterable[pa.Table]]

MERGE_ROWS = 4 << 20
"""Partial rows that are gathered before they are merged into the state."""

WINDOWS = pa.schema(
    [
        pa.field("window_start", pa.string()),
        pa.field("window_end", pa.timestamp("us", tz="UTC")),
        pa.field("restated", pa.int64()),
        pa.field("set_aside", pa.int64()),
    ]
)


class StepRun:
    """Gathers with `take`, then `finish` merges and yields the changes. `rows_in` and `late_set_aside` count."""

    def __init__(self, con: duckdb.DuckDBPyConnection, sql: Statements, schema: str) -> None:
        self.con, self.sql, self.schema = con, sql, schema
        self.rows_in = 0
        self.late_set_aside = 0
        self._partials = 0
        self._made: set[str] = set()
        self._merges = 0
        self._weighted = False
        self._stale = 0
        self._low: str | None = None
        self._high: str | None = None

    # ---- take ----------------------------------------------------------------------------------------------------

    def take(self, table: pa.Table) -> None:
        """Aggregates a chunk into the scratch tables."""
        self.rows_in += table.num_rows
        if not table.num_rows:
            return
        self.con.register("chunk", table)
        self._aggregate(self._mode(table))
        self.con.unregister("chunk")
        if self._partials >= MERGE_ROWS:
            self._merge()

    def _mode(self, table: pa.Table) -> Mode:
        weights = pc.min_max(table.column("_weight"))
        weighted = (weights["min"].as_py(), weights["max"].as_py()) != (1, 1)
        late = False
        if self.sql.window_group and table.column("_watermark").null_count < table.num_rows:
            late = bool(self._value(f"SELECT bool_or({self.sql.late()}) FROM chunk"))
        return Mode(weighted, late)

    def _aggregate(self, mode: Mode) -> None:
        self._weighted = self._weighted or mode.weighted
        self._partials += self._put("p", self.sql.partial(mode))
        for d in self.sql.steps.distincts:
            self._partials += self._put(quote("dp_" + d.name), self.sql.partial_distinct(d, mode))
        if mode.late:
            late = self._put("late_now", self.sql.late_windows(mode))
            if late and self.sql.plan.late == "set_aside":
                self.late_set_aside += int(str(self._value("SELECT sum(late)::BIGINT FROM late_now")))
            self._put("lw", "SELECT * FROM late_now")
            self._made.discard("late_now")

    def _put(self, table: str, select: str) -> int:
        """Makes scratch table `table` from `select`, or adds to what this step has put there; returns rows added."""
        verb = f"INSERT INTO temp.{table}" if table in self._made else f"CREATE OR REPLACE TEMP TABLE {table} AS"
        self._made.add(table)
        return int(str(self._row(f"{verb} {select}")[0]))

    def _value(self, query: str) -> object:
        return self._row(query)[0]

    def _row(self, query: str) -> tuple[Any, ...]:
        return tuple(self.con.execute(query).fetchall()[0])

    # ---- merge ---------------------------------------------------------------------------------------------------

    def _merge(self) -> None:
        """Merges the gathered partials into the state and empties them."""
        if "p" not in self._made:
            return
        if self.sql.window_group:
            self._put("lw", self.sql.windows())
        self._bound("p")
        self._put("u", self.sql.units())
        self._merge_distincts()
        self._made.discard("m")
        self._put("m", self.sql.merged(self.schema, self._within("s")))
        self._note_stale()
        for statement in self.sql.store_merged(self.schema, self._within("s")):
            self.con.execute(statement)
        self._made -= {"p", "m"}
        self._partials = 0
        self._merges += 1

    def _note_stale(self) -> None:
        if self._weighted and self.sql.steps.extremes:
            self._stale += self._put("stale", self.sql.stale())
        self._weighted = False

    def _merge_distincts(self) -> None:
        for d in self.sql.steps.distincts:
            delta, change = quote("dp_" + d.name), quote("dn_" + d.name)
            self._put(change, self.sql.new_values(self.schema, d, self._within("d")))
            self.con.execute(f"INSERT INTO {self.schema}.{quote('d_' + d.name)} SELECT * FROM {delta}")
            self._made -= {delta, change}

    def _bound(self, relation: str) -> None:
        query = self.sql.bounds(relation)
        self._low, self._high = self._row(query) if query else (None, None)

    def _within(self, alias: str) -> str:
        return self.sql.state_within(alias, self._low, self._high)

    # ---- recompute -----------------------------------------------------------------------------------------------

    def _recompute(self, reread: Reread) -> None:
        """Takes the extremes of stale groups from the rows of the log that count: those not taken back since."""
        self._made.discard("stale_groups")
        self._put("stale_groups", "SELECT DISTINCT * FROM stale")
        self._made.discard("stale")
        self._put("stale", "SELECT * FROM stale_groups")
        times = None
        if self.sql.window_group and self.sql.event_time:
            low, high = self._row(self.sql.stale_times(self.schema))
            times = (instant(low), instant(high)) if low is not None else None
        mode = Mode(weighted=True, late=self.sql.plan.window is not None)
        for table in reread(times):
            self.con.register("chunk", table)
            for e in self.sql.steps.extremes:
                self._put(quote("x_" + e.name), self.sql.candidates(e, mode))
            self.con.unregister("chunk")
        self._made.discard("m")
        self._put("m", self.sql.recomputed(self.schema))
        for statement in self.sql.store_merged(self.schema, "true"):
            self.con.execute(statement)

    # ---- finish --------------------------------------------------------------------------------------------------

    def finish(self, reread: Reread, *, first: bool) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Merges what is left; returns upserts, deletes and windows.

        `reread` yields all rows of the log up to this step's end, within event times where they are known; `first`:
        the state has confirmed nothing yet.
        """
        self._merge()
        windows = self._finish_windows()
        if self._stale:
            self._recompute(reread)
        if not self._merges and not (first and not self.sql.groups):
            return self._table(None, self.sql.result_columns), self._table(None, self.sql.plan.key), windows
        if self._merges > 1 and self.sql.unit:
            self._put("units", "SELECT DISTINCT * FROM u")
            self._made.discard("u")
            self._put("u", "SELECT * FROM units")
            self._bound("u")
        elif self._merges > 1:
            self._low = self._high = None
        self._put("f", self.sql.finished(self.schema, self._within("s")))
        old = self.sql.result_within("r", self._low, self._high)
        self._put("up", self.sql.upserts(self.schema, old))
        self._put("gone", self.sql.gone(self.schema, old))
        for statement in self.sql.store_result(self.schema, old):
            self.con.execute(statement)
        return self._table("up", self.sql.result_columns), self._table("gone", self.sql.plan.key), windows

    def _table(self, name: str | None, columns: list[str] | tuple[str, ...]) -> pa.Table:
        """Returns a scratch table's columns in the plan's types; no rows for None."""
        types = {c.name: c.type.arrow for c in self.sql.plan.columns}
        schema = pa.schema([pa.field(c, types[c]) for c in columns])
        if name is None:
            return schema.empty_table()
        return self.con.sql(f"FROM {name}").to_arrow_table().select(list(columns)).cast(schema)

    def _finish_windows(self) -> pa.Table:
        if "lw" not in self._made:
            return WINDOWS.empty_table()
        self._put("nw", self.sql.new_windows(self.schema))
        for statement in self.sql.store_windows(self.schema):
            self.con.execute(statement)
        return self.con.sql(self.sql.shown_windows()).to_arrow_table().cast(WINDOWS)
