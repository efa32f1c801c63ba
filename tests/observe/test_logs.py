"""Log lines: an observation's name and fields, at a level that keeps normal operation quiet."""

from __future__ import annotations

import io
import json

import pytest

from penstock.observe.events import (
    BatchKept,
    Notice,
    Observation,
    PipelineFailed,
    RequestServed,
    Serving,
    SourceFailed,
    SourceWaiting,
    StateRebuilt,
    Step,
    StoreLostFromView,
)
from penstock.observe.logs import level_of, log_handler

BATCH = BatchKept("drops", "sales", 1, 10, 7, 2, 1, 0.004)


@pytest.mark.parametrize(
    ("observation", "level"),
    [
        (Step("log.segment_written"), "debug"),
        (BATCH, "debug"),
        (RequestServed("e", 200, 0.1, False), "debug"),
        (RequestServed("e", 503, 0.1, False), "warning"),
        (SourceWaiting("drops", "pid 7 since 10:00"), "info"),
        (StateRebuilt("by_city", "missing", 7, 0.1), "info"),
        (Serving("http://127.0.0.1:8080", 3), "info"),
        (Notice("something"), "info"),
        (SourceFailed("drops", "away", 1.0), "warning"),
        (SourceFailed("drops", "no rights", None), "error"),
        (PipelineFailed("by_city", "overflow", None), "error"),
        (StoreLostFromView("away"), "warning"),
        (StoreLostFromView(""), "info"),
    ],
)
def test_levels(observation: Observation, level: str) -> None:
    assert level_of(observation) == level


def test_json_lines_hold_the_fields() -> None:
    out = io.StringIO()
    log_handler("debug", "json", out)(BATCH)
    line = json.loads(out.getvalue())
    assert (line["event"], line["level"], line["source"], line["accepted"]) == ("BatchKept", "debug", "drops", 7)
    assert line["timestamp"].endswith("Z")


def test_text_is_readable_and_has_no_colours_in_a_file() -> None:
    out = io.StringIO()
    log_handler("info", "text", out)(SourceFailed("drops", "away", 1.0))
    assert "SourceFailed" in out.getvalue()
    assert "error=away" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_below_the_level_nothing_is_written() -> None:
    out = io.StringIO()
    handle = log_handler("warning", "json", out)
    handle(BATCH)
    handle(Notice("x"))
    assert out.getvalue() == ""
    handle(SourceFailed("drops", "away", 1.0))
    assert out.getvalue().count("\n") == 1


def test_an_unknown_level_is_an_error() -> None:
    with pytest.raises(ValueError, match="level 'loud' does not exist; known: debug, info, warning, error"):
        log_handler("loud")
