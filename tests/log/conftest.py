from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.log.manifest import Connection
from penstock.log.rowlog import RowLog
from penstock.log.segments import FolderSegments
from penstock.store.connect import open_url


@pytest.fixture
def log(tmp_path: Path) -> RowLog:
    return RowLog(FolderSegments(tmp_path / "log"))


@pytest.fixture
def connection(fresh_database: str, tmp_path: Path) -> Iterator[Connection]:
    store = open_url(fresh_database, tmp_path / "state")
    with store.connect("log test") as connection:
        connection.execute("INSERT INTO writer VALUES (true, %s, 1, 'here')", [TOKEN])
        yield connection


TOKEN = str(uuid.uuid4())
