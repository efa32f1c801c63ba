"""How far a stream is taken to be complete, from how far each of its sources has been read. Pure functions.

A source's watermark is the highest event time of its completed rounds less the allowed lateness, and never above the
time of its last reading: an event time ahead of the clock says nothing about what is still to come. A stream's is the
least of its sources' that count:

- one still in its first round does not count (history is never late);
- one that failed, was stopped or paused, or is in the middle of a round, counts with what it had: it holds back;
- one whose rounds succeed and have found nothing for `idle_after` does not count. When all are like that, none of them
  holds another back, and the stream stands where the furthest of them does;
- one that has completed rounds but never found a row has no watermark: until it is idle the stream cannot rise.

A stream's watermark only rises; a clock that is set back makes it stand, not fall.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True)
class SourceTime:
    """What is known of one source of a stream. All times aware."""

    first_round: bool
    """No round has completed yet."""
    high: datetime | None
    """The highest event time accepted in completed rounds."""
    last_success: datetime | None
    """When the last completed round ended."""
    last_found: datetime | None
    """When the last completed round that found rows ended; None: none has found any."""
    held: bool
    """Failed, stopped, paused or in the middle of a round."""
    allowed_lateness: timedelta
    idle_after: timedelta
    first_success: datetime | None = None
    """When the first round ended, if known: since then a source that never found anything is idle."""


def risen(before: datetime | None, sources: Iterable[SourceTime], now: datetime) -> datetime | None:
    """Returns the stream's new watermark, or None when it stays at `before`."""
    counting = [s for s in sources if not s.first_round]
    busy = [s for s in counting if not idle(s, now)]
    marks = [watermark(s) for s in busy]
    if not busy:
        found = max((m for s in counting if (m := watermark(s)) is not None), default=None)
    else:
        found = None if None in marks else min(m for m in marks if m is not None)
    return found if found is not None and (before is None or found > before) else None


def watermark(source: SourceTime) -> datetime | None:
    """Returns the source's own watermark; None when it has seen no event yet."""
    if source.high is None:
        return None
    floor = datetime.min.replace(tzinfo=UTC)
    mark = source.high - source.allowed_lateness if source.high - floor > source.allowed_lateness else floor
    return mark if source.last_success is None else min(mark, source.last_success)


def idle(source: SourceTime, now: datetime) -> bool:
    """Whether the source's rounds succeed and have found nothing for `idle_after`."""
    since = source.last_found or source.first_success or source.last_success
    return not source.held and since is not None and now - since >= source.idle_after
