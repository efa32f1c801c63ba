"""A few connections to the store, and who gets the next free one.

A connection that broke is replaced, and the statement tried once more on a fresh one (all statements only read). Those
who wait for a connection are served in order, and only for a while.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from psycopg.pq.abc import PGresult

from penstock.serve.describe import session_settings
from penstock.serve.link import Link, StoreLost

WAIT_SECONDS = 5.0


class Pool:
    """At most `size` connections, opened when needed. Used in one event loop."""

    def __init__(self, url: str, schema: str, *, size: int, timeout: float) -> None:
        self._url = url
        self._settings = session_settings(schema, int(timeout * 1000))
        self._free: list[Link] = []
        self._unopened = size
        self._waiting: deque[tuple[float, asyncio.Future[Link | None]]] = deque()
        """Who waits, and until when: in order of both."""
        self._open: set[Link] = set()

    async def run(self, name: bytes, statement: bytes, values: Sequence[bytes | None]) -> PGresult:
        """Runs a statement (prepared under `name`) and returns its result. Raises StoreLost, psycopg.Error."""
        link = await self._take()
        try:
            try:
                return await link.run(name, statement, values)
            except StoreLost:
                if link.hung_up:
                    raise
                fresh = await self._connect()
                self._forget(link)
                link = fresh
                return await link.run(name, statement, values)
        finally:
            self._give_back(link)

    async def _take(self) -> Link:
        if self._free:
            return self._free.pop()
        if self._unopened:
            self._unopened -= 1
            return await self._connected_or_given_up()
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Link | None] = loop.create_future()
        self._waiting.append((loop.time() + WAIT_SECONDS, waiting))
        try:
            link = await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and not waiting.exception():
                self._hand_on(waiting.result())
            raise
        return link or await self._connected_or_given_up()

    def expire(self) -> None:
        """Gives up those who have waited too long. Called now and then: a timer for each would cost more."""
        now = asyncio.get_running_loop().time()
        while self._waiting and self._waiting[0][0] < now:
            _, waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(StoreLost(f"all connections to it have been busy for {WAIT_SECONDS:.0f} s"))

    async def _connected_or_given_up(self) -> Link:
        """Opens a connection in a place that is ours; gives the place back when that fails."""
        try:
            return await self._connect()
        except BaseException:
            self._hand_on(None)
            raise

    async def open_link(self) -> Link:
        """Returns a connection that is not the pool's. Raises StoreLost."""
        return await Link.open(self._url, self._settings)

    async def _connect(self) -> Link:
        link = await self.open_link()
        self._open.add(link)
        return link

    def _give_back(self, link: Link) -> None:
        if link.usable:
            self._hand_on(link)
            return
        self._forget(link)
        self._hand_on(None)

    def _forget(self, link: Link) -> None:
        self._open.discard(link)
        link.abandon()

    def _hand_on(self, link: Link | None) -> None:
        """Gives a connection, or the right to open one, to the next who waits."""
        while self._waiting:
            _, waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(link)
                return
        if link is None:
            self._unopened += 1
        else:
            self._free.append(link)

    def hang_up(self) -> None:
        """Ends all waits: the store does not answer. Connections are opened anew when they are needed."""
        for link in tuple(self._open):
            link.hang_up()
        self._unopened += len(self._free)
        for link in self._free:
            self._forget(link)
        self._free.clear()

    async def close(self) -> None:
        """Closes all connections."""
        for link in tuple(self._open):
            self._open.discard(link)
            await link.close()
