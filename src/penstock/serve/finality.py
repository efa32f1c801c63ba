"""Whether an answer's rows are final: each one's window has ended at or before its pipeline's watermark.

The watermark comes with the answer, from its snapshot. When a window ends does not change while the pipeline's meaning
is the same, so ends are looked up once and remembered: asking for each row in the statement itself cost as much as the
rest of it (measured), mostly in planning.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from penstock.serve.stamp import Stamp

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

    async def is_final(self, windows: Sequence[tuple[str, str | None]], stamp: Stamp) -> bool:
        """Tells whether all `windows` have ended by the watermarks of `stamp`.

        They are (pipeline, starts joined by SEPARATOR; None when one is NULL). Raises what the lookup raises.
        """
        known = stamp.finals.get(windows)
        if known is None:
            known, sure = await self._ended(windows, stamp)
            if sure:
                stamp.finals[windows] = known
        return known

    async def _ended(self, windows: Sequence[tuple[str, str | None]], stamp: Stamp) -> tuple[bool, bool]:
        """Returns whether all windows have ended, and whether that will still be so when it is asked again."""
        for pipeline, starts in windows:
            watermark = stamp.watermarks.get(pipeline)
            if starts is None or watermark is None:
                return False, True
            ends = await self._ends_of(pipeline, stamp.meanings[pipeline], set(starts.split(SEPARATOR)))
            if any(end is None or end > watermark for end in ends):
                return False, None not in ends
        return True, True

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
