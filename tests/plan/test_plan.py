"""What a plan says: key, types, unit, lineage, state; its fingerprint and its explanation."""

from __future__ import annotations

import json

import pytest

from penstock.plan import explain
from penstock.plan.planner import plan
from tests.plan import support

SALESMEN = """
SELECT CAST(sold_at AS DATE) AS date, seller, arg_max(city, (sold_at, sale_id)) AS name,
       CAST(sum(amount) AS DECIMAL(15,2)) AS total_sales, count(*) AS deals,
       rank() OVER (PARTITION BY date ORDER BY total_sales DESC) AS rank
FROM sales GROUP BY date, seller QUALIFY rank <= 100
"""


def test_the_sales_plan() -> None:
    p = support.planned(SALESMEN)
    assert p.key == ("date", "seller")
    assert [str(c.type) for c in p.columns] == ["date", "text", "text", "decimal(15,2)", "bigint", "bigint"]
    assert p.steps.unit == ("g0",)
    assert p.window is not None
    assert p.window.column == "date"
    assert [(g.name, g.column) for g in p.steps.groups] == [("g0", "date"), ("g1", "seller")]
    assert [(a.name, a.sql, str(a.type)) for a in p.steps.additives] == [("a0", '"amount"', "decimal(38,2)")]
    (name,) = p.steps.extremes
    assert (name.kind, name.sql, [sql for sql, _ in name.order]) == ("arg_max", '"city"', ['"sold_at"', '"sale_id"'])
    assert {c.name: c.lineage for c in p.columns}["rank"] == ("sold_at", "amount")


def test_sums_share_their_state() -> None:
    aggregates = "sum(amount) AS s, avg(amount) AS a, stddev(amount) AS d, count(*) AS n, count(amount) AS m"
    sums = support.planned(f"SELECT city, {aggregates} FROM sales GROUP BY 1").steps.additives
    assert [a.sql for a in sums] == ['"amount"', '(CAST("amount" AS DECIMAL(19,2)) * "amount")']


def test_lists_are_kept_by_primary_key() -> None:
    p = support.planned("SELECT sale_id AS id, upper(city) AS town FROM sales WHERE amount > 1")
    assert p.steps.is_list
    assert p.key == ("id",)
    assert [(g.sql, g.column) for g in p.steps.groups] == [('"sale_id"', "id")]
    assert [k.sql for k in p.steps.kept] == ['upper("city")']
    assert p.steps.where == '("amount" > CAST(1 AS DECIMAL(12,2)))'


@pytest.mark.parametrize(
    ("over", "unit"),
    [
        ("PARTITION BY city ORDER BY count(*)", ("g0",)),
        ("PARTITION BY city, seller ORDER BY count(*)", ("g0", "g1")),
        ("PARTITION BY count(*), seller ORDER BY city", ("g1",)),
        ("PARTITION BY upper(city) ORDER BY count(*)", ()),
        ("ORDER BY count(*)", ()),
    ],
)
def test_the_unit_is_what_all_windows_partition_by(over: str, unit: tuple[str, ...]) -> None:
    p = support.planned(f"SELECT city, seller, rank() OVER ({over}) AS r FROM sales GROUP BY 1, 2")
    assert p.steps.unit == unit


def test_the_unit_of_two_windows_is_what_both_partition_by() -> None:
    sql = (
        "SELECT city, seller, rank() OVER (PARTITION BY city ORDER BY count(*)) AS a, "
        "sum(count(*)) OVER (PARTITION BY city, seller) AS b FROM sales GROUP BY 1, 2"
    )
    assert support.planned(sql).steps.unit == ("g0",)


