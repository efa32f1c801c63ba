"""The writer's lease: one run of a project writes, and whoever it is proves it in every transaction.

A dedicated connection holds an advisory lock; a row of the store holds the random token of the latest holder. Every
writing transaction calls `check_token`, which locks that row FOR SHARE: a new writer waits for the old one's open
transactions before its token counts, and what the old one sends later is refused. So a process that stalled, lost its
connection and wakes up again can do no harm.
"""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass

import psycopg

from penstock.store.connect import Connection, Store, errors_explained
from penstock.store.errors import LeaseLost, RunsAlready, StoreAway


@dataclass
class Lease:
    """The right to write. Used by several threads; `renew` and `release` by one."""

    store: Store
    token: str
    connection: Connection

    def alive(self) -> bool:
        """Whether the connection that holds the lock still answers."""
        try:
            self.connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def renew(self) -> None:
        """Gets the lock again after its connection broke, with the token as it was.

        Raises LeaseLost when another run has taken over, StoreAway while the store cannot be reached, or has not yet
        noticed that the broken connection, which still holds the lock, is gone.
        """
        self.connection.close()
        self.connection = self.store.connect("penstock writer")
        try:
            _lock(self.connection, self.store)
        except RunsAlready as error:
            if self._mine():
                self.connection.close()
                msg = f"{self.store}: the lock is still held by this run's connection that broke"
                raise StoreAway(
                    msg, hint="the server will notice; only this run's token may write meanwhile"
                ) from error
            raise LeaseLost(error.found, hint="this run ends; the other one goes on") from error
        with errors_explained(self.store):
            found = self.connection.execute("SELECT token, pid, host FROM writer").fetchone()
        if found is None or str(found[0]) != self.token:
            who = f"pid {found[1]} on {found[2]}" if found else "nobody"
            msg = f"{self.store}: {who} was the writer meanwhile"
            raise LeaseLost(msg, hint="start again")

    def _mine(self) -> bool:
        with errors_explained(self.store):
            found = self.connection.execute("SELECT token FROM writer").fetchone()
        return found is not None and str(found[0]) == self.token

    def release(self) -> None:
        """Gives the right back. May be called twice."""
        self.connection.close()


def acquire(store: Store) -> Lease:
    """Becomes the writer, with a new token. Raises RunsAlready, naming the one that is, or StoreAway."""
    connection = store.connect("penstock writer")
    try:
        _lock(connection, store)
        token = str(uuid.uuid4())
        with errors_explained(store):
            connection.execute(
                "INSERT INTO writer (token, pid, host) VALUES (%s, %s, %s) ON CONFLICT (one) DO UPDATE SET"
                " token = excluded.token, pid = excluded.pid, host = excluded.host, since = now()",
                [token, os.getpid(), socket.gethostname()],
            )
    except BaseException:
        connection.close()
        raise
    return Lease(store, token, connection)


def check_token(tx: Connection, token: str) -> None:
    """Proves within the transaction `tx` that `token` is still the writer's. Raises LeaseLost."""
    with errors_explained("the writer's lease"):
        tx.execute("SELECT check_token(%s)", [token])


def who_writes(connection: Connection) -> dict[str, object] | None:
    """Returns `pid`, `host`, `since` of the run that holds the lease now; None when nobody does."""
    with errors_explained():
        row = connection.execute(
            "SELECT pid, host, since FROM writer WHERE EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory'"
            " AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND (classid::bigint << 32 | objid::bigint)"
            " = hashtextextended('penstock.writer.' || current_schema(), 0))"
        ).fetchone()
    return dict(zip(("pid", "host", "since"), row, strict=True)) if row else None


def _lock(connection: Connection, store: Store) -> None:
    """Takes the advisory lock or raises RunsAlready."""
    with errors_explained(store):
        # A wait this short is not for a running writer: the server takes a moment to see that a killed one is gone.
        got = _try(connection, store) or (connection.execute("SELECT pg_sleep(0.2)") and _try(connection, store))
        if got:
            return
        row = connection.execute("SELECT pid, host, since FROM writer").fetchone()
    who = f"pid {row[0]} on {row[1]}, since {row[2]:%Y-%m-%d %H:%M:%S} UTC" if row else "another run"
    msg = f"project '{store.project_name}' is run by {who}"
    raise RunsAlready(msg, hint="`penstock stop` ends it; verbs like `query` and `status` work beside it")


def _try(connection: Connection, store: Store) -> bool:
    key = f"penstock.writer.{store.own_schema}"
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [key]).fetchone()
    return bool(row and row[0])
