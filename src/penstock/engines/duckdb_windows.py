"""The windows of one pipeline: where they end, where their rows begin, how many late rows they saw.

Kept in a dictionary as far as they were touched since the last flush; on disk in table `w`. A step stages what it
changes; `confirm` keeps it, `rollback` forgets it, `flush` writes what was changed within the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from penstock.engines.duckdb_layout import instant

CREATE = "CREATE TABLE disk.w (win VARCHAR, ends BIGINT, low BIGINT, restated BIGINT, set_aside BIGINT)"

SCHEMA = pa.schema(
    [
        pa.field("window_start", pa.string()),
        pa.field("window_end", pa.timestamp("us", tz="UTC")),
        pa.field("restated", pa.int64()),
        pa.field("set_aside", pa.int64()),
    ]
)
"""Of Changes.windows."""

_STORED = pa.schema(
    [pa.field("win", pa.string()), *(pa.field(n, pa.int64()) for n in ("ends", "low", "restated", "set_aside"))]
)


@dataclass(frozen=True)
class Window:
    """Times in microseconds since 1970; `low` is the least event time of its rows."""

    ends: int | None
    low: int | None
    restated: int = 0
    set_aside: int = 0
    shown: str | None = None
    """As PostgreSQL prints the window's start; None when read from disk, where it is not kept."""


class Windows:
    """All windows of one state. `restates`: late rows count."""

    def __init__(self, *, restates: bool) -> None:
        self.restates = restates
        self._known: dict[str, Window] = {}
        self._staged: dict[str, Window] = {}
        self._dirty: set[str] = set()

    def touch(self, con: duckdb.DuckDBPyConnection, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Stages windows (key, shown, ends, low, late) and returns them as rows of SCHEMA."""
        self.load(con, [row[0] for row in rows])
        out = []
        for key, shown, ends, low, late in rows:
            old = self._of(key) or Window(None, None)
            lows = [t for t in (old.low, low) if t is not None]
            new = Window(
                max((t for t in (old.ends, ends) if t is not None), default=None),
                min(lows, default=None),
                old.restated + (late if self.restates else 0),
                old.set_aside + (0 if self.restates else late),
                shown,
            )
            self._staged[key] = new
            out.append((shown, None if new.ends is None else instant(new.ends), new.restated, new.set_aside))
        return out

    def recalled(self, lows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Returns rows for `touch`, and true, for windows (key, low) that are all known whole; none otherwise."""
        known = [self._of(key) for key, _ in lows]
        if any(w is None or w.shown is None for w in known):
            return []
        return [(key, w.shown, w.ends, low, 0, True) for (key, low), w in zip(lows, known, strict=True) if w]

    def _of(self, key: str) -> Window | None:
        return self._staged.get(key) or self._known.get(key)

    def load(self, con: duckdb.DuckDBPyConnection, keys: Iterable[str]) -> None:
        """Reads windows from disk that are not known yet."""
        missing = [key for key in keys if self._of(key) is None]
        if not missing:
            return
        query = "SELECT * FROM disk.w WHERE win IN (SELECT unnest(?))"
        for win, *values in con.execute(query, [missing]).fetchall():
            self._known[win] = Window(*values)

    def span(self, con: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> tuple[int, int] | None:
        """Returns the event times that rows of these windows lie within, None when that is not known."""
        self.load(con, keys)
        found = [self._of(key) for key in keys]
        lows = [w.low for w in found if w and w.low is not None]
        ends = [w.ends for w in found if w and w.ends is not None]
        return (min(lows), max(ends)) if len(lows) == len(ends) == len(keys) and keys else None

    def confirm(self) -> None:
        self._dirty.update(key for key, new in self._staged.items() if self._known.get(key) != new)
        self._known.update(self._staged)
        self._staged.clear()

    def rollback(self) -> None:
        self._staged.clear()

    def flush(self, con: duckdb.DuckDBPyConnection) -> None:
        """Writes what was changed since the last flush, staged windows included, in the caller's transaction."""
        keys = sorted(self._dirty | {key for key, new in self._staged.items() if self._known.get(key) != new})
        if not keys:
            return
        found = [self._of(key) for key in keys]
        columns: list[list[Any]] = [keys, *([getattr(w, n) for w in found] for n in _STORED.names[1:])]
        con.register("changed_windows", pa.table(columns, schema=_STORED))
        con.execute("DELETE FROM disk.w WHERE win IN (SELECT win FROM changed_windows)")
        con.execute("INSERT INTO disk.w SELECT * FROM changed_windows")
        con.unregister("changed_windows")

    def flushed(self) -> None:
        """The flush was committed: only what comes next is kept in memory."""
        self._dirty.clear()
        self._known.clear()
