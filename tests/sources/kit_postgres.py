"""The conformance kit of `postgres`: one table in a database of its own, read by its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
import pytest
from psycopg import sql

from penstock.store.private import PrivateServer
from tests.conformance.kit import Row, SourceKit


class Kit(SourceKit):
    slow = True

    def __init__(self, request: pytest.FixtureRequest, root: Any) -> None:
        super().__init__(request, root)
        server: PrivateServer = request.getfixturevalue("postgres_server")
        self.url: str = request.getfixturevalue("fresh_database")
        self.admin = server.url("postgres")
        self.name = psycopg.conninfo.conninfo_to_dict(self.url)["dbname"]
        self._run("CREATE TABLE rows (id bigint PRIMARY KEY, name text, amount numeric(12,2))")

    def config(self) -> Mapping[str, Any]:
        return {"connection": self.url, "table": "rows", "mode": "incrementing", "incrementing_column": "id"}

    def add(self, rows: Sequence[Row]) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for name in {name for row in rows for name in row} - {"id", "name", "amount"}:
                connection.execute(sql.SQL("ALTER TABLE rows ADD COLUMN {} text").format(sql.Identifier(name)))
            for row in rows:
                names = sql.SQL(", ").join(map(sql.Identifier, row))
                values = sql.SQL(", ").join(map(sql.Literal, row.values()))
                connection.execute(sql.SQL("INSERT INTO rows ({}) VALUES ({})").format(names, values))

    def vanish(self) -> None:
        self._allow(False)
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self.name])

    def come_back(self) -> None:
        self._allow(True)

    def _allow(self, connections: bool) -> None:
        with psycopg.connect(self.admin, autocommit=True) as connection:
            statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
            connection.execute(statement.format(sql.Identifier(str(self.name)), sql.Literal(connections)))

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)
