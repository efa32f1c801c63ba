"""Values: whole columns in SQL and single values in Python read the same, and exactly."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, InvalidOperation
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.intake import exact
from penstock.intake.check import Checker
from penstock.project.model import Column, SourceFile, Stream
from penstock.sources.base import RawBatch
from penstock.sqltypes import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    HUGEINT,
    INTEGER,
    JSON,
    LOCAL_TIMESTAMP,
    SMALLINT,
    TEXT,
    TIME,
    TIMESTAMP,
    UUID,
    SqlType,
    decimal,
)

BERLIN = ZoneInfo("Europe/Berlin")
READ_AT = datetime(2026, 1, 1, tzinfo=UTC)


def wall(text: str) -> datetime:
    """A time without a zone."""
    return datetime.fromisoformat(text)


@cache
def checker_of(column: Column, zone: str) -> Checker:
    return Checker(Stream("s", (column,)), SourceFile("f", "files", "s", timezone=zone), b"s", threads=1)


def column(kind: SqlType, values: Any, zone: str = "Europe/Berlin", **more: Any) -> list[Any]:
    """Returns what each value becomes: the value, or the rule it breaks."""
    checker = checker_of(Column("x", kind, **more), zone)
    table = pa.table({"x": values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)})
    checked = checker.check(RawBatch(table, "o", pa.array(range(table.num_rows), pa.int64()), {}, READ_AT))
    assert checked.table.schema.field("x").type == kind.arrow
    found: list[Any] = [None] * table.num_rows
    kept = range(table.num_rows) if checked.indices is None else checked.indices.tolist()
    for i, value in zip(kept, checked.table["x"].to_pylist(), strict=True):
        found[i] = value
    for refused in checked.refused:
        found[int(refused.position)] = refused.rule
    return found


def one_by_one(kind: SqlType, texts: list[str], **more: Any) -> list[Any]:
    def read(text: str) -> Any:
        try:
            return exact.read(Column("x", kind, **more), text, BERLIN)
        except exact.Unfit as unfit:
            return unfit.rule

    return [read(text) for text in texts]


def naive_decimal(text: str, precision: int, scale: int) -> Any:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return "type"
    if not number.is_finite():
        return "not_finite"
    if "_" in text or not text.isascii():
        return "type"
    if number and number.adjusted() >= precision - scale:
        return "overflow"
    scaled = number.scaleb(scale, Context(prec=200))
    return number if scaled == scaled.to_integral_value() else "scale"


DIGITS = st.text("0123456789", max_size=24)
PLAIN = st.builds("{}.{}".format, st.integers(-999, 999), st.integers(0, 99_999).map("{:05}".format))
NUMBERS = st.one_of(
    PLAIN,
    PLAIN,
    st.builds(
        lambda sign, whole, dot, fraction, e: sign + whole + dot + fraction + e,
        st.sampled_from(["", "-", "+", " "]), DIGITS, st.sampled_from(["", "."]), DIGITS,
        st.sampled_from(["", "", "e2", "E-3", "e+10", "e40", "e-40", " "]),
    ),
    st.sampled_from(["NaN", "-inf", "Infinity", "1_000", "0x1F", "1,5", "", " ", ".", "-", "1e", "e5", "١٢", "1 2"]),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    st.text(max_size=5),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(NUMBERS, min_size=1, max_size=30), st.sampled_from([(12, 2), (38, 0), (38, 38), (5, 5), (1, 0), (20, 4)])
)
def test_decimals_of_text_are_python_decimals_or_refused(texts: list[str], size: tuple[int, int]) -> None:
    assert column(decimal(*size), texts) == [naive_decimal(t, *size) for t in texts]


@settings(max_examples=40, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=30), st.sampled_from([BIGINT, INTEGER, SMALLINT, HUGEINT, DOUBLE]))
def test_other_numbers_of_text(texts: list[str], kind: SqlType) -> None:
    found = column(kind, texts)
    assert found == one_by_one(kind, texts)
    if kind != DOUBLE:
        for text, value in zip(texts, found, strict=True):
            assert isinstance(value, str) or value == Decimal(text.strip())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=20), st.sampled_from([decimal(12, 2), decimal(38, 20), BIGINT]))
def test_a_double_is_the_shortest_decimal_that_prints_it(values: list[float], kind: SqlType) -> None:
    assert column(kind, pa.array(values, pa.float64())) == one_by_one(kind, [repr(v) for v in values])


def test_a_real_is_the_shortest_decimal_that_prints_it() -> None:
    assert column(decimal(12, 2), pa.array([0.1, 16777216, 1.005], pa.float32())) == [
        Decimal("0.10"), Decimal(16777216), "scale",
    ]  # fmt: skip
    assert column(decimal(12, 2), pa.array([0.5], pa.float16())) == [Decimal("0.50")]
    assert column(DOUBLE, pa.array([0.1], pa.float32())) == [0.1]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12), min_size=1
    )
)
def test_decimals_of_decimals(values: list[Decimal]) -> None:
    texts = [str(v) for v in values]
    for type_ in (pa.decimal128(30, 6), pa.decimal256(60, 10)):
        assert column(decimal(12, 2), pa.array(values, type_)) == one_by_one(decimal(12, 2), texts)
    assert column(BIGINT, pa.array(values, pa.decimal128(30, 6))) == one_by_one(BIGINT, texts)


def test_numbers_of_whole_numbers() -> None:
    big = [2**63 - 1, -(2**63), 0, None]
    assert column(decimal(38, 2), pa.array(big, pa.int64())) == big
    assert column(decimal(5, 2), pa.array([999, 1000], pa.int64())) == [999, "overflow"]
    assert column(SMALLINT, pa.array([2**15, -(2**15)], pa.int64())) == ["overflow", -(2**15)]
    assert column(BIGINT, pa.array([2**64 - 1], pa.uint64())) == ["overflow"]


STAMPS = st.builds(
    lambda day, sep, clock, fraction, zone: f"{day}{sep}{clock}{fraction}{zone}",
    st.dates().map(str) | st.sampled_from(["2026-03-29", "2026-10-25", "2026-02-30", "10000-01-01", "9999-12-31"]),
    st.sampled_from(["T", " ", "t", "  "]),
    st.sampled_from(["02:30:00", "00:00", "23:59:59", "24:00:00", "24:00:01", "10:00:60", "10:60", "7:00", ""]),
    st.sampled_from(["", ".5", ".123456", ".123456000", ".1234567", "."]),
    st.sampled_from(["", "Z", "z", "+02", "-0330", "+05:45", "+15:59", "-16:00", " UTC", " Europe/Berlin", "+2"]),
)  # fmt: skip
TIMES = (
    STAMPS
    | st.sampled_from(["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+15"])
    | st.sampled_from(["infinity", "epoch", "now", "1700000000", "2026-01-23", "", "23.01.2026", "2026-01-23 (BC)"])
)


@settings(max_examples=100, deadline=None)
@given(st.lists(TIMES, min_size=1, max_size=30), st.sampled_from([TIMESTAMP, LOCAL_TIMESTAMP, DATE]))
def test_times_of_text(texts: list[str], kind: SqlType) -> None:
    assert column(kind, texts) == one_by_one(kind, texts)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-01-23T10:00:00Z", "2026-01-23T10:00Z"),
        ("2026-01-23T10Z", "2026-01-23T10:00Z"),
        ("2026-01-23 10:00:00.5+02", "2026-01-23T08:00:00.5Z"),
        ("2026-01-23 10:00", "2026-01-23T09:00Z"),
        ("2026-01-23", "2026-01-22T23:00Z"),
        ("2026-03-29 02:30:00", "2026-03-29T01:30Z"),
        ("2026-10-25 02:30:00", "2026-10-25T01:30Z"),
        ("2026-10-25 02:30:00+02", "2026-10-25T00:30Z"),
    ],
)
def test_times_without_a_zone_are_the_sources(text: str, value: str) -> None:
    assert column(TIMESTAMP, [text]) == [datetime.fromisoformat(value)]


def test_times_of_times() -> None:
    moments = [wall("2026-03-29T02:30"), wall("2026-10-25T02:30"), None]
    utc = [datetime(2026, 3, 29, 1, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC), None]
    for unit in ("s", "ms", "us", "ns"):
        assert column(TIMESTAMP, pa.array(moments, pa.timestamp(unit))) == utc
        assert column(TIMESTAMP, pa.array(utc, pa.timestamp(unit, "Asia/Tokyo"))) == utc
    assert column(TIMESTAMP, pa.array([1001, 2000], pa.timestamp("ns", "UTC"))) == [
        "scale", datetime(1970, 1, 1, 0, 0, 0, 2, tzinfo=UTC),
    ]  # fmt: skip
    assert column(TIMESTAMP, pa.array([date(2026, 1, 23)])) == [datetime(2026, 1, 22, 23, tzinfo=UTC)]
    assert column(DATE, pa.array(utc, pa.timestamp("us", "UTC")))[:1] == ["scale"]
    assert column(DATE, pa.array([datetime(2026, 1, 22, 23, tzinfo=UTC)])) == [date(2026, 1, 23)]
    assert column(LOCAL_TIMESTAMP, pa.array(utc, pa.timestamp("us", "UTC"))) == [
        wall("2026-03-29T03:30"), wall("2026-10-25T02:30"), None,
    ]  # fmt: skip


def test_years_beyond_9999_and_before_1_are_refused() -> None:
    micros = [-62135596800000000, -62135596800000001, 253402300799999999, 253402300800000000, 2**63 - 1, -(2**63) + 1]
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    found = column(TIMESTAMP, pa.array(micros, pa.timestamp("us", "UTC")), "UTC")
    assert found == [first, "range", last, "range", "range", "range"]
    assert column(DATE, pa.array([-719162, -719163, 2932896, 2932897], pa.date32())) == [
        date.min,
        "range",
        date.max,
        "range",
    ]


def test_numbers_are_no_times() -> None:
    assert column(TIMESTAMP, pa.array([1700000000], pa.int64())) == ["type"]
    assert column(DATE, pa.array([20260123], pa.int64())) == ["type"]


def test_time_of_day() -> None:
    texts = ["10:00", "23:59:59.999999", "24:00", "10:00Z", "7:00", " 10:00:00 "]
    assert column(TIME, texts) == [time(10), time(23, 59, 59, 999_999), "range", "type", "type", time(10)]
    assert column(TIME, pa.array([0, 86_400_000_000], pa.time64("us"))) == [time(0), "range"]
    assert column(TIME, pa.array([1000, 1001], pa.time64("ns"))) == [time(0, 0, 0, 1), "scale"]


def test_the_contracts_date_format() -> None:
    assert column(DATE, ["23.01.2026", "2026-01-23", "31.02.2026", None], date_format="%d.%m.%Y") == [
        date(2026, 1, 23), "type", "type", None,
    ]  # fmt: skip
    assert column(TIMESTAMP, ["23/01/26 10:00"], date_format="%d/%m/%y %H:%M") == [datetime(2026, 1, 23, 9, tzinfo=UTC)]
    assert column(TIMESTAMP, ["23/01/26 10:00 +0100"], date_format="%d/%m/%y %H:%M %z") == [
        datetime(2026, 1, 23, 9, tzinfo=UTC)
    ]


BOOLEANS = st.sampled_from(["true", "T", "yes", "On", "1", "of", "off", "0", "No", " f ", "o", "2", "", "ja", "TRUE"])


@settings(max_examples=20, deadline=None)
@given(st.lists(BOOLEANS | st.text(max_size=4), min_size=1))
def test_booleans(texts: list[str]) -> None:
    assert column(BOOLEAN, texts) == one_by_one(BOOLEAN, texts)


def test_booleans_of_other_types() -> None:
    assert column(BOOLEAN, pa.array([True, None])) == [True, None]
    assert column(BOOLEAN, pa.array([1, 0, 2])) == [True, False, "type"]
    assert column(decimal(3, 0), pa.array([True])) == ["type"]


def test_uuids() -> None:
    plain = "550e8400-e29b-41d4-a716-446655440000"
    texts = [plain.upper(), "{" + plain + "}", plain.replace("-", ""), plain + "0", "{" + plain, "550e-8400"]
    assert column(UUID, texts) == [plain, plain, plain, "type", "type", "type"]
    assert column(UUID, pa.array([b"\x55" * 16], pa.uuid())) == ["55555555-5555-5555-5555-555555555555"]


JSONS = st.sampled_from(
    [
        '{"a": 1}',
        "[1, 2",
        "null",
        '"\\u0000"',
        '"\\\\u0000"',
        "NaN",
        "",
        "{'a': 1}",
        '{"a":1} {}',
        "[" * 3000,
        "1e999",
        '"\t"',
    ]
)


@settings(max_examples=20, deadline=None)
@given(st.lists(JSONS | st.text(max_size=6), min_size=1))
def test_json(texts: list[str]) -> None:
    assert column(JSON, texts) == one_by_one(JSON, texts)


def test_lists_and_structs_become_json() -> None:
    assert column(JSON, pa.array([[1, 2], None])) == ["[1,2]", None]
    assert column(JSON, pa.array([{"a": Decimal("1.5"), "b": ["x"]}])) == ['{"a":1.5,"b":["x"]}']


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(), min_size=1))
def test_text_is_verbatim_but_for_nul(texts: list[str]) -> None:
    expected = ["nul" if "\0" in t else t for t in texts]
    assert column(TEXT, texts) == expected
    assert column(TEXT, pa.array(texts, pa.large_string())) == expected
    assert column(TEXT, pa.array(texts).dictionary_encode()) == expected


def test_text_of_other_types() -> None:
    assert column(TEXT, pa.array([1, None])) == ["1", None]
    assert column(TEXT, pa.array([Decimal("1.50")])) == ["1.50"]
    assert column(TEXT, pa.array([0.1])) == ["0.1"]
    assert column(TEXT, pa.array([b"ab", b"\xff"])) == ["type", "type"]
    assert column(TEXT, pa.array([datetime(2026, 1, 1, tzinfo=UTC)])) == ["2026-01-01T00:00:00.000000Z"]
    assert column(TEXT, pa.nulls(2)) == [None, None]


def test_a_slice_is_looked_at_and_not_what_lies_around_it() -> None:
    texts = pa.array(["a\0", "b", None, "c", "d\0"]).slice(1, 3)
    assert column(TEXT, texts) == ["b", None, "c"]


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        ({"minimum": "0.005"}, ["0.00", "0.01"], ["minimum", Decimal("0.01")]),
        ({"exclusive_minimum": "0.01"}, ["0.01", "0.02"], ["exclusiveMinimum", Decimal("0.02")]),
        ({"maximum": "1.999"}, ["1.99", "2.00"], [Decimal("1.99"), "maximum"]),
        ({"exclusive_maximum": "1e50"}, ["9999999999.99"], [Decimal("9999999999.99")]),
        ({"minimum": "1e50"}, ["9999999999.99"], ["minimum"]),
        ({"maximum": "-1e50"}, ["-9999999999.99"], ["maximum"]),
        ({"multiple_of": "0.05"}, ["7.35", "7.36", "-0.05"], [Decimal("7.35"), "multipleOf", Decimal("-0.05")]),
        ({"multiple_of": "0.0025"}, ["0.01", "0.02"], [Decimal("0.01"), Decimal("0.02")]),
        ({"enum": ("1", "2.5")}, ["1.00", "2.50", "3"], [Decimal(1), Decimal("2.5"), "enum"]),
    ],
)
def test_rules_of_numbers_compare_exactly(rule: dict[str, Any], values: list[str], expected: list[Any]) -> None:
    assert column(decimal(12, 2), values, **rule) == expected
    assert column(decimal(12, 2), pa.array([Decimal(v) for v in values], pa.decimal128(12, 2)), **rule) == expected


@pytest.mark.parametrize(
    ("kind", "rule", "values", "expected"),
    [
        (TEXT, {"min_length": 2}, ["äö", "ä", "🎉🎉", ""], ["äö", "minLength", "🎉🎉", "minLength"]),
        (TEXT, {"min_length": 2}, ["äö", "ä"], ["äö", "minLength"]),
        (TEXT, {"max_length": 2}, ["äö", "abc", None], ["äö", "maxLength", None]),
        (TEXT, {"pattern": "b.?$"}, ["abc", "ABC", "ab\nx", None], ["abc", "pattern", "pattern", None]),
        (TEXT, {"enum": ("it's", "b")}, ["it's", "c", None], ["it's", "enum", None]),
        (BIGINT, {"multiple_of": "3", "minimum": "-3"}, ["9", "10", "-6"], [9, "multipleOf", "minimum"]),
        (DOUBLE, {"minimum": "0.1"}, ["0.1", "0.09"], [0.1, "minimum"]),
        (DATE, {"maximum": "2026-01-01"}, ["2026-01-01", "2026-01-02"], [date(2026, 1, 1), "maximum"]),
        (TIMESTAMP, {"exclusive_minimum": "2026-01-01T00:00:00Z"}, ["2026-01-01 01:00", "2026-01-01 01:01"],
         ["exclusiveMinimum", datetime(2026, 1, 1, 0, 1, tzinfo=UTC)]),
        (TIME, {"minimum": "08:00"}, ["07:59", "08:00"], ["minimum", time(8)]),
    ],
)  # fmt: skip
def test_rules(kind: SqlType, rule: dict[str, Any], values: list[Any], expected: list[Any]) -> None:
    assert column(kind, values, **rule) == expected


def test_nan_is_refused_where_a_double_passes() -> None:
    assert column(DOUBLE, pa.array([1.5, float("nan"), float("-inf"), None])) == [1.5, "not_finite", "not_finite", None]


def test_the_event_time_may_be_a_day_ahead_and_no_more() -> None:
    late = READ_AT + timedelta(days=1)
    stream = Stream("s", (Column("x", TIMESTAMP),), event_time="x")
    checker = Checker(stream, SourceFile("f", "files", "s"), b"s", threads=1)
    table = pa.table({"x": pa.array([late, late + timedelta(microseconds=1)], TIMESTAMP.arrow)})
    checked = checker.check(RawBatch(table, "o", pa.array([1, 2]), {}, READ_AT))
    checker.close()
    assert checked.table["x"].to_pylist() == [late]
    assert [r.rule for r in checked.refused] == ["maxAhead"]
