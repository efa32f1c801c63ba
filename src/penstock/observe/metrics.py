"""Metrics for Prometheus: a table of all there are, filled from observations and from what the store counts.

What must be right over restarts and processes (rows, positions) is read from the store when somebody scrapes; what a
process alone can know (durations, requests) is added up from its observations. METRICS is the one list: a metric that
is not in it cannot be recorded, and each one in it is always shown.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from penstock.observe.events import (
    AnswersSent,
    BatchKept,
    Observation,
    PipelineAdvanced,
    PipelineFailed,
    RequestServed,
    RoundEnded,
    SourceFailed,
    StateRebuilt,
)

CONTENT_TYPE = exposition.CONTENT_TYPE_PLAIN_0_0_4
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds."""


@dataclass(frozen=True)
class Metric:
    """One metric: `origin` tells whether the store is asked for it or this process's observations are added up."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    origin: Literal["store", "process"] = "store"


METRICS = (
    Metric("penstock_build_info", "gauge", "Always 1; the version that runs.", ("version",), "process"),
    Metric("penstock_store_up", "gauge", "1 when the store answered this scrape, else 0."),
    Metric("penstock_read_rows_total", "counter", "Rows read from a source.", ("source",)),
    Metric("penstock_accepted_rows_total", "counter", "Rows of a source that went to the log.", ("source",)),
    Metric("penstock_quarantined_rows_total", "counter", "Rows of a source refused, not since accepted.", ("source",)),
    Metric("penstock_duplicate_rows_total", "counter", "Rows of a source without effect.", ("source",)),
    Metric("penstock_source_state", "gauge", "1 for the state a source is in.", ("source", "state")),
    Metric("penstock_source_lag_seconds", "gauge", "Seconds since a source was last read to its end.", ("source",)),
    Metric("penstock_log_position", "gauge", "The log's last position."),
    Metric("penstock_pipeline_position", "gauge", "Position up to which a pipeline's result stands.", ("pipeline",)),
    Metric("penstock_pipeline_backlog_batches", "gauge", "Batches that are not in a pipeline's result.", ("pipeline",)),
    Metric(
        "penstock_pipeline_lag_seconds", "gauge", "Age of the oldest batch not in a result, else 0.", ("pipeline",)
    ),
    Metric("penstock_watermark_lag_seconds", "gauge", "How far a pipeline's watermark is behind now.", ("pipeline",)),
    Metric(
        "penstock_late_rows_total", "counter", "Late rows: restated or set_aside.", ("pipeline", "outcome")
    ),
    Metric("penstock_pipeline_state", "gauge", "1 for the state a pipeline is in.", ("pipeline", "state")),
    Metric("penstock_batch_duration_seconds", "histogram", "From read to committed batch.", ("source",), "process"),
    Metric("penstock_round_duration_seconds", "histogram", "One reading of a source.", ("source",), "process"),
    Metric(
        "penstock_pipeline_step_duration_seconds", "histogram", "From log to result.", ("pipeline",), "process"
    ),
    Metric("penstock_source_failures_total", "counter", "Failures of a source.", ("source",), "process"),
    Metric("penstock_pipeline_failures_total", "counter", "Failures of a pipeline.", ("pipeline",), "process"),
    Metric("penstock_state_rebuilds_total", "counter", "Local state built again from the log.", ("what",), "process"),
    Metric(
        "penstock_http_requests_total", "counter", "Requests answered.", ("endpoint", "status", "cached"), "process"
    ),
    Metric(
        "penstock_http_request_duration_seconds", "histogram", "From request to answer.", ("endpoint",), "process"
    ),
)  # fmt: skip
"""Every metric there is. Rows and positions are the store's; process metrics begin at 0 with the server process."""

_BY_NAME = {metric.name: metric for metric in METRICS}
Labels = tuple[str, ...]
Readings = Mapping[str, Iterable[tuple[Labels, float]]]
"""Metric name -> (label values in the order of `Metric.labels`, value): what the store says now."""


class _Histogram:
    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        """Adds `times` observations of `seconds` in all."""
        self.counts[bisect.bisect_left(BUCKETS, seconds / times)] += times
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        total = 0
        cumulative = []
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True):
            total += count
            cumulative.append((bound, float(total)))
        return cumulative


