"""CSV: every way it is written, and every way it is broken; nothing is lost and line numbers are right."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.project.model import Column
from penstock.sources._files_scan import Marks, scan
from penstock.sources.files import Files
from penstock.sqltypes import DATE, INTEGER, TEXT, TIMESTAMP, decimal
from tests.sources.files_help import Drops, own, refusals, short


def read(
    tmp_path: Path, content: bytes | str, **config: Any
) -> tuple[list[dict[str, Any]], list[tuple[str, str, bytes]]]:
    """Rows and refusals of one CSV file."""
    drops = Drops(tmp_path, {"csv": config})
    drops.put("a.csv", content)
    batches = drops.read()
    return [row for b in batches for row in own(b)], [short(r) for r in refusals(batches)]


WRITTEN: list[tuple[str, bytes, dict[str, Any]]] = [
    ("plain", b"a,b\n1,x\n2,y\n", {}),
    ("no last line end", b"a,b\n1,x\n2,y", {}),
    ("byte order mark", b"\xef\xbb\xbfa,b\n1,x\n2,y\n", {}),
    ("mark and quotes", b'\xef\xbb\xbf"a","b"\n"1","x"\n2,y\n', {}),
    ("mark and no header", b'\xef\xbb\xbf"1",x\n2,y\n', {"header": False, "columns": ["a", "b"]}),
    ("windows", b"a,b\r\n1,x\r\n2,y\r\n", {}),
    ("old mac", b"a,b\r1,x\r2,y\r", {}),
    ("mixed line ends", b"a,b\r\n1,x\r2,y\n", {}),
    ("blank lines", b"\n\na,b\n\n1,x\n\r\n2,y\n\n", {}),
    ("all quoted", b'"a","b"\n"1","x"\n"2","y"\n', {}),
    ("semicolon", b"a;b\n1;x\n2;y\n", {"delimiter": ";"}),
    ("tab", b"a\tb\n1\tx\n2\ty\n", {"delimiter": "\t"}),
    ("other quote", b"a,b\n'1',x\n2,'y'\n", {"quote": "'"}),
    ("no header", b"1,x\n2,y\n", {"header": False, "columns": ["a", "b"]}),
    ("utf-16 with mark", "a,b\n1,x\n2,y\n".encode("utf-16"), {"encoding": "utf-16"}),
    ("utf-16-be", "a,b\r\n1,x\r\n2,y\r\n".encode("utf-16-be"), {"encoding": "utf-16-be"}),
]


@pytest.mark.parametrize(("content", "config"), [w[1:] for w in WRITTEN], ids=[w[0] for w in WRITTEN])
def test_the_same_rows_however_they_are_written(tmp_path: Path, content: bytes, config: dict[str, Any]) -> None:
    assert read(tmp_path, content, **config) == ([{"a": "1", "b": "x"}, {"a": "2", "b": "y"}], [])


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("utf-8", "Zoë 😀"), ("cp1252", "Zoë €"), ("latin-1", "Zoë"), ("utf-16", "Zoë 😀"), ("iso-8859-15", "Zoë €")],
)
def test_encodings(tmp_path: Path, encoding: str, text: str) -> None:
    rows, refused = read(tmp_path, f"näme,b\n{text},1\n".encode(encoding), encoding=encoding)
    assert (rows, refused) == ([{"näme": text, "b": "1"}], [])


def test_quoted_fields_hold_delimiters_quotes_and_line_ends_and_lines_are_counted(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.put("a.csv", 'a,b\n"x,1","say ""hi"""\n"two\nlines",2\n"three\r\nl\rines",3\nlast,4\n')
    rows = [row for batch in drops.read() for row in batch.table.to_pylist()]
    assert [(r["_line"], r["a"], r["b"]) for r in rows] == [
        (2, "x,1", 'say "hi"'), (3, "two\nlines", "2"), (5, "three\r\nl\rines", "3"), (8, "last", "4"),
    ]  # fmt: skip


def test_null_is_the_empty_field_and_the_words_of_nulls_unless_quoted(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, 'a,b\n,""\nNULL,"NULL"\n-,x\n', nulls=["NULL", "-"])
    assert rows == [{"a": None, "b": ""}, {"a": None, "b": "NULL"}, {"a": None, "b": "x"}]


def test_an_empty_last_field_is_null_also_without_a_line_end(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, 'a,b\n"x",\n"y",')
    assert rows == [{"a": "x", "b": None}, {"a": "y", "b": None}]


def test_escape_and_quotes_within_unquoted_fields(tmp_path: Path) -> None:
    rows, refused = read(tmp_path, b'a|b\n5" pipe|x\\|y\n"say \\"hi\\""|2\n', delimiter="|", escape="\\")
    assert (rows, refused) == ([{"a": '5" pipe', "b": "x|y"}, {"a": 'say "hi"', "b": "2"}], [])


