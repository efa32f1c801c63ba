from __future__ import annotations

from pathlib import Path

import pytest

from penstock.project.model import Paging, Parameter
from penstock.project.parameters import ParameterMark, split_parameters
from tests.project.folders import only, read, told

FILE = "endpoints/cities.sql"


def endpoint(header: str, sql: str = "SELECT city, total FROM top_cities") -> dict[str, str | bytes | None]:
    return {FILE: f"/*\n{header}\n*/\n{sql}\n"}


def test_everything_said(tmp_path: Path) -> None:
    header = """path: /api/v1/cities/{id}/history
summary: Cities
description: Longer
parameters:
  id: {type: string, maxLength: 50, description: Which}
  date: {type: string, format: date, required: true}
  limit: {type: integer, minimum: 1, maximum: 1000,
          default: 10}
  kind: {type: string, enum: [a, b]}
paging: {by: [date desc, city], size: 50, max: 500}
decimals: string"""
    sql = "SELECT 1 FROM top_cities WHERE a = :id AND d = :date::date AND :kind::text IS NULL LIMIT :limit"
    project = read(tmp_path, endpoint(header, sql))
    assert not project.problems
    e = project.endpoints["cities"]
    assert (e.path, e.summary, e.description, e.decimals) == (
        "/api/v1/cities/{id}/history",
        "Cities",
        "Longer",
        "string",
    )
    assert e.parameters == (
        Parameter("id", {"type": "string", "maxLength": 50}, True, True, "Which"),
        Parameter("date", {"type": "string", "format": "date"}, True, False),
        Parameter("limit", {"type": "integer", "default": 10, "minimum": 1, "maximum": 1000}, False, False),
        Parameter("kind", {"type": "string", "enum": ["a", "b"]}, False, False),
    )
    assert e.paging == Paging((("date", True), ("city", False)), 50, 500)
    assert (e.sql, e.sql_line) == (sql, 14)


P = "path: /c\n"


@pytest.mark.parametrize(
    ("header", "sql", "errors"),
    [
        ("summary: x", "SELECT 1", ["2:1 PEN105 'path' is required (The route; parameters in braces"]),
        ("path: api", "SELECT 1", ["2:7 PEN122 'api' is not a route (it begins with /"]),
        ("path: /a b", "SELECT 1", ["2:7 PEN122 '/a b' is not a route"]),
        ("path: '/a{b}'", "SELECT 1", ["2:7 PEN122 '/a{b}' is not a route"]),
        ("path: /", "SELECT 1", ["2:7 PEN122 '/' is not a route"]),
        ("path: /metrics", "SELECT 1", ["2:7 PEN122 '/metrics' is Penstock's own (choose another route)"]),
        ("path: '/c/{id}'", "SELECT 1", ["2:7 PEN122 the path's '{id}' is not under parameters (declare it"]),
        (
            "path: '/{a}/{a}'\nparameters: {a: {type: string}}",
            "SELECT :a",
            ["2:7 PEN122 '{a}' stands twice in the path"],
        ),
        (P, "SELECT 1 WHERE a = :dat", ["5:20 PEN122 ':dat' is not a parameter (declare 'dat' under parameters)"]),
        (
            P + "parameters: {date: {type: string}}",
            "SELECT :date,\n  :dte",
            ["6:3 PEN122 ':dte' is not a parameter (did you mean 'date'?)"],
        ),
        (
            P + "parameters: {date: {type: string}}",
            "SELECT 1",
            ["3:14 PEN122 nothing uses the parameter 'date' (use it in"],
        ),
        (P + "parameters: {d-e: {type: string}}", "SELECT 1", ["3:14 PEN122 'd-e' is not a parameter's name"]),
        (
            P + "parameters: {d: {type: text}}",
            "SELECT :d",
            ["3:24 PEN106 'text' is not one of string, integer, number, boolean"],
        ),
        (
            P + "parameters: {d: {format: date}}",
            "SELECT :d",
            ["3:17 PEN105 'type' is required (The JSON type, e.g. string)"],
        ),
        (
            P + "parameters: {d: {type: string, maxLenght: 1}}",
            "SELECT :d",
            ["3:32 PEN104 'maxLenght' (did you mean 'maxLength'?)"],
        ),
        (
            P + "parameters: {d: {type: string, pattern: '('}}",
            "SELECT :d",
            ["3:17 PEN106 has a pattern that is not a regular exp"],
        ),
        (P + "parameters: {d: string}", "SELECT :d", ["3:17 PEN106 'string' is not keys and values"]),
        (
            P + "parameters: {d: {type: integer, default: x}}",
            "SELECT :d",
            ["3:42 PEN122 the default of 'd' breaks its own rules: 'x' is"],
        ),
        (
            P + "parameters: {d: {type: integer, maximum: 5, default: 10}}",
            "SELECT :d",
            ["3:54 PEN122 the default of 'd' breaks its own"],
        ),
        (
            P + "parameters: {d: {type: string, required: true, default: x}}",
            "SELECT :d",
            ["3:57 PEN122 the required parameter 'd' has"],
        ),
        (P + "paging: {by: []}", "SELECT 1", ["3:14 PEN106 a list should have at least 1 item"]),
        (P + "paging: {by: [a b]}", "SELECT 1", ["3:15 PEN106 'a b' should be a column, with desc or asc"]),
        (
            P + "paging: {by: [a], size: 9, max: 5}",
            "SELECT 1",
            ["3:9 PEN106 has a size of 9, which is more than its max of 5"],
        ),
        (
            P + "paging: {by: [a]}\nparameters: {after: {type: string}}",
            "SELECT :after",
            ["4:14 PEN122 'after' is paging's own parameter"],
        ),
        (P + "decimals: text", "SELECT 1", ["3:11 PEN106 'text' is not one of number, string"]),
        (P, "SELECT FROM WHERE", ["5:"]),
        (P, "SELECT (1", ["5:9 PEN122 the SQL cannot be parsed: Expecting )"]),
        (P, "DELETE FROM top_cities", ["5:1 PEN122 the SQL is not one SELECT (an endpoint only reads)"]),
        (P, "SELECT 1; SELECT 2", ["5:1 PEN122 the SQL is not one SELECT"]),
        (P, "SELECT 1\nFROM top_citys", ["6:6 PEN123 no pipeline keeps 'top_citys' (did you mean 'top_cities'?)"]),
    ],
)
def test_mistakes(tmp_path: Path, header: str, sql: str, errors: list[str]) -> None:
    # the SQL begins on line 5 or, after a longer header, right below it
    lines = header.rstrip().split("\n")
    text = "/*\n" + "\n".join(lines) + "\n*/\n" + "\n" * max(0, 2 - len(lines)) + sql
    found = told(read(tmp_path, {FILE: text}).problems)
    assert len(found) == len(errors), found
    for error, expected in zip(found, errors, strict=True):
        assert error.startswith(f"{FILE}:{expected}"), found