class Metrics:
    """Adds up observations; `render` gives the text that Prometheus scrapes. `handle` may be called in any thread."""

    def __init__(self, version: str) -> None:
        self._lock = Lock()
        self._values: dict[tuple[str, Labels], float] = {("penstock_build_info", (version,)): 1.0}
        self._histograms: dict[tuple[str, Labels], _Histogram] = {}

    def handle(self, observation: Observation) -> None:
        """Takes an observation into account; subscribe it."""
        record = _RECORDERS.get(type(observation))
        if record is not None:
            with self._lock:
                record(self, observation)

    def count(self, name: str, labels: Labels, by: float = 1.0) -> None:
        key = (_BY_NAME[name].name, labels)
        self._values[key] = self._values.get(key, 0.0) + by

    def time(self, name: str, labels: Labels, seconds: float, times: int = 1) -> None:
        key = (_BY_NAME[name].name, labels)
        self._histograms.setdefault(key, _Histogram()).add(seconds, times)

    def render(self, readings: Readings) -> bytes:
        """Returns all metrics in Prometheus' text format. Raises KeyError for a reading that METRICS does not list."""
        registry = CollectorRegistry()
        with self._lock:
            registry.register(_Families([self._family(metric, readings) for metric in METRICS]))
        unknown = readings.keys() - _BY_NAME.keys()
        if unknown:
            raise KeyError(*sorted(unknown))
        return exposition.generate_latest(registry)

    def _family(self, metric: Metric, readings: Readings) -> Family:
        if metric.kind == "histogram":
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for (name, labels), durations in self._histograms.items():
                if name == metric.name:
                    histogram.add_metric(labels, durations.buckets(), durations.sum)
            return histogram
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family: CounterMetricFamily | GaugeMetricFamily = kind(metric.name, metric.help, labels=metric.labels)
        own = [(labels, value) for (name, labels), value in self._values.items() if name == metric.name]
        for labels, value in (*readings.get(metric.name, ()), *own):
            family.add_metric(labels, value)
        return family


class _Families(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Family]:
        return self._families


def _batch(metrics: Metrics, o: Any) -> None:
    metrics.time("penstock_batch_duration_seconds", (o.source,), o.seconds)


def _round(metrics: Metrics, o: Any) -> None:
    metrics.time("penstock_round_duration_seconds", (o.source,), o.seconds)


def _advanced(metrics: Metrics, o: Any) -> None:
    metrics.time("penstock_pipeline_step_duration_seconds", (o.pipeline,), o.seconds)


def _source_failed(metrics: Metrics, o: Any) -> None:
    metrics.count("penstock_source_failures_total", (o.source,))


def _pipeline_failed(metrics: Metrics, o: Any) -> None:
    metrics.count("penstock_pipeline_failures_total", (o.pipeline,))


def _rebuilt(metrics: Metrics, o: Any) -> None:
    metrics.count("penstock_state_rebuilds_total", (o.what,))


def _served(metrics: Metrics, o: Any) -> None:
    metrics.count("penstock_http_requests_total", (o.endpoint, str(o.status), str(o.cached).lower()))
    metrics.time("penstock_http_request_duration_seconds", (o.endpoint,), o.seconds)


def _sent(metrics: Metrics, o: Any) -> None:
    metrics.count("penstock_http_requests_total", (o.endpoint, str(o.status), "true"), o.count)
    metrics.time("penstock_http_request_duration_seconds", (o.endpoint,), o.seconds, o.count)


_RECORDERS: Mapping[type[Observation], Callable[[Metrics, Any], None]] = {
    BatchKept: _batch,
    RoundEnded: _round,
    PipelineAdvanced: _advanced,
    SourceFailed: _source_failed,
    PipelineFailed: _pipeline_failed,
    StateRebuilt: _rebuilt,
    RequestServed: _served,
    AnswersSent: _sent,
}
OF_THE_WRITER = tuple(kind for kind in _RECORDERS if kind not in (RequestServed, AnswersSent))
"""The writer's observations that metrics are made of: what it hands over to be counted where `/metrics` is."""


def reference_page() -> str:
    """Returns docs/reference/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "`/metrics` in Prometheus' text format. Metrics of the store are read from it at every scrape and are the same",
        "in every process; those of the process begin at 0 when the server starts (under `penstock run` the writer's",
        "durations are among them).",
        "",
        "| name | kind | labels | from | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for m in METRICS:
        labels = ", ".join(f"`{label}`" for label in m.labels)
        lines.append(f"| `{m.name}` | {m.kind} | {labels} | {m.origin} | {m.help} |")
    return "\n".join(lines) + "\n"
