"""How far a poll may read without ever skipping a row whose transaction commits late.

A row that is not yet visible can come under a mark (the highest id or time seen) only from a transaction that was
open when the mark had been taken: ids come from a sequence in ascending order, times from the clock. So: take the
mark; *then* list who is open; pass the mark once all of those have ended; a snapshot taken after that sees every row
that will ever stand below it. An end is seen by the transaction's own lock (`virtualxid`), which is let go of only
after its rows became visible. `pg_snapshot_xmin` would not do: a transaction that has called nextval or now() but
written nothing has no xid.

Who can write below the mark:
- ids: those with an xid, or with a lock that writers take. nextval holds RowExclusiveLock on its sequence to the
  transaction's end, so who has neither took no id (readers hold nothing back).
- times: every transaction that began at or before the mark, or whose beginning is hidden from our role. They are
  listed a moment after the mark's time only: now() is taken shortly before a transaction becomes visible.
- prepared transactions; one that ends by PREPARE is found among those, as its virtualxid goes only after it is there.
- not: our own readers (they hold an advisory lock as a mark and are read-only), autovacuum, other databases.

What no server can tell is documented with the source: ids cached by sessions (`CACHE` above 1), made by clients or
fetched in an earlier transaction, clocks of clients, hot standbys, rows that a join in `query:` completes later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from penstock.sources._postgres_wire import READER_MARK, Connection, translated

Key = tuple[str, ...]
"""The cursor columns' values of one row, as PostgreSQL prints them."""

MAX_PENDING = 8
"""Marks that wait at the same time; more would not let rows through sooner."""

_OPEN = f"""
WITH l AS MATERIALIZED (SELECT * FROM pg_catalog.pg_locks),
     db AS (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
SELECT l.virtualtransaction, l.pid, a.xact_start, a.usename, a.application_name
FROM l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid()
  AND (a.datid IS NULL OR a.datid = (SELECT oid FROM db))
  AND (a.pid IS NULL OR a.datid IS NULL OR a.usesysid IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM l m WHERE m.pid = l.pid AND m.locktype = 'advisory' AND m.granted
                  AND m.classid = {READER_MARK[0]} AND m.objid = {READER_MARK[1]}
                  AND m.database = (SELECT oid FROM db))
  AND """

_WROTE = """EXISTS (SELECT 1 FROM l w WHERE w.virtualtransaction = l.virtualtransaction
    AND (w.locktype = 'transactionid' AND w.mode = 'ExclusiveLock'
         OR w.locktype = 'relation' AND w.database = (SELECT oid FROM db)
            AND w.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
            AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class c
                            WHERE c.oid = w.relation AND c.relkind IN ('i', 'I', 't'))))"""

_PREPARED = """
SELECT transaction::text, gid, prepared, owner::text FROM pg_catalog.pg_prepared_xacts
WHERE database = pg_catalog.current_database()
"""


@dataclass(frozen=True)
class Holder:
    """A transaction that may still write below a mark. `id`: virtual transaction, or `prepared:` and the xid."""

    id: str
    who: str
    since: datetime | None


@dataclass
class Pending:
    """A mark that may not be passed yet."""

    mark: Key
    open: dict[str, Holder] = field(default_factory=dict)


class Marks:
    """The marks of one source that wait, oldest first."""

    def __init__(self) -> None:
        self.pending: list[Pending] = []

    def load(self, saved: Sequence[Mapping[str, Any]]) -> None:
        """Takes up the marks of a cursor. Those of a server that was restarted since resolve by themselves."""
        self.pending = [
            Pending(tuple(p["mark"]), {i: Holder(i, who, None) for i, who in p["open"].items()}) for p in saved
        ]

    def save(self) -> list[dict[str, Any]]:
        """Returns the marks as JSON for the cursor."""
        return [{"mark": list(p.mark), "open": {h.id: h.who for h in p.open.values()}} for p in self.pending]

    @property
    def highest(self) -> Key | None:
        """The last mark that was added and may not be passed yet."""
        return self.pending[-1].mark if self.pending else None

    def waits_for(self, mark: Key) -> bool:
        """Whether `mark` has not been passed yet."""
        return any(p.mark == mark for p in self.pending)

    def wants_more(self, mark: Key) -> bool:
        """Whether `mark` is news; with the same mark the earlier list of who is open is the better one."""
        return len(self.pending) < MAX_PENDING and (not self.pending or self.pending[-1].mark != mark)

    def add(self, conn: Connection, mark: Key, may_write: str | None) -> None:
        """Adds a mark and who is open now; must be called after the mark was taken. `may_write` is the condition
        over pg_stat_activity `a` for time marks, None for id marks."""
        with translated("pg_locks"):
            holders = _open(conn, may_write)
            holders |= _prepared(conn)
        self.pending.append(Pending(mark, holders))

    def settle(self, conn: Connection) -> Key | None:
        """Drops who has ended; returns the highest mark that may be passed now and forgets it and those below."""
        if not self.pending:
            return None
        if any(p.open for p in self.pending):
            with translated("pg_locks"):
                self._drop_ended(conn)
        safe = None
        while self.pending and not self.pending[0].open:
            safe = self.pending.pop(0).mark
        return safe

    def _drop_ended(self, conn: Connection) -> None:
        alive = {str(r[0]) for r in conn.execute(_ALIVE).fetchall()}
        prepared = _prepared(conn)
        for p in self.pending:
            ended = [i for i in p.open if i not in alive and i not in prepared]
            left = [i for i in ended if not i.startswith("prepared:")]
            for i in ended:
                del p.open[i]
            if left:
                p.open |= prepared

    def waiting(self) -> str:
        """Says who holds back the lowest waiting mark; '' when none waits."""
        if not self.pending or not self.pending[0].open:
            return ""
        holders = sorted(self.pending[0].open.values(), key=lambda h: (h.since is None, h.since))
        first = holders[0]
        since = f" since {first.since.isoformat(timespec='seconds')}" if first.since else ""
        more = f" and {len(holders) - 1} more" if len(holders) > 1 else ""
        return f"{first.who} has an open transaction{since}{more}; rows that came after it began wait for its end"


_ALIVE = "SELECT virtualtransaction FROM pg_catalog.pg_locks WHERE locktype = 'virtualxid' AND mode = 'ExclusiveLock'"


def _open(conn: Connection, may_write: str | None) -> dict[str, Holder]:
    rows = conn.execute(_OPEN + (may_write or _WROTE)).fetchall()
    return {r[0]: Holder(r[0], _name(r[1], r[3], r[4]), r[2]) for r in rows}


def _name(pid: int, user: str | None, application: str | None) -> str:
    about = ", ".join(f"{k} {v}" for k, v in (("user", user), ("application", application)) if v)
    return f"pid {pid} ({about})" if about else f"pid {pid}"


def _prepared(conn: Connection) -> dict[str, Holder]:
    rows = conn.execute(_PREPARED).fetchall()
    return {
        f"prepared:{r[0]}": Holder(f"prepared:{r[0]}", f"prepared transaction {r[1]!r} of {r[3]}", r[2]) for r in rows
    }
