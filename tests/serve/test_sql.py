"""From `:name` to `($1::type)`, and an offset's way back to its place in the file."""

from __future__ import annotations

import pytest

from penstock.errors import Place
from penstock.serve.sql import numbered, parameter_names, place_of, source_offset

TYPES = {"a": "date", "b": "bigint"}


def test_each_name_has_one_number_and_its_type() -> None:
    sql = "SELECT ':a', \"b:a\", x::text FROM t -- :a\nWHERE d = :a AND n > :b /* :b */ OR d < :a"
    statement, order = numbered(sql, TYPES)
    assert order == ("a", "b") == parameter_names(sql)
    tail = "WHERE d = ($1::date) AND n > ($2::bigint) /* :b */ OR d < ($1::date)"
    assert statement == "SELECT ':a', \"b:a\", x::text FROM t -- :a\n" + tail


def test_a_name_without_a_type_is_an_error() -> None:
    with pytest.raises(KeyError):
        numbered("SELECT :c", TYPES)


def test_offsets_lead_back() -> None:
    sql = "SELECT :a, wrong FROM t WHERE :b > oops"
    statement, _ = numbered(sql, TYPES)
    for word in ("wrong", "oops", "FROM"):
        assert source_offset(sql, TYPES, statement.index(word)) == sql.index(word)
    assert source_offset(sql, TYPES, statement.index("bigint")) == sql.index(":b")
    assert source_offset(sql, TYPES, 10_000) == len(sql)


def test_places_are_the_files() -> None:
    assert place_of(Place("e.sql", 1), "SELECT a,\n  b", 5, 12) == Place("e.sql", 6, 3)
