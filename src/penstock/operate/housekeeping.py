"""What a running project does for its log beside its work: merge small blocks, delete what nobody needs any more."""

from __future__ import annotations

import threading
import time

import psycopg

from penstock.errors import PenstockError
from penstock.log.compact import tend
from penstock.observe import emit
from penstock.observe.events import Notice
from penstock.operate.core import Core
from penstock.store.connect import errors_explained

EVERY = 30.0
"""Seconds between looks at what there is to merge."""
ORPHANS_EVERY = 3600.0


class Housekeeper:
    """A thread of the writer's. Its failures are told and tried again at the next look: nothing depends on it."""

    def __init__(self, core: Core, every: float = EVERY) -> None:
        self.core = core
        self.every = every
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._orphans_at = time.monotonic()
        self._failure = ""

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float | None = None) -> None:
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self.core.stop.wait(self.every):
            try:
                self._tend()
                self._failure = ""
            except (PenstockError, psycopg.Error, OSError) as error:
                if str(error) != self._failure:
                    self._failure = str(error)
                    emit(Notice(f"housekeeping failed, it is tried again: {error}", "log"))

    def _tend(self) -> None:
        with self.core.store.connect("penstock housekeeping") as connection, errors_explained(self.core.store):
            tend(self.core.log, connection, self.core.lease.token)
            if time.monotonic() >= self._orphans_at:
                self.core.log.remove_orphans(connection)
                self._orphans_at = time.monotonic() + ORPHANS_EVERY
