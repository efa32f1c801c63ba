"""Every observation the code can emit, and the one way to emit it.

An observation is a frozen dataclass; its class name is its name in logs. Handlers are called in the emitting thread,
in the order they subscribed; they must be quick and must not raise. Tests and the torture harness subscribe too: the
`Step` observations are the points at which a crash is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Observation:
    """The base of all observations."""


@dataclass(frozen=True)
class Step(Observation):
    """The code passed a point whose crash-safety matters, e.g. `log.segment_written`; `of`: source or pipeline."""

    name: str
    of: str = ""


@dataclass(frozen=True)
class BatchKept(Observation):
    """A batch was committed to the log: rows, refusals and cursor in one transaction."""

    source: str
    stream: str
    position: int
    read: int
    accepted: int
    quarantined: int
    duplicates: int
    seconds: float


@dataclass(frozen=True)
class RoundEnded(Observation):
    source: str
    rows: int
    seconds: float


@dataclass(frozen=True)
class SourceFailed(Observation):
    """A source met an error; `retry_in` is None when it stopped for good."""

    source: str
    error: str
    retry_in: float | None


@dataclass(frozen=True)
class SourceWaiting(Observation):
    """A source holds rows back, e.g. for an open transaction; `why` names the pid and since when. '' = no longer."""

    source: str
    why: str


@dataclass(frozen=True)
class PipelineAdvanced(Observation):
    """A pipeline's changes and position were committed."""

    pipeline: str
    position: int
    behind: int
    rows_in: int
    upserts: int
    deletes: int
    late: int
    seconds: float


@dataclass(frozen=True)
class PipelineFailed(Observation):
    pipeline: str
    error: str
    retry_in: float | None


@dataclass(frozen=True)
class StateRebuilt(Observation):
    """Local state was missing, damaged or of another chain, and was built again from the log."""

    what: str
    why: str
    rows: int
    seconds: float


@dataclass(frozen=True)
class RequestServed(Observation):
    endpoint: str
    status: int
    seconds: float
    cached: bool


@dataclass(frozen=True)
class AnswersSent(Observation):
    """Answers of one endpoint that were sent from the cache since the last of these; `seconds` is their sum."""

    endpoint: str
    status: int
    count: int
    seconds: float


@dataclass(frozen=True)
class StoreLostFromView(Observation):
    """The API cannot ask the store any more ('' = it can again); nothing is answered from the cache meanwhile."""

    why: str


@dataclass(frozen=True)
class Serving(Observation):
    """The API listens."""

    url: str
    endpoints: int


@dataclass(frozen=True)
class Notice(Observation):
    """Something an operator should read that is no failure."""

    message: str
    of: str = ""


Handler = Callable[[Observation], None]
_handlers: list[Handler] = []


def emit(observation: Observation) -> None:
    """Hands `observation` to every handler."""
    for handler in tuple(_handlers):
        handler(observation)


def subscribe(handler: Handler) -> Handler:
    """Adds a handler; returns it."""
    _handlers.append(handler)
    return handler


def unsubscribe(handler: Handler) -> None:
    """Removes a handler that `subscribe` added. Raises ValueError when it is not there."""
    _handlers.remove(handler)
