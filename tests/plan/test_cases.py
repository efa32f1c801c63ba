"""Every case under cases/: the typed SELECT, the state finished, and PostgreSQL give the rows expected."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import psycopg
import pytest

from tests.plan import casefile, support
from tests.plan.casefile import Case

CASES = casefile.all_cases()
by_name = pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with support.connection() as connection:
        support.create(connection, support.SALES)
        connection.executemany(f"INSERT INTO sales VALUES ({', '.join('?' * 13)})", casefile.sales_rows())
        yield connection


def test_there_are_cases() -> None:
    assert len(CASES) >= 25


@by_name
def test_typed_select(con: duckdb.DuckDBPyConnection, case: Case) -> None:
    plan = support.planned(case.sql, timezone=case.timezone)
    assert [(c.name, str(c.type)) for c in plan.columns] == list(case.columns)
    assert text(support.run_whole(con, plan)) == case.rows


@by_name
def test_state_and_finish(con: duckdb.DuckDBPyConnection, case: Case) -> None:
    plan = support.planned(case.sql, timezone=case.timezone)
    assert text(support.run_steps(con, plan)) == case.rows


def text(rows: support.Rows) -> tuple[tuple[str, ...], ...]:
    return tuple(sorted(tuple(casefile.shown(v) for v in row) for row in rows))


@pytest.fixture(scope="module")
def postgres(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url) as connection:
        columns = ", ".join(f"{c.name} {c.type.postgres}" for c in support.SALES.columns)
        connection.execute(f"CREATE TEMP TABLE sales ({columns})")
        with connection.cursor() as cursor:
            values = ", ".join(["%s"] * 13)
            cursor.executemany(f"INSERT INTO sales VALUES ({values})", casefile.sales_rows())
        connection.commit()
        yield connection


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in CASES if c.postgres], ids=[c.name for c in CASES if c.postgres])
def test_postgres_agrees(postgres: psycopg.Connection[Any], case: Case) -> None:
    postgres.rollback()
    postgres.execute(f"SET TimeZone = '{case.timezone}'")
    rows = postgres.execute(case.postgres or "").fetchall()
    types = [kind for _, kind in case.columns]
    assert sorted(comparable(row, types) for row in rows) == sorted(comparable(row, types) for row in case.rows)


def comparable(row: tuple[Any, ...], types: list[str]) -> tuple[str, ...]:
    """Numbers are compared as numbers at the scale of the case, whatever trailing digits a server shows."""
    return tuple(_comparable(casefile.shown(v), kind) for v, kind in zip(row, types, strict=True))


def _comparable(value: str, kind: str) -> str:
    if value == "NULL" or not kind.startswith(("decimal", "bigint", "double")):
        return value
    if kind == "double":
        return f"{float(value):.12g}"
    scale = int(kind.split(",")[1].rstrip(")")) if "," in kind else 0
    return format(Decimal(value).quantize(Decimal(1).scaleb(-min(scale, 14))), "f")
