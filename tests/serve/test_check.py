"""What `validate` finds in an endpoint over planned pipelines, with places; and what it must not claim."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from penstock.errors import Place
from penstock.plan.model import Plan, ResultColumn, Steps
from penstock.project.model import EndpointFile, Paging
from penstock.serve.check import check_endpoint
from penstock.serve.errors import BadPaging, ColumnNotKnown, NotOneSelect
from penstock.sqltypes import BIGINT, DATE, TEXT, decimal


def plan(name: str, *columns: str) -> Plan:
    types = {"date": DATE, "city": TEXT, "total_sales": decimal(15, 2)}
    kept = tuple(ResultColumn(c, types.get(c, BIGINT)) for c in columns)
    return Plan(name, "sales", kept, ("date",), (), None, "restate", "UTC", "", "f", Steps(None, ()))


PLANS = {
    "by_city": plan("by_city", "date", "city", "total_sales"),
    "salesmen": plan("salesmen", "date", "salesman_id", "rank"),
}


def endpoint(sql: str, **more: Any) -> EndpointFile:
    return replace(EndpointFile("e", "/e", sql, 3, place=Place("endpoints/e.sql", 1)), **more)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT date, city, id, created_at, updated_at FROM by_city WHERE date = :date LIMIT :limit",
        "SELECT c.city, s.rank FROM by_city c JOIN salesmen AS s USING (date)",
        "WITH w AS (SELECT date AS day, max(total_sales) AS most FROM by_city GROUP BY date) SELECT day, most FROM w",
        "SELECT city, sum(total_sales) AS total FROM by_city GROUP BY city HAVING sum(total_sales) > 5 ORDER BY total",
        "SELECT city FROM by_city b WHERE EXISTS (SELECT 1 FROM salesmen s WHERE s.date = b.date AND city <> '')",
        "SELECT City FROM By_City",
        "SELECT * FROM by_city",
        "SELECT whatever FROM public.own_view",
        "SELECT g.n, b.city FROM by_city b, generate_series(1, 3) AS g(n)",
        "SELECT city, row_number() OVER w AS n FROM by_city WINDOW w AS (ORDER BY total_sales)",
        "SELECT by_city.city FROM by_city UNION ALL SELECT salesman_id FROM salesmen ORDER BY 1",
        "SELECT row_to_json(b) AS whole FROM by_city b",
        "SELECT x.city FROM (SELECT * FROM by_city) x",
        "SELECT extract(day FROM date) AS d, current_date AS now, city COLLATE \"C\" FROM by_city",
    ],
)  # fmt: skip
def test_good_endpoints(sql: str) -> None:
    assert check_endpoint(endpoint(sql), PLANS) == []


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT 1,\n  citty FROM by_city", "endpoints/e.sql:4:3: PEN807 column not known: there is no column 'citty'"),
        ("SELECT b.rank FROM by_city b", "there is no column 'rank' in b"),
        ("SELECT city FROM by_city WHERE total > 5", "there is no column 'total' in by_city"),
        ("WITH w AS (SELECT city FROM by_city) SELECT date FROM w", "there is no column 'date' in w"),
        ("SELECT city FROM by_city ORDER BY sales", "there is no column 'sales' in by_city"),
        ('SELECT "City" FROM by_city', "there is no column 'City' in by_city"),
    ],
)  # fmt: skip
def test_unknown_columns(sql: str, text: str) -> None:
    errors = check_endpoint(endpoint(sql), PLANS)
    assert [type(e) for e in errors] == [ColumnNotKnown]
    assert text in str(errors[0])


def test_a_near_column_is_named() -> None:
    (error,) = check_endpoint(endpoint("SELECT citty FROM by_city"), PLANS)
    assert error.hint == "did you mean 'city'?"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT city INTO other FROM by_city", "SELECT INTO"),
        ("SELECT city FROM by_city FOR UPDATE", "a row lock"),
        ("WITH gone AS (DELETE FROM by_city RETURNING city) SELECT city FROM gone", "DELETE"),
    ],
)
def test_an_endpoint_only_reads(sql: str, words: str) -> None:
    errors = check_endpoint(endpoint(sql), PLANS)
    assert isinstance(errors[0], NotOneSelect)
    assert str(errors[0]).startswith(
        f"endpoints/e.sql:3:1: PEN802 endpoint is not one SELECT: the statement holds {words}"
    )


def test_paging_by_a_column_that_is_not_selected() -> None:
    paged = endpoint("SELECT city FROM by_city", paging=Paging((("date", True), ("city", False))))
    (error,) = check_endpoint(paged, PLANS)
    assert isinstance(error, BadPaging)
    assert "PEN809 paging not possible: paging.by names 'date', which is not selected" in str(error)
