"""What comes out of PostgreSQL is what is in it: every type, every character, NULL beside empty, the extremes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from tests.sources.postgres_help import Reader, run

pytestmark = pytest.mark.slow
Make = Callable[..., Reader]
IDS = {"mode": "incrementing", "incrementing_column": "id"}


def values(reader: Make, expression: str, hint: pa.DataType | None = None, timezone: str = "UTC") -> list[Any]:
    """Returns the column v of `SELECT expression` as it comes out."""
    r = reader(query=f"SELECT 1 AS id, {expression} AS v", **IDS)
    r.type_hints = {} if hint is None else {"v": hint}
    r.timezone = timezone
    r.start()
    return [row["v"] for row in r.round()]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("(-32768)::smallint", -32768),
        ("2147483647", 2147483647),
        ("(-9223372036854775808)::bigint", -9223372036854775808),
        ("12345678901234567.89::numeric(19,2)", Decimal("12345678901234567.89")),
        ("(-0.05)::numeric(5,2)", Decimal("-0.05")),
        ("1.500::numeric", "1.500"),
        (f"{'9' * 60}.{'1' * 60}::numeric", f"{'9' * 60}.{'1' * 60}"),
        ("'NaN'::numeric", "NaN"),
        ("'-Infinity'::numeric", "-Infinity"),
        ("12345::numeric(3,-2)", "12300"),
        ("9.8::real", 9.8),
        ("0.1::double precision", 0.1),
        ("5e-324::double precision", 5e-324),
        ("'Infinity'::double precision", float("inf")),
        ("true", True),
        ("date '2024-02-29'", date(2024, 2, 29)),
        ("time '23:59:59.999999'", time(23, 59, 59, 999999)),
        ("timestamp '2026-03-29 02:30:00.000001'", datetime(2026, 3, 29, 2, 30, 0, 1)),  # noqa: DTZ001
        ("timestamptz '2026-03-29 02:30:00.5+02'", datetime(2026, 3, 29, 0, 30, 0, 500000, tzinfo=UTC)),
        ("timestamptz '0001-01-01 00:00+00'", datetime(1, 1, 1, tzinfo=UTC)),
        ("interval '1 year 2 days 03:00'", "P1Y2DT3H"),
        ("'2f4a1f6e-0d0f-4b53-9a53-0b6f1c1f2a10'::uuid", "2f4a1f6e-0d0f-4b53-9a53-0b6f1c1f2a10"),
        ("""'{"b": 1.10,  "a": [null]}'::json""", '{"b": 1.10,  "a": [null]}'),
        ("""'{"b": 1.10, "a": "x"}'::jsonb""", '{"a": "x", "b": 1.10}'),
        ("ARRAY[1, NULL, 3]", "[1,null,3]"),
        ("""ARRAY['a"b', E'c\\nd', '']""", '["a\\"b","c\\nd",""]'),
        ("ARRAY[0.10, 12345678901234567890.5]", "[0.10,12345678901234567890.5]"),
        ("ROW(1, 'x')", '{"f1":1,"f2":"x"}'),
        ("'\\xdeadbeef'::bytea", "\\xdeadbeef"),
        ("1234.5::numeric::money", "1234.50"),
        ("'10.0.0.1/8'::inet", "10.0.0.1/8"),
        ("int4range(1, 5)", "[1,5)"),
        ("'x'::char(3)", "x  "),
        ("NULL::text", None),
        ("''", ""),
        ("NULL::numeric(5,2)", None),
        (r"'\.'", "\\."),
        ("'NULL'", "NULL"),
    ],
)
def test_value_comes_out_as_it_is(reader: Make, expression: str, expected: Any) -> None:
    assert values(reader, expression) == [expected]


def test_enums_and_domains(reader: Make, database: str) -> None:
    run(
        database,
        "CREATE TYPE mood AS ENUM ('sad', 'very happy')",
        "CREATE DOMAIN price AS numeric(9,2) CHECK (value >= 0)",
        "CREATE TABLE t (id int, m mood, p price, pp price[])",
        "INSERT INTO t VALUES (1, 'very happy', 7.10, '{1,2.5}')",
    )
    r = reader(table="t", **IDS)
    assert r.round() == [{"id": 1, "m": "very happy", "p": Decimal("7.10"), "pp": "[1.00,2.50]"}]
    assert r.source is not None
    assert dict(r.source.columns()) == {
        "id": pa.int64(), "m": pa.string(), "p": pa.decimal128(9, 2), "pp": pa.string(),
    }  # fmt: skip


def test_every_character_of_text(reader: Make, database: str) -> None:
    characters = [chr(c) for c in [*range(1, 0x300), 0x2028, 0xFEFF, 0xFFFD, 0x1F600, 0x10FFFF]]
    texts = ["".join(characters), *characters, 'a,"b"\r\nc\\', "x" * 5_000_000, " lead and trail ", "\ufeff"]
    run(database, "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)")
    with psycopg.connect(database, autocommit=True) as conn, conn.cursor() as cursor:
        cursor.executemany("INSERT INTO t (v) VALUES (%s)", [(t,) for t in texts])
    assert [row["v"] for row in reader(table="t", **IDS).round()] == texts


def test_names_of_columns_and_tables_with_any_characters(reader: Make, database: str) -> None:
    run(database, 'CREATE TABLE "Order ""Lines""" ("Id" int, "a b" text, "ü%s" int)')
    run(database, 'INSERT INTO "Order ""Lines""" VALUES (1, \'x\', 2)')
    r = reader(table='Order "Lines"', mode="incrementing", incrementing_column="Id")
    assert r.round() == [{"Id": 1, "a b": "x", "ü%s": 2}]


