"""What becomes of batches and rounds when several sources share a stream, when runs follow each other, and when the
store drops a connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from penstock.cli.common import common
from penstock.cli.run import checked
from penstock.intake.check import Checker
from penstock.operate.commit import Committer
from penstock.operate.core import Core, open_log
from penstock.sources.base import RawBatch
from penstock.store.connect import Store
from penstock.store.errors import StoreAway
from penstock.store.writer import acquire
from tests.projects import DROPS, Folder, sales_folder

pytestmark = pytest.mark.slow
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = NOON + timedelta(days=1)


class Writer:
    """A run's committer without its threads: tests decide who reads when."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.committer = Committer(core)
        self.committer.open()

    def take(self, source: str, *hours: int) -> None:
        """Commits a batch of rows with those event times; hours after noon."""
        file = self.core.project.sources[source]
        rows = [
            {"sale_id": f"{source}{h}", "sold_at": f"{NOON + timedelta(hours=h):%Y-%m-%dT%H:%M:%SZ}", "amount": "1",
             "city": "Oslo"}
            for h in hours
        ]  # fmt: skip
        raw = RawBatch(pa.Table.from_pylist(rows), "x.csv", pa.array(range(len(rows))), {"x": 1}, NOW)
        checker = Checker(self.core.project.streams["sales"], file, self.core.store.secret)
        self.committer.commit(source, raw, checker.check(raw))
        checker.close()

    def round(self, source: str, *hours: int, now: datetime = NOW) -> None:
        self.committer.begin_round(source)
        if hours:
            self.take(source, *hours)
        self.committer.end_round(source, now)

    def stamps(self) -> list[tuple[str, str | None, str | None]]:
        """Source, stamp and the stream's watermark of each batch; hours after noon."""
        with self.core.store.connect() as connection:
            rows = connection.execute(
                "SELECT source, watermark, stream_watermark FROM batch ORDER BY position"
            ).fetchall()
        return [(name, _hours(stamp), _hours(mark)) for name, stamp, mark in rows]


def _hours(moment: datetime | None) -> str | None:
    return None if moment is None else f"{(moment - NOON).total_seconds() / 3600:+.0f}"


@pytest.fixture
def folder(tmp_path: Path, fresh_database: str) -> Folder:
    return sales_folder(tmp_path / "p", fresh_database, **{"sources/other.yaml": DROPS})


@contextmanager
def writer(folder: Folder) -> Iterator[Writer]:
    found = checked(common(folder.root))
    with Store.open(found.project.settings) as store:
        lease = acquire(store)
        made = Writer(Core(found.project, found.plans, store, lease, open_log(found.project, store)))
        try:
            yield made
        finally:
            made.committer.close()
            lease.release()


def test_a_backlog_after_an_outage_is_not_late_against_another_sources(folder: Folder) -> None:
    with writer(folder) as run:
        run.round("drops", 0)
        run.round("other", 0)
    with writer(folder) as run:
        later = NOW + timedelta(days=2)
        run.round("drops", 10, now=later)
        run.round("other", 5, now=later)
        assert run.stamps()[-3:] == [("drops", "-1", "-1"), ("other", "-1", "-1"), ("other", None, "+4")]


def test_rows_are_stamped_as_their_round_began(folder: Folder) -> None:
    with writer(folder) as run:
        run.round("other", 0)
        run.round("drops", 10)
        run.committer.begin_round("drops")
        run.round("other", 5)
        run.committer.begin_round("drops")
        run.take("drops", 11)
        assert run.stamps()[-2:] == [("other", None, "+4"), ("drops", "-1", "+4")]


def test_a_round_that_was_cut_off_found_what_it_had_read_before(folder: Folder) -> None:
    with writer(folder) as run:
        run.round("drops", 0)
        run.committer.begin_round("drops")
        run.take("drops", 1)
    later = NOW + timedelta(hours=1)
    with writer(folder) as run:
        run.round("drops", now=later)
        assert run.committer.source("drops")[0].last_found == later


def test_a_connection_that_broke_is_made_again(folder: Folder, fresh_database: str) -> None:
    with writer(folder) as run:
        run.round("drops", 0)
        with psycopg.connect(fresh_database, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE application_name = 'penstock intake'"
            )
        with pytest.raises(StoreAway):
            run.committer.source("drops")
        assert run.committer.source("drops")[0].read == 1
