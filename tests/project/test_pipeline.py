from __future__ import annotations

from pathlib import Path

import pytest

from tests.project.folders import only, read, told

FILE = "pipelines/top_cities.sql"
SPEC = """/*
description: Salesmen by total sales
late: set_aside                  # or restate (default)
timezone: Europe/Berlin
indexes: [[salesman_id, date], [rank], [total_sales desc, '"a b" ASC']]
renamed_from: old
*/
SELECT 1
FROM sales -- rest
;
"""


def test_header_and_sql(tmp_path: Path) -> None:
    project = read(tmp_path, {FILE: SPEC})
    assert not project.problems
    p = project.pipelines["top_cities"]
    assert (p.name, p.description, p.late, p.late_given, p.timezone, p.renamed_from) == (
        "top_cities", "Salesmen by total sales", "set_aside", True, "Europe/Berlin", "old",
    )  # fmt: skip
    assert p.indexes == (
        (("salesman_id", False), ("date", False)),
        (("rank", False),),
        (("total_sales", True), ("a b", False)),
    )
    assert p.sql == "SELECT 1\nFROM sales -- rest"
    assert p.sql_line == 8


@pytest.mark.parametrize(
    ("text", "sql", "line"),
    [
        ("SELECT 1", "SELECT 1", 1),
        ("\n\n  SELECT 1\n", "  SELECT 1", 3),
        ("/* late: restate */ SELECT 1", "                    SELECT 1", 1),
        ("-- a note\n/*\nlate: restate\n*/\n\nSELECT 1", "SELECT 1", 6),
        ("/**/\nSELECT 1 /* no */", "SELECT 1 /* no */", 2),
        ("/*\n# only a remark\n*/\nSELECT 1;", "SELECT 1", 4),
        ("\ufeff/*\r\nlate: restate\r\n*/\r\nSELECT 1\r\n", "SELECT 1", 4),
    ],
)
def test_lines_and_columns_of_the_sql_are_the_files(tmp_path: Path, text: str, sql: str, line: int) -> None:
    project = read(tmp_path, {FILE: text.encode()})
    assert not project.problems
    assert (project.pipelines["top_cities"].sql, project.pipelines["top_cities"].sql_line) == (sql, line)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "1:1 PEN121 no SELECT stands in the file (write one SELECT below the header)"),
        ("/*\nlate: restate\n*/\n", "4:1 PEN121 no SELECT stands in the file"),
        ("/*\nlate: restate\n*/\n-- SELECT 1", "4:1 PEN121 no SELECT stands in the file"),
        ("/*\nlate: restate\nSELECT 1", "1:1 PEN121 the opening comment has no end (close it with */)"),
        ("/* a comment */\nSELECT 1", "1:1 PEN121 the opening comment does not hold keys and values (write"),
        ("/*\nlate: [\n*/\nSELECT 1", "3:1 PEN102 while parsing a flow node"),
        ("/*\nlat: restate\n*/\nSELECT 1", "2:1 PEN104 'lat' (did you mean 'late'?)"),
        ("/*\nlate: drop\n*/\nSELECT 1", "2:7 PEN106 'drop' is not one of restate, set_aside"),
        ("/* late: drop */\nSELECT 1", "1:10 PEN106 'drop' is not one of restate, set_aside"),
        ("/*\nindexes: [a]\n*/\nSELECT 1", "2:11 PEN106 'a' is not a list"),
        ("/*\nindexes: [[]]\n*/\nSELECT 1", "2:11 PEN106 a list should have at least 1 item"),
        ("/*\nindexes: [[a down]]\n*/\nSELECT 1", "2:12 PEN106 'a down' should be a column, with desc or asc after it"),
        ("/*\ntimezone: Mars\n*/\nSELECT 1", "2:11 PEN106 'Mars' should be the name of a time zone"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, error: str) -> None:
    found = only(read(tmp_path, {FILE: text, "endpoints/cities.sql": None}))
    assert found.startswith(f"{FILE}:{error}")


@pytest.mark.parametrize("name", ["_x", "1x", "Top", "a-b", "a b", "a.b", "x" * 64])
def test_names_that_cannot_be_tables(tmp_path: Path, name: str) -> None:
    found = only(read(tmp_path, {f"pipelines/{name}.sql": "SELECT 1"}))
    assert found.startswith(f"pipelines/{name}.sql:0:0 PEN115 '{name}' cannot be a name here (name the file with small")


def test_renames(tmp_path: Path) -> None:
    files = {
        "pipelines/a.sql": "/* renamed_from: top_cities */ SELECT 1",
        "pipelines/b.sql": "/* renamed_from: gone */ SELECT 1",
        "pipelines/c.sql": "/* renamed_from: gone */ SELECT 1",
    }
    assert told(read(tmp_path, files).problems) == [
        "pipelines/a.sql:1:4 PEN114 'a' says it was 'top_cities', which is still there "
        "(remove renamed_from, or the other file)",
        "pipelines/c.sql:1:4 PEN114 'c' and 'b' both say that they were 'gone' (only one can go on from it)",
    ]
