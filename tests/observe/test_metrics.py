"""Metrics: the table is what is emitted and what is documented."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.observe.events import (
    AnswersSent,
    BatchKept,
    Notice,
    Observation,
    PipelineAdvanced,
    PipelineFailed,
    RequestServed,
    RoundEnded,
    SourceFailed,
    StateRebuilt,
)
from penstock.observe.metrics import METRICS, Metrics, reference_page

SEEN: list[Observation] = [
    BatchKept("drops", "sales", 1, 10, 7, 2, 1, 0.004),
    RoundEnded("drops", 10, 0.5),
    PipelineAdvanced("by_city", 1, 0, 7, 3, 0, 0, 0.02),
    SourceFailed("drops", "away", 1.0),
    PipelineFailed("by_city", "overflow", None),
    StateRebuilt("by_city", "missing", 7, 0.1),
    RequestServed("cities", 200, 0.003, False),
    AnswersSent("cities", 200, 1000, 0.02),
    Notice("not a metric"),
]


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(text.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def test_observations_move_their_metrics() -> None:
    metrics = Metrics("1.2.3")
    for observation in SEEN:
        metrics.handle(observation)
    found = samples(metrics.render({"penstock_read_rows_total": [(("drops",), 10.0)]}))
    one = {
        ("penstock_batch_duration_seconds_sum", (("source", "drops"),)): 0.004,
        ("penstock_batch_duration_seconds_bucket", (("le", "0.0025"), ("source", "drops"))): 0.0,
        ("penstock_batch_duration_seconds_bucket", (("le", "0.005"), ("source", "drops"))): 1.0,
        ("penstock_round_duration_seconds_count", (("source", "drops"),)): 1.0,
        ("penstock_pipeline_step_duration_seconds_sum", (("pipeline", "by_city"),)): 0.02,
        ("penstock_source_failures_total", (("source", "drops"),)): 1.0,
        ("penstock_pipeline_failures_total", (("pipeline", "by_city"),)): 1.0,
        ("penstock_state_rebuilds_total", (("what", "by_city"),)): 1.0,
        ("penstock_http_requests_total", (("cached", "false"), ("endpoint", "cities"), ("status", "200"))): 1.0,
        ("penstock_http_requests_total", (("cached", "true"), ("endpoint", "cities"), ("status", "200"))): 1000.0,
        ("penstock_http_request_duration_seconds_count", (("endpoint", "cities"),)): 1001.0,
        ("penstock_http_request_duration_seconds_bucket", (("endpoint", "cities"), ("le", "0.001"))): 1000.0,
        ("penstock_read_rows_total", (("source", "drops"),)): 10.0,
        ("penstock_build_info", (("version", "1.2.3"),)): 1.0,
    }
    assert {key: found.get(key) for key in one} == one


def test_documented_metrics_are_the_emitted_ones() -> None:
    text = Metrics("1").render({}).decode()
    emitted = set(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    documented = set(re.findall(r"^\| `(\S+)` \| (\S+) \|", reference_page(), re.MULTILINE))
    assert emitted == documented == {(m.name, m.kind) for m in METRICS}


def test_names_follow_the_conventions() -> None:
    for metric in METRICS:
        assert metric.name.startswith("penstock_")
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert metric.kind != "histogram" or metric.name.endswith("_seconds"), metric.name
        assert metric.help.endswith("."), metric.name


def test_a_reading_that_is_not_in_the_table_is_an_error() -> None:
    with pytest.raises(KeyError, match="penstock_rows"):
        Metrics("1").render({"penstock_rows": [((), 1.0)]})
