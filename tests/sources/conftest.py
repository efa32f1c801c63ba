"""Fixtures of the `postgres` source's tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from penstock.sources import postgres
from penstock.store.private import PrivateServer, private_server
from tests.sources.postgres_help import Reader

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def source_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A server to read from, with prepared transactions."""
    settings = {"max_prepared_transactions": "10", "fsync": "off"}
    with private_server(tmp_path_factory.mktemp("source"), settings=settings) as server:
        yield server


@pytest.fixture
def database(source_server: PrivateServer) -> Iterator[str]:
    """The URL of an empty database on it."""
    name = f"s{next(_numbers)}"
    yield source_server.createdb(name)
    with psycopg.connect(source_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def reader(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Reader]]:
    """Makes readers of `database`; a round of theirs does not wait for open transactions."""
    monkeypatch.setattr(postgres, "PATIENCE", 0.0)
    monkeypatch.setattr(postgres, "BEGINNING", 0.0)
    made: list[Reader] = []

    def make(keyed: bool = True, **config: Any) -> Reader:
        made.append(Reader(database, tmp_path / "state", config, keyed))
        return made[-1]

    yield make
    for r in made:
        r.close()
