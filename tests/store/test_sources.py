"""A source's row, receipts and quarantine: what is written in the transaction of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock.sources.base import Receipt
from penstock.store.connect import Connection, open_url
from penstock.store.errors import StoreAway, StoreRefused
from penstock.store.sources import (
    Arrival,
    Counts,
    Refused,
    begin_round,
    count_receipt,
    end_round,
    ensure_source,
    load_receipts,
    load_sources,
    put_in_quarantine,
    receipt_rows,
    record_batch,
    reset_source,
    save_receipts,
    set_paused,
    set_source_state,
    set_unmapped,
)

pytestmark = pytest.mark.slow

NOON = datetime(2026, 1, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def tx(fresh_database: str, tmp_path: Path) -> Iterator[Connection]:
    with open_url(fresh_database, tmp_path).connect() as connection:
        ensure_source(connection, "drops", "files", "sales")
        yield connection


def test_a_rounds_life(tx: Connection) -> None:
    begin_round(tx, "drops", None)
    record_batch(tx, "drops", {"file": "a"}, Counts(5, 3, 1, 1), NOON)
    record_batch(tx, "drops", {"file": "b"}, Counts(1, 1, 0, 0), NOON - HOUR)
    row = load_sources(tx)["drops"]
    assert (row.read, row.accepted, row.quarantined, row.duplicates) == (6, 4, 1, 1)
    assert (row.cursor, row.round, row.round_open, row.round_high, row.high) == ({"file": "b"}, 1, True, NOON, None)
    end_round(tx, "drops", NOON + HOUR, found=True)
    row = load_sources(tx)["drops"]
    assert (row.round_open, row.first_round, row.high, row.last_found) == (False, False, NOON, NOON + HOUR)
    begin_round(tx, "drops", NOON)
    begin_round(tx, "drops", NOON + HOUR)
    assert (load_sources(tx)["drops"].round, load_sources(tx)["drops"].round_watermark) == (2, NOON)
    end_round(tx, "drops", NOON + 2 * HOUR, found=False)
    row = load_sources(tx)["drops"]
    assert (row.high, row.last_success, row.last_found) == (NOON, NOON + 2 * HOUR, NOON + HOUR)


def test_counts_that_do_not_add_up_are_refused(tx: Connection) -> None:
    with pytest.raises(StoreRefused, match=r"PEN711 .*check constraint"):
        record_batch(tx, "drops", {}, Counts(5, 3, 1, 0), None)


def test_state_and_since_when(tx: Connection) -> None:
    set_source_state(tx, "drops", "retrying", StoreAway("first"))
    since = load_sources(tx)["drops"].error_since
    set_source_state(tx, "drops", "retrying", StoreAway("second"))
    row = load_sources(tx)["drops"]
    assert (row.state, row.error_since) == ("retrying", since)
    assert row.error is not None
    assert row.error["found"] == "second"
    set_source_state(tx, "drops", "running")
    assert load_sources(tx)["drops"].error is None
    set_paused(tx, "drops", True)
    set_unmapped(tx, "drops", {"b", "a"})
    assert (load_sources(tx)["drops"].paused, load_sources(tx)["drops"].unmapped) == (True, ["a", "b"])


def test_receipts(tx: Connection) -> None:
    reading = Receipt("a.csv", "reading", 10, "", NOON, 5, {"offset": 3})
    save_receipts(tx, "drops", [reading, Receipt("b.csv", "pending")])
    count_receipt(tx, "drops", "a.csv", Counts(5, 3, 1, 1))
    save_receipts(tx, "drops", [Receipt("a.csv", "done", 10, "ff", NOON, 6)])
    assert load_receipts(tx, "drops")["a.csv"] == Receipt("a.csv", "done", 10, "ff", NOON, 6)
    first = receipt_rows(tx)[0]
    assert (first.accepted, first.quarantined, first.duplicates) == (3, 1, 1)
    reset_source(tx, "drops")
    assert load_receipts(tx, "drops") == {}


def test_quarantine_keeps_the_bytes_and_texts_postgresql_cannot_hold(tx: Connection) -> None:
    original = b'{"city": "\x00\xff"}\n'
    refused = [Refused("json", "a NUL \0 in it", original, "a\tb\\.csv", "7", '{"city": "\0"}')]
    put_in_quarantine(tx, Arrival("drops", "sales", "1.0.0", 3, None, NOON), refused)
    row = tx.execute("SELECT original, origin, reason, mapped, state FROM quarantine").fetchone()
    assert row == (original, "a\tb\\.csv", "a NUL \\u0000 in it", '{"city": "\\u0000"}', "refused")


def test_a_renamed_source_takes_everything_along(tx: Connection) -> None:
    record_batch(tx, "drops", {"file": "a"}, Counts(1, 1, 0, 0), None)
    save_receipts(tx, "drops", [Receipt("a.csv", "done")])
    ensure_source(tx, "uploads", "files", "sales", renamed_from="drops")
    assert list(load_sources(tx)) == ["uploads"]
    assert load_sources(tx)["uploads"].cursor == {"file": "a"}
    assert list(load_receipts(tx, "uploads")) == ["a.csv"]
