"""Whatever is asked, the answer is one that the OpenAPI document names, and an error is a problem of its schema."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote, urlencode

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.serve.world import Client

pytestmark = pytest.mark.slow

PATHS = ["/api/v1/sales/city", "/api/v1/salesmen/top", "/api/v1/cities", "/api/v1/salesmen/{}/history"]
NAMES = st.sampled_from(["date", "limit", "page_size", "after", "id", "x", ""])
VALUES = st.one_of(
    st.text(max_size=30),
    st.integers().map(str),
    st.dates().map(str),
    st.floats().map(str),
    st.sampled_from(["", "0", "-1", "1e5", "null", "true", "'; DROP TABLE top_salesmen --", "%", "%%", "\\", "$1"]),
)
RAW = "abdeimnorstxz019%&=+;/?:@!$'()*,-._~[]|"
"""What a query may hold; the HTTP layer refuses other characters by itself, before us."""
ACCEPTS = st.one_of(
    st.none(),
    st.sampled_from(["*/*", "text/csv", "application/json", "application/x-ndjson", "text/*;q=0.1, */*;q=0", "a/*"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
)


@pytest.fixture(scope="module")
def document(client: Client) -> Any:
    return client.get("/openapi.json").json


@settings(max_examples=250, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(PATHS),
    segment=st.text(max_size=60),
    query=st.lists(st.tuples(NAMES, VALUES), max_size=4),
    raw=st.one_of(st.none(), st.text(RAW, max_size=30)),
    accept=ACCEPTS,
)
@example(PATHS[0], "", [("date", "2026-01-23"), ("limit", "4")], None, "text/csv")
@example(PATHS[3], "/", [], "%ff=%00", None)
def test_every_request_is_answered_as_documented(
    client: Client,
    document: dict[str, Any],
    path: str,
    segment: str,
    query: list[tuple[str, str]],
    raw: str | None,
    accept: str | None,
) -> None:
    target = path.format(quote(segment.encode("utf-8", "surrogatepass"), safe=""))
    pairs = [(n.encode("utf-8", "surrogatepass"), v.encode("utf-8", "surrogatepass")) for n, v in query]
    text = raw.replace("#", "") if raw is not None else urlencode(pairs)
    headers = {"accept": accept} if accept is not None else {}
    try:
        got = client.get(f"{target}?{text}" if text else target, **headers)
    except (http.client.InvalidURL, ValueError):
        return
    check(document, path.format("{id}"), got.status, got.headers, got.body)


def check(document: dict[str, Any], path: str, status: int, headers: Any, body: bytes) -> None:
    assert status < 500, body
    assert status == 404 or str(status) in document["paths"][path]["get"]["responses"]
    if status == 200:
        content = document["paths"][path]["get"]["responses"]["200"]["content"]
        kind = headers["content-type"].split(";")[0]
        assert kind in content
        if kind == "application/json":
            jsonschema.validate(json.loads(body), content[kind]["schema"])
    else:
        assert headers["content-type"] == "application/problem+json"
        jsonschema.validate(json.loads(body), document["components"]["schemas"]["Problem"])
        assert json.loads(body)["status"] == status
