"""What tests of several packages use: a private PostgreSQL server, empty databases, and the rule for `shared` tests.

Tests marked `shared` need the data sets beside the repository (`../shared`). From a bare clone they are left out, and
the last lines say which; with CI=true that is a failure.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from penstock.store.private import PrivateServer, private_server

SHARED = Path(__file__).resolve().parents[2] / "shared"
_left_out: set[str] = set()
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A private PostgreSQL server of this test process. Its user is a superuser."""
    with private_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PrivateServer) -> str:
    """The URL of the server's database `penstock`, shared by the session's tests: use a schema or `fresh_database`."""
    return postgres_server.url()


@pytest.fixture
def fresh_database(postgres_server: PrivateServer) -> Iterator[str]:
    """The URL of an empty database of the test's own, dropped afterwards."""
    name = f"t{next(_numbers)}"
    yield postgres_server.createdb(name)
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def shared() -> Path:
    """The folder of the data sets; use it in tests marked `shared`."""
    return SHARED


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if SHARED.is_dir():
        return
    out = [item for item in items if item.get_closest_marker("shared")]
    _left_out.update(item.nodeid for item in out)
    items[:] = [item for item in items if item not in out]
    config.hook.pytest_deselected(items=out)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = sorted(_left_out)
    elif _left_out and os.environ.get("CI") == "true":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _left_out.update(getattr(node, "workeroutput", {}).get("left_out", ()))


def pytest_unconfigure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not _left_out or reporter is None or hasattr(config, "workerinput"):
        return
    verdict = "a failure, as CI=true" if os.environ.get("CI") == "true" else "left out"
    reporter.write_line(f"{len(_left_out)} tests need {SHARED.name}/ beside the repository and were {verdict}:")
    for name in sorted(_left_out):
        reporter.write_line(f"  {name}")
