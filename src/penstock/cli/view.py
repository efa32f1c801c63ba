"""The terminal view of a running project: pure functions from status documents to what rich draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

STATES = {
    "running": "green", "done": "green", "first_read": "cyan", "starting": "cyan", "waiting": "yellow",
    "retrying": "yellow", "paused": "yellow", "stopped": "red",
}  # fmt: skip


@dataclass(frozen=True)
class Board:
    """A small table of one answer, drawn beside the status."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass
class Rates:
    """Rows per second of each source, from the counters of two looks."""

    _last: dict[str, tuple[float, int]] = field(default_factory=dict)

    def of(self, name: str, read: int, now: float) -> float:
        """Returns the rate since the last call for `name` (0.0 at the first). `now` in seconds, monotonic."""
        before = self._last.get(name)
        self._last[name] = (now, read)
        return (read - before[1]) / (now - before[0]) if before and now > before[0] else 0.0


def draw(status: Mapping[str, Any], rates: Rates, now: float, boards: Sequence[Board], links: Sequence[str]) -> Group:
    """Returns the whole view: sources, pipelines, boards, addresses, errors."""
    parts: list[RenderableType] = [
        Text(f"penstock · {status['project']}", style="bold"),
        _sources(status["sources"], rates, now),
        _pipelines(status["pipelines"]),
    ]
    if boards:
        parts.append(Columns([_board(b) for b in boards], padding=(0, 4)))
    parts += [Text(link, style="cyan") for link in links]
    parts += [Text(f"{x['name']}: {x['error']}", style="red") for x in _failing(status)]
    return Group(*(p for part in parts for p in (part, Text(""))))


def _failing(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [x for kind in ("sources", "pipelines") for x in status[kind] if x["error"]]


def _table(title: str, columns: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    return table


def _state(state: str) -> Text:
    return Text(state, style=STATES.get(state, ""))


def _sources(sources: Sequence[Mapping[str, Any]], rates: Rates, now: float) -> Table:
    numbers = ("rows/s", "read", "accepted", "quarantined", "duplicates", "lag")
    table = _table("sources", ("name", "state", *numbers), numbers)
    for s in sources:
        lag = "" if s["lag_seconds"] is None else f"{s['lag_seconds']:.1f} s"
        counts = (f"{s[k]:,}" for k in ("read", "accepted", "quarantined", "duplicates"))
        table.add_row(s["name"], _state(s["state"]), f"{rates.of(s['name'], s['read'], now):,.0f}", *counts, lag)
    return table


def _pipelines(pipelines: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("pipelines", ("name", "state", "behind", "rows", "late", "watermark"), ("behind", "rows", "late"))
    for p in pipelines:
        numbers = (f"{p[k] or 0:,}" for k in ("behind", "rows", "late_set_aside"))
        table.add_row(p["name"], _state(p["state"]), *numbers, str(p["watermark"] or ""))
    return table


def _board(board: Board) -> Table:
    table = _table(board.title, board.columns, board.columns[1:])
    for row in board.rows:
        table.add_row(*(f"{v:,}" if not isinstance(v, str) else v for v in row))
    return table
