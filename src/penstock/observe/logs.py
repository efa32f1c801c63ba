"""Log lines from observations: one event per line on standard error, as text for people or JSON for machines.

Normal operation is quiet: what happens all the time is `debug`, what an operator should know is `info`, what needs an
eye `warning`, what stopped `error`. An observation's class name is the event, its fields are the line's fields.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal, TextIO

import structlog

from penstock.observe.events import (
    Handler,
    Notice,
    Observation,
    PipelineFailed,
    RequestServed,
    Serving,
    SourceFailed,
    SourceWaiting,
    StateRebuilt,
    StoreLostFromView,
)

# What a library has to say of its own is not for our users' terminal: what matters of it is an error or observation.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def _failure(observation: Any) -> str:
    return "error" if observation.retry_in is None else "warning"


_LEVEL_OF: Mapping[type[Observation], Callable[[Any], str]] = {
    SourceFailed: _failure,
    PipelineFailed: _failure,
    StateRebuilt: lambda _: "info",
    SourceWaiting: lambda _: "info",
    Serving: lambda _: "info",
    Notice: lambda _: "info",
    StoreLostFromView: lambda o: "warning" if o.why else "info",
    RequestServed: lambda o: "warning" if o.status >= 500 else "debug",
}


def level_of(observation: Observation) -> str:
    """Returns the level of an observation's line."""
    return _LEVEL_OF.get(type(observation), lambda _: "debug")(observation)


def log_handler(level: str = "info", format: Literal["text", "json"] = "text", stream: TextIO | None = None) -> Handler:
    """Returns a handler that writes observations at or above `level` to `stream` (default: standard error).

    Raises ValueError for a level that is not in LEVELS.
    """
    if level not in LEVELS:
        msg = f"level '{level}' does not exist; known: {', '.join(LEVELS)}"
        raise ValueError(msg)
    out = stream or sys.stderr
    logger = structlog.wrap_logger(
        structlog.PrintLogger(out),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _renderer(format, out),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    threshold = LEVELS[level]

    def handle(observation: Observation) -> None:
        name = level_of(observation)
        if LEVELS[name] >= threshold:
            getattr(logger, name)(type(observation).__name__, **asdict(observation))

    return handle


def _renderer(format: Literal["text", "json"], out: TextIO) -> Any:
    if format == "json":
        return structlog.processors.JSONRenderer()
    colors = out.isatty() and not os.environ.get("NO_COLOR")
    return structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)
