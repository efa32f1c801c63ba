"""The embedded engine: a pipeline's state in DuckDB, added up chunk by chunk.

A step reads the slices in chunks of about a million rows, aggregates each into scratch tables (partials) and merges
those into the state, in memory or on disk (duckdb_hot.py); it finishes the units that were touched before and after,
and hands out what differs. All of it happens in one transaction that `confirm` commits and `rollback` takes back, so a
failed or refused step leaves nothing. The file may lie behind what was confirmed: it says where it stands.

DuckDB's memory limit bounds the state's share; chunks bound what is held of the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from penstock.engines.base import Changes, PipelineState
from penstock.engines.duckdb_blame import Rerun, culprit
from penstock.engines.duckdb_file import Room, Standing, StateFile, damaged, first_line
from penstock.engines.duckdb_hot import HotBlocks
from penstock.engines.duckdb_layout import Layout
from penstock.engines.duckdb_sql import Statements
from penstock.engines.duckdb_step import MANY_ROWS, DiskOnly, EventRange, StepRun
from penstock.engines.duckdb_windows import Windows
from penstock.engines.errors import EngineError, EngineResourceError, PipelineError, StateDamagedError
from penstock.log.model import ORIGIN, ChainPoint, Slice
from penstock.observe import emit
from penstock.observe.events import Notice, StateRebuilt, Step
from penstock.plan.model import Plan

ReadLog = Callable[[ChainPoint | None, ChainPoint, EventRange | None], Iterable[Slice]]
"""(after, up to, event times) -> slices of the plan's stream; batches outside the event times may be left out."""

CHUNK_ROWS = 1 << 20
"""Rows that one statement aggregates: enough to hide a statement's fixed cost, few enough to bound memory."""

MANY_SLICES = 32
"""Slices in a chunk from which on it is copied together: DuckDB reads many small pieces slowly."""

_DATA_ERRORS = (duckdb.DataError, duckdb.InvalidInputException, duckdb.InvalidTypeException, duckdb.NotSupportedError)
"""What DuckDB raises for values: out of range, conversion, `error()`. Everything else is the machine's."""


