"""The threads of a run: what they tell, when they give up, and what they make of an answer that never came."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from penstock.cli.common import common
from penstock.cli.run import checked
from penstock.engines.errors import EngineResourceError
from penstock.operate.pipelines import PipelineRunner
from penstock.operate.run import Outcome, Run, RunOptions
from penstock.sources.base import RawBatch
from penstock.sources.files import Files
from penstock.store import adopt
from penstock.store.errors import LeaseLost, StoreAway
from tests.projects import CITY, Folder, sales_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path, fresh_database: str) -> Folder:
    made = sales_folder(tmp_path / "p", fresh_database)
    made.drop("a.csv", "1,2026-03-01T10:00:00Z,10,Oslo")
    return made


def opened(folder: Folder) -> Run:
    return Run(checked(common(folder.root)), RunOptions(until_caught_up=True, serve=False), threading.Event())


def ended(folder: Folder) -> Outcome:
    with opened(folder) as run:
        until = time.monotonic() + 60
        while not run.tick():
            assert time.monotonic() < until, "the run does not end"
            time.sleep(0.02)
    return run.outcome()


def test_a_step_that_keeps_failing_ends_a_run_that_is_to_end(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise EngineResourceError("the disk is full")

    monkeypatch.setattr(PipelineRunner, "_step", fail)
    outcome = ended(folder)
    assert [type(error) for error in outcome.errors] == [EngineResourceError]


def test_a_result_replaced_without_an_answer(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction in which a build takes its place is committed, and the connection is gone before that is said."""
    ended(folder)
    replace, calls = adopt.replace, []

    def deaf(connection: Any, *args: Any) -> Any:
        calls.append(1)
        result = replace(connection, *args)
        connection.execute("COMMIT")
        connection.close()
        raise StoreAway(f"the connection is lost, {result.table} is in place")

    monkeypatch.setattr(adopt, "replace", deaf)
    folder.write("pipelines/by_city.sql", CITY.replace("count(*) AS deals", "count(*) + 1 AS deals"))
    outcome = ended(folder)
    assert (outcome.errors, calls) == ((), [1])
    assert folder.rows("SELECT deals FROM by_city") == [("2",)]


def test_states_are_the_writers_alone(folder: Folder, fresh_database: str) -> None:
    ended(folder)
    run = opened(folder)
    with psycopg.connect(fresh_database, autocommit=True) as other:
        other.execute("UPDATE penstock.writer SET token = gen_random_uuid()")
    run.sources[0].record("stopped")
    assert isinstance(run.core.fatal, LeaseLost)
    run.close()
    assert folder.status()["sources"][0]["state"] == "done"


def test_a_round_that_a_stop_ends_early_is_not_complete(
    folder: Folder, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: Files) -> Iterator[RawBatch]:
        runs[0].core.stop.set()
        yield from ()

    monkeypatch.setattr(Files, "round", stopped)
    runs = [opened(folder)]
    with runs[0] as run:
        run.sources[0].join(30)
    with psycopg.connect(fresh_database) as other:
        assert other.execute("SELECT first_round FROM penstock.source").fetchone() == (True,)


def test_what_an_earlier_run_waited_for_is_forgotten(folder: Folder, fresh_database: str) -> None:
    ended(folder)
    with psycopg.connect(fresh_database, autocommit=True) as other:
        other.execute("UPDATE penstock.source SET waiting = 'pid 1 has an open transaction'")
        ended(folder)
        assert other.execute("SELECT waiting FROM penstock.source").fetchone() == ("",)
