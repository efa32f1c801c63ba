"""The part of a state that is in use, in memory, so that a small step costs no disk and no search through history.

The state is cut into blocks of whole units (Layout.ordering: usually the window). Blocks that small steps touch are
copied to tables in memory and changed there; the file is brought up to date when a minute has passed, when memory
holds enough rows, before a step that goes to disk, and on closing. Until then the file stands for an earlier place in
the log, which is safe, because the log is the truth: after a crash the runner advances from there.

Steps of many rows, or that touch more than fits, merge into the tables on disk, in the transaction that also writes
down what memory held.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from penstock.engines.duckdb_sql import Statements
from penstock.engines.duckdb_step import MANY_ROWS, Blocks, StepRun, Target

STEP_ROWS = MANY_ROWS
"""Rows of a step from which on it merges on disk."""

STEP_BLOCKS = 64
"""Blocks of a step from which on it merges on disk."""

ROWS = 1_500_000
"""Rows in memory, those added by steps included, at which everything is written down and all but the blocks in use are
let go, which takes some tenths of a second."""

LOADED_ROWS = 1_000_000
"""Rows in memory up to which blocks are loaded: a step that needs more merges on disk."""

WHOLE_ROWS = 20_000
"""State rows in memory up to which whole blocks are finished, and their result kept for the next step."""

SECONDS = 60.0
"""How long the file may lie behind while steps are taken."""

COUNTS = 1_000_000
"""Counts beside their values on disk that are always let be."""

REBUILD_STEPS = 500
"""Steps after which the groups' table in memory is copied, to be rid of the rows it replaced."""


@dataclass(frozen=True)
class _Held:
    """What memory holds."""

    blocks: frozenset[str | None] = frozenset()
    dirty: frozenset[str | None] = frozenset()
    """Blocks that are newer than on disk."""
    touched: frozenset[str | None] = frozenset()
    """Blocks of the last step."""
    groups: int = 0
    rows: int = 0
    """State rows read from disk, and rows of the log added since."""
    result_of: frozenset[str | None] | None = None
    result: pa.Table | None = None


