"""A thread of the run that does one thing, over and over: what sources' and pipelines' threads have in common."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from penstock.errors import PenstockError
from penstock.observe import Observation, emit
from penstock.observe.events import Notice
from penstock.operate.core import Attempts, Core, explained
from penstock.operate.retry import WHEN_ONCE
from penstock.store.connect import Connection, errors_explained
from penstock.store.errors import LeaseLost
from penstock.store.writer import check_token


class Worker(ABC):
    """Runs `work` until it ends, fails for good (`error`), or the run stops. Its state is written for `status`."""

    def __init__(self, core: Core, what: str, name: str, *, once: bool) -> None:
        self.core = core
        self.name = name
        self.once = once
        """Whether the run ends by itself: then a failure that lasts is not tried for ever."""
        self.error: PenstockError | None = None
        self.attempts = Attempts(f"{what} {name}", core.stop, self._failed, most=WHEN_ONCE if once else None)
        self._state = ""
        self._thread = threading.Thread(target=self._run, name=f"{what} {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float | None = None) -> None:
        if self._thread.ident is not None:
            self._thread.join(seconds)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @abstractmethod
    def work(self) -> str:
        """Does the work. Returns the state it ends in (`done`, `stopped`). Called again after a retryable failure:
        start from what is committed."""

    @abstractmethod
    def failure(self, error: PenstockError, pause: float | None) -> Observation:
        """Returns what to tell of a failure; lets go of what must not be held meanwhile."""

    @abstractmethod
    def write_state(self, connection: Connection, state: str, error: PenstockError | None) -> None:
        """Writes the state into the store."""

    def record(self, state: str, error: PenstockError | None = None) -> None:
        """Says what the worker is doing; writes only what changed."""
        if state == self._state and error is None:
            return
        self._state = state
        try:
            store = self.core.store
            with store.connect("penstock status") as connection, errors_explained(store), connection.transaction():
                # With the token: once another run is the writer, states are its to write.
                check_token(connection, self.core.lease.token)
                self.write_state(connection, state, error)
        except LeaseLost as lost:
            self.core.end(lost)
        except PenstockError as away:
            # The store itself is what fails: it cannot be told, so the log line is the record.
            self._state = ""
            emit(self.failure(away, None))

    def _run(self) -> None:
        try:
            self.error = self.attempts.run(lambda: self.record(self.work()))
        except Exception as error:  # noqa: BLE001 (what fails while telling of a failure must not end in silence)
            self.error = explained(error, self.name)
            emit(Notice(f"ended: {self.error}", self.name))
        finally:
            self.core.ends.wake()

    def _failed(self, error: PenstockError, pause: float | None) -> None:
        emit(self.failure(error, pause))
        if isinstance(error, LeaseLost):
            self.core.end(error)
            return
        self.record("stopped" if pause is None else "retrying", error)