def test_broken_rows_are_refused_with_line_and_bytes_and_the_rest_goes_on(tmp_path: Path) -> None:
    content = (
        b'a,b\n1,one\n2\n3,three,3\n\n"4"x,four\n5,"five\n6,six\n7,se\xffven\n'
        b'8,ei\x00ght\n"nine\n9","nine"\n10,"ten" \n11,end'
    )
    rows, refused = read(tmp_path, content)
    assert [row["a"] for row in rows] == ["1", "6", "nine\n9", "11"]
    assert refused == [
        ("3", "ragged", b"2"),
        ("4", "ragged", b"3,three,3"),
        ("6", "quote", b'"4"x,four'),
        ("7", "quote", b'5,"five'),
        ("9", "encoding", b"7,se\xffven"),
        ("10", "nul", b"8,ei\x00ght"),
        ("13", "quote", b'10,"ten" '),
    ]


def test_reasons_say_what_was_found(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.put("a.csv", b"a,b\n1\n\xff,2\n")
    reasons = [r.reason for r in refusals(drops.read())]
    assert reasons == ["the row has 1 field, the header 2", "byte 1, 0xff, is no utf-8"]


def test_text_after_a_closing_quote_is_not_swallowed(tmp_path: Path) -> None:
    rows, refused = read(tmp_path, b'a,b\n"1"x,2\n3,4\n')
    assert (rows, refused) == ([{"a": "3", "b": "4"}], [("2", "quote", b'"1"x,2')])


def test_a_quote_that_never_closes_costs_one_line(tmp_path: Path) -> None:
    rows, refused = read(tmp_path, b'a,b\n1,x\n2,"y\n3,z\n4,w\n')
    assert [row["a"] for row in rows] == ["1", "3", "4"]
    assert refused == [("3", "quote", b'2,"y')]


def test_bytes_that_a_code_page_lacks_cost_their_row(tmp_path: Path) -> None:
    rows, refused = read(tmp_path, b"a,b\n\x80,1\n\x81,2\n", encoding="cp1252")
    assert (rows, refused) == ([{"a": "€", "b": "1"}], [("3", "encoding", b"\x81,2")])


def test_half_a_surrogate_pair_costs_its_row_with_its_own_bytes(tmp_path: Path) -> None:
    content = "a,b\n1,x\n".encode("utf-16-le") + b"\x00\xd8,\x002\x00\n\x00" + "3,z\n".encode("utf-16-le")
    rows, refused = read(tmp_path, content, encoding="utf-16-le")
    assert [row["a"] for row in rows] == ["1", "3"]
    assert refused == [("3", "encoding", b"\x00\xd8,\x002\x00")]


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n", b"a,b\n", b"a,b"])
def test_a_file_without_rows_has_none(tmp_path: Path, content: bytes) -> None:
    drops = Drops(tmp_path)
    drops.put("a.csv", content)
    assert [b.table.num_rows for b in drops.read()] == [0]
    assert drops.states() == {"a.csv": "done"}


@pytest.mark.parametrize(
    ("content", "config", "reason"),
    [
        (b"a," + b"x" * 200_000 + b"\n", {}, "the header cannot be read: field larger than field limit (131072)"),
        (b"a,a\n1,2\n", {}, "the header has the column 'a' twice"),
        (b'a,"b"x\n1,2\n', {}, "the header cannot be read: its quotes are malformed"),
        (b"a,\xff\n1,2\n", {}, "the header cannot be read: byte 3, 0xff, is no utf-8"),
        (b"a,b\n1,2\n\x00", {"encoding": "utf-16"}, "the file is no utf-16: truncated data"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_whole(
    tmp_path: Path, content: bytes, config: dict[str, Any], reason: str
) -> None:
    drops = Drops(tmp_path, {"csv": config})
    drops.put("a.csv", content)
    drops.put("b.csv", "a,b\n1,2\n".encode(config.get("encoding", "utf-8")))
    batches = drops.read()
    assert [(r.origin or b.origin, r.position, r.reason) for b in batches for r in b.refusals] == [
        ("a.csv", "", reason)
    ]
    assert refusals(batches)[0].original == content[: 64 << 10]
    assert drops.states() == {"a.csv": "unreadable", "b.csv": "done"}
    assert drops.receipts["a.csv"].rows_read == 1


def test_wanted_columns_alone_are_read_and_case_does_not_matter(tmp_path: Path) -> None:
    drops = Drops(tmp_path, columns_used=frozenset({"PRICE", "_line"}))
    drops.put("a.csv", "id,Price,x,x\n1,2,3,4\n")
    assert [b.table.to_pylist() for b in drops.read()] == [[{"Price": "2", "_line": 2}]]


def test_rows_are_counted_even_when_no_column_of_the_file_is_wanted(tmp_path: Path) -> None:
    drops = Drops(tmp_path, columns_used=frozenset())
    drops.put("a.csv", "a,b\n1,2\n3,4\n")
    assert [b.table.num_rows for b in drops.read()] == [2]


GERMAN = {"delimiter": ";", "decimal": ",", "thousands": ".", "date_format": "%d.%m.%Y"}


def test_a_source_that_was_closed_may_be_opened_again(tmp_path: Path) -> None:
    drops = Drops(tmp_path, {"csv": GERMAN}, columns=(Column("amount", decimal(12, 2)),))
    drops.put("a.csv", "amount\n1,5\n")
    source = drops.start()
    source.close()
    source.open({}, {})
    assert [row for batch in source.round() for row in own(batch)] == [{"amount": "1.5"}]


def test_marks_and_date_formats_act_on_numbers_and_dates_only(tmp_path: Path) -> None:
    columns = (Column("nr", TEXT), Column("amount", decimal(12, 2)), Column("day", DATE), Column("pieces", INTEGER))
    fields = {"amount": "price::DECIMAL(12,2) * 2", "nr": "'f-' || nr"}
    drops = Drops(tmp_path, {"csv": GERMAN}, columns=columns, fields=fields)
    drops.put("a.csv", "nr;price;day;pieces\n1.234;1.234,56;23.01.2026;1.000\n2;-0,5;24.01.2026;\n3;7;;12\n")
    assert drops.rows() == [
        {"nr": "1.234", "price": "1234.56", "day": "2026-01-23", "pieces": "1000"},
        {"nr": "2", "price": "-0.5", "day": "2026-01-24", "pieces": None},
        {"nr": "3", "price": "7", "day": None, "pieces": "12"},
    ]


def test_a_column_that_is_used_as_text_too_stays_as_it_is(tmp_path: Path) -> None:
    columns = (Column("n", INTEGER), Column("name", TEXT))
    drops = Drops(tmp_path, {"csv": GERMAN}, columns=columns, fields={"name": "'x' || nr", "n": "nr::INTEGER"})
    drops.put("a.csv", "nr\n1.234\n")
    assert drops.rows() == [{"nr": "1.234"}]


def test_values_that_do_not_follow_the_declared_form_are_refused(tmp_path: Path) -> None:
    columns = (Column("amount", decimal(12, 2)), Column("day", DATE))
    drops = Drops(tmp_path, {"csv": GERMAN}, columns=columns)
    drops.put(
        "a.csv", "amount;day\n1,50;01.02.2026\n1.50;01.02.2026\n1,50;2026-02-01\n12.34,5;01.02.2026\nx;\n2;03.02.2026\n"
    )
    batches = drops.read()
    assert [row["amount"] for b in batches for row in own(b)] == ["1.50", "2"]
    assert [(r.position, r.rule, r.reason) for r in refusals(batches)] == [
        ("3", "number", "amount = '1.50': a number is wanted, where ',' is the decimal mark, '.' the thousands mark"),
        ("4", "date", "day = '2026-02-01': it is not written as %d.%m.%Y"),
        (
            "5",
            "number",
            "amount = '12.34,5': a number is wanted, where ',' is the decimal mark, '.' the thousands mark",
        ),
        ("6", "number", "amount = 'x': a number is wanted, where ',' is the decimal mark, '.' the thousands mark"),
    ]
    assert refusals(batches)[0].original == b"1.50;01.02.2026"


def test_original_bytes_of_rows_are_given_after_some_were_refused(tmp_path: Path) -> None:
    drops = Drops(tmp_path, {"csv": GERMAN}, columns=(Column("amount", decimal(12, 2)),))
    drops.put("a.csv", 'amount;b\n1.5;x\n2,5;"y\nz"\n\n3,5;z\n')
    (batch,) = drops.read()
    assert batch.original is not None
    assert batch.original([1, 0]) == [b"3,5;z", b'2,5;"y\nz"']
    assert batch.positions.to_pylist() == [3, 6]


def test_times_by_format_with_and_without_zone(tmp_path: Path) -> None:
    columns = (Column("at", TIMESTAMP),)
    drops = Drops(tmp_path, {"csv": {"timestamp_format": "%d/%m/%Y %H:%M"}}, columns=columns)
    drops.put("a.csv", "at\n23/01/2026 10:05\n")
    assert drops.rows() == [{"at": "2026-01-23T10:05:00.000000"}]
    zoned = Drops(tmp_path / "2", {"csv": {"timestamp_format": "%Y%m%d%H%M%S %z"}}, columns=columns)
    zoned.put("a.csv", "at\n20260123100500 +0200\n")
    assert zoned.rows() == [{"at": "2026-01-23T08:05:00.000000Z"}]


def test_declared_types_are_exact(tmp_path: Path) -> None:
    types = {"n": "integer", "p": "decimal(6,2)", "d": "date", "t": "timestamp", "b": "boolean"}
    drops = Drops(tmp_path, {"csv": {"types": types}}, timezone="Europe/Berlin")
    good = "7,1.500,2026-01-23,2026-01-23 10:00:00,true\n"
    bad = "7.5,1,,,\n7,1.505,,,\n7,12345,,,\n7,1,2026-02-30,,\n7,1,,noon,\n7,1,,,maybe\n0x1F,1,,,\n"
    drops.put("a.csv", "n,p,d,t,b\n" + good + bad)
    batches = drops.read()
    (row,) = [row for b in batches for row in own(b)]
    assert [str(v) for v in row.values()] == ["7", "1.50", "2026-01-23", "2026-01-23 10:00:00+01:00", "True"]
    assert [r.position for r in refusals(batches)] == ["3", "4", "5", "6", "7", "8", "9"]
    assert refusals(batches)[0].reason == "n = '7.5': integer is wanted"


def test_hinted_columns_come_in_their_type_or_as_text_but_never_changed(tmp_path: Path) -> None:
    hints = {"amount": pa.decimal128(12, 2), "at": pa.timestamp("us", tz="UTC")}
    good, bad = "1.50,2026-01-23T10:00:00Z\n", "1.505,2026-01-23 10:00\n99999999999,x\n"
    drops = Drops(tmp_path, type_hints=hints)
    drops.put("a.csv", "amount,at\n" + good)
    drops.put("b.csv", "amount,at\n" + good + bad)
    first, second = [b for b in drops.read() if b.item]
    assert first.table.schema.field("amount").type == pa.decimal128(12, 2)
    assert first.table.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert second.table["amount"].to_pylist() == ["1.50", "1.505", "99999999999"]
    assert second.table["at"].to_pylist() == ["2026-01-23T10:00:00Z", "2026-01-23 10:00", "x"]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"delimiter": ""}, "must be one character"),
        ({"delimiter": "||"}, "must be one ASCII character"),
        ({"encoding": "klingon"}, "'klingon' is no encoding that is read"),
        ({"encoding": "shift_jis"}, "'shift_jis' is no encoding that is read"),
        ({"header": False}, "needs `columns"),
        ({"columns": ["a"]}, "say `header: false`"),
        ({"decimal": ",", "thousands": ","}, "are both ','"),
        ({"delimiter": '"'}, "must differ"),
        ({"date_format": "dd.MM.yyyy"}, "write %d, %m, %Y"),
        ({"types": {"a": "money"}}, "'money' is no type"),
        ({"delimeter": ";"}, "delimeter"),
    ],
)
def test_wrong_dialects_are_told(config: dict[str, Any], found: str) -> None:
    with pytest.raises(ValidationError) as error:
        Files.Config.model_validate({"path": "x", "csv": config})
    assert found in str(error.value)


