"""Check: mapping, coercion and rules of whole batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from penstock.errors import PenstockError
from penstock.intake.check import Checked, Checker
from penstock.intake.errors import AmbiguousColumn, BadExpression, BadRule
from penstock.observe.events import Notice, Observation, subscribe, unsubscribe
from penstock.project.model import Column, SourceFile, Stream
from penstock.sources.base import RawBatch, Refusal
from penstock.sqltypes import BIGINT, TEXT, TIMESTAMP, SqlType, decimal

READ_AT = datetime(2026, 1, 24, tzinfo=UTC)
FILE = SourceFile("drops", "files", "sales")
SALES = Stream(
    "sales",
    (
        Column("sale_id", TEXT, required=True),
        Column("sold_at", TIMESTAMP, required=True),
        Column("amount", decimal(12, 2), required=True, minimum="0"),
        Column("city", TEXT, required=True, min_length=1, max_length=10),
        Column("channel", TEXT, enum=("shop", "drop")),
    ),
    event_time="sold_at",
)


def raw(rows: dict[str, Any] | pa.Table, **more: Any) -> RawBatch:
    table = rows if isinstance(rows, pa.Table) else pa.table(rows)
    return RawBatch(table, "a.csv", pa.array(range(1, table.num_rows + 1), pa.int64()), {"n": 1}, READ_AT, **more)


def sales(**columns: list[Any]) -> dict[str, Any]:
    n = len(next(iter(columns.values())))
    usual: dict[str, list[Any]] = {
        "sale_id": [f"s{i}" for i in range(n)],
        "sold_at": ["2026-01-23T10:00:00Z"] * n,
        "amount": ["10.00"] * n,
        "city": ["Bonn"] * n,
        "channel": ["shop"] * n,
    }
    return {**usual, **columns}


@contextmanager
def checker(stream: Stream = SALES, file: SourceFile = FILE) -> Iterator[Checker]:
    made = Checker(stream, file, b"secret", threads=1)
    yield made
    made.close()


def check(rows: dict[str, Any] | pa.Table, stream: Stream = SALES, **file: Any) -> Checked:
    with checker(stream, replace(FILE, **file)) as c:
        checked = c.check(raw(rows))
    assert checked.read == checked.table.num_rows + len(checked.refused)
    return checked


def one(kind: SqlType, values: list[Any], type_: pa.DataType | None = None, **file: Any) -> Checked:
    stream = Stream("s", (Column("x", kind),))
    return check({"x": pa.array(values, type_)}, stream, **file)


def test_clean_columns_of_the_contracts_types_pass_as_the_same_buffers() -> None:
    schema = pa.schema([(c.name, c.type.arrow) for c in SALES.columns])
    table = pa.table([["a"], [datetime(2026, 1, 23, tzinfo=UTC)], [Decimal("1.00")], ["Bonn"], ["shop"]], schema=schema)
    checked = check(table)
    assert checked.table.equals(table)
    assert checked.indices is None
    assert checked.table["city"].chunk(0).buffers()[2].address == table["city"].chunk(0).buffers()[2].address


def test_each_refused_row_names_the_first_broken_rule_in_the_contracts_order() -> None:
    checked = check(
        sales(
            sale_id=["a", None, "c", "d", "e", "f"],
            sold_at=["2026-01-23 10:00:00+01", "x", "2099-01-01", "2026-01-23", "2026-01-23", "2026-01-23"],
            amount=["1e2", "1.005", "5", "-1", "1.005", "1"],
            city=["Bonn", "Bonn", "", "Bonn", "Bonn", "a city too far"],
        )
    )
    assert checked.table["amount"].to_pylist() == [Decimal("100.00")]
    assert checked.table["sold_at"].to_pylist() == [datetime(2026, 1, 23, 9, tzinfo=UTC)]
    assert [(r.rule, r.column, r.position) for r in checked.refused] == [
        ("required", "sale_id", "2"),
        ("maxAhead", "sold_at", "3"),
        ("minimum", "amount", "4"),
        ("scale", "amount", "5"),
        ("maxLength", "city", "6"),
    ]
    assert checked.refused[3].reason == (
        "amount is '1.005': decimal(12,2) holds 2 decimals; round it in the source's `fields` if that is meant"
    )


def test_refused_rows_keep_their_original_bytes_and_what_was_mapped() -> None:
    rows = raw(sales(amount=["x", "1"]), original=lambda rows: [f"line {i}".encode() for i in rows])
    with checker() as c:
        (refused,) = c.check(rows).refused
    assert refused.original == b"line 0"
    assert refused.origin == "a.csv"
    assert refused.mapped == (
        '{"sale_id": "s0", "sold_at": "2026-01-23T10:00:00.000000Z", "amount": null, "city": "Bonn", "channel": "shop"}'
    )


def test_without_original_bytes_the_raw_row_is_kept_as_json() -> None:
    (refused,) = check(sales(amount=["x"])).refused
    assert refused.original.startswith(b'{"sale_id": "s0", "sold_at": "2026-01-23T10:00:00Z", "amount": "x"')


def test_rows_the_source_could_not_decode_are_read_and_refused() -> None:
    with checker() as c:
        checked = c.check(raw(sales(amount=["1"]), refusals=(Refusal("7", "ragged", "3 fields\0", b"a;b;c"),)))
    assert checked.read == 2
    assert (checked.refused[0].rule, checked.refused[0].reason, checked.refused[0].origin) == (
        "ragged", "3 fields\\u0000", "a.csv",
    )  # fmt: skip


def test_an_expression_that_fails_refuses_its_row_alone() -> None:
    fields = {"amount": "price::DECIMAL(12,2) * pieces::INTEGER", "sale_id": "'f-' || nr"}
    rows = sales(amount=["0"] * 3) | {"nr": ["1", "2", None], "price": ["1.5", "a", "2"], "pieces": ["2", "1", "1"]}
    checked = check(rows, fields=fields)
    assert checked.table["sale_id"].to_pylist() == ["f-1"]
    assert checked.table["amount"].to_pylist() == [Decimal("3.00")]
    assert [(r.rule, r.column) for r in checked.refused] == [("expression", "amount"), ("required", "sale_id")]
    assert checked.refused[0].reason == (
        "amount: price::DECIMAL(12,2) * pieces::INTEGER fails on price = 'a', pieces = '1'"
    )
    assert checked.unmapped == ("sale_id", "amount")


def test_an_expression_that_try_cannot_take_still_refuses_its_row_alone() -> None:
    fields = {"channel": "CASE WHEN random() < 2 THEN CAST(CAST(nr AS INTEGER) AS VARCHAR) END"}
    rows = sales(amount=["1"] * 5) | {"nr": ["1", "x", "3", "y", "5"]}
    stream = replace(SALES, columns=tuple(replace(c, enum=None) for c in SALES.columns))
    checked = check(rows, stream, fields=fields)
    assert checked.table["channel"].to_pylist() == ["1", "3", "5"]
    assert [(r.rule, r.position) for r in checked.refused] == [("expression", "2"), ("expression", "4")]
    assert "Conversion Error" in checked.refused[0].reason


def test_where_leaves_rows_unread_and_refuses_those_it_fails_on() -> None:
    with checker(file=replace(FILE, where="kind::INTEGER = 1")) as c:
        checked = c.check(raw(sales(amount=["1", "2", "3", "x"]) | {"kind": ["1", "2", "x", "1"]}))
    assert checked.read == 3
    assert checked.table["amount"].to_pylist() == [Decimal("1.00")]
    assert [(r.rule, r.position) for r in checked.refused] == [("where", "3"), ("type", "4")]


def test_a_column_the_source_lacks_is_null_and_the_reason_says_so() -> None:
    seen: list[Observation] = []
    subscribe(seen.append)
    checked = check(sales(amount=["1"]), fields={"city": "upper(ctiy)", "channel": "lower(kanal)"})
    unsubscribe(seen.append)
    assert checked.refused[0].reason == (
        "city is nothing: a value is required; the source has no column 'ctiy' (did you mean 'city'?)"
    )
    assert checked.missing == ("ctiy", "kanal")
    assert seen == [Notice("the source has no column 'ctiy', 'kanal'; taken as NULL", "drops")]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("frob(amuont)", "did you mean 'amount'?"),
        ("sum(amount::INTEGER)", "WHERE clause cannot contain aggregates"),
        ("row_number() OVER ()", "WHERE clause cannot contain window functions"),
        ("frobnicate(amount)", "frobnicate does not exist"),
        ("amount +", "syntax error"),
        ("(SELECT 1)", "holds a subquery"),
        ("1), (2", "more than one expression"),
    ],
)
def test_an_expression_that_works_on_no_row_is_an_error(expression: str, said: str) -> None:
    with pytest.raises(BadExpression, match="PEN301") as error:
        check(sales(amount=["1"]), fields={"amount": expression})
    assert said in str(error.value)
    assert error.value.place is not None
    assert error.value.place.path == "fields.amount"


@pytest.mark.parametrize("names", [["amount", "AMOUNT"], ["amount", "amount"]])
def test_a_name_that_fits_two_columns_is_an_error(names: list[str]) -> None:
    table = pa.Table.from_arrays([pa.array(["1"]), pa.array(["2"])], names=names)
    said = f"PEN305 ambiguous column: 'amount' may be any of '{names[0]}', '{names[1]}'"
    with pytest.raises(AmbiguousColumn, match=said):
        check(table)


def test_a_column_may_be_spelt_in_another_case() -> None:
    rows = {name.upper(): values for name, values in sales(amount=["1"]).items()}
    assert check(rows).table["amount"].to_pylist() == [Decimal(1)]


def test_an_append_stream_takes_no_operation() -> None:
    with pytest.raises(BadExpression, match="stream sales is append"), checker(file=replace(FILE, operation="op")):
        pass


@pytest.mark.parametrize(
    "column",
    [
        Column("x", decimal(5, 2), minimum="much"),
        Column("x", BIGINT, multiple_of="0"),
        Column("x", TEXT, pattern="(?=x)"),
        Column("x", TIMESTAMP, maximum="tomorrow"),
        Column("x", BIGINT, enum=("1", "two")),
    ],
)
def test_a_rule_that_cannot_be_applied_is_an_error(column: Column) -> None:
    with pytest.raises(BadRule, match="PEN302 contract rule cannot be applied: x: "), checker(Stream("s", (column,))):
        pass


def test_errors_are_penstock_errors() -> None:
    assert issubclass(BadRule, PenstockError)
