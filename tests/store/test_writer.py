"""One writer: the second is told who runs, a lost lease is noticed, late writes of the old one are refused."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from penstock.store.connect import Store, errors_explained, open_url
from penstock.store.errors import LeaseLost, RunsAlready, StoreAway
from penstock.store.writer import acquire, check_token, who_writes

pytestmark = pytest.mark.slow


@pytest.fixture
def store(fresh_database: str, tmp_path: Path) -> Store:
    return open_url(fresh_database, tmp_path, name="sales")


def test_the_second_is_told_who_runs(store: Store) -> None:
    lease = acquire(store)
    with pytest.raises(RunsAlready, match=rf"PEN715 .*'sales' is run by pid {os.getpid()} on .*, since 20.* UTC"):
        acquire(store)
    with store.connect() as connection:
        assert (who_writes(connection) or {})["pid"] == os.getpid()
        lease.release()
        acquire(store).release()


def test_nobody_writes_after_release(store: Store) -> None:
    acquire(store).release()
    with store.connect() as connection:
        connection.execute("SELECT pg_advisory_lock(hashtextextended('penstock.writer.penstock', 0))")
        connection.execute("SELECT pg_advisory_unlock(hashtextextended('penstock.writer.penstock', 0))")
        assert who_writes(connection) is None


def test_a_writer_that_was_replaced_is_refused(store: Store) -> None:
    old = acquire(store)
    with store.connect() as other, store.connect() as late:
        other.execute("SELECT pg_terminate_backend(%s)", [old.connection.info.backend_pid])
        assert not old.alive()
        new = acquire(store)
        with pytest.raises(LeaseLost, match=r"PEN716 .*pid \d+ on"), late.transaction():
            check_token(late, old.token)
        with late.transaction():
            check_token(late, new.token)
        with pytest.raises(LeaseLost, match=r"PEN716 .*is run by pid"):
            old.renew()
        new.release()
        with pytest.raises(LeaseLost, match=r"PEN716 .*was the writer meanwhile"):
            old.renew()
        old.release()


def test_a_lock_that_the_server_has_not_let_go_of_yet_is_not_another_run(store: Store) -> None:
    """A cut network: the old connection is gone for this side only."""
    lease = acquire(store)
    ghost, lease.connection = lease.connection, store.connect()
    with pytest.raises(StoreAway, match="still held by this run"):
        lease.renew()
    assert not lease.alive()
    ghost.close()
    lease.renew()
    assert lease.alive()
    lease.release()


def test_a_broken_connection_alone_loses_nothing(store: Store) -> None:
    lease = acquire(store)
    with store.connect() as other:
        other.execute("SELECT pg_terminate_backend(%s)", [lease.connection.info.backend_pid])
        assert not lease.alive()
        lease.renew()
        assert lease.alive()
        with other.transaction():
            check_token(other, lease.token)
    lease.release()


def test_a_new_writer_waits_for_the_old_ones_open_transaction(store: Store) -> None:
    old = acquire(store)
    with store.connect() as late, store.connect() as other:
        with late.transaction():
            check_token(late, old.token)
            old.release()
            taker = threading.Thread(target=lambda: leases.append(acquire(store)))
            leases: list[object] = []
            taker.start()
            while not other.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
                assert taker.is_alive()
            late.execute("INSERT INTO request (verb) VALUES ('written by the old one in time')")
        taker.join()
        with pytest.raises(LeaseLost), errors_explained(), late.transaction():
            late.execute("SELECT check_token(%s)", [old.token])
        leases[0].release()  # type: ignore[attr-defined]