FILTERED = "FROM sales WHERE amount > 1 AND pieces < 9"
SAME = [
    f"SELECT city, sum(amount) AS t, count(*) AS n {FILTERED} GROUP BY city HAVING t > 5",
    "select S.CITY as city, -- a comment\n SUM(s.amount) t, COUNT(*) AS n\nfrom sales s "
    "where s.pieces < 9 and s.amount > 1 group by 1 having sum(amount) > 5",
    f"SELECT * FROM (SELECT city, sum(amount) AS t, count(*) AS n {FILTERED} GROUP BY city) WHERE t > 5",
    f"WITH f AS (SELECT * {FILTERED}) SELECT city, sum(amount) AS t, count(amount) AS n "
    "FROM f GROUP BY ALL HAVING t > 5",
]


def test_equal_meanings_have_equal_fingerprints() -> None:
    assert len({support.planned(sql).fingerprint for sql in SAME}) == 1


def test_group_by_order_does_not_matter_and_column_order_does() -> None:
    one = support.planned("SELECT city, seller, count(*) AS n FROM sales GROUP BY city, seller")
    two = support.planned("SELECT city, seller, count(*) AS n FROM sales GROUP BY seller, city")
    three = support.planned("SELECT seller, city, count(*) AS n FROM sales GROUP BY seller, city")
    assert one.fingerprint == two.fingerprint
    assert one.key == two.key == ("city", "seller")
    assert one.fingerprint != three.fingerprint


def test_the_fingerprint_tells_meanings_apart() -> None:
    base = "SELECT CAST(sold_at AS DATE) AS d, count(*) AS n FROM sales GROUP BY d"
    prints = [
        support.planned(base).fingerprint,
        support.planned(base, timezone="Europe/Berlin").fingerprint,
        plan(support.pipeline(base, late="set_aside"), support.STREAMS).fingerprint,
        support.planned(base.replace(" AS n", " AS m")).fingerprint,
        support.planned(base.replace("count(*)", "count(pieces)")).fingerprint,
        support.planned(base.replace("FROM sales", "FROM events")).fingerprint,
        support.planned(base.replace("GROUP", "WHERE city = 'Bern' GROUP")).fingerprint,
    ]
    assert len(set(prints)) == len(prints)


def test_explain_tells_everything() -> None:
    p = support.planned(SALESMEN)
    shown = explain.explain(p)
    assert json.loads(json.dumps(shown)) == shown
    assert shown["typed_select"] == p.typed_select
    assert shown["unit"] == "all rows that share date"
    assert shown["subtracts"] == {
        "n": "inverts: one is subtracted",
        "a0": "inverts: the row's value is subtracted",
        "e0": "recomputes the group from the rows that count",
    }
    text = explain.text(p)
    for part in (
        "Typed SELECT",
        "Partial",
        "Merge",
        "Recompute",
        "Finish",
        "Window",
        "Columns",
        "total_sales: decimal(15,2)",
    ):
        assert part in text


def test_notes_for_validate() -> None:
    with_window = plan(support.pipeline(SALESMEN, late="set_aside"), support.STREAMS)
    assert explain.notes(with_window)[0].startswith("p: windows of date (CAST(")
    assert explain.notes(with_window)[0].endswith("a late row is set aside and counted")
    assert explain.notes(support.planned("SELECT count(*) AS n FROM sales")) == [f"p: {explain.NO_WINDOW}"]


def test_explain_says_when_nothing_is_ever_late() -> None:
    p = support.planned("SELECT city, count(DISTINCT seller) AS n FROM sales GROUP BY city")
    assert explain.NO_WINDOW in explain.text(p)
    assert explain.explain(p)["recompute"] == "never: everything kept can be subtracted"


def test_text_literals_may_hold_anything() -> None:
    sql = "SELECT sale_id, 'it''s\na line; -- and \"more\"' AS t FROM sales"
    p = support.planned(sql)
    with support.connection() as con:
        support.create(con, support.SALES)
        con.execute("INSERT INTO sales (sale_id) VALUES ('a')")
        assert support.run_whole(con, p) == [("a", 'it\'s\na line; -- and "more"')]
