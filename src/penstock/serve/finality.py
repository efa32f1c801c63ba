"""Whether an answer's rows are final: each one's window has ended at or before its pipeline's watermark.

The watermark comes with the answer, from its snapshot. When a window ends does not change while the pipeline's meaning
is the same, so ends are looked up once and remembered: asking for each row in the statement itself cost as much as the
rest of it (measured), mostly in planning.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

WindowKey = tuple[str, str, str]
"""Pipeline, what it means (generation and fingerprint), the window's start as text."""
Lookup = Callable[[str, Sequence[str], int], Awaitable[dict[str, int]]]
"""(pipeline, starts, more) -> end of each that is known, and of the latest `more`, in microseconds since 1970."""
MORE_AT_FIRST = 5_000
MOST_ENDS = 200_000
SEPARATOR = "\x1f"


class Finality:
    """Remembers when windows end."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._ends: dict[WindowKey, int] = {}
        self._met: set[tuple[str, str]] = set()

    async def is_final(self, windows: Iterable[tuple[str, str | None]], version: str, marks: str) -> bool:
        """Tells whether all `windows` have ended.

        They are (pipeline, starts joined by SEPARATOR; None when one is NULL); `version` and `marks` are the answer's:
        a line and a number of microseconds for each pipeline, in the same order. Raises what the lookup raises.
        """
        meanings, watermarks = {}, {}
        for line, mark in zip(version.split("\n"), marks.split(","), strict=True):
            pipeline, _, meaning = line.partition(" ")
            meanings[pipeline] = meaning.partition(" ")[2].partition(" ")[2]
            watermarks[pipeline] = int(mark) if mark else None
        for pipeline, starts in windows:
            watermark = watermarks.get(pipeline)
            if starts is None or watermark is None:
                return False
            ends = await self._ends_of(pipeline, meanings[pipeline], set(starts.split(SEPARATOR)))
            if any(end is None or end > watermark for end in ends):
                return False
        return True

    async def _ends_of(self, pipeline: str, meaning: str, starts: set[str]) -> list[int | None]:
        missing = [start for start in starts if (pipeline, meaning, start) not in self._ends]
        if missing:
            if len(self._ends) + len(missing) > MOST_ENDS:
                self._ends.clear()
            more = 0 if (pipeline, meaning) in self._met else MORE_AT_FIRST
            self._met.add((pipeline, meaning))
            found = await self._lookup(pipeline, missing, more)
            self._ends |= {(pipeline, meaning, start): end for start, end in found.items()}
        return [self._ends.get((pipeline, meaning, start)) for start in starts]
