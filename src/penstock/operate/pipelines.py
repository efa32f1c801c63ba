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
from dataclasses import replace
from datetime import datetime

from penstock.engines.base import Changes
from penstock.engines.duckdb import DuckDBState
from penstock.errors import PenstockError
from penstock.log.model import ORIGIN, ChainPoint, Slice
from penstock.observe import emit
from penstock.observe.events import Notice, PipelineAdvanced, PipelineFailed, StateRebuilt, Step
from penstock.operate.core import Attempts, Core
from penstock.operate.prepare import Home, log_columns
from penstock.operate.retry import WHEN_ONCE
from penstock.plan.model import Plan
from penstock.store import adopt
from penstock.store.connect import Connection, errors_explained
from penstock.store.errors import LeaseLost
from penstock.store.results import apply, load_pipelines, set_pipeline_state

STEP_ROWS = 4_000_000
"""Rows of the log one step takes at the most: while catching up, merging and applying less often is faster."""
BULK_ROWS = 2_000_000
BULK_SECONDS = 3.0
"""While a history is read, a step waits for so many rows more, at most so long."""
MEMORY = "256MB"


class PipelineRunner:
    """Keeps one pipeline current until asked to stop."""

    def __init__(self, core: Core, plan: Plan, home: Home, *, once: bool) -> None:
        self.core = core
        self.plan = plan
        self.home = home
        self.once = once
        self._columns = log_columns(core.project.streams[plan.stream])
        self.error: PenstockError | None = None
        self.caught_up_to = ORIGIN
        self._connection: Connection | None = None
        self._state: DuckDBState | None = None
        self._thread = threading.Thread(target=self._run, name=f"pipeline {plan.name}", daemon=True)
        self.finish = threading.Event()
        """Set once no more rows will come: the thread ends when it has caught up."""

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float | None = None) -> None:
        self._thread.join(seconds)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    # ---- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        most = WHEN_ONCE if self.once else None
        attempts = Attempts(f"pipeline {self.plan.name}", self.core.stop, self._failed, most=most)
        try:
            self.error = attempts.run(lambda: self._keep(attempts))
        finally:
            self._close()
            self.core.ends.wake()

    def _failed(self, error: PenstockError, pause: float | None) -> None:
        emit(PipelineFailed(self.plan.name, str(error), pause))
        self._close()
        if isinstance(error, LeaseLost):
            self.core.end(error)
            return
        self._record("stopped" if pause is None else "retrying", error)

    def _record(self, state: str, error: PenstockError | None) -> None:
        try:
            with self.core.store.connect("penstock status") as connection:
                set_pipeline_state(connection, self.plan.name, state, error)
        except PenstockError as away:
            # The store is what failed: it cannot be told so. The log line of PipelineFailed is the record.
            emit(PipelineFailed(self.plan.name, f"its state could not be recorded: {away}", None))

    def _close(self) -> None:
        if self._state is not None:
            self._state.close()
        if self._connection is not None:
            self._connection.close()
        self._state = self._connection = None

    def _keep(self, attempts: Attempts) -> None:
        self._connection = self.core.store.connect(f"penstock pipeline {self.plan.name}")
        self._state = DuckDBState(self.plan, self.home.folder, self._read_log, MEMORY, threads=2)
        self._agree_with_store()
        self._record("running", None)
        attempts.pauses.reset()
        while not self.core.stop.is_set():
            end = self.core.ends.wait_beyond(self.plan.stream, self._state.at, 0.5)
            if end.position > self._state.at.position:
                self.core.ends.wait_for_more(self.plan.stream, BULK_ROWS, BULK_SECONDS)
                self._step(self.core.ends.of(self.plan.stream))
            elif self.home.builds:
                self._replace()
            elif self.finish.is_set():
                break
            self.caught_up_to = self._state.at
        self._record("done" if self.finish.is_set() else "stopped", None)

    # ---- steps ---------------------------------------------------------------------------------------------------

    def _step(self, end: ChainPoint) -> None:
        """Takes the log up to `end`, or as much of it as a step may hold, and applies what changes."""
        began = time.perf_counter()
        assert self._state
        assert self._connection
        before = self._state.at
        to = self._bounded(before, end)
        changes = self._state.advance(self._read(before, to), to)
        try:
            emit(Step("pipeline.before_apply", self.plan.name))
            apply(self._connection, self.home.result, changes, before, self.core.lease.token)
            emit(Step("pipeline.applied", self.plan.name))
        except BaseException:
            self._state.rollback()
            raise
        self._state.confirm()
        self._tell(changes, to, end, time.perf_counter() - began)

    def _tell(self, changes: Changes, to: ChainPoint, end: ChainPoint, seconds: float) -> None:
        emit(
            PipelineAdvanced(
                pipeline=self.plan.name, position=to.position, behind=end.position - to.position,
                rows_in=changes.rows_in, upserts=changes.upserts.num_rows, deletes=changes.deletes.num_rows,
                late=changes.late_set_aside, seconds=seconds,
            )
        )  # fmt: skip

    def _bounded(self, after: ChainPoint, end: ChainPoint) -> ChainPoint:
        """Returns the last batch of the stream after `after` so that the step holds at most STEP_ROWS rows."""
        assert self._connection
        rows, to = 0, after
        for entry in self.core.log.entries(self._connection, after, end, streams=[self.plan.stream]):
            rows += entry.rows
            if rows > STEP_ROWS and to is not after:
                break
            to = entry.point
        return to

    def _read(self, after: ChainPoint, to: ChainPoint) -> Iterator[Slice]:
        assert self._connection
        return self.core.log.read(self._connection, after, to, streams=[self.plan.stream], columns=self._columns)

    def _read_log(
        self, after: ChainPoint | None, to: ChainPoint, times: tuple[datetime, datetime] | None
    ) -> Iterable[Slice]:
        """What the engine calls to compute a group anew. On a connection of its own: a read may be under way."""
        with self.core.store.connect(f"penstock recompute {self.plan.name}") as connection:
            yield from self.core.log.read(
                connection,
                after or ORIGIN,
                to,
                streams=[self.plan.stream],
                columns=self._columns,
                event_time=times or (None, None),
            )

    def _replace(self) -> None:
        """The result built beside has caught up: it takes the place of the one that served meanwhile."""
        assert self._connection
        build = self.home.result.pipeline
        with errors_explained(f"pipeline {self.plan.name}"), self._connection.transaction():
            result = adopt.replace(self._connection, build, self.plan, self.core.lease.token)
        self.home = replace(self.home, result=result, builds=False)
        emit(Notice("its changed result has taken the old one's place", self.plan.name))

    # ---- start ---------------------------------------------------------------------------------------------------

    def _agree_with_store(self) -> None:
        """Brings the state to the position the store has confirmed."""
        assert self._state
        assert self._connection
        confirmed = load_pipelines(self._connection)[self.home.result.pipeline].at
        mine = self._state.at
        if mine != ORIGIN and (
            mine.position > confirmed.position or not self.core.log.contains(self._connection, mine)
        ):
            emit(
                StateRebuilt(f"pipeline {self.plan.name}", f"its state is at {mine}, the store at {confirmed}", 0, 0.0)
            )
            self._state.reset()
        while self._state.at.position < confirmed.position:
            to = self._bounded(self._state.at, confirmed)
            if to == self._state.at:
                break
            self._state.advance(self._read(self._state.at, to), to)
            self._state.confirm()
