"""One thread a source: rounds of reading, each batch checked here and committed by the committer."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from penstock.errors import PenstockError
from penstock.intake.check import Checker
from penstock.intake.expressions import columns_used, type_hints
from penstock.observe import emit
from penstock.observe.events import RoundEnded, SourceFailed, SourceWaiting, Step
from penstock.operate.commit import Committer
from penstock.operate.core import Attempts, Core
from penstock.operate.retry import WHEN_ONCE
from penstock.project.model import SourceFile
from penstock.sources.base import RawBatch, Source, SourceContext
from penstock.sources.registry import sources
from penstock.store.errors import LeaseLost
from penstock.store.sources import set_source_state, set_unmapped, set_waiting


class SourceRunner:
    """Reads one source until asked to stop; with `once` for one round."""

    def __init__(self, core: Core, committer: Committer, file: SourceFile, *, once: bool) -> None:
        self.core = core
        self.committer = committer
        self.file = file
        self.once = once
        self.error: PenstockError | None = None
        self._state = ""
        self._waiting = ""
        self._unmapped: tuple[str, ...] | None = None
        self._thread = threading.Thread(target=self._run, name=f"source {file.name}", daemon=True)

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
        attempts = Attempts(f"source {self.file.name}", self.core.stop, self._failed, most=most)
        self.error = attempts.run(lambda: self._read(attempts))
        if self.error is None:
            self._record("done" if self.once or self._reads_once else "stopped")
        self.core.ends.wake()

    @property
    def _reads_once(self) -> bool:
        """`mode: bulk` without `every` reads everything, once."""
        return getattr(self.file.config, "mode", "") == "bulk" and not self.file.every_given

    def _failed(self, error: PenstockError, pause: float | None) -> None:
        self.committer.hold_back(self.file.name)
        self.core.ends.bulk(self.file.name, begins=False)
        emit(SourceFailed(self.file.name, str(error), pause))
        if isinstance(error, LeaseLost):
            self.core.end(error)
            return
        self._record("stopped" if pause is None else "retrying", error)

    def _record(self, state: str, error: PenstockError | None = None) -> None:
        """Writes the state for `status`, when it changed."""
        if state == self._state and error is None:
            return
        self._state = state
        try:
            with self.core.store.connect("penstock status") as connection:
                set_source_state(connection, self.file.name, state, error)
        except PenstockError as away:
            emit(SourceFailed(self.file.name, f"its state could not be recorded: {away}", None))

    def _read(self, attempts: Attempts) -> None:
        row, receipts = self.committer.source(self.file.name)
        self._record("first_read" if row.first_round else "running")
        stream = self.core.project.streams[self.file.stream]
        checker = Checker(stream, self.file, self.core.store.secret)
        source = self._made()
        try:
            source.open(row.cursor, receipts)
            while not self.core.stop.is_set():
                self._round(source, checker)
                attempts.pauses.reset()
                if self.once or self._reads_once or self.core.stop.is_set():
                    return
                self._record("waiting" if source.waiting() else "running")
                self._pause(source)
        finally:
            source.close()
            checker.close()

    def _made(self) -> Source:
        stream = self.core.project.streams[self.file.stream]
        scratch = self.core.state / "sources" / self.file.name
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
        if self.committer.begin_round(self.file.name):
            self.core.ends.bulk(self.file.name, begins=True)
        emit(Step("source.round", self.file.name))
        for raw in source.round():
            emit(Step("source.batch", self.file.name))
            rows += self._take(source, checker, raw)
            if self.core.stop.is_set():
                return
        if source.complete():
            self.committer.end_round(self.file.name, datetime.now(UTC))
        self.core.ends.bulk(self.file.name, begins=False)
        why = source.waiting()
        if why != self._waiting:
            self._waiting = why
            emit(SourceWaiting(self.file.name, why))
            with self.core.store.connect("penstock status") as connection:
                set_waiting(connection, self.file.name, why)
        if rows:
            emit(RoundEnded(self.file.name, rows, time.perf_counter() - began))

    def _take(self, source: Source, checker: Checker, raw: RawBatch) -> int:
        checked = checker.check(raw)
        if raw.table.num_rows and checked.unmapped != self._unmapped:
            self._unmapped = checked.unmapped
            with self.core.store.connect("penstock status") as connection:
                set_unmapped(connection, self.file.name, checked.unmapped)
        decided = self.committer.commit(self.file.name, raw, checked)
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
