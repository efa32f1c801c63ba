from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.project.folders import CONTRACT, LakeConfig, Login, only, read, told


def source(tmp_path: Path, text: str) -> list[str]:
    """Returns what is wrong with a source, without its file's name."""
    found = told(read(tmp_path, {"sources/drops.yaml": text}).problems)
    assert all(f.startswith("sources/drops.yaml:") for f in found), found
    return [f.removeprefix("sources/drops.yaml:") for f in found]


def test_everything_said(tmp_path: Path) -> None:
    text = """
        type: lake
        stream: sales
        every: 250ms
        fields: {sale_id: "'db-' || id", amount: "price::DECIMAL(12,2) * pieces::INTEGER"}
        where: country = 'DE'
        timezone: Europe/Berlin
        idle_after: 1h
        allowed_lateness: 1.5h
        renamed_from: old_drops
        path: drops
        format: json
        connection: {host: db}
        wait: 2s
        limit: 10MiB
        columns: [a, b]
    """
    project = read(tmp_path, {"sources/drops.yaml": text})
    assert not project.problems
    s = project.sources["drops"]
    assert (s.name, s.type, s.stream, s.every, s.every_given) == (
        "drops",
        "lake",
        "sales",
        timedelta(seconds=0.25),
        True,
    )
    assert s.fields == {"sale_id": "'db-' || id", "amount": "price::DECIMAL(12,2) * pieces::INTEGER"}
    assert (s.where, s.operation, s.timezone, s.renamed_from) == ("country = 'DE'", None, "Europe/Berlin", "old_drops")
    assert (s.idle_after, s.allowed_lateness) == (timedelta(hours=1), timedelta(hours=1.5))
    assert s.config == LakeConfig.model_validate(
        {"path": "drops", "format": "json", "connection": Login(host="db"), "wait": "2s", "limit": 10 * 2**20,
         "columns": ("a", "b")}
    )  # fmt: skip


def test_defaults(tmp_path: Path) -> None:
    project = read(tmp_path, {"penstock.yaml": "name: x\ntimezone: Asia/Tokyo\n"})
    s = project.sources["drops"]
    assert (s.every, s.every_given, s.timezone, s.fields) == (timedelta(seconds=10), False, "Asia/Tokyo", {})


