"""Parameters: whatever `parse` lets through, PostgreSQL reads as the same value; the rest is refused with a reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.project.model import Parameter
from penstock.serve.values import Unusable, bind, parse, postgres_type

SCHEMAS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "bigint": {"type": "integer"},
    "numeric": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "timestamptz": {"type": "string", "format": "date-time"},
    "time": {"type": "string", "format": "time"},
    "uuid": {"type": "string", "format": "uuid"},
}


UUID = "a0000000-0ab0-0ab0-0ab0-00000000000f"


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "string"}, "Köln", "Köln"),
        ({"type": "string", "enum": ["day", "week"]}, "day", "day"),
        ({"type": "string", "pattern": "^[A-Z]{2}$"}, "DE", "DE"),
        ({"type": "integer"}, "007", "7"),
        ({"type": "integer", "minimum": -3, "multipleOf": 3}, "-3", "-3"),
        ({"type": "number", "maximum": 0.1}, "0.10", "0.10"),
        ({"type": "boolean"}, "true", "true"),
        ({"type": "string", "format": "date"}, "2024-02-29", "2024-02-29"),
        ({"type": "string", "format": "date-time"}, "2026-01-23t10:00:00.5+02:00", "2026-01-23T08:00:00.500000+00:00"),
        ({"type": "string", "format": "time"}, "10:00:00Z", "10:00:00"),
        ({"type": "string", "format": "uuid"}, "A0000000-0ab0-0AB0-0ab0-00000000000F", UUID),
    ],
)  # fmt: skip
def test_values(schema: dict[str, Any], text: str, expected: str) -> None:
    assert parse(text, schema) == expected


@pytest.mark.parametrize(
    ("schema", "text", "reason"),
    [
        ({"type": "string", "minLength": 2}, "x", "must have at least 2 characters, has 1"),
        ({"type": "string", "maxLength": 2}, "xyz", "must have at most 2 characters, has 3"),
        ({"type": "string", "pattern": "^a"}, "b", r"must match \^a, is 'b'"),
        ({"type": "string", "enum": ["a", "b"]}, "c", "must be one of a, b, is 'c'"),
        ({"type": "string"}, "a\0b", r"must not contain the character U\+0000"),
        ({"type": "integer"}, "1.0", "must be a whole number, is '1.0'"),
        ({"type": "integer"}, "٣", "must be a whole number"),
        ({"type": "integer"}, str(2**63), "must fit 64 bits"),
        ({"type": "integer", "format": "int32"}, str(2**31), "must fit 32 bits"),
        ({"type": "integer", "exclusiveMinimum": 0}, "0", "must be above 0, is 0"),
        ({"type": "integer", "exclusiveMaximum": 9}, "9", "must be below 9, is 9"),
        ({"type": "integer", "multipleOf": 5}, "7", "must be a multiple of 5, is 7"),
        ({"type": "number"}, "NaN", "must be a number such as 12.50, is 'NaN'"),
        ({"type": "number"}, "1e9999", "must be a number"),
        ({"type": "boolean"}, "1", "must be true or false, is '1'"),
        ({"type": "string", "format": "date"}, "2023-02-29", "must be a date as YYYY-MM-DD, is '2023-02-29'"),
        ({"type": "string", "format": "date"}, "0000-01-01", "must be a date"),
        ({"type": "string", "format": "date-time"}, "2026-01-23T10:00:00", "must be a time as 2026-01-23T10:00:00Z"),
        ({"type": "string", "format": "date-time"}, "2026-01-23T10:00:00 02:00", r"a \+ in a URL is written %2B"),
        ({"type": "string", "format": "date-time"}, "2026-01-23T10:00:00+24:00", "zone .* does not exist"),
        ({"type": "string", "format": "date-time"}, "0001-01-01T00:00:00+01:00", "must be a time as"),
        ({"type": "string", "format": "time"}, "25:00:00", "must be a time of day as 10:00:00"),
        ({"type": "string", "format": "uuid"}, "123e4567", "must be a UUID, is '123e4567'"),
    ],
)
def test_refusals(schema: dict[str, Any], text: str, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        parse(text, schema)


def test_a_parameter_that_is_not_given_has_its_default_or_is_null() -> None:
    parameters = {
        "a": Parameter("a", {"type": "integer", "default": 7}, required=False, in_path=False),
        "b": Parameter("b", {"type": "string"}, required=False, in_path=False),
        "c": Parameter("c", {"type": "boolean", "default": False}, required=False, in_path=False),
    }
    assert bind({}, parameters) == ({"a": "7", "b": None, "c": "false"}, [])


@pytest.mark.slow
@pytest.mark.parametrize("type_name", list(SCHEMAS))
def test_postgres_reads_what_parse_lets_through(postgres_url: str, type_name: str) -> None:
    schema = SCHEMAS[type_name]
    assert postgres_type(schema) == type_name
    likely = st.one_of(
        st.text(max_size=20),
        st.integers().map(str),
        st.decimals(allow_nan=False, allow_infinity=False).map(str),
        st.dates().map(str),
        st.datetimes().map(lambda d: d.isoformat() + "Z"),
        st.times().map(lambda t: t.isoformat()),
        st.uuids().map(str),
        st.booleans().map(lambda b: str(b).lower()),
    )
    with psycopg.connect(postgres_url, autocommit=True) as conn:

        @settings(max_examples=120, deadline=None, database=None)
        @given(likely)
        def check(text: str) -> None:
            try:
                bound = parse(text, schema)
            except Unusable:
                return
            row = conn.execute(f"SELECT %s::{type_name}::text".encode(), (bound,)).fetchone()
            assert row
            if type_name in ("bigint", "numeric"):
                assert Decimal(row[0]) == Decimal(text)
            if type_name == "text":
                assert row[0] == text

        check()