class DuckDBState(PipelineState):
    """The kept state of one pipeline in one DuckDB file of `folder`.

    `memory_limit` is DuckDB's (`256MB`), `threads` how many cores a big step may use. Raises StateBusyError when
    another process holds the file; a file that cannot be trusted is made anew.
    """

    def __init__(
        self, plan: Plan, folder: Path, read_log: ReadLog, memory_limit: str = "256MB", threads: int = 2
    ) -> None:
        self.plan = plan
        self._read_log = read_log
        self._sql = Statements(Layout(plan))
        self._file = StateFile(plan, self._sql, folder, Room(memory_limit, threads))
        self._next: Standing | None = None
        self._rebuilt = (self._file.rebuilt, time.monotonic(), 0)
        self._start()

    def _start(self) -> None:
        """Begins from what the file holds."""
        self._standing = self._file.standing()
        self._windows = Windows(restates=self.plan.late == "restate")
        self._hot = HotBlocks(self._file.con, self._sql)
        self._next = None

    @property
    def at(self) -> ChainPoint:
        return self._standing.at

    def advance(self, slices: Iterable[Slice], to: ChainPoint) -> Changes:
        if self._next is not None:
            msg = "advance before the last step was confirmed or rolled back"
            raise RuntimeError(msg)
        try:
            self._file.con.begin()
            return self._step(slices, to)
        except duckdb.Error as error:
            self._abandon()
            raise self._explained(error, to) from error
        except BaseException:
            self._abandon()
            raise

    def confirm(self) -> None:
        if self._next is None:
            return
        emit(Step("engine.before_confirm", self.plan.name))
        try:
            self._file.con.commit()
            emit(Step("engine.confirmed", self.plan.name))
            self._keep(self._next)
            if self._hot.due:
                self._flush()
        except duckdb.Error as error:
            self._abandon()
            raise self._no_step(error) from error

    def _keep(self, standing: Standing) -> None:
        self._standing, self._next = standing, None
        self._windows.confirm()
        if self._hot.confirm():
            self._windows.flushed()
            self._hot.compact()
        why, since, rows = self._rebuilt
        if why:
            emit(StateRebuilt(f"state of pipeline '{self.plan.name}'", why, rows, time.monotonic() - since))
            self._rebuilt = ("", since, 0)

    def rollback(self) -> None:
        if self._next is not None:
            self._abandon()

    def reset(self) -> None:
        self.rollback()
        self._file.erase()
        self._start()

    def close(self) -> None:
        if self._file.closed:
            return
        self.rollback()
        try:
            self._flush()
        except duckdb.Error as error:
            emit(Notice(f"state of pipeline '{self.plan.name}' stays behind: {first_line(error)}", of=self.plan.name))
        self._file.close()

    # ---- a step --------------------------------------------------------------------------------------------------

    def _step(self, slices: Iterable[Slice], to: ChainPoint) -> Changes:
        step = StepRun(self._file.con, self._sql, self._windows, self._hot)
        watermark = self._standing.watermark
        for chunk in chunks(slices):
            watermark = chunk.watermark or watermark
            self._file.use_threads(many=chunk.table.num_rows >= MANY_ROWS)
            step.take(chunk.table)
        upserts, deletes, windows = step.finish(lambda times: self._rows(None, to, times), first=self.at == ORIGIN)
        self._hot.done(step)
        aside = self._standing.set_aside + step.late_set_aside
        self._next = Standing(to, watermark, aside)
        if step.on_disk:
            self._windows.flush(self._file.con)
            self._file.stand(self._next)
        self._rebuilt = (self._rebuilt[0], self._rebuilt[1], self._rebuilt[2] + step.rows_in)
        return Changes(
            upserts, deletes, windows, at=to, watermark=watermark, late_set_aside=aside, rows_in=step.rows_in
        )

    def _flush(self) -> None:
        """Brings the file up to date with memory."""
        if self._file.standing() == self._standing:
            return
        self._file.con.begin()
        self._hot.write()
        self._windows.flush(self._file.con)
        self._file.stand(self._standing)
        emit(Step("engine.before_flush", self.plan.name))
        self._file.con.commit()
        emit(Step("engine.flushed", self.plan.name))
        self._windows.flushed()
        self._hot.written()

    def _abandon(self) -> None:
        """Takes back what the open transaction did; a connection that cannot even do that is made anew."""
        self._next = None
        self._windows.rollback()
        self._hot.rollback()
        try:
            self._file.con.rollback()
            self._file.con.unregister("chunk")
        except duckdb.Error:
            self._file.reopen()
            self._start()

    def _explained(self, error: duckdb.Error, to: ChainPoint) -> EngineError:
        if not isinstance(error, _DATA_ERRORS):
            return self._no_step(error)
        where = culprit(self._file.con, self._sql, Rerun(lambda: self._rows(self.at, to), self._attempt(to)))
        return PipelineError(
            f"pipeline '{self.plan.name}'{', ' + where if where else ''}: {first_line(error)}",
            hint="widen the type in the SELECT, guard the expression, or have the contract refuse such values",
        )

    def _no_step(self, error: duckdb.Error) -> EngineError:
        """Returns the error for a failure that is not the data's; a damaged file is made anew before."""
        if damaged(error):
            self._file.discard(f"the file is damaged: {first_line(error)}")
            self._rebuilt = (self._file.rebuilt, time.monotonic(), 0)
            self._start()
            return StateDamagedError(
                f"pipeline '{self.plan.name}': {first_line(error)}",
                hint="nothing to do: it is built again from the log",
            )
        return EngineResourceError(
            f"pipeline '{self.plan.name}': {first_line(error)}",
            hint=f"check the disk below {self._file.path.parent.name}/ and the memory limit; the step is tried again",
        )

    def _rows(self, after: ChainPoint | None, to: ChainPoint, times: EventRange | None = None) -> Iterator[pa.Table]:
        return (chunk.table for chunk in chunks(self._read_log(after, to, times)))

    def _attempt(self, to: ChainPoint) -> Callable[[Iterable[pa.Table]], None]:
        def attempt(tables: Iterable[pa.Table]) -> None:
            self._file.con.begin()
            try:
                self._hot.write()
                windows = Windows(restates=self.plan.late == "restate")
                step = StepRun(self._file.con, self._sql, windows, DiskOnly())
                for table in list(tables):
                    step.take(table)
                step.finish(lambda times: self._rows(None, to, times), first=False)
            finally:
                self._abandon()

        return attempt


class Chunk:
    """Rows of several slices, and the stream's watermark at the last."""

    def __init__(self, slices: list[Slice]) -> None:
        table = pa.concat_tables([s.table for s in slices], promote_options="default")
        self.table = table.combine_chunks() if len(slices) > MANY_SLICES else table
        marks = [s.entry.stream_watermark for s in slices if s.entry.stream_watermark]
        self.watermark = max(marks) if marks else None


def chunks(slices: Iterable[Slice], rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """Yields the slices in groups of at least `rows` rows, the last one excepted."""
    gathered: list[Slice] = []
    count = 0
    for one in slices:
        gathered.append(one)
        count += one.table.num_rows
        if count >= rows:
            yield Chunk(gathered)
            gathered, count = [], 0
    if gathered:
        yield Chunk(gathered)
