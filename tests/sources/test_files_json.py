"""JSON lines and JSON arrays: exact numbers, broken lines, and that the fast and the slow way give the same rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.sources import _files_json
from penstock.sources._files_json import JsonDecoder, Record, records
from tests.sources.files_help import Drops, own, refusals, short

HINTS = {
    "amount": pa.decimal128(12, 2),
    "n": pa.int64(),
    "ok": pa.bool_(),
    "at": pa.timestamp("us", tz="UTC"),
    "city": pa.string(),
}


def lines(*values: str) -> bytes:
    return "".join(f"{v}\n" for v in values).encode()


def texts(table: pa.Table) -> list[dict[str, str | None]]:
    return table.cast(pa.schema([(name, pa.string()) for name in table.column_names])).to_pylist()  # type: ignore[no-any-return]


def test_numbers_are_their_text_and_never_a_double(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    numbers = ["12345678901234567.89", "0.1000000000000000000001", "1e2", "-0.0", "1.50", "1234567890123456789012345"]
    drops.put("a.jsonl", lines(*(f'{{"a": {n}}}' for n in numbers)))
    assert [row["a"] for row in drops.rows()] == numbers


def test_scalars_are_text_nested_values_compact_json(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.put("a.jsonl", lines('{"a": true, "b": [1.50, {"c": null, "c": "ä\\n"}], "d": "5"}', '{"d": null}', "{}"))
    assert drops.rows() == [
        {"a": "true", "b": '[1.50,{"c":null,"c":"\\u00e4\\n"}]', "d": "5"},
        {"a": None, "b": None, "d": None},
        {"a": None, "b": None, "d": None},
    ]


def test_hinted_columns_come_in_their_type(tmp_path: Path) -> None:
    drops = Drops(tmp_path, columns_used=frozenset(HINTS), type_hints=HINTS)
    row = '{"amount": 1.50, "n": 7, "ok": true, "at": "2026-01-23T10:00:00.5+02:00", "city": "Köln", "more": 1}'
    drops.put("a.jsonl", lines(row, '{"amount": "2", "n": null}'))
    (batch,) = drops.read()
    assert batch.table.schema == pa.schema([(name, HINTS[name]) for name in sorted(HINTS)])
    assert texts(batch.table)[0] == {
        "amount": "1.50", "at": "2026-01-23 08:00:00.500000Z", "city": "Köln", "n": "7", "ok": "true",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.505", "1.505"),
        ("99999999999", "99999999999"),
        ("1e400", "1e400"),
        ('"abc"', "abc"),
        ('""', ""),
        ("NaN", "NaN"),
        ("true", "true"),
        ("[1]", "[1]"),
    ],
)
def test_a_value_that_does_not_fit_its_hint_comes_as_its_text(tmp_path: Path, value: str, text: str) -> None:
    drops = Drops(tmp_path, columns_used=frozenset({"amount"}), type_hints=HINTS)
    drops.put("a.jsonl", lines('{"amount": 1.50}', f'{{"amount": {value}}}', '{"amount": 3}'))
    (batch,) = drops.read()
    assert batch.table["amount"].to_pylist()[1] == text
    assert [float(v) for v in batch.table["amount"].to_pylist()[::2]] == [1.5, 3.0]


BROKEN = [
    (b'{"a": 1', "json"),
    (b'{"a": 1} x', "json"),
    (b'{"a": 1}{"a": 2}', "json"),
    (b'{"a": 01}', "json"),
    (b'{"a": 1,}', "json"),
    (b'{"a": 1, "a": 2}', "json"),
    (b'{"a": "\xff"}', "encoding"),
    (b'{"a": "\\ud800"}', "json"),
    (b'{"a": "tab\there"}', "json"),
    (b'{"a": "\x00"}', "nul"),
    (b"null", "json"),
    (b"[1]", "json"),
    (b'"text"', "json"),
    (b"\x00\x00\x00", "nul"),
    (b"}", "json"),
]


@pytest.mark.parametrize(("line", "rule"), BROKEN)
@pytest.mark.parametrize("around", [1, 300])
def test_a_broken_line_is_refused_with_number_and_bytes_and_the_rest_goes_on(
    tmp_path: Path, line: bytes, rule: str, around: int
) -> None:
    drops = Drops(tmp_path)
    good = b'{"a": 1}\n'
    drops.put("a.jsonl", good * around + b"\r\n\n" + line + b"\n" + good * around)
    batches = drops.read()
    assert [short(r) for r in refusals(batches)] == [(str(around + 3), rule, line)]
    numbers = [n for b in batches for n in b.positions.to_pylist()]
    assert numbers == [*range(1, around + 1), *range(around + 4, 2 * around + 4)]
    assert drops.receipts["a.jsonl"].rows_read == 2 * around + 1


def test_an_object_over_two_lines_is_two_broken_lines(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.put("a.jsonl", b'{"a": "1"}\n{"a":\n"2"}\n{"a": "3"}{"a": "4"}\n{"a": "5"}\n')
    batches = drops.read()
    assert [r["a"] for b in batches for r in own(b)] == ["1", "5"]
    assert [r.position for r in refusals(batches)] == ["2", "3", "4"]


def test_reasons_say_what_was_found(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.put("a.jsonl", lines("{", '{"a": 1, "a": 1}', "[]"))
    assert [r.reason for r in refusals(drops.read())] == [
        "the line is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        "the name 'a' stands twice in the object",
        "the line is no JSON object",
    ]


def test_byte_order_mark_windows_lines_and_a_missing_last_line_end(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.put("a.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n{"a": 3}')
    batches = drops.read()
    assert [(r["_line"], r["a"]) for b in batches for r in b.table.to_pylist()] == [(1, "1"), (2, "2"), (3, "3")]
    assert not refusals(batches)


def test_deep_nesting_is_refused_and_not_a_crash(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.put("a.jsonl", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b'}\n{"a": 1}\n')
    batches = drops.read()
    assert [r.reason for r in refusals(batches)] == ["the line is nested too deeply"]
    assert [r["a"] for b in batches for r in own(b)] == ["1"]


def test_original_bytes_of_rows(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.put("a.jsonl", b'{"a":  1}\r\n\n{"a": x}\n {"a":  3} \n')
    (batch,) = drops.read()
    assert batch.original is not None
    assert batch.original([1, 0]) == [b'{"a":  3}', b'{"a":  1}']


def test_a_key_that_first_appears_late_is_not_lost_when_all_columns_are_wanted(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.put("a.jsonl", b'{"a": 1}\n' * 500 + b'{"b": 2}\n' + b'{"a": 1}\n' * 500)
    (batch,) = drops.read()
    assert [v for v in batch.table["b"].to_pylist() if v] == ["2"]


VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.decimals(-(10**12), 10**12, places=3, allow_nan=False).map(str),
    st.sampled_from(["1.50", "-0", "1e2", "0.001", "99999999999", "2026-01-23T10:00:00Z", "2026-01-23 10:00", "x"]),
    st.text(max_size=4),
    st.lists(st.integers(), max_size=2),
)


def written(value: Any) -> str:
    """Decimals are drawn as texts: half of them are written as numbers."""
    return value if isinstance(value, str) and len(value) % 2 and _is_number(value) else json.dumps(value)


def _is_number(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return not text.startswith('"')


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*HINTS, "free"]), VALUE), min_size=1, max_size=12), st.booleans())
def test_fast_and_slow_way_give_the_same_values(rows: list[tuple[str, Any]], learns: bool) -> None:
    data = lines(*(f'{{"{name}": {written(value)}}}' for name, value in rows))
    wanted = [*HINTS, "free"]
    fast = JsonDecoder(wanted, HINTS)
    if learns:
        fast.decode(data, 1)
    found = fast.decode(data, 1)
    plain = JsonDecoder(wanted, {})
    expected = [plain.decode_records([r]).table for r in records(data, 1)]
    for name in wanted:
        values = [v for t in expected for v in t[name].to_pylist()]
        mine = found.table[name].to_pylist()
        for value, own_value in zip(values, mine, strict=True):
            assert _as_said(own_value, value) == value


def _as_said(value: Any, text: str | None) -> str | None:
    """`text` when it says the same value."""
    if value is None or isinstance(value, str):
        return value
    kind = pa.scalar(value).type
    hints = {"bool": HINTS["ok"], "int64": HINTS["n"]}
    column = hints.get(str(kind)) or (HINTS["at"] if pa.types.is_timestamp(kind) else HINTS["amount"])
    same = _files_json.as_type(pa.array([text]), column)
    return text if same is not None and same.to_pylist() == [value] else str(value)


def array(*elements: str) -> str:
    return "[" + ",\n ".join(elements) + "]\n"


def test_a_json_array_is_read_element_by_element(tmp_path: Path) -> None:
    used, hints = frozenset({"a", "b", "_line"}), {"b": pa.decimal128(12, 2)}
    drops = Drops(tmp_path, columns_used=used, type_hints=hints, batch_rows=2)
    drops.put("a.json", json.dumps([{"a": f'}},{{"x": [{i}', "b": 1.5, "c": [{"d": 1}]} for i in range(5)], indent=2))
    batches = drops.read()
    assert [b.table.num_rows for b in batches] == [2, 2, 1]
    assert [(r["_line"], r["a"]) for b in batches for r in b.table.to_pylist()] == [
        (i + 1, f'}},{{"x": [{i}') for i in range(5)
    ]
    assert batches[0].table.schema.field("b").type == pa.decimal128(12, 2)


def test_a_broken_element_is_refused_with_its_bytes_and_the_rest_goes_on(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.put("a.json", array('{"a": 1}', '{\n"a": }', "5", '"x,]"', '{"a": "]},"}', '{"a": "line\nend"}'))
    batches = drops.read()
    assert [r["a"] for b in batches for r in own(b)] == ["1", "]},"]
    assert [short(r) for r in refusals(batches)] == [
        ("2", "json", b'{\n"a": }'),
        ("3", "json", b"5"),
        ("4", "json", b'"x,]"'),
        ("6", "json", b'{"a": "line\nend"}'),
    ]


@pytest.mark.parametrize(
    ("content", "rows", "reason"),
    [
        ('{"a": 1}', 0, "the file is no JSON array, it does not begin with [; `format: jsonl` is one object a line"),
        ("", 0, "the file is no JSON array, it does not begin with [; `format: jsonl` is one object a line"),
        ('[{"a": 1}, {"a": 2', 1, "the file ends inside the array, in element 2"),
        ('[{"a": 1}, {"a": 2}', 1, "the file ends inside the array, in element 2"),
        ('[{"a": 1}] {"a": 2}', 0, "text follows the end of the array after element 1"),
        ('[{"a": 1} {"a": 2}]', 0, "a comma is missing after element 1: b'{\"a\": 2}]'"),
    ],
)
def test_an_array_that_cannot_be_read_on_is_one_refusal(tmp_path: Path, content: str, rows: int, reason: str) -> None:
    drops = Drops(tmp_path)
    drops.put("a.json", content)
    batches = drops.read()
    assert sum(b.table.num_rows for b in batches) == rows
    assert [(r.position, r.reason) for r in refusals(batches)] == [("", reason)]
    assert drops.states() == {"a.json": "unreadable"}


def test_empty_arrays_and_arrays_of_any_spacing(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    for n, content in enumerate(("[]", " [ ]\n", '\ufeff[\n{"a":1}\n,{"a":2}\n]\n\n')):
        drops.put(f"{n}.json", content)
    assert [r["a"] for r in drops.rows()] == ["1", "2"]
    assert set(drops.states().values()) == {"done"}


def test_records_keep_their_line_numbers() -> None:
    assert records(b'\n {"a":1} \r\n\t\n{', 5) == [Record(6, b'{"a":1}'), Record(8, b"{")]
