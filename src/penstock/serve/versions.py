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
from typing import Any

import psycopg
from psycopg import sql as pgsql

from penstock.serve.pool import Pool, StoreLost, one_line
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

    def __init__(self, pool: Pool, own_schema: str, changed: Callable[[], None]) -> None:
        self.versions = Versions()
        self._pool = pool
        self._own = own_schema
        self._changed = changed
        self._wake = asyncio.Event()
        query = "SELECT p.name, {version}, coalesce(p.window_column, '') FROM {own}.pipeline p WHERE p.builds IS NULL"
        self._query = pgsql.SQL(query).format(version=pgsql.SQL(VERSION), own=pgsql.Identifier(own_schema))

    def nudge(self) -> None:
        """Asks for a poll at once: somebody saw a newer version."""
        self._wake.set()

    async def first(self) -> None:
        """Polls once, on a connection of its own. Raises StoreLost."""
        conn = await self._pool.connect()
        try:
            await self._poll(conn)
        except psycopg.Error as error:
            self._lose(one_line(error))
            raise StoreLost(one_line(error)) from error
        finally:
            await conn.close()

    async def run(self) -> None:
        """Polls for ever; a lost connection is opened again."""
        while True:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS * 2):
                    conn = await self._pool.connect()
                try:
                    await self._watch(conn)
                finally:
                    with suppress(psycopg.Error):
                        await conn.close()
            except (StoreLost, psycopg.Error, TimeoutError) as error:
                self._lose(one_line(error) or "the store does not answer")
            await asyncio.sleep(POLL_SECONDS)

    async def _watch(self, conn: psycopg.AsyncConnection[Any]) -> None:
        conn.add_notify_handler(lambda _: None)  # taken in, so that they do not pile up; the socket's waking is enough
        await conn.execute(pgsql.SQL("LISTEN {}").format(pgsql.Identifier(self._own)))
        while True:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._poll(conn)
            await self._pause(conn)

    async def _pause(self, conn: psycopg.AsyncConnection[Any]) -> None:
        """Waits until the next poll is due, the store says something (a notification, a hang-up), or a nudge."""
        loop = asyncio.get_running_loop()
        loop.add_reader(conn.fileno(), self._wake.set)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
        loop.remove_reader(conn.fileno())
        self._wake.clear()
        await asyncio.sleep(NOTIFY_PAUSE)

    async def _poll(self, conn: psycopg.AsyncConnection[Any]) -> None:
        began = time.monotonic()
        rows = await (await conn.execute(self._query, prepare=True)).fetchall()
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
            self._changed()
