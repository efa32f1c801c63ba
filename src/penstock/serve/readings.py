"""What the store counts, as readings for the metrics: one transaction, asked at every scrape."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

import psycopg

from penstock.observe.metrics import Labels
from penstock.serve.describe import session_settings
from penstock.serve.link import Link, StoreLost

READ_SECONDS = 10.0
_AWAY: dict[str, list[tuple[Labels, float]]] = {"penstock_store_up": [((), 0.0)]}
_QUERIES: Sequence[str] = (
    "SELECT 'penstock_read_rows_total', ARRAY[name], read FROM source",
    "SELECT 'penstock_accepted_rows_total', ARRAY[name], accepted FROM source",
    "SELECT 'penstock_quarantined_rows_total', ARRAY[name], quarantined FROM source",
    "SELECT 'penstock_duplicate_rows_total', ARRAY[name], duplicates FROM source",
    "SELECT 'penstock_source_state', ARRAY[name, CASE WHEN paused THEN 'paused' ELSE state END], 1 FROM source",
    "SELECT 'penstock_source_lag_seconds', ARRAY[name], extract(epoch FROM clock_timestamp() - last_success)"
    " FROM source WHERE last_success IS NOT NULL",
    "SELECT 'penstock_log_position', ARRAY[]::text[], coalesce(max(position), 0) FROM batch",
    "SELECT 'penstock_pipeline_position', ARRAY[name], position FROM live",
    "SELECT 'penstock_pipeline_backlog_batches', ARRAY[name],"
    " (SELECT count(*) FROM batch b WHERE b.position > p.position) FROM live p",
    "SELECT 'penstock_pipeline_lag_seconds', ARRAY[name], coalesce(extract(epoch FROM clock_timestamp() - (SELECT"
    " b.ingested_at FROM batch b WHERE b.position > p.position ORDER BY b.position LIMIT 1)), 0) FROM live p",
    "SELECT 'penstock_watermark_lag_seconds', ARRAY[name], extract(epoch FROM clock_timestamp() - watermark)"
    " FROM live WHERE watermark IS NOT NULL",
    "SELECT 'penstock_late_rows_total', ARRAY[name, 'set_aside'], late_set_aside FROM live",
    "SELECT 'penstock_late_rows_total', ARRAY[p.name, 'restated'], coalesce(sum(w.restated), 0)"
    " FROM live p LEFT JOIN pipeline_window w ON w.pipeline = p.name GROUP BY p.name",
    "SELECT 'penstock_pipeline_state', ARRAY[name, state], 1 FROM live",
)
_ALL = (
    "WITH live AS (SELECT * FROM pipeline WHERE builds IS NULL AND removed_at IS NULL)"
    f" SELECT name, array_to_json(labels), value FROM ({' UNION ALL '.join(_QUERIES)}) r (name, labels, value)"
)


async def read(url: str, own_schema: str) -> dict[str, list[tuple[Labels, float]]]:
    """Returns the store's readings. A store that is away gives `penstock_store_up` 0 and nothing else."""
    found: dict[str, list[tuple[Labels, float]]] = {}
    try:
        link = await Link.open(url, session_settings(own_schema, int(READ_SECONDS * 1000)))
    except StoreLost:
        return _AWAY
    try:
        async with asyncio.timeout(READ_SECONDS):
            for name, labels, value in await link.ask(_ALL):
                found.setdefault(name or "", []).append((tuple(json.loads(labels or "[]")), float(value or 0)))
    except (psycopg.Error, StoreLost, TimeoutError):
        return _AWAY
    finally:
        link.abandon()
    return found | {"penstock_store_up": [((), 1.0)]}


class Readings:
    """The readings with a moment's memory, so that many scrapers do not become many queries."""

    def __init__(self, url: str, own_schema: str, *, keep: float = 0.5) -> None:
        self._arguments = (url, own_schema)
        self._keep = keep
        self._at = float("-inf")
        self._found: dict[str, list[tuple[Labels, float]]] = {}

    async def now(self) -> dict[str, list[tuple[Labels, float]]]:
        """Returns readings at most `keep` seconds old."""
        began = time.monotonic()
        if began - self._at > self._keep:
            self._found, self._at = await read(*self._arguments), began
        return self._found