BASE = "type: lake\nstream: sales\npath: drops\n"


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("", ["1:1 PEN106 a source is keys and values (begin with `type:`)"]),
        ("- a", ["1:1 PEN106 a source is keys and values (begin with `type:`)"]),
        ("stream: sales\npath: x\nfoo: y", ["1:1 PEN105 'type' is required (The kind of source, e.g. files)"]),
        ("type: lak\nstream: sales\npath: x", ["1:7 PEN106 'lak' is not a type of source (did you mean 'lake'?)"]),
        ("type: lake\npath: x", ["1:1 PEN105 'stream' is required (The stream that the rows belong to"]),
        ("type: lake\nstream: sales", ["1:1 PEN105 'path' is required (The folder, e.g. drops)"]),
        ("type: lake\nstream: sale\npath: x", ["2:9 PEN118 no contract describes 'sale' (did you mean 'sales'?)"]),
        (BASE + "evry: 1s", ["4:1 PEN104 'evry' (did you mean 'every'?)"]),
        (BASE + "formt: csv", ["4:1 PEN104 'formt' (did you mean 'format'?)"]),
        (BASE + "every: 10", ["4:8 PEN106 '10' should be a duration: a number and ms, s, m, h or d, e.g. 10s"]),
        (BASE + "every: 0s", ["4:8 PEN106 '0s' should be at least 1ms"]),
        (BASE + "every: 10 s\nwait: 1 fortnight", ["5:7 PEN106 '1 fortnight' should be a duration"]),
        (BASE + "limit: 10 apples", ["4:8 PEN106 '10 apples' should be a size"]),
        (BASE + "timezone: CEST", ["4:11 PEN106 'CEST' should be the name of a time zone"]),
        (BASE + "pieces: 0", ["4:9 PEN106 '0' should be greater than or equal to 1"]),
        (BASE + "pieces: two", ["4:9 PEN106 'two' is not a whole number"]),
        (BASE + "columns: a", ["4:10 PEN106 'a' is not a list"]),
        (BASE + "columns: [a, 1]", ["4:14 PEN106 '1' is not a text (put it into quotes)"]),
        (
            BASE + "connection: {hst: db}",
            ["4:13 PEN105 'host' is required (Host)", "4:14 PEN104 'hst' (did you mean 'host'?)"],
        ),
        (BASE + "connection: [a]", ["4:13 PEN106 a list is not a text"]),
        (BASE + "format: cvs", ["4:9 PEN106 'cvs' is not one of csv, json (did you mean 'csv'?)"]),
        (
            BASE + "fields: {sale_di: id}",
            ["4:10 PEN119 the stream 'sales' has no property 'sale_di' (did you mean 'sale_id'?)"],
        ),
        (BASE + "fields: {sale_id: 1}", ["4:19 PEN106 '1' is not a text (put it into quotes)"]),
        (BASE + "fields:\n  sale_id: id ||\n", ["5:12 PEN120 'id ||': syntax error"]),
        (BASE + "fields:\n  sale_id: a b\n", ["5:12 PEN120 'a b': syntax error at or near \"b\""]),
        (BASE + "fields:\n  sale_id: a, b\n", ["5:12 PEN120 'a, b': is several expressions"]),
        (BASE + "fields:\n  sale_id: 'a) FROM (b'\n", ["5:12 PEN120 'a) FROM (b': is not one expression"]),
        (BASE + "fields:\n  sale_id: ''\n", ["5:12 PEN120 '': is empty"]),
        (BASE + "fields:\n  sale_id: max(id)\n", ["5:12 PEN120 'max(id)': holds max(...) over many rows"]),
        (
            BASE + "fields:\n  sale_id: 1 + sum(x) OVER ()\n",
            ["5:12 PEN120 '1 + sum(x) OVER ()': holds sum(...) over many"],
        ),
        (BASE + "fields:\n  sale_id: (SELECT 1)\n", ["5:12 PEN120 '(SELECT 1)': holds a subquery"]),
        (BASE + "fields:\n  sale_id: '*'\n", ["5:12 PEN120 '*': holds *; name one column"]),
        (BASE + "fields:\n  sale_id: x; DROP TABLE y\n", ["5:12 PEN120 'x; DROP TABLE y': syntax error"]),
        (BASE + 'where: "a = \'b"', ["4:8 PEN120 'a = 'b': unterminated"]),
        (
            BASE + "operation: \"'delete'\"",
            ["4:1 PEN117 `operation` is for upsert streams; 'sales' is an append stream"],
        ),
    ],
)
def test_mistakes(tmp_path: Path, text: str, errors: list[str]) -> None:
    found = source(tmp_path, text)
    assert len(found) == len(errors), found
    for error, expected in zip(found, errors, strict=True):
        assert error.startswith(expected)


@pytest.mark.parametrize(
    "expression",
    [
        "x -- the id",
        "row(a, b)",
        "CASE WHEN a THEN b END",
        "list_sum([x, y])",
        'trim("Name of Seller")',
        "x IN (1, 2)",
        "_file",
        "lower(x) LIKE 'a%'",
        "struct_pack(a := 1).a",
        "date_trunc('day', t)",
        "x::DECIMAL(12, 2)",
        "list_transform(l, x -> x + 1)",
    ],
)
def test_expressions_over_one_row_are_fine(tmp_path: Path, expression: str) -> None:
    assert source(tmp_path, BASE + f"fields:\n  sale_id: >-\n    {expression}\n") == []


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = "type: lake\nstream: sale\nevry: 1s\npath: 5\nwhere: a b\nfields: {x: 'y z'}\n"
    assert [f.split(" ")[1] for f in source(tmp_path, text)] == ["PEN118", "PEN104", "PEN106", "PEN120", "PEN120"]


UPSERT = CONTRACT.replace(
    "      - {property: eventTime", "      - {property: changes, value: upsert}\n      - {property: eventTime"
)


def test_upsert_streams_need_to_know_the_newer_row(tmp_path: Path) -> None:
    contract = {"contracts/sales.odcs.yaml": UPSERT}
    assert not read(tmp_path / "a", contract).problems
    two = {**contract, "sources/more.yaml": BASE}
    assert only(read(tmp_path / "b", two)).startswith(
        "contracts/sales.odcs.yaml:7:11 PEN117 the upsert stream 'sales' has several sources and no version says which"
    )
    heap = {**contract, "sources/drops.yaml": "type: heap\nstream: sales\n"}
    assert "the upsert stream 'sales' is read from heap and no version says" in only(read(tmp_path / "c", heap))
    version = UPSERT.replace("{property: changes", "{property: version, value: sold_at}\n      - {property: changes")
    assert not read(tmp_path / "d", {**heap, "contracts/sales.odcs.yaml": version}).problems
    operation = {"sources/drops.yaml": BASE + "operation: CASE WHEN gone THEN 'delete' ELSE 'upsert' END\n"}
    assert not read(tmp_path / "e", {**contract, **operation}).problems
