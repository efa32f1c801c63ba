"""A world and a running server per test module: starting both takes a second."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from penstock.store.private import PrivateServer
from tests.serve.world import Client, World, make_world, serving


@pytest.fixture(scope="module")
def module_database(postgres_server: PrivateServer, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"serve_{abs(hash(request.node.nodeid)) % 10**8}"
    yield postgres_server.createdb(name)
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def world(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(module_database, tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[Client]:
    with serving(world.project, world.url) as found:
        yield found
