"""A few connections to the store, and how one statement is run on one of them.

Every statement is prepared once per connection and run by libpq's own protocol calls, results as text: the answer's
body is passed on as PostgreSQL wrote it. A connection that breaks is closed and the statement tried once on a fresh
one (all statements only read); while the store is known to be away nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import generators
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from penstock.serve.describe import session_settings

CONNECT_SECONDS = 3.0
WAIT_SECONDS = 5.0
GRACE_SECONDS = 5.0

Connection = psycopg.AsyncConnection[Any]


class StoreLost(Exception):
    """The store cannot be asked now; the text says what was seen, without any password."""


class Pool:
    """At most `size` connections, opened when needed. Used in one event loop."""

    def __init__(self, url: str, schema: str, *, size: int, timeout: float) -> None:
        self._url = url
        self._schema = schema
        self._timeout = timeout
        self._free: asyncio.LifoQueue[Connection | None] = asyncio.LifoQueue()
        for _ in range(size):
            self._free.put_nowait(None)
        self._prepared: dict[int, set[bytes]] = {}
        self._open: set[Connection] = set()

    async def connect(self) -> Connection:
        """Returns a new connection with the API's settings. Raises StoreLost."""
        try:
            conn = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, connect_timeout=int(CONNECT_SECONDS), application_name="penstock serve"
            )
            await conn.execute(session_settings(self._schema, int(self._timeout * 1000)))
        except psycopg.OperationalError as error:
            raise StoreLost(one_line(error)) from error
        return conn

    async def run(self, name: bytes, statement: bytes, values: Sequence[bytes | None]) -> PGresult:
        """Runs a statement (prepared under `name`) and returns its result. Raises StoreLost, psycopg.Error."""
        conn = await self._take()
        try:
            try:
                return await self._run(conn, name, statement, values)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                if not _broken(conn):
                    raise
            await self._drop(conn)
            conn = await self._opened()
            return await self._run(conn, name, statement, values)
        except TimeoutError as error:
            await self._drop(conn)
            msg = "the store does not answer"
            raise StoreLost(msg) from error
        except psycopg.OperationalError as error:
            if _broken(conn):
                raise StoreLost(one_line(error)) from error
            raise
        except asyncio.CancelledError:
            await self._drop(conn)
            raise
        finally:
            self._give_back(conn)

    async def _take(self) -> Connection:
        try:
            conn = self._free.get_nowait()
        except asyncio.QueueEmpty:
            try:
                conn = await asyncio.wait_for(self._free.get(), WAIT_SECONDS)
            except TimeoutError as error:
                msg = f"all connections to the store are busy for {WAIT_SECONDS:.0f} s"
                raise StoreLost(msg) from error
        if conn is not None:
            return conn
        try:
            return await self._opened()
        except BaseException:
            self._free.put_nowait(None)
            raise

    async def _opened(self) -> Connection:
        conn = await self.connect()
        self._prepared[id(conn)] = set()
        self._open.add(conn)
        return conn

    def _give_back(self, conn: Connection) -> None:
        self._free.put_nowait(conn if conn in self._open and not _broken(conn) else None)

    async def _run(self, conn: Connection, name: bytes, statement: bytes, values: Sequence[bytes | None]) -> PGresult:
        async with asyncio.timeout(self._timeout + GRACE_SECONDS):
            prepared = self._prepared[id(conn)]
            if name not in prepared:
                conn.pgconn.send_prepare(name, statement)
                _result(await conn.wait(generators.execute(conn.pgconn)))
                prepared.add(name)
            conn.pgconn.send_query_prepared(name, values)
            return _result(await conn.wait(generators.execute(conn.pgconn)))

    async def _drop(self, conn: Connection) -> None:
        self._open.discard(conn)
        self._prepared.pop(id(conn), None)
        with suppress(psycopg.Error):
            await conn.close()

    async def close(self) -> None:
        """Closes all connections."""
        for conn in tuple(self._open):
            await self._drop(conn)


def _broken(conn: Connection) -> bool:
    return conn.closed or conn.pgconn.status != psycopg.pq.ConnStatus.OK


def _result(results: list[PGresult]) -> PGresult:
    result = results[-1]
    if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        return result
    raise psycopg.errors.error_from_result(result)


def one_line(error: BaseException) -> str:
    """Returns an error's text on one line."""
    return " ".join(str(error).split())
