"""One connection to the store that runs one prepared statement at a time, driven by the event loop.

psycopg connects and speaks the protocol (libpq); what is left out is its cursors and its way of waiting, which add and
remove the socket from the event loop for every query: half of an uncached answer's time here (measured). The socket
stays registered; results are libpq's own, as text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult

_ENDINGS = (psycopg.errors.AdminShutdown, psycopg.errors.CrashShutdown, psycopg.errors.IdleSessionTimeout)
"""Refusals that are the connection's end."""


class StoreLost(Exception):
    """The store cannot be asked now; the text says what was seen, without any password."""


CONNECT_SECONDS = 3


class Link:
    """A connection. After StoreLost or a cancelled `run` it is of no more use: `close` it."""

    def __init__(self, conn: psycopg.AsyncConnection[Any]) -> None:
        self._conn = conn
        self._pg = conn.pgconn
        self._fd = conn.fileno()
        self._loop = asyncio.get_running_loop()
        self._prepared: set[bytes] = set()
        self._waiting: asyncio.Future[PGresult] | None = None
        self._last: PGresult | None = None
        self.usable = True
        self.hung_up = False
        """Whether it was ended because the store does not answer: there is no use in trying again."""
        self.on_news: Callable[[], None] = _ignore
        """Called for a notification, and when the connection ends while nobody waits."""
        self._loop.add_reader(self._fd, self._readable)

    @classmethod
    async def open(cls, url: str, settings: str) -> Link:
        """Connects and runs the statement `settings`. Raises StoreLost."""
        try:
            conn = await psycopg.AsyncConnection.connect(
                url, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="penstock serve"
            )
        except psycopg.OperationalError as error:
            raise StoreLost(one_line(error)) from error
        link = cls(conn)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await link.ask(settings)
        except TimeoutError as error:
            link.abandon()
            msg = "the store does not answer"
            raise StoreLost(msg) from error
        except BaseException:
            link.abandon()
            raise
        return link

    async def ask(self, statement: str, *values: str) -> list[tuple[str | None, ...]]:
        """Runs a statement once and returns its rows as texts. Raises as `run`."""
        arguments = [value.encode() for value in values]
        result = await self._guarded(lambda: self._pg.send_query_params(statement.encode(), arguments))
        columns = range(result.nfields)
        return [tuple(_text(result.get_value(i, j)) for j in columns) for i in range(result.ntuples)]

    async def describe(self, statement: bytes) -> PGresult:
        """Prepares a statement without a name and returns its description. Raises as `run`."""
        await self._guarded(lambda: self._pg.send_prepare(b"", statement))
        return await self._guarded(lambda: self._pg.send_describe_prepared(b""))

    async def run(self, name: bytes, statement: bytes, values: Sequence[bytes | None]) -> PGresult:
        """Runs `statement`, prepared as `name` the first time. Raises StoreLost, or psycopg.Error for its refusal."""
        if name not in self._prepared:
            await self._guarded(lambda: self._pg.send_prepare(name, statement))
            self._prepared.add(name)
        return await self._guarded(lambda: self._pg.send_query_prepared(name, values))

    async def _guarded(self, send: Callable[[], None]) -> PGresult:
        """Sends, waits for the result, and sees to it that a connection in doubt is never used again."""
        try:
            send()
            return await self._result()
        except psycopg.OperationalError as error:
            if self._pg.status == ConnStatus.OK and self.usable and not isinstance(error, _ENDINGS):
                raise
            self._detach()
            raise StoreLost(one_line(error)) from error
        except BaseException as error:
            if not isinstance(error, psycopg.Error):
                self._detach()  # given up in the middle: the next one would get this one's result
            raise

    async def _result(self) -> PGresult:
        waiting: asyncio.Future[PGresult] = self._loop.create_future()
        self._waiting = waiting
        if self._pg.flush():
            self._loop.add_writer(self._fd, self._writable)
        result = await waiting
        if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            return result
        raise psycopg.errors.error_from_result(result)

    def _writable(self) -> None:
        try:
            if not self._pg.flush():
                self._loop.remove_writer(self._fd)
        except psycopg.OperationalError as error:
            self._fail(error)

    def _readable(self) -> None:
        try:
            self._pg.consume_input()
            if self._pg.notifies() is not None:
                while self._pg.notifies() is not None:
                    pass
                self.on_news()
            while not self._pg.is_busy():
                result = self._pg.get_result()
                if result is None:
                    self._done()
                    return
                self._last = result
        except psycopg.OperationalError as error:
            self._fail(error)

    def _done(self) -> None:
        waiting, self._waiting = self._waiting, None
        last, self._last = self._last, None
        if waiting is not None and last is not None and not waiting.done():
            waiting.set_result(last)

    def _fail(self, error: psycopg.OperationalError) -> None:
        self._detach()
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
        else:
            self.on_news()

    def hang_up(self) -> None:
        """Ends a wait for a store that does not answer any more: who waits gets StoreLost."""
        self.hung_up = True
        self._fail(psycopg.OperationalError("the store does not answer"))

    def _detach(self) -> None:
        """Takes the socket out of the event loop, once: libpq closes it, and its number may be another's soon."""
        if self.usable:
            self.usable = False
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)

    def abandon(self) -> None:
        """Closes the connection at once. May be called twice."""
        self._detach()
        self._pg.finish()

    async def close(self) -> None:
        """Closes the connection, telling the store. May be called twice."""
        self.abandon()
        with suppress(psycopg.Error):
            await self._conn.close()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _ignore() -> None:
    pass


def one_line(error: BaseException) -> str:
    """Returns an error's text on one line."""
    return " ".join(str(error).split())