class HotBlocks:
    """The blocks in memory of one state. A step's changes count from `confirm` on."""

    def __init__(self, con: duckdb.DuckDBPyConnection, sql: Statements) -> None:
        self.con, self.sql = con, sql
        self._held = _Held()
        self._next: _Held | None = None
        self._flushed_at = time.monotonic()
        self._steps = 0
        self._make()

    def _make(self) -> None:
        for name in self.sql.table_names:
            self.con.execute(f"DROP TABLE IF EXISTS memory.{name}")
        for statement in self.sql.tables("memory", hashed=True):
            self.con.execute(statement)

    # ---- a step --------------------------------------------------------------------------------------------------

    def target(self, blocks: Blocks, rows: int) -> Target:
        """Returns where a step merges that touches `blocks` with `rows` rows of the log; loads what it needs."""
        held = self._held
        missing = tuple(b for b in blocks if b not in held.blocks)
        loaded = 0
        if rows < STEP_ROWS and len(blocks) <= STEP_BLOCKS:
            loaded = self._count(missing) if missing else 0
        full = bool(missing) and held.rows + loaded + rows > LOADED_ROWS
        if rows >= STEP_ROWS or len(blocks) > STEP_BLOCKS or full:
            self.write()
            self._next = _Held()
            return Target("disk")
        groups = held.groups + (self._load(missing) if missing else 0)
        touched = frozenset(blocks)
        self._next = replace(
            held, blocks=held.blocks | touched, dirty=held.dirty | touched, touched=touched, groups=groups,
            rows=held.rows + loaded + rows, result_of=None, result=None,
        )  # fmt: skip
        before = held.result if held.result_of == touched else None
        return Target("memory", hashed=True, whole=groups <= WHOLE_ROWS, before=before)

    def _count(self, blocks: Blocks) -> int:
        where = self.sql.layout.block_is("x", blocks)
        return sum(
            int(self.con.execute(f"SELECT count(*) FROM disk.{name} AS x WHERE {where}").fetchall()[0][0])
            for name in self.sql.table_names
        )

    def _load(self, blocks: Blocks) -> int:
        """Copies blocks from disk; returns the number of groups."""
        where = self.sql.layout.block_is("x", blocks)
        copied = self.con.execute(f"INSERT INTO memory.s SELECT * FROM disk.s AS x WHERE {where}").fetchall()
        for values in self.sql.values.values():
            whole = values.hashed_partial(values.whole("disk", where))
            self.con.execute(f"INSERT INTO memory.{values.kept} {whole}")
        return int(copied[0][0])

    def done(self, step: StepRun) -> None:
        """Takes note of a step that went through: what it left in memory."""
        if step.target is None or not step.target.hashed or self._next is None:
            return
        self._next = replace(self._next, groups=self._next.groups + step.target.rows_changed)
        if step.target.whole:
            self._next = replace(self._next, result_of=frozenset(step.blocks), result=step.after)

    def confirm(self) -> bool:
        """Keeps what the step did, its transaction being committed; returns whether the file stands for it."""
        went_to_disk = self._next is not None and not self._next.blocks
        if self._next is not None:
            self._held, self._next = self._next, None
        if went_to_disk:
            self._flushed_at = time.monotonic()
            self._make()
        self._steps += 1
        if self._steps % REBUILD_STEPS == 0:
            self.con.execute("CREATE OR REPLACE TABLE memory.s AS SELECT * FROM memory.s")
        return went_to_disk

    def rollback(self) -> None:
        self._next = None

    # ---- the file ------------------------------------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """Whether the file should be brought up to date now."""
        return self._held.rows >= ROWS or time.monotonic() - self._flushed_at >= SECONDS

    def write(self) -> None:
        """Writes the blocks that are newer in memory, in the caller's transaction."""
        dirty = tuple(self._held.dirty)
        if not dirty:
            return
        where = self.sql.layout.block_is("x", dirty)
        for name in self.sql.table_names:
            self.con.execute(f"DELETE FROM disk.{name} AS x WHERE {where}")
        self.con.execute(f"INSERT INTO disk.s SELECT * FROM memory.s AS x WHERE {where}")
        for values in self.sql.values.values():
            self.con.execute(f"INSERT INTO disk.{values.kept} {values.whole('memory', where)}")

    def compact(self) -> None:
        """Adds up the counts of values on disk once they outnumber the values: steps on disk leave them beside."""
        for values in self.sql.values.values():
            kept, counts = (
                int(self.con.execute(f"SELECT count(*) FROM disk.{table}").fetchall()[0][0])
                for table in (values.kept, values.counts)
            )
            if counts < max(kept, COUNTS):
                continue
            self.con.begin()
            self.con.execute(f"CREATE OR REPLACE TEMP TABLE whole AS {values.whole('disk', 'true')}")
            self.con.execute(f"DELETE FROM disk.{values.kept}")
            self.con.execute(f"DELETE FROM disk.{values.counts}")
            self.con.execute(f"INSERT INTO disk.{values.kept} SELECT * FROM whole")
            self.con.execute("DROP TABLE whole")
            self.con.commit()

    def written(self) -> None:
        """The blocks were written and committed: lets go of them when they are many."""
        self._flushed_at = time.monotonic()
        held = replace(self._held, dirty=frozenset())
        if held.rows >= ROWS:
            # What is in use is read back at once: one step waits for both, not two steps for one each.
            self._make()
            blocks = tuple(held.touched)
            rows = self._count(blocks)
            held = _Held()
            if rows <= LOADED_ROWS:
                held = replace(self._held, dirty=frozenset(), blocks=frozenset(blocks), rows=rows)
                held = replace(held, groups=self._load(blocks))
        self._held = held
