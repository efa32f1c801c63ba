"""Which version each pipeline's result has now: asked again and again, so that a cached answer is never older.

The truth is the poll; a NOTIFY only makes the next one come at once. When the store cannot be asked, nothing is known
any more: every version is forgotten, and with it every cached answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

from penstock.errors import PenstockError
from penstock.observe import emit
from penstock.observe.events import Notice
from penstock.serve.link import Link, StoreLost, one_line
from penstock.serve.pool import Pool
from penstock.serve.sql import quoted
from penstock.serve.statement import VERSION

POLL_SECONDS = 0.1
TRUST_SECONDS = 0.25
"""A version is believed for so long after the poll that read it began; then the store is asked for every answer."""
PATIENCE_SECONDS = 2.0
"""A poll that takes longer counts as a lost store."""
NOTIFY_PAUSE = 0.01


@dataclass
class Versions:
    """What the last poll found. `checked` is the monotonic time at which it began, -inf when the store is lost."""

    by_pipeline: dict[str, str] = field(default_factory=dict)
    windows: dict[str, str] = field(default_factory=dict)
    """Pipeline -> window column, '' without one."""
    checked: float = float("-inf")
    error: str = "the store has not been asked yet"
    polls: int = 0

    def of(self, pipelines: Iterable[str]) -> str | None:
        """Returns the versions of `pipelines` as an answer's statement prints them; None when one is not known."""
        known = [self.by_pipeline.get(name) for name in pipelines]
        found = [v for v in known if v is not None]
        return "\n".join(found) if found and len(found) == len(known) else None

    @property
    def lost(self) -> bool:
        return bool(self.error)


class Poller:
    """Keeps `versions` up to date until cancelled; calls `changed` after every poll that found something new."""

    def __init__(
        self, pool: Pool, own_schema: str, changed: Callable[[], None], revive: Callable[[], None] | None = None
    ) -> None:
        self.versions = Versions()
        self._pool = pool
        self._own = own_schema
        self._changed = changed
        self._revive = revive
        self._wake = asyncio.Event()
        columns = f"p.name, {VERSION}, coalesce(p.window_column, '')"
        self._query = f"SELECT {columns} FROM {quoted(own_schema)}.pipeline p WHERE p.builds IS NULL".encode()

    def nudge(self) -> None:
        """Asks for a poll at once: somebody saw a newer version."""
        self._wake.set()

    async def first(self) -> None:
        """Polls once, on a connection of its own. Raises StoreLost."""
        link = await self._pool.open_link()
        try:
            await self._poll(link)
        except psycopg.Error as error:
            raise StoreLost(one_line(error)) from error
        finally:
            await link.close()

    async def run(self) -> None:
        """Polls for ever; a lost connection is opened again."""
        while True:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS * 2):
                    link = await self._pool.open_link()
                try:
                    await self._watch(link)
                finally:
                    await link.close()
            except (StoreLost, psycopg.Error, TimeoutError) as error:
                self._lose(one_line(error) or "the store does not answer")
                await self._bring_back()
            await asyncio.sleep(POLL_SECONDS)

    async def _bring_back(self) -> None:
        if self._revive is None:
            return
        try:
            await asyncio.to_thread(self._revive)
        except PenstockError as error:
            emit(Notice(f"the store could not be started again: {error}", "serve"))
            await asyncio.sleep(PATIENCE_SECONDS)

    async def _watch(self, link: Link) -> None:
        link.on_news = self._wake.set
        await link.ask(f"LISTEN {quoted(self._own)}")
        while True:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._poll(link)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
            self._wake.clear()
            await asyncio.sleep(NOTIFY_PAUSE)

    async def _poll(self, link: Link) -> None:
        began = time.monotonic()
        result = await link.run(b"poll", self._query, ())
        rows = [[_text(result.get_value(i, j)) for j in range(3)] for i in range(result.ntuples)]
        found = {name: version for name, version, _ in rows}
        windows = {name: window for name, _, window in rows}
        news = found != self.versions.by_pipeline or windows != self.versions.windows or self.versions.lost
        self.versions.by_pipeline, self.versions.windows = found, windows
        self.versions.checked, self.versions.error = began, ""
        self.versions.polls += 1
        if news:
            self._changed()

    def _lose(self, error: str) -> None:
        was_lost = self.versions.lost and self.versions.polls
        polls = self.versions.polls + 1
        self.versions.by_pipeline, self.versions.windows = {}, {}
        self.versions.checked, self.versions.error, self.versions.polls = float("-inf"), error, polls
        if not was_lost:
            self._pool.hang_up()
            self._changed()


def _text(value: bytes | None) -> str:
    return (value or b"").decode()
