"""Everything the planner refuses: each with its code, its place in the file, what was found and what to do."""

from __future__ import annotations

import pytest

from penstock.errors import PenstockError, PenstockErrors
from penstock.plan.planner import plan
from penstock.project.model import Column, Stream
from penstock.sqltypes import TEXT
from tests.plan import support


def refused(sql: str, **options: object) -> tuple[PenstockError, ...]:
    with pytest.raises(PenstockErrors) as caught:
        plan(support.pipeline(sql, **options), support.STREAMS)  # type: ignore[arg-type]  # spread of test options
    return caught.value.errors


# fmt: off
CASES = [
    ("SELECT city, FROM", "PEN501", "1:14", "Expected table name at 'FROM'"),
    ("SELECT city FROM sales WHERE", "PEN501", "1:24", "something is missing after 'WHERE'"),
    ("SELECT 'open FROM sales", "PEN501", "", "quote"),
    ("", "PEN501", "1:1", "there is no SELECT"),
    ("SELECT 1 AS a FROM sales; SELECT 2 AS b FROM sales", "PEN501", "1:34", "2 statements"),
    ("DELETE FROM sales", "PEN504", "1:13", "a pipeline is one SELECT, not DELETE"),
    ("SELECT city FROM sale GROUP BY city", "PEN502", "1:18", "did you mean 'sales'?"),
    ("SELECT city FROM other.sales GROUP BY city", "PEN502", "1:18", "there is no stream 'other.sales'"),
    ("SELECT cty FROM sales GROUP BY 1", "PEN503", "1:8", "did you mean 'city'?"),
    ("SELECT x.city FROM sales s GROUP BY 1", "PEN503", "1:8", "there is no table 'x' in FROM"),
    ("SELECT _watermark FROM sales GROUP BY 1", "PEN503", "1:8", "Penstock's stamps"),
    ("SELECT a + 1 AS a FROM sales GROUP BY 1", "PEN503", "1:8", "'a' is defined by itself"),
    ("SELECT s.city FROM sales s JOIN events e ON s.city = e.city", "PEN504", "1:33",
     "JOIN needs rows of more than one"),
    ("SELECT s.city FROM sales s, events e GROUP BY 1", "PEN504", "1:29", "JOIN"),
    ("SELECT city FROM sales UNION SELECT city FROM events", "PEN504", "1:8", "UNION needs more than one SELECT"),
    ("SELECT city FROM sales GROUP BY city ORDER BY city", "PEN504", "1:47", "order in the endpoint"),
    ("SELECT city FROM sales GROUP BY city LIMIT 3", "PEN504", "1:44", "QUALIFY row_number()"),
    ("SELECT city FROM sales GROUP BY city LIMIT 3 OFFSET 2", "PEN504", "1:53", "OFFSET"),
    ("SELECT city FROM sales USING SAMPLE 10 ROWS", "PEN504", "", "by chance"),
    ("SELECT DISTINCT ON (city) city, amount FROM sales", "PEN504", "1:21", "DISTINCT ON picks rows"),
    ("SELECT city, count(*) AS n FROM sales GROUP BY ROLLUP (city)", "PEN504", "1:56",
     "ROLLUP groups the rows several"),
    ("SELECT city, count(*) AS n FROM sales GROUP BY CUBE (city)", "PEN504", "1:54", "CUBE"),
    ("SELECT city, count(*) AS n FROM sales GROUP BY GROUPING SETS ((city), ())", "PEN504", "", "GROUPING"),
    ("SELECT * FROM sales", "PEN504", "1:8", "SELECT * would change the result table"),
    ("SELECT * EXCLUDE (city) FROM sales", "PEN504", "1:8", "EXCLUDE"),
    ("SELECT COLUMNS('c.*') FROM sales", "PEN504", "1:8", "COLUMNS"),
    ("SELECT (SELECT max(amount) FROM sales) AS m FROM sales", "PEN504", "", "a subquery inside an expression"),
    ("SELECT sale_id FROM sales WHERE city IN (SELECT city FROM events)", "PEN504", "", "IN (SELECT ...)"),
    ("SELECT sale_id FROM sales WHERE EXISTS (SELECT 1 FROM events)", "PEN504", "", "a subquery inside an expression"),
    ("WITH RECURSIVE r AS (SELECT city FROM sales) SELECT city FROM r GROUP BY 1", "PEN504", "", "RECURSIVE"),
    ("SELECT n, count(*) AS m FROM (SELECT city, count(*) AS n FROM sales GROUP BY city) GROUP BY n", "PEN504", "",
     "one level can be kept"),
    ("SELECT city, r, rank() OVER (ORDER BY r) AS q FROM (SELECT city, rank() OVER (ORDER BY count(*)) AS r FROM sales "
     "GROUP BY city) WHERE r < 3", "PEN511", "", "rank() over what is a window function already"),
    ("SELECT city, r, rank() OVER (ORDER BY city) AS q FROM (SELECT city, rank() OVER (ORDER BY count(*)) AS r "
     "FROM sales "
     "GROUP BY city) WHERE r < 3", "PEN504", "", "window functions over rows that window functions have filtered"),
    ("SELECT s.a FROM sales AS s(a) GROUP BY 1", "PEN504", "", "column names in an alias"),
    ("SELECT city, sum(amount) OVER (ORDER BY city ROWS 2 PRECEDING) AS m FROM sales", "PEN504", "1:14",
     "a window frame"),
    ("SELECT city, rank() OVER w AS r FROM sales GROUP BY 1", "PEN504", "1:14", "there is no WINDOW w"),
    ("SELECT city, rank() AS r FROM sales GROUP BY 1", "PEN504", "1:14", "needs a window"),
    ("SELECT city, rank() OVER () AS r FROM sales GROUP BY 1", "PEN504", "1:14", "needs ORDER BY in its window"),
    ("SELECT city, sum(DISTINCT amount) AS r FROM sales GROUP BY 1", "PEN504", "1:14", "sum(DISTINCT x)"),
    ("SELECT city, [1, 2] AS r FROM sales GROUP BY 1", "PEN504", "1:15", "a list is not supported"),
    ("SELECT city LIKE ANY ('a', 'b') AS r FROM sales GROUP BY 1", "PEN504", "", "not supported"),
    ("SELECT sale_id FROM sales WHERE pieces BETWEEN SYMMETRIC 3 AND 1", "PEN504", "1:33",
     "SYMMETRIC is not supported"),
    ("SELECT sale_id FROM sales WHERE sold_at > DATE '2026-01-01' + INTERVAL (pieces) DAY", "PEN504", "1:73",
     "INTERVAL must be a literal"),
    ("SELECT city, CAST(sum(amount) AS INTEGER) FILTER (WHERE pieces > 1) AS r FROM sales GROUP BY 1", "PEN504", "",
     "FILTER goes with an aggregate"),
    ("SELECT strftime(sold_at, city) AS r, sale_id FROM sales", "PEN504", "1:8", "must be a constant"),
    ("SELECT sale_id, round(amount, pieces) AS r FROM sales", "PEN504", "1:17", "must be a constant"),
    ("SELECT city, first(seller) AS f FROM sales GROUP BY 1", "PEN505", "1:14", "first(x ORDER BY at, id)"),
    ("SELECT city, median(amount) AS m FROM sales GROUP BY 1", "PEN505", "1:14", "median() cannot be kept"),
    ("SELECT city, quantile_cont(amount, 0.5) AS m FROM sales GROUP BY 1", "PEN505", "1:14",
     "quantiles cannot be kept"),
    ("SELECT city, string_agg(seller, ',') AS m FROM sales GROUP BY 1", "PEN505", "1:14", "a list pipeline"),
    ("SELECT city, list(seller) AS m FROM sales GROUP BY 1", "PEN505", "1:14", "a list pipeline"),
    ("SELECT city, any_value(seller) AS m FROM sales GROUP BY 1", "PEN505", "", "which value is by chance"),
    ("SELECT city, approx_count_distinct(seller) AS m FROM sales GROUP BY 1", "PEN505", "1:14", "count(DISTINCT x)"),
    ("SELECT city, mode(seller) AS m FROM sales GROUP BY 1", "PEN505", "1:14", "the commonest value"),
    ("SELECT city, arg_max(seller, amount, 3) AS m FROM sales GROUP BY 1", "PEN505", "1:14", "lists are no values"),
    ("SELECT lowr(city) AS c FROM sales GROUP BY 1", "PEN505", "1:8", "did you mean 'lower'?"),
    ("SELECT hash(city) AS c FROM sales GROUP BY 1", "PEN505", "1:8", "compute it at intake"),
    ("SELECT city, now() AS c FROM sales GROUP BY 1", "PEN506", "1:14", "another value at another time"),
    ("SELECT sale_id FROM sales WHERE sold_at > current_timestamp", "PEN506", "", "current_timestamp()"),
    ("SELECT sale_id, random() AS r FROM sales", "PEN506", "1:17", "random()"),
    ("SELECT city + 1 AS c FROM sales GROUP BY 1", "PEN507", "1:8", "text + integer is not defined"),
    ("SELECT sale_id FROM sales WHERE city = 1", "PEN507", "1:33", "integer and text do not go together"),
    ("SELECT sale_id FROM sales WHERE city", "PEN507", "1:33", "a condition is needed here, not text"),
    ("SELECT sale_id FROM sales WHERE amount = 'ten'", "PEN507", "", "'ten' is no decimal(12,2)"),
    ("SELECT sale_id FROM sales WHERE sold_at > 'tomorrow'", "PEN507", "1:43", "'tomorrow' is no timestamp"),
    ("SELECT CAST(sold_at AS VARCHAR) AS t FROM sales GROUP BY 1", "PEN507", "1:13", "depends on how it is shown"),
    ("SELECT CAST(city AS TIMESTAMPTZ) AS t FROM sales GROUP BY 1", "PEN507", "",
     "text becomes an instant only through"),
    ("SELECT CAST(city AS STRUCT(a INTEGER)) AS t FROM sales GROUP BY 1", "PEN507", "", "no column can have the type"),
    ("SELECT CAST(amount AS DECIMAL(10,pieces)) AS t FROM sales GROUP BY 1", "PEN507", "", "must be whole numbers"),
    ("SELECT CAST(amount AS DATE) AS t FROM sales GROUP BY 1", "PEN507", "", "decimal(12,2) cannot be cast to date"),
    ("SELECT sale_id FROM sales WHERE returned = 'perhaps'", "PEN507", "", "'perhaps' is no boolean"),
    ("SELECT CAST(amount AS DECIMAL(40,2)) AS t FROM sales GROUP BY 1", "PEN507", "", "precision must be 1 to 38"),
    ("SELECT upper(amount) AS t FROM sales GROUP BY 1", "PEN507", "", "upper()"),
    ("SELECT sold_at - wall_time AS t FROM sales GROUP BY 1", "PEN507", "", "an interval cannot be a column"),
    ("SELECT (city, seller) AS t FROM sales GROUP BY 1", "PEN507", "", "a tuple cannot be a column"),
    ("SELECT date_trunc('fortnight', sold_at) AS t FROM sales GROUP BY 1", "PEN507", "1:32", "'fortnight'"),
    ("SELECT CASE WHEN amount > 1 THEN 'a' ELSE 2 END AS t, city FROM sales GROUP BY 1, 2", "PEN507", "",
     "'a' is no integer"),
    ("SELECT city, sum(weight) AS w FROM sales GROUP BY 1", "PEN508", "1:14", "sum(CAST(weight AS DECIMAL(18,2)))"),
    ("SELECT city, avg(weight) AS w FROM sales GROUP BY 1", "PEN508", "1:14", "avg() over DOUBLE"),
    ("SELECT city, stddev(weight) AS w FROM sales GROUP BY 1", "PEN508", "1:14", "stddev_samp() over DOUBLE"),
    ("SELECT city, sum(max(weight)) OVER () AS w FROM sales GROUP BY 1", "PEN508", "1:14", "over DOUBLE"),
    ("SELECT city, arg_max(seller, sold_at) AS s FROM sales GROUP BY 1", "PEN509", "1:14", "(sold_at, sale_id)"),
    ("SELECT city, arg_max(seller, sold_at) AS s FROM events GROUP BY 1", "PEN509", "1:14", "(sold_at, seller)"),
    ("SELECT city, row_number() OVER (ORDER BY count(*)) AS r FROM sales GROUP BY 1", "PEN509", "1:14",
     "add city to its"),
    ("SELECT sale_id, lag(amount) OVER (ORDER BY sold_at) AS r FROM sales", "PEN509", "1:17", "add sale_id"),
    ("SELECT count(*) AS n FROM sales GROUP BY city", "PEN510", "1:42", "is not selected as it is"),
    ("SELECT upper(city) AS city, count(*) AS n FROM sales GROUP BY city", "PEN510", "1:63", "GROUP BY its number"),
    ("SELECT city FROM sales", "PEN510", "1:8", "'sale_id' is not selected"),
    ("SELECT city FROM events", "PEN510", "1:8", "its contract has none"),
    ("SELECT city, amount FROM sales GROUP BY city", "PEN511", "1:14", "'amount' is neither grouped by nor aggregated"),
    ("SELECT city, count(*) AS n FROM sales WHERE count(*) > 1 GROUP BY 1", "PEN511", "1:45", "HAVING"),
    ("SELECT city, count(*) AS n FROM sales GROUP BY 1 HAVING rank() OVER (ORDER BY city) = 1", "PEN511", "",
     "QUALIFY"),
    ("SELECT city FROM (SELECT city, count(*) AS n FROM sales GROUP BY city) WHERE rank() OVER (ORDER BY n) = 1",
     "PEN511", "", "a window function cannot stand in WHERE"),
    ("SELECT city, sum(max(amount)) AS n FROM sales GROUP BY 1", "PEN511", "1:14",
     "sum() over what is aggregated already"),
    ("SELECT city, count(*) AS n FROM sales GROUP BY 7", "PEN511", "", "the SELECT has 2 columns"),
    ("SELECT city, sum(amount) FROM sales GROUP BY 1", "PEN512", "1:14", "has no name"),
    ("SELECT city, count(*) AS City FROM sales GROUP BY 1", "PEN512", "1:14", "two result columns are called"),
    ("SELECT city AS xmin FROM sales GROUP BY 1", "PEN512", "1:8", "cannot be a column of a result table"),
    ("SELECT city AS _c FROM sales GROUP BY 1", "PEN512", "1:8", "names begin with no underscore"),
    ("SELECT city, NULL AS nothing FROM sales GROUP BY 1", "PEN512", "", "always NULL"),
    ("SELECT sale_id, CAST(discount AS DECIMAL(38,20)) * CAST(discount AS DECIMAL(38,20)) AS d "
     "FROM sales", "PEN515", "",
     "needs 40 decimals"),
    ("SELECT regexp_matches(city, '(') AS r, sale_id FROM sales", "PEN507", "1:8", "missing ): ("),
    ("SELECT sold_at AT TIME ZONE 'Europe/Berln' AS t FROM sales GROUP BY 1", "PEN517", "",
     "did you mean 'Europe/Berlin'?"),
]
# fmt: on


