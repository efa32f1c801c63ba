"""Every type PostgreSQL may answer with, as JSON and as CSV, and as the OpenAPI document describes it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest

from penstock.project.model import EndpointFile
from tests.serve.world import World, make_project, serving

pytestmark = pytest.mark.slow

CASES: list[tuple[str, object, str]] = [
    ("12345678901234567890123456789012345678.12::numeric", Decimal("12345678901234567890123456789012345678.12"),
     "12345678901234567890123456789012345678.12"),
    ("1.50::numeric(15,2)", Decimal("1.50"), "1.50"),
    ("'NaN'::numeric", None, ""),
    ("9223372036854775807::bigint", 9223372036854775807, "9223372036854775807"),
    ("0.1::double precision", Decimal("0.1"), "0.1"),
    ("1e300::double precision", Decimal("1E+300"), "1e+300"),
    ("'NaN'::double precision", None, ""),
    ("'-Infinity'::real", None, ""),
    ("true", True, "true"),
    ("false", False, "false"),
    ("NULL::boolean", None, ""),
    ("NULL::text", None, ""),
    ("''", "", ""),
    ("E'a\\n\"b\",\\\\ \\u2028é'", 'a\n"b",\\ \u2028é', 'a\n"b",\\ \u2028é'),
    ("'2026-01-23'::date", "2026-01-23", "2026-01-23"),
    ("'2026-01-23 10:00:00.120+02'::timestamptz", "2026-01-23T08:00:00.12Z", "2026-01-23T08:00:00.12Z"),
    ("'2026-01-23 10:00:00+00'::timestamptz", "2026-01-23T10:00:00Z", "2026-01-23T10:00:00Z"),
    ("'infinity'::timestamptz", None, ""),
    ("'2026-01-23 10:00:00'::timestamp", "2026-01-23T10:00:00", "2026-01-23T10:00:00"),
    ("'10:30:00'::time", "10:30:00", "10:30:00"),
    ("'123e4567-e89b-12d3-a456-426614174000'::uuid", "123e4567-e89b-12d3-a456-426614174000",
     "123e4567-e89b-12d3-a456-426614174000"),
    ("'{\"b\": [1, null]}'::jsonb", {"b": [1, None]}, '{"b": [1, null]}'),
    ("'{\"z\":1}'::json", {"z": 1}, '{"z":1}'),
    ("ARRAY[1, 2]", [1, 2], "{1,2}"),
    ("ARRAY['a,b', NULL]", ["a,b", None], '{"a,b",NULL}'),
    ("'\\x00ff'::bytea", "AP8=", "AP8="),
    ("'1 day 2 hours'::interval", "P1DT2H", "P1DT2H"),
]  # fmt: skip


@pytest.fixture(scope="module")
def endpoint() -> EndpointFile:
    columns = ", ".join(f'{sql} AS "c{i}"' for i, (sql, _, _) in enumerate(CASES))
    return EndpointFile("types", "/types", f"SELECT {columns}")


def test_json_and_its_schema(world: World, tmp_path: Path, endpoint: EndpointFile) -> None:
    with serving(make_project(tmp_path, world.url, endpoint), world.url) as client:
        body = client.get("/types").body
        schema = client.get("/openapi.json").json["paths"]["/types"]["get"]["responses"]["200"]
    (row,) = json.loads(body, parse_float=Decimal)
    for i, (sql, expected, _) in enumerate(CASES):
        assert row[f"c{i}"] == expected, sql
    assert '"c1":1.50,' in body.decode()
    jsonschema.validate(json.loads(body), schema["content"]["application/json"]["schema"])


def test_csv(world: World, tmp_path: Path, endpoint: EndpointFile) -> None:
    with serving(make_project(tmp_path, world.url, endpoint), world.url) as client:
        body = client.get("/types", accept="text/csv").body.decode()
    rows = list(csv.reader(io.StringIO(body, newline="")))
    assert len(rows) == 2
    for (sql, _, expected), found in zip(CASES, rows[1], strict=True):
        assert found == expected, sql
    null, empty = body.split("\r\n")[1].split(",")[11:13]
    assert (null, empty) == ("", '""')


def test_decimals_as_strings(world: World, tmp_path: Path, endpoint: EndpointFile) -> None:
    texts = replace(endpoint, decimals="string")
    with serving(make_project(tmp_path, world.url, texts), world.url) as client:
        body = client.get("/types").body
        schema = client.get("/openapi.json").json["paths"]["/types"]["get"]["responses"]["200"]
    (row,) = json.loads(body)
    assert (row["c0"], row["c1"], row["c2"]) == ("12345678901234567890123456789012345678.12", "1.50", None)
    assert row["c3"] == 9223372036854775807
    jsonschema.validate(json.loads(body), schema["content"]["application/json"]["schema"])
