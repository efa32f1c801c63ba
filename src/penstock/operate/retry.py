"""How long to wait before a retryable failure is tried again: growing pauses with jitter, for ever."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

FIRST = 0.2
"""Seconds before the first retry: most failures are over by then."""
WHEN_ONCE = 5
"""Retries of something that is to end by itself: about six seconds in all."""
LONGEST = 30.0
"""Seconds between retries of something that stays away."""


@dataclass
class Pauses:
    """The pauses between the attempts of one source or pipeline. `reset` after a success."""

    attempts: int = 0
    _random: random.Random = field(default_factory=random.Random)

    def next(self) -> float:
        """Returns the seconds to wait now: 0.2, 0.4, 0.8 ... at most 30, each less up to a quarter, so that many
        sources of one server do not come back in step."""
        self.attempts += 1
        pause = min(LONGEST, FIRST * 2.0 ** min(self.attempts - 1, 16))
        return pause * (1 - 0.25 * self._random.random())

    def reset(self) -> None:
        self.attempts = 0
