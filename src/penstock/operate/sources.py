"""One thread a source: rounds of reading, each batch checked here and committed by the committer."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from penstock.errors import PenstockError
from penstock.intake.check import Checker
from penstock.intake.expressions import columns_used, type_hints
from penstock.observe import emit
from penstock.observe.events import RoundEnded, SourceFailed, SourceWaiting, Step
from penstock.operate.commit import Committer
from penstock.operate.core import Core
from penstock.operate.worker import Worker
from penstock.project.model import SourceFile
from penstock.sources.base import RawBatch, Source, SourceContext
from penstock.sources.registry import sources
from penstock.store.connect import Connection
from penstock.store.sources import set_source_state, set_unmapped, set_waiting


class SourceRunner(Worker):
    """Reads one source until asked to stop; with `once` for one round."""

    def __init__(self, core: Core, committer: Committer, file: SourceFile, *, once: bool) -> None:
        super().__init__(core, "source", file.name, once=once)
        self.committer = committer
        self.file = file
        self._waiting: str | None = None
        """What `status` was last told; None: what an earlier run told is still there."""
        self._reads = "running"
        self._unmapped: tuple[str, ...] | None = None

    @property
    def _reads_once(self) -> bool:
        """`mode: bulk` without `every` reads everything, once."""
        return getattr(self.file.config, "mode", "") == "bulk" and not self.file.every_given

    def failure(self, error: PenstockError, pause: float | None) -> SourceFailed:
        self.committer.hold_back(self.name)
        self.core.ends.bulk(self.name, begins=False)
        return SourceFailed(self.name, str(error), pause)

    def write_state(self, connection: Connection, state: str, error: PenstockError | None) -> None:
        set_source_state(connection, self.name, state, error)

    def work(self) -> str:
        row, receipts = self.committer.source(self.name)
        if not self.attempts.pauses.attempts:
            # After a failure the error stays told until something went well.
            self.record("first_read" if row.first_round else "running")
        resumed = row.round_open
        stream = self.core.project.streams[self.file.stream]
        checker = Checker(stream, self.file, self.core.store.secret)
        source = self._made()
        try:
            source.open(row.cursor, receipts)
            while not self.core.stop.is_set():
                self._round(source, checker)
                self.attempts.pauses.reset()
                if self.core.stop.is_set():
                    break
                if resumed and self.once:
                    # A round that a crash cut off ends where it would have ended then; what came since is wanted too.
                    resumed = False
                    continue
                if self.once or self._reads_once:
                    return "done"
                self.record("waiting" if source.waiting() else "running")
                self._pause(source)
        finally:
            source.close()
            checker.close()
        return "stopped"

    def _made(self) -> Source:
        stream = self.core.project.streams[self.file.stream]
        scratch = self.core.state / "sources" / self.name
        scratch.mkdir(parents=True, exist_ok=True)
        context = SourceContext(
            file=self.file,
            stream=stream,
            root=self.core.project.root,
            state=scratch,
            type_hints=type_hints(stream, self.file),
            columns_used=columns_used(stream, self.file),
        )
        source = sources()[self.file.type](context)
        source.stop_requested = self.core.stop.is_set
        return source

    def _round(self, source: Source, checker: Checker) -> None:
        began, rows = time.perf_counter(), 0
        first = self.committer.begin_round(self.name)
        self._reads = "first_read" if first else "running"
        if first:
            self.core.ends.bulk(self.name, begins=True)
        emit(Step("source.round", self.name))
        for raw in source.round():
            emit(Step("source.batch", self.name))
            rows += self._take(source, checker, raw)
            if self.core.stop.is_set():
                return
        if self.core.stop.is_set():
            return  # a source that is asked to stop ends a round early: it is not complete
        if source.complete():
            self.committer.end_round(self.name, datetime.now(UTC))
        self.core.ends.bulk(self.name, begins=False)
        why = source.waiting()
        if why != self._waiting:
            if why or self._waiting:
                emit(SourceWaiting(self.name, why))
            self._waiting = why
            with self.core.store.connect("penstock status") as connection:
                set_waiting(connection, self.name, why)
        if rows:
            emit(RoundEnded(self.name, rows, time.perf_counter() - began))

    def _take(self, source: Source, checker: Checker, raw: RawBatch) -> int:
        checked = checker.check(raw)
        if raw.table.num_rows and checked.unmapped != self._unmapped:
            self._unmapped = checked.unmapped
            with self.core.store.connect("penstock status") as connection:
                set_unmapped(connection, self.name, checked.unmapped)
        decided = self.committer.commit(self.name, raw, checked)
        if self.attempts.pauses.attempts:
            self.record(self._reads)
        source.committed(raw)
        return decided.read

    def _pause(self, source: Source) -> None:
        """Waits `every`, in slices so that a stop is quick; a source that notices changes may end it early."""
        until = time.monotonic() + self.file.every.total_seconds()
        while (left := until - time.monotonic()) > 0 and not self.core.stop.is_set():
            until_look = time.monotonic() + min(left, 0.5)
            if source.wait_for_change(min(left, 0.5)):
                return
            self.core.stop.wait(max(0.0, until_look - time.monotonic()))