@pytest.mark.parametrize(
    ("expression", "hint", "expected"),
    [
        ("1.5::numeric", pa.decimal128(12, 2), Decimal("1.50")),
        ("9.8::real", pa.decimal128(12, 2), Decimal("9.80")),
        ("7", pa.decimal128(12, 2), Decimal("7.00")),
        ("7", pa.string(), "7"),
        ("7::bigint", pa.int32(), 7),
        ("timestamp '2026-01-01 10:00'", pa.timestamp("us", "UTC"), datetime(2026, 1, 1, 10, tzinfo=UTC)),
    ],
)
def test_column_that_is_read_as_it_is_comes_in_the_contracts_type(
    reader: Make, expression: str, hint: pa.DataType, expected: Any
) -> None:
    got = values(reader, expression, hint)
    assert got in ([expected], [datetime(2026, 1, 1, 10)])  # noqa: DTZ001


@pytest.mark.parametrize(
    ("expression", "hint", "text"),
    [
        ("1.555::numeric", pa.decimal128(12, 2), "1.555"),
        ("'NaN'::numeric(5,2)", pa.decimal128(5, 2), "NaN"),
        ("'Infinity'::numeric", pa.decimal128(5, 2), "Infinity"),
        ("'NaN'::real", pa.decimal128(5, 2), "NaN"),
        ("12345.6::numeric", pa.decimal128(5, 2), "12345.6"),
        ("3000000000", pa.int32(), "3000000000"),
        ("timestamptz 'infinity'", pa.timestamp("us", "UTC"), "infinity"),
        ("timestamptz '0044-03-15 12:00+00 BC'", pa.timestamp("us", "UTC"), "0044-03-15 12:00:00+00 BC"),
        ("date '-infinity'", pa.date32(), "-infinity"),
        ("date '10000-01-01'", pa.date32(), "10000-01-01"),
    ],
)
def test_value_that_does_not_fit_is_handed_on_as_text_for_intake_to_judge(
    reader: Make, expression: str, hint: pa.DataType, text: str
) -> None:
    assert values(reader, expression, hint) == [text]


def test_wall_clock_times_are_left_to_intake_unless_the_zone_is_utc(reader: Make) -> None:
    hint = pa.timestamp("us", "UTC")
    assert values(reader, "timestamp '2026-01-01 10:00'", hint, "Europe/Berlin") == ["2026-01-01 10:00:00"]


def test_value_without_a_place_in_an_expressions_type_refuses_its_row_alone(reader: Make, database: str) -> None:
    run(
        database,
        "CREATE TABLE t (id int, v numeric(5,2), d date)",
        "INSERT INTO t VALUES (1, 1.5, '2026-01-01'), (2, 'NaN', '2026-01-02'), (3, 2, 'infinity'), (4, 3, NULL)",
    )
    r = reader(table="t", **IDS)
    assert [row["id"] for row in r.round()] == [1, 4]
    (batch,) = r.batches
    assert batch.table.schema.field("v").type == pa.decimal128(5, 2)
    assert [(x.position, x.rule, x.reason.split(":")[0]) for x in batch.refusals] == [
        ("2", "type", "v is NaN"),
        ("3", "type", "d is infinity"),
    ]
    assert batch.refusals[0].original == b'{"id": 2, "v": "NaN", "d": "2026-01-02"}'
    assert batch.positions.to_pylist() == [1, 4]


def test_only_the_columns_in_use_are_read(reader: Make, database: str) -> None:
    run(database, "CREATE TABLE t (id int, a int, b text)", "INSERT INTO t VALUES (1, 2, 'x')")
    r = reader(table="t", **IDS)
    r.columns_used = frozenset({"A", "not_there"})
    assert r.round() == [{"a": 2}]
    r.start()
    r.columns_used = frozenset({"not_there"})
    r.cursor = {}
    r.start()
    assert r.round() == [{"id": 1}]


def test_bytes_that_are_no_text(reader: Make, source_server: Any) -> None:
    with psycopg.connect(source_server.url("postgres"), autocommit=True) as conn:
        conn.execute("DROP DATABASE IF EXISTS bytes WITH (FORCE)")
        conn.execute("CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    url = source_server.url("bytes")
    run(url, "CREATE TABLE t (id int, v text)", r"INSERT INTO t VALUES (1, E'caf\xe9')")
    r = reader(table="t", **IDS)
    r.url = url
    with pytest.raises(Exception, match=r"PEN274 text is not UTF-8: (.|\n)*hint: convert it in `query:`"):
        r.round()
    converted = "convert_from(convert(convert_to(v, 'SQL_ASCII'), 'WIN1252', 'UTF8'), 'SQL_ASCII')"
    mended = reader(query=f"SELECT id, {converted} AS v FROM t", **IDS)
    mended.url = url
    assert mended.round() == [{"id": 1, "v": "café"}]
    mended.close()
    r.close()
    with psycopg.connect(source_server.url("postgres"), autocommit=True) as conn:
        conn.execute("DROP DATABASE bytes WITH (FORCE)")
