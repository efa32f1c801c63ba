"""Answers over real HTTP from a real store: representations, labels, refusals."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import pytest

from tests.serve.world import Client, World

pytestmark = pytest.mark.slow

DAY = "/api/v1/sales/city?date=2026-01-23"


def test_json_keeps_order_digits_and_nulls(client: Client) -> None:
    got = client.get(DAY)
    assert got.status == 200
    assert got.headers["content-type"] == "application/json"
    rows = json.loads(got.body, parse_float=Decimal)
    assert [r["city"] for r in rows] == ['Bad "Quote", Ort', "Berlin", None, "Aachen"]
    assert [str(r["total_sales"]) for r in rows] == ["100.10", "100.10", "7.00", "0.05"]
    assert list(rows[0]) == ["date", "city", "total_sales", "transaction_count"]
    assert rows[0]["date"] == "2026-01-23"


def test_a_decimal_beyond_a_doubles_digits_is_exact(client: Client) -> None:
    assert b'"total_sales":1234567890123.45,' in client.get("/api/v1/sales/city?date=2026-01-22").body


def test_the_default_and_the_bound_of_a_parameter_are_used(client: Client) -> None:
    assert len(client.get(DAY + "&limit=2").json) == 2
    assert len(client.get(DAY).json) == 4


def test_nothing_found_is_an_empty_array(client: Client) -> None:
    got = client.get("/api/v1/sales/city?date=1999-01-01")
    assert (got.status, got.body) == (200, b"[]")
    assert client.get("/api/v1/sales/city?date=1999-01-01", accept="application/x-ndjson").body == b""


def test_ndjson(client: Client) -> None:
    got = client.get(DAY, accept="application/x-ndjson")
    assert got.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in got.body.decode().splitlines()] == client.get(DAY).json


def test_csv_quotes_and_tells_null_from_empty(client: Client) -> None:
    got = client.get(DAY, accept="text/csv")
    assert got.headers["content-type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(got.body.decode(), newline="")))
    assert rows[0] == ["date", "city", "total_sales", "transaction_count"]
    assert rows[1] == ["2026-01-23", 'Bad "Quote", Ort', "100.10", "1"]
    assert b"\r\n2026-01-23,,7.00,1\r\n" in got.body


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/json"),
        ("text/*", "text/csv"),
        ("text/csv;q=0.5, application/json;q=0.4", "text/csv"),
        ("text/csv;q=0.5, */*;q=0.6", "application/json"),
        ("application/json;q=0, */*", "application/x-ndjson"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
    ],
)
def test_accept_is_weighed(client: Client, accept: str, expected: str) -> None:
    assert client.get(DAY, accept=accept).headers["content-type"].split(";")[0] == expected


def test_another_media_type_is_406(client: Client) -> None:
    got = client.get(DAY, accept="application/vnd.apache.parquet")
    assert (got.status, got.json["code"]) == (406, "PEN843")
    assert "text/csv" in got.json["detail"]


def test_a_path_parameter_is_decoded(client: Client) -> None:
    assert len(client.get("/api/v1/salesmen/s1/history").json) == 2
    assert client.get("/api/v1/salesmen/%C3%A4%20%27/history").json == []


def test_a_literal_path_comes_before_a_pattern(client: Client) -> None:
    assert [r["rank"] for r in client.get("/api/v1/salesmen/top?date=2026-01-23").json] == [1, 2]


def test_labels(client: Client) -> None:
    headers = client.get(DAY).headers
    assert headers["vary"] == "Accept"
    assert headers["cache-control"] == "no-cache"
    assert headers["penstock-as-of"] == "2026-01-23T12:00:00.5Z"
    assert headers["penstock-watermark"] == "2026-01-23T11:00:00Z"


def test_final_when_every_rows_window_has_ended(client: Client) -> None:
    assert client.get("/api/v1/sales/city?date=2026-01-22").headers["penstock-final"] == "true"
    assert client.get(DAY).headers["penstock-final"] == "false"
    assert client.get("/api/v1/salesmen/s1/history").headers["penstock-final"] == "false"
    assert client.get("/api/v1/sales/city?date=1999-01-01").headers["penstock-final"] == "false"


def test_304_for_one_who_has_the_answer(client: Client) -> None:
    etag = client.get(DAY).headers["etag"]
    assert etag.startswith('"')
    for known in (etag, f'"other", W/{etag}', "*"):
        got = client.get(DAY, if_none_match=known)
        assert (got.status, got.body, got.headers["etag"]) == (304, b"", etag)
        assert "content-type" not in got.headers
    assert client.get(DAY, if_none_match='"other"').status == 200


def test_an_etag_names_parameters_and_representation(client: Client) -> None:
    answers = [
        client.get(DAY),
        client.get(DAY + "&limit=4"),
        client.get(DAY, accept="text/csv"),
        client.get(DAY, accept="application/x-ndjson"),
    ]
    assert len({a.headers["etag"] for a in answers}) == 4
    assert client.get(DAY + "&limit=10").headers["etag"] == answers[0].headers["etag"]


def test_every_wrong_parameter_is_named(client: Client) -> None:
    got = client.get("/api/v1/sales/city?date=2026-02-30&limit=0&citty=x")
    assert got.status == 400
    assert got.headers["content-type"] == "application/problem+json"
    assert {e["parameter"]: e["detail"] for e in got.json["errors"]} == {
        "citty": "is not a parameter here; known: date, limit",
        "date": "must be a date as YYYY-MM-DD, is '2026-02-30' (day is out of range for month)",
        "limit": "must be at least 1, is 0",
    }
    assert got.json["type"] == "urn:penstock:error:PEN840"
    assert (got.json["status"], got.json["instance"]) == (400, "/api/v1/sales/city")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("", "is required"),
        ("date=2026-01-23&date=2026-01-22", "is given 2 times; give it once"),
        ("date=", "must be a date as YYYY-MM-DD, is ''"),
        ("date=2026-01-23%00", "must be a date as YYYY-MM-DD, is '2026-01-23\0'"),
        ("date=%ff", "the query is not UTF-8, or has too many fields"),
        ("date=2026-01-23&limit=1e3", "must be a whole number, is '1e3'"),
        ("date=2026-01-23&limit=99999999999999999999", "must fit 64 bits, is '99999999999999999999'"),
        ("date=2026-01-23&limit=1001", "must be at most 1000, is 1001"),
    ],
)
def test_one_wrong_parameter(client: Client, query: str, detail: str) -> None:
    got = client.get(f"/api/v1/sales/city?{query}")
    assert got.status == 400
    assert [e["detail"] for e in got.json["errors"]] == [detail]


def test_an_unknown_path_is_404_with_what_is_near(client: Client) -> None:
    got = client.get("/api/v1/sales/cty")
    assert (got.status, got.json["code"]) == (404, "PEN841")
    assert got.json["hint"] == "did you mean '/api/v1/sales/city'?"
    assert client.get("/api/v1/sales/city/").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "FOO"])
def test_another_method_is_405_with_allow(client: Client, method: str) -> None:
    got = client.get(DAY, method=method)
    assert (got.status, got.headers["allow"], got.json["code"]) == (405, "GET, HEAD, OPTIONS", "PEN842")


def test_head_and_options(client: Client) -> None:
    get, head = client.get(DAY), client.get(DAY, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    ours = {"content-type", "content-length", "etag", "penstock-final", "penstock-as-of"}
    assert {k: v for k, v in head.headers.items() if k in ours} == {k: v for k, v in get.headers.items() if k in ours}
    options = client.get(DAY, method="OPTIONS")
    assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert client.get("/nothing", method="OPTIONS").status == 404


def test_a_bound_parameter_is_never_sql(client: Client, world: World) -> None:
    assert client.get("/api/v1/salesmen/x'%20OR%20'1'='1/history").json == []
    with world.writing() as conn:
        assert conn.execute("SELECT count(*) FROM top_salesmen").fetchone() == (3,)
