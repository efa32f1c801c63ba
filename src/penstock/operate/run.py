"""One run of a project: opens everything, starts a thread per source and per pipeline and the API, and ends in order.

`Run` is what `run`, `demo` and later verbs that write are made of. It owns the writer's lease. The main thread calls
`tick` a few times a second: it looks after the lease, carries out requests and tells when the run is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from penstock.errors import PenstockError
from penstock.observe import emit
from penstock.observe.events import Notice, SourceFailed
from penstock.operate.commit import Committer
from penstock.operate.contracts import adopt_contracts
from penstock.operate.core import Core, open_log
from penstock.operate.folder import CheckedFolder
from penstock.operate.housekeeping import Housekeeper
from penstock.operate.pipelines import PipelineRunner
from penstock.operate.prepare import drop_removed, forget_old_states, prepare_pipelines
from penstock.operate.requests import forget_old_requests, serve_requests
from penstock.operate.retry import Pauses
from penstock.operate.sources import SourceRunner
from penstock.serve.child import ServeChild
from penstock.store.connect import Connection, Store
from penstock.store.writer import acquire

STOP_SECONDS = 20.0
"""How long an orderly end may take before threads are left to the process's end (which is safe at any moment)."""


@dataclass(frozen=True)
class RunOptions:
    until_caught_up: bool = False
    """One round of every source, then until all of it is in the answers."""
    serve: bool = True
    drop: bool = False
    """Drop the tables of pipelines whose file is gone."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `errors` are of the sources and pipelines that stopped, and of the run itself."""

    errors: tuple[PenstockError, ...]
    quarantined: int
    complete: bool
    """Whether the run ended as it was meant to: caught up, where that was wanted."""


class Run:
    """A running project; a context manager. `asked`, once set, ends it. Raises what opening store and lease raise."""

    def __init__(self, folder: CheckedFolder, options: RunOptions, asked: threading.Event) -> None:
        self.folder = folder
        self.options = options
        self.dropped: list[str] = []
        settings = folder.project.settings
        self.store = Store.open(settings)
        try:
            self.lease = acquire(self.store)
            self.core = Core(folder.project, folder.plans, self.store, self.lease, open_log(folder.project, self.store))
            self._connection: Connection | None = self.store.connect("penstock run")
            self._prepare()
        except BaseException:
            self.store.close()
            raise
        self._lease_pauses = Pauses()
        self._stop_asked = asked
        self._done = False

    def _prepare(self) -> None:
        assert self._connection
        forget_old_requests(self._connection)
        adopt_contracts(self._connection, self.folder.project)
        homes = prepare_pipelines(self.core, self._connection)
        if self.options.drop:
            self.dropped = drop_removed(self.core, self._connection)
        forget_old_states(self.core, self._connection)
        once = self.options.until_caught_up
        self.committer = Committer(self.core)
        self.pipelines = [
            PipelineRunner(self.core, plan, homes[plan.name], once=once) for plan in self.folder.plans.values()
        ]
        self.sources = [
            SourceRunner(self.core, self.committer, file, once=once) for file in self.folder.project.sources.values()
        ]
        self.housekeeper = Housekeeper(self.core)
        self.server = ServeChild(self.folder.project, self.store.url) if self.options.serve else None

    def __enter__(self) -> Run:
        try:
            self.committer.open()
            for pipeline in self.pipelines:
                pipeline.start()
            for source in self.sources:
                source.start()
            self.housekeeper.start()
            if self.server:
                self.server.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def addresses(self) -> list[str]:
        return self.server.addresses if self.server else []

    def tick(self) -> bool:
        """Looks after the run; returns whether it is over."""
        self._look_after_store()
        if self.core.stop.is_set() or self._stop_asked.is_set():
            return True
        return self.options.until_caught_up and self._caught_up()

    def _caught_up(self) -> bool:
        if any(s.running for s in self.sources):
            return False
        for pipeline in self.pipelines:
            pipeline.finish.set()
        self.core.ends.wake()
        self._done = not any(p.running for p in self.pipelines)
        return self._done

    def _look_after_store(self) -> None:
        """Carries out requests; gets connection and lock again when they broke."""
        try:
            if self._connection is None:
                self._connection = self.store.connect("penstock run")
            if not self.lease.alive():
                self.lease.renew()
            serve_requests(self._connection, {"stop": self._on_stop})
            self._lease_pauses.reset()
        except PenstockError as error:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if not error.retryable:
                self.core.end(error)
                return
            pause = self._lease_pauses.next()
            emit(Notice(f"the store is away, tried again in {pause:.1f} s: {error}"))
            time.sleep(min(pause, 2.0))

    def _on_stop(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        self._stop_asked.set()
        return {}

    def close(self) -> None:
        """Ends sources, then pipelines, then the API; what is under way is finished or left as if it had not begun."""
        with ExitStack() as last:  # each of them is let go of, whatever the others raise
            last.callback(self.store.close)
            last.callback(self.lease.release)
            if self._connection is not None:
                last.callback(self._connection.close)
            last.callback(self.committer.close)
            if self.server:
                last.callback(self.server.stop)
            self._end_threads()

    def _end_threads(self) -> None:
        self.core.end()
        until = time.monotonic() + STOP_SECONDS
        for runner in self._runners():
            runner.join(max(0.1, until - time.monotonic()))
        for source in (s for s in self.sources if s.running):
            emit(SourceFailed(source.file.name, "it did not end in time and was left behind", None))
        self.housekeeper.join(max(0.1, until - time.monotonic()))

    def _runners(self) -> list[SourceRunner | PipelineRunner]:
        return [*self.sources, *self.pipelines]

    def outcome(self) -> Outcome:
        errors = [r.error for r in self._runners() if r.error]
        if self.core.fatal:
            errors.insert(0, self.core.fatal)
        complete = self._done or not self.options.until_caught_up
        return Outcome(tuple(errors), self.committer.quarantined, complete)
