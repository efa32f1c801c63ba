"""What the threads of one running project share: the store, the lease, the log, and the wish to stop."""

from __future__ import annotations

import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from penstock.errors import PenstockError
from penstock.log.model import ORIGIN, ChainPoint
from penstock.log.rowlog import RowLog
from penstock.log.segments import open_segments
from penstock.operate.errors import UnexpectedFailure
from penstock.operate.retry import Pauses
from penstock.plan.model import Plan
from penstock.project.model import Project
from penstock.store.connect import Store, explain
from penstock.store.writer import Lease


class LogEnds:
    """The newest batch of each stream that this process knows to be committed; wakes who waits for more."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ends: dict[str, ChainPoint] = {}
        self._rows: dict[str, int] = {}
        self._bulk: set[str] = set()
        self._over = False

    def publish(self, stream: str, point: ChainPoint, rows: int = 0) -> None:
        """The stream has a new last batch, of `rows` rows."""
        with self._changed:
            if point.position > self._ends.get(stream, ORIGIN).position:
                self._ends[stream] = point
                self._rows[stream] = self._rows.get(stream, 0) + rows
            self._changed.notify_all()

    def bulk(self, source: str, *, begins: bool) -> None:
        """A source begins or ends reading its history: more follows at once, so pipelines take larger steps."""
        with self._changed:
            (self._bulk.add if begins else self._bulk.discard)(source)
            self._changed.notify_all()

    def rows(self, stream: str) -> int:
        """Rows of the stream that were published so far."""
        with self._changed:
            return self._rows.get(stream, 0)

    def wait_for_more(self, stream: str, rows: int, seconds: float) -> None:
        """While histories are read, waits at most `seconds` until `rows` more rows have been published."""
        until = time.monotonic() + seconds
        with self._changed:
            target = self._rows.get(stream, 0) + rows
            while self._bulk and self._rows.get(stream, 0) < target and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
                if self._over:
                    return

    def over(self) -> None:
        """The run ends: nobody waits for more any longer."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def of(self, stream: str) -> ChainPoint:
        with self._changed:
            return self._ends.get(stream, ORIGIN)

    def wake(self) -> None:
        """Wakes everybody who waits, to look at what they wait for again."""
        with self._changed:
            self._changed.notify_all()

    def wait_beyond(self, stream: str, point: ChainPoint, seconds: float) -> ChainPoint:
        """Waits at most `seconds` until the stream's end lies beyond `point`; returns the end."""
        with self._changed:
            if self._ends.get(stream, ORIGIN).position <= point.position:
                self._changed.wait(seconds)
            return self._ends.get(stream, ORIGIN)


@dataclass
class Core:
    """One running project. `stop` is set once and ends everything in order: sources, then pipelines."""

    project: Project
    plans: Mapping[str, Plan]
    store: Store
    lease: Lease
    log: RowLog
    stop: threading.Event = field(default_factory=threading.Event)
    ends: LogEnds = field(default_factory=LogEnds)
    fatal: PenstockError | None = None
    """Why the whole run ends: another writer took over."""

    @property
    def state(self) -> Path:
        return self.project.settings.state

    def end(self, why: PenstockError | None = None) -> None:
        """Asks everything to end; `why` when it is not wanted."""
        self.fatal = self.fatal or why
        self.stop.set()
        self.ends.over()


def explained(error: Exception, what: str) -> PenstockError:
    """Returns `error` as a PenstockError: itself; what the store said, as reading the log raises it as it is; for a
    defect of ours one that names a file with the details."""
    if isinstance(error, PenstockError):
        return error
    if isinstance(error, psycopg.Error):
        return explain(error, what)
    with tempfile.NamedTemporaryFile(
        "w", prefix="penstock-failure-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write("".join(traceback.format_exception(error)))
    found = f"{what}: {type(error).__name__}: {error}"
    return UnexpectedFailure(found, hint=f"please report it with the file {file.name}")


@dataclass
class Attempts:
    """Runs something again and again while its failures are retryable."""

    what: str
    stop: threading.Event
    failed: Callable[[PenstockError, float | None], None]
    """Told of every failure, with the seconds until the next attempt; None = no more attempts."""
    pauses: Pauses = field(default_factory=Pauses)
    most: int | None = None
    """Attempts in a row after which a retryable failure counts as lasting; None = for ever."""

    def run(self, attempt: Callable[[], None]) -> PenstockError | None:
        """Calls `attempt` until it returns (None), fails for good (the error), or a stop is wanted (None)."""
        while not self.stop.is_set():
            try:
                attempt()
            except Exception as error:  # noqa: BLE001 (a thread's last line of defence: explained and recorded)
                why = explained(error, self.what)
                again = why.retryable and (self.most is None or self.pauses.attempts < self.most)
                pause = self.pauses.next() if again else None
                self.failed(why, pause)
                if pause is None:
                    return why
                self.stop.wait(pause)
            else:
                return None
        return None


def open_log(project: Project, store: Store) -> RowLog:
    """Returns the project's log: its segments are in the state folder, or where `log: {segments: URL}` says."""
    return RowLog(open_segments(project.settings.log.segments, project.settings.state, store.log_id))