FIELD = st.text(alphabet='ab,"\n\r; é\\', max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=20), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_what_a_writer_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], end: str, quote_all: bool
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
    writer.writerow(("k", "v"))
    # The csv module does not quote a lone CR where the line end is LF: those fields are quoted by hand.
    for row in rows:
        if quote_all or not any("\r" in f or "\n" in f for f in row):
            writer.writerow(row)
        else:
            out.write(",".join('"' + f.replace('"', '""') + '"' for f in row) + end)
    drops = Drops(tmp_path_factory.mktemp("csv"), batch_rows=3)
    drops.put("a.csv", out.getvalue())
    batches = drops.read()
    assert [(r["k"] or "", r["v"] or "") for b in batches for r in own(b)] == rows
    assert not refusals(batches)


def test_any_cut_of_the_content_finds_the_same_rows() -> None:
    """The scanner must find the same rows whether it sees the content at once or in pieces."""
    chance = random.Random(7)
    marks = Marks(ord(","), ord('"'), 0)
    for _ in range(300):
        data = bytes(chance.choice(b'ab,,""\n\n\r') for _ in range(chance.randint(1, 40)))
        whole = scan(data, len(data), marks, True)
        cut = scan(data, chance.randint(0, len(data)), marks, False)
        expected = list(zip(whole.starts.tolist(), whole.ends.tolist(), strict=True))
        found = list(zip(cut.starts.tolist(), cut.ends.tolist(), strict=True))
        assert found == expected[: len(found)] or bool(whole.bad.any()), data
