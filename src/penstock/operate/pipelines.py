"""One thread a pipeline: reads the log after its position, lets the engine add it up, applies what changed.

The order of a step is the engine's contract (engines/base.py): advance, apply and commit in the store, confirm. At
start, and whenever a commit's outcome is unknown, the state is brought to the position that the store has confirmed
before anything new is applied: behind it, it catches up without applying; ahead of it or of another chain, it is built
again. A pipeline whose meaning changed is kept in a result beside the old one, which goes on serving, until it has
caught up; then it takes the old one's place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from penstock.engines.base import Changes
from penstock.engines.duckdb import DuckDBState
from penstock.errors import PenstockError
from penstock.log.model import ORIGIN, ChainPoint, Slice
from penstock.observe import emit
from penstock.observe.events import Notice, PipelineAdvanced, PipelineFailed, StateRebuilt, Step
from penstock.operate.core import Core
from penstock.operate.prepare import Home, log_columns
from penstock.operate.worker import Worker
from penstock.plan.model import Plan
from penstock.store import adopt
from penstock.store.connect import Connection, errors_explained
from penstock.store.results import apply, load_pipelines, set_pipeline_state

STEP_ROWS = 4_000_000
"""Rows of the log one step takes at the most: while catching up, merging and applying less often is faster."""
BULK_ROWS = 1_000_000
BULK_SECONDS = 3.0
"""While a history is read, a step waits for so many rows more, at most so long."""
MEMORY = "256MB"


class PipelineRunner(Worker):
    """Keeps one pipeline current until asked to stop."""

    def __init__(self, core: Core, plan: Plan, home: Home, *, once: bool) -> None:
        super().__init__(core, "pipeline", plan.name, once=once)
        self.plan = plan
        self.home = home
        self.finish = threading.Event()
        """Set once no more rows will come: the thread ends when it has caught up."""
        self._columns = log_columns(core.project.streams[plan.stream])
        self._connection: Connection
        self._kept: DuckDBState

    def failure(self, error: PenstockError, pause: float | None) -> PipelineFailed:
        return PipelineFailed(self.name, str(error), pause)

    def write_state(self, connection: Connection, state: str, error: PenstockError | None) -> None:
        set_pipeline_state(connection, self.name, state, error)

    def work(self) -> str:
        with (
            self.core.store.connect(f"penstock pipeline {self.name}") as connection,
            closing(DuckDBState(self.plan, self.home.folder, self._read_log, MEMORY, threads=2)) as state,
        ):
            self._connection, self._kept = connection, state
            self._agree_with_store()
            if not self.attempts.pauses.attempts:
                self.record("running")
            while not self.core.stop.is_set():
                last = self.finish.is_set()  # before the look: what came before it was set is then seen
                nothing_new = self._look()
                self.attempts.pauses.reset()
                self.record("running")
                if nothing_new and last:
                    return "done"
        return "stopped"

    def _look(self) -> bool:
        """Waits a moment for news and takes them in; returns whether there were none."""
        end = self.core.ends.wait_beyond(self.plan.stream, self._kept.at, 0.5)
        if end.position > self._kept.at.position:
            self.core.ends.wait_for_more(self.plan.stream, BULK_ROWS, BULK_SECONDS)
            self._step(self.core.ends.of(self.plan.stream))
            return False
        if self.home.builds:
            self._replace()
            return False
        return True

    # ---- steps ---------------------------------------------------------------------------------------------------

    def _step(self, end: ChainPoint) -> None:
        """Takes the log up to `end`, or as much of it as a step may hold, and applies what changes."""
        began = time.perf_counter()
        before = self._kept.at
        to = self._bounded(before, end)
        changes = self._kept.advance(self._read(before, to), to)
        try:
            emit(Step("pipeline.before_apply", self.name))
            apply(self._connection, self.home.result, changes, before, self.core.lease.token)
            emit(Step("pipeline.applied", self.name))
        except BaseException:
            self._kept.rollback()
            raise
        self._kept.confirm()
        self._tell(changes, to, end, time.perf_counter() - began)

    def _tell(self, changes: Changes, to: ChainPoint, end: ChainPoint, seconds: float) -> None:
        emit(
            PipelineAdvanced(
                pipeline=self.name, position=to.position, behind=end.position - to.position,
                rows_in=changes.rows_in, upserts=changes.upserts.num_rows, deletes=changes.deletes.num_rows,
                late=changes.late_set_aside, seconds=seconds,
            )
        )  # fmt: skip

    def _bounded(self, after: ChainPoint, end: ChainPoint) -> ChainPoint:
        """Returns the last batch of the stream after `after` so that the step holds at most STEP_ROWS rows."""
        rows, to = 0, after
        for entry in self.core.log.entries(self._connection, after, end, streams=[self.plan.stream]):
            rows += entry.rows
            if rows > STEP_ROWS and to is not after:
                break
            to = entry.point
        return to

    def _read(self, after: ChainPoint, to: ChainPoint) -> Iterator[Slice]:
        return self.core.log.read(self._connection, after, to, streams=[self.plan.stream], columns=self._columns)

    def _read_log(
        self, after: ChainPoint | None, to: ChainPoint, times: tuple[datetime, datetime] | None
    ) -> Iterable[Slice]:
        """What the engine calls to compute a group anew. On a connection of its own: a read may be under way."""
        with self.core.store.connect(f"penstock recompute {self.name}") as connection:
            yield from self.core.log.read(
                connection,
                after or ORIGIN,
                to,
                streams=[self.plan.stream],
                columns=self._columns,
                event_time=_range(times),
            )

    def _replace(self) -> None:
        """The result built beside has caught up: it takes the place of the one that served meanwhile."""
        build = self.home.result.pipeline
        with errors_explained(f"pipeline {self.name}"), self._connection.transaction():
            result = adopt.replace(self._connection, build, self.plan, self.core.lease.token)
        self.home = replace(self.home, result=result, builds=False)
        emit(Notice("its changed result has taken the old one's place", self.name))

    # ---- start ---------------------------------------------------------------------------------------------------

    def _agree_with_store(self) -> None:
        """Brings the state to the position the store has confirmed."""
        rows = load_pipelines(self._connection)
        if self.home.builds and self.home.result.pipeline not in rows:
            # It has taken the old one's place already: the answer to that commit was lost.
            self.home = replace(self.home, result=adopt.table_of(rows[self.name]), builds=False)
        confirmed = rows[self.home.result.pipeline].at
        mine = self._kept.at
        if mine != ORIGIN and (
            mine.position > confirmed.position or not self.core.log.contains(self._connection, mine)
        ):
            emit(StateRebuilt(f"pipeline {self.name}", f"its state is at {mine}, the store at {confirmed}", 0, 0.0))
            self._kept.reset()
        while self._kept.at.position < confirmed.position:
            to = self._bounded(self._kept.at, confirmed)
            if to == self._kept.at:
                break
            self._kept.advance(self._read(self._kept.at, to), to)
            self._kept.confirm()


def _range(times: tuple[datetime, datetime] | None) -> tuple[datetime | None, datetime | None]:
    """The engine's range includes its end, the log's does not."""
    if times is None:
        return None, None
    least, greatest = times
    end_of_time = datetime.max.replace(tzinfo=UTC)
    return least, greatest + timedelta(microseconds=1) if greatest < end_of_time else None
