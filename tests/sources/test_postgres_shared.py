"""Northwind and Chinook through the `postgres` source: every row that is read equals what SQL says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.sources.postgres_help import Reader

pytestmark = [pytest.mark.slow, pytest.mark.shared]
Make = Callable[..., Reader]


@pytest.fixture
def loaded(database: str, shared: Path) -> Callable[[str], None]:
    """Loads a dump into the database, without the lines that create and choose one."""

    def load(name: str) -> None:
        text = (shared / "data" / name).read_text(encoding="utf-8")
        kept = [ln for ln in text.splitlines() if not ln.startswith(("DROP DATABASE", "CREATE DATABASE", "\\c"))]
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute("\n".join(kept).encode())

    return load


def as_sql_prints(url: str, relation: str, order: str) -> list[tuple[str | None, ...]]:
    with psycopg.connect(url) as conn, conn.cursor() as cursor:
        cursor.execute("SET extra_float_digits = 1")
        names = [d.name for d in cursor.execute(f"SELECT * FROM {relation} LIMIT 0").description or []]
        columns = ", ".join(f'"{n}"::text' for n in names)
        return cursor.execute(f"SELECT {columns} FROM {relation} ORDER BY {order}").fetchall()


def as_read(rows: list[dict[str, Any]]) -> list[tuple[str | None, ...]]:
    return [tuple(None if v is None else _printed(v) for v in row.values()) for row in rows]


def _printed(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return str(value)


NORTHWIND = [
    ("orders", ["order_id"]),
    ("order_details", ["order_id", "product_id"]),
    ("employees", ["employee_id"]),
    ("products", ["product_id"]),
]
CHINOOK = [("invoice", ["invoice_id"]), ("invoice_line", ["invoice_line_id"]), ("track", ["track_id"])]


@pytest.mark.parametrize(("table", "key"), NORTHWIND, ids=[t for t, _ in NORTHWIND])
def test_northwind(reader: Make, loaded: Callable[[str], None], database: str, table: str, key: list[str]) -> None:
    loaded("northwind/northwind.sql")
    _compare(reader, database, table, key)


@pytest.mark.parametrize(("table", "key"), CHINOOK, ids=[t for t, _ in CHINOOK])
def test_chinook(reader: Make, loaded: Callable[[str], None], database: str, table: str, key: list[str]) -> None:
    loaded("chinook/Chinook_PostgreSql.sql")
    _compare(reader, database, table, key)


def _compare(reader: Make, url: str, table: str, key: list[str]) -> None:
    expected = as_sql_prints(url, table, ", ".join(key))
    for config in ({"mode": "incrementing", "incrementing_column": key}, {"mode": "bulk"}):
        r = reader(table=table, **config)
        r.batch_rows = 100
        got: list[dict[str, Any]] = []
        while part := r.round(stop_after=3):
            got += part
        assert sorted(as_read(got), key=str) == sorted(expected, key=str)
        assert len(got) == len(expected) > 0
