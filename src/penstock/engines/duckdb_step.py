"""One step of a state: chunks into partials, partials into the state, touched units into changes.

Runs within its caller's transaction. Scratch tables are temporary and made anew by each step. After a failure the
caller rolls back and then unregisters `chunk`: in a failed transaction DuckDB allows neither.

The result before the step is what finish makes of the touched units before they are merged, so no copy of the result
is kept; blocks in memory keep it from the step before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from penstock.engines.difference import difference
from penstock.engines.duckdb_distinct import Lookup
from penstock.engines.duckdb_layout import instant, quote
from penstock.engines.duckdb_partial import Mode
from penstock.engines.duckdb_sql import Statements
from penstock.engines.duckdb_windows import SCHEMA as WINDOWS
from penstock.engines.duckdb_windows import Windows

EventRange = tuple[datetime, datetime]
"""Least and greatest event time, both included."""

Reread = Callable[[EventRange | None], Iterable[pa.Table]]

Blocks = tuple[str | None, ...]
"""Printed values of the ordering column; one None-free dummy where there is none."""

MERGE_ROWS = 2 << 20
"""Partial rows that are gathered before they are merged into the state."""

MANY_ROWS = 100_000
"""Rows of a chunk from which on it has no use for hashes: its step merges on disk."""


ONE_CLOCK_CHANGE = timedelta(hours=3)
"""Windows of local time end in the order of their rows but for this much, when clocks are set back."""


@dataclass
class Target:
    """Where a step merges to: the state tables of `schema`, hashed ones in memory. `whole`: finish whole blocks."""

    schema: str
    hashed: bool = False
    whole: bool = False
    before: pa.Table | None = None
    """The result rows of the touched blocks before the step, where they are known."""
    rows_changed: int = 0


class Tiers(Protocol):
    """What decides where a step merges to, once per step."""

    def target(self, blocks: Blocks, rows: int) -> Target:
        """Returns the target of a step that touches `blocks` with `rows` rows of the log."""


class DiskOnly:
    """Merges into the tables on disk."""

    def target(self, blocks: Blocks, rows: int) -> Target:
        return Target("disk")


class StepRun:
    """Gathers with `take`, then `finish` merges and yields the changes. `rows_in` and `late_set_aside` count."""

    def __init__(self, con: duckdb.DuckDBPyConnection, sql: Statements, windows: Windows, tiers: Tiers) -> None:
        self.con, self.sql, self.layout = con, sql, sql.layout
        self.windows, self.tiers = windows, tiers
        self.rows_in = 0
        self.late_set_aside = 0
        self.target: Target | None = None
        self.blocks: Blocks = ()
        self._partials = 0
        self._chunks = 0
        self._made: set[str] = set()
        self._merges = 0
        self._weighted = False
        self._hashed = False
        """Whether the `dp_` tables have hashes: not when they hold so many rows that they go to disk anyway."""
        self._taken = False
        """Whether `p` has the extremes of rows taken back: not in a small chunk that takes none back."""
        self._stale = 0
        self._before: list[pa.Table] = []
        self._shown: dict[str, tuple[Any, ...]] = {}
        self._low: str | None = None
        self._high: str | None = None

    @property
    def on_disk(self) -> bool:
        """Whether the step wrote to the file."""
        return self.target is not None and not self.target.hashed

    # ---- take ----------------------------------------------------------------------------------------------------

    def take(self, table: pa.Table) -> None:
        """Aggregates a chunk into the scratch tables."""
        self.rows_in += table.num_rows
        if not table.num_rows:
            return
        self.con.register("chunk", table)
        mode = self._mode(table)
        if mode.weighted and "p" in self._made and not self._taken:
            self._merge(last=False)
        if "p" not in self._made:
            few = table.num_rows < MANY_ROWS
            self._hashed = few or (self.target is not None and self.target.hashed)
            self._taken = mode.weighted or not few
        self._aggregate(replace(mode, taken=self._taken))
        if table.num_rows >= MANY_ROWS:
            self.con.unregister("chunk")
        if self._partials >= MERGE_ROWS:
            self._merge(last=False)

    def _mode(self, table: pa.Table) -> Mode:
        weights = pc.min_max(table.column("_weight"))
        weighted = (weights["min"].as_py(), weights["max"].as_py()) != (1, 1)
        return Mode(weighted, self._some_late(table))

    def _some_late(self, table: pa.Table) -> bool:
        """Whether a row of `chunk` may be late. First by the earliest row alone: rows near it cost a look at each."""
        marks = table.column("_watermark")
        if not self.layout.window_group or marks.null_count == table.num_rows:
            return False
        time = self.layout.event_time
        if time and self.sql.plan.window:
            earliest, mark = pc.min(table.column(time)).as_py(), pc.max(marks).as_py() + ONE_CLOCK_CHANGE
            query = f"SELECT coalesce(({self.sql.plan.window.end}) <= ?, false) FROM (SELECT ? AS {quote(time)})"
            if not self.con.execute(query, [mark, earliest]).fetchall()[0][0]:
                return False
        return bool(self._rows(f"SELECT bool_or({self.sql.partials.late()}) FROM chunk")[0][0])

    def _aggregate(self, mode: Mode) -> None:
        self._weighted = self._weighted or mode.weighted
        self._chunks += 1
        self._partials += self._put("p", self.sql.partials.partial(mode))
        for name, values in self.sql.values.items():
            select = self.sql.partials.partial_distinct(values.distinct, mode)
            if self._hashed:
                select = values.hashed_partial(select)
            self._partials += self._put(quote("dp_" + name), select)
        if mode.late:
            late = self._put("late_now", self.sql.partials.late_windows(mode))
            if late and self.sql.plan.late == "set_aside":
                self.late_set_aside += int(self._rows("SELECT sum(late)::BIGINT FROM late_now")[0][0])
            self._put("lw", "SELECT * FROM late_now")
            self._made.discard("late_now")

    def _put(self, table: str, select: str) -> int:
        """Makes scratch table `table` from `select`, or adds to what this step has put there; returns rows added."""
        verb = f"INSERT INTO temp.{table}" if table in self._made else f"CREATE OR REPLACE TEMP TABLE {table} AS"
        self._made.add(table)
        return int(self._rows(f"{verb} {select}")[0][0])

    def _make(self, table: str, select: str) -> int:
        """Makes scratch table `table` anew."""
        self._made.discard(table)
        return self._put(table, select)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.con.execute(query).fetchall()

    # ---- merge ---------------------------------------------------------------------------------------------------

    def _merge(self, *, last: bool) -> None:
        """Merges the gathered partials into the state and empties them; `last`: no more will come."""
        if "p" not in self._made:
            return
        self._note_windows()
        if not self._partials:
            return
        if self.target is None:
            self.target = self.tiers.target(self._touched_blocks(), self.rows_in)
        schema, within = self.target.schema, self._bound("p")
        self._remember(schema, within, only=last and not self._merges)
        self._merge_values(schema)
        self._make("m", self.sql.joined(schema, within) if self._chunks == 1 else self.sql.merged(schema, within))
        if self._weighted and self.layout.steps.extremes:
            self._stale += self._put("stale", self.sql.stale())
        self._store_merged(within)
        self._made -= {"p"}
        self._partials = self._chunks = 0
        self._weighted = False
        self._merges += 1

    def _store_merged(self, within: str) -> None:
        assert self.target
        delete, insert = self.sql.store_merged(self.target.schema, within)
        gone = int(self._rows(delete)[0][0])
        self.target.rows_changed += int(self._rows(insert)[0][0]) - gone

    def _note_windows(self) -> None:
        if not self.layout.window_group:
            return
        late = "lw" in self._made
        rows = [] if late else self.windows.recalled(self._rows(self.sql.window_lows()))
        rows = rows or self._rows(self.sql.windows(late=late))
        self._made.discard("lw")
        if self.layout.ordering == self.layout.window_group:
            self.blocks = tuple(row[0] for row in rows if row[5])
        for shown in self.windows.touch(self.con, [row[:5] for row in rows if row[0] is not None]):
            self._shown[shown[0]] = shown

    def _touched_blocks(self) -> Blocks:
        if not self.layout.ordering:
            self.blocks = ("",)
        elif self.layout.ordering != self.layout.window_group:
            self.blocks = tuple(row[0] for row in self._rows(self.sql.blocks()))
        return self.blocks

    def _bound(self, relation: str) -> str:
        """Returns the condition on alias `s` that holds for all blocks of `relation`; memory needs none."""
        assert self.target
        query = None if self.target.hashed else self.sql.bounds(relation)
        self._low, self._high = self._rows(query)[0] if query else (None, None)
        return self.layout.within("s", self._low, self._high)

    def _remember(self, schema: str, within: str, *, only: bool) -> None:
        """Finishes the units that are touched for the first time, before they change; `only`: in the only merge."""
        assert self.target
        if self.target.whole:
            if self.target.before is None:
                before = self.sql.finished(schema, self.sql.touched_blocks(self.blocks))
                self._before.append(self._finished(before))
            else:
                self._before.append(self.target.before)
            return
        if self._merges and not self.layout.unit:
            return
        if only:
            self._before.append(self._finished(self.sql.finished(schema, self.sql.touched("p", within))))
            return
        self._make("fresh", self.sql.units(after="u" if self._merges else None))
        self._before.append(self._finished(self.sql.finished(schema, self.sql.touched("fresh", within))))
        self._put("u", "SELECT * FROM fresh")

    def _merge_values(self, schema: str) -> None:
        assert self.target
        within = self.layout.within("d", self._low, self._high)
        how = Lookup(self.target.hashed, self._weighted, self._chunks > 1, within)
        for values in self.sql.values.values():
            self._make(values.looked_up, values.lookup(schema, how))
            for statement in values.store(schema, how):
                self.con.execute(statement)
            self._made.discard(values.partial)

    # ---- recompute -----------------------------------------------------------------------------------------------

    def _recompute(self, reread: Reread) -> None:
        """Takes the extremes of stale groups from the rows of the log that count: those not taken back since."""
        assert self.target
        self._make("stale_groups", "SELECT DISTINCT * FROM stale")
        self._make("stale", "SELECT * FROM stale_groups")
        mode = Mode(weighted=True, late=self.sql.plan.window is not None)
        for e in self.layout.steps.extremes:
            self._made.discard(quote("x_" + e.name))
        for table in reread(self._stale_times()):
            self.con.register("chunk", table)
            for e in self.layout.steps.extremes:
                self._put(quote("x_" + e.name), self.sql.partials.candidates(e, mode))
            self.con.unregister("chunk")
        self._make("m", self.sql.recomputed(self.target.schema))
        self._store_merged("true")

    def _stale_times(self) -> EventRange | None:
        if not self.layout.window_group or not self.layout.event_time:
            return None
        span = self.windows.span(self.con, [row[0] for row in self._rows(self.sql.stale_windows())])
        return (instant(span[0]), instant(span[1])) if span else None

    # ---- finish --------------------------------------------------------------------------------------------------

    def finish(self, reread: Reread, *, first: bool) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Merges what is left; returns upserts, deletes and windows.

        `reread` yields all rows of the log up to this step's end, within event times where they are known; `first`:
        the state has confirmed nothing yet.
        """
        self._merge(last=True)
        if self._stale:
            self._recompute(reread)
        windows = pa.Table.from_pylist(
            [dict(zip(WINDOWS.names, row, strict=True)) for row in self._shown.values()], schema=WINDOWS
        )
        if not self._merges and not (first and not self.layout.groups):
            empty = self._schema().empty_table()
            return empty, empty.select(list(self.sql.plan.key)), windows
        self.after = self._finished(self._finish())
        before = pa.concat_tables(self._before) if self._before else self._schema().empty_table()
        if first and not self.layout.groups:
            before = before.slice(0, 0)
        upserts, deletes = difference(self.after, before, self.sql.plan.key)
        return upserts, deletes, windows

    after: pa.Table
    """The result rows of the touched units after the step."""

    def _finish(self) -> str:
        if self.target is None:
            self.target = self.tiers.target(("",), self.rows_in)
        schema = self.target.schema
        if self.target.whole:
            return self.sql.finished(schema, self.sql.touched_blocks(self.blocks))
        if self._merges <= 1 or not self.layout.unit:
            return self.sql.finished(schema, self.sql.touched("p", self.layout.within("s", self._low, self._high)))
        return self.sql.finished(schema, self.sql.touched("u", self._bound("u")))

    def _finished(self, select: str) -> pa.Table:
        # By way of a scratch table: `sql` plans a statement twice, and finishing is the longest to plan.
        self._make("f", select)
        return self.con.sql("FROM temp.f").to_arrow_table().cast(self._schema())

    def _schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.type.arrow) for c in self.sql.plan.columns])