@pytest.mark.parametrize(("sql", "code", "at", "text"), CASES, ids=[f"{c[1]}-{c[0][:60]}" for c in CASES])
def test_refused(sql: str, code: str, at: str, text: str) -> None:
    errors = refused(sql)
    matching = [e for e in errors if e.code == code and text in str(e)]
    assert matching, [str(e) for e in errors]
    assert matching[0].hint
    place = matching[0].place
    assert place is not None
    assert place.file == support.FILE
    if at:
        assert f"{place.line}:{place.column}" == at


def test_all_reasons_are_told_at_once_in_the_order_of_the_file() -> None:
    sql = "SELECT cty, median(amount) AS m,\n  now() AS t\nFROM sales\nGROUP BY cty\nLIMIT 3"
    errors = refused(sql, line=5)
    assert [(e.code, e.place.line if e.place else 0) for e in errors] == [
        ("PEN503", 5), ("PEN505", 5), ("PEN506", 6), ("PEN503", 8), ("PEN504", 9),
    ]  # fmt: skip


def test_an_index_on_a_column_that_is_not_there() -> None:
    errors = refused("SELECT city FROM sales GROUP BY city", indexes=((("cty", False),),))
    assert [e.code for e in errors] == ["PEN514"]
    assert "did you mean 'city'?" in str(errors[0])


def test_an_unknown_timezone() -> None:
    errors = refused("SELECT city FROM sales GROUP BY city", timezone="Europe/Berln")
    assert [e.code for e in errors] == ["PEN517"]
    assert "did you mean 'Europe/Berlin'?" in str(errors[0])


def test_text_that_is_nested_beyond_reading_is_refused() -> None:
    errors = refused(f"SELECT {'(' * 3000}1{')' * 3000} AS x FROM sales")
    assert errors[0].code == "PEN501"


def test_a_contract_whose_names_differ_by_case_alone() -> None:
    twice = Stream("twice", (Column("city", TEXT), Column("a", TEXT), Column("A", TEXT)))
    with pytest.raises(PenstockErrors, match="PEN516") as caught:
        plan(support.pipeline("SELECT city, count(*) AS n FROM twice GROUP BY city"), {"twice": twice})
    assert "rename the column" in caught.value.errors[0].hint