@pytest.mark.parametrize(
    "sql",
    [
        "WITH t AS (SELECT * FROM top_cities) SELECT * FROM t",
        "SELECT * FROM generate_series(1, 3) AS g",
        "SELECT * FROM other.kept_by_hand",
        "SELECT * FROM Top_Cities",
        "SELECT city FROM top_cities UNION ALL SELECT city FROM top_cities",
        "SELECT (SELECT max(total) FROM top_cities) AS top",
        "SELECT * FROM (VALUES (1), (2)) AS v(x)",
    ],
)
def test_queries_that_read_only_results(tmp_path: Path, sql: str) -> None:
    assert not read(tmp_path, endpoint("path: /c", sql)).problems


def test_two_endpoints_of_one_route(tmp_path: Path) -> None:
    one = "/*\npath: '/c/{a}'\nparameters: {a: {type: string}}\n*/\nSELECT :a"
    two = "/*\npath: '/c/{b}'\nparameters: {b: {type: string}}\n*/\nSELECT :b"
    found = only(read(tmp_path, {"endpoints/one.sql": one, "endpoints/two.sql": two}))
    assert found == (
        "endpoints/two.sql:2:7 PEN122 the route '/c/{b}' is also that of endpoints/one.sql (give one another path)"
    )


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("a = :a AND b=:b", ["a", "b"]),
        (":a::int + x::text", ["a"]),
        ("':no' || :yes || 'it''s :no'", ["yes"]),
        ("E'\\':no' || :yes", ["yes"]),
        ('":no" = :yes', ["yes"]),
        ("-- :no\n:yes", ["yes"]),
        ("/* :no /* :no */ :no */ :yes", ["yes"]),
        ("$$ :no $$ || $t$ :no $$ :no $t$ || :yes", ["yes"]),
        ("f(x := 1, y => :yes)", ["yes"]),
        ("a[1:2] + a[x:y] + :yes", ["yes"]),
        ("(:a)", ["a"]),
        ("/* :no", []),
        (":a:b", ["a"]),
        ("12:30", []),
        ("'x' :1", []),
        ("", []),
    ],
)
def test_parameters_are_told_from_everything_else_with_a_colon(sql: str, names: list[str]) -> None:
    pieces = split_parameters(sql)
    assert [p.name for p in pieces if isinstance(p, ParameterMark)] == names
    assert "".join(p if isinstance(p, str) else f":{p.name}" for p in pieces) == sql
    assert all(sql[p.at] == ":" for p in pieces if isinstance(p, ParameterMark))
