"""Exact numbers against Python's Decimal: division, rounding, averages, casts; overflow is an error."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, localcontext
from fractions import Fraction

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.plan.macros import LIMIT
from penstock.plan.model import Plan
from tests.plan import support

MODES = {"round": ROUND_HALF_UP, "floor": ROUND_FLOOR, "ceil": ROUND_CEILING, "trunc": ROUND_DOWN}
PRECISE = Context(prec=200)
CENTS = st.integers(-(10**12) + 1, 10**12 - 1).map(lambda n: Decimal(n).scaleb(-2, PRECISE))
WHOLE = st.integers(-(2**31) + 1, 2**31 - 1)

ROW = """
SELECT sale_id, CAST(amount / pieces AS DECIMAL(38,2)) AS cents, amount / pieces AS sixteen,
       round(amount / pieces, 5) AS five, ceil(amount / pieces) AS up, floor(amount / pieces) AS down,
       trunc(amount / pieces) AS cut,
       CAST(amount / pieces AS BIGINT) AS whole, CAST(amount AS DECIMAL(12,1)) AS dime, round(amount, -2) AS hundreds,
       amount / pieces * 3 AS thrice, amount / pieces + 1 AS plus, amount * pieces AS product,
       CAST(coalesce(amount / pieces, 0) AS DECIMAL(38,2)) AS through, amount / (amount / pieces) AS back
FROM sales
"""


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with support.connection() as connection:
        support.create(connection, support.SALES)
        yield connection


@pytest.fixture(scope="module")
def rows() -> Plan:
    return support.planned(ROW)


def put(con: duckdb.DuckDBPyConnection, amounts: list[Decimal], pieces: list[int]) -> None:
    con.execute("DELETE FROM sales")
    values = [(str(i), a, p) for i, (a, p) in enumerate(zip(amounts, pieces, strict=True))]
    con.executemany(
        "INSERT INTO sales (sale_id, sold_at, amount, pieces) VALUES (?, '2026-01-01 00:00:00+00', ?, ?)", values
    )


def rounded(value: Fraction, scale: int, mode: str = ROUND_HALF_UP) -> Decimal:
    """The fraction at a scale; ROUND_HALF_UP of decimal is half away from zero."""
    with localcontext(PRECISE):
        scaled = value * Fraction(10) ** scale
        whole, rest = divmod(abs(scaled.numerator), scaled.denominator)
        beyond = (2 * rest > scaled.denominator) - (2 * rest < scaled.denominator)
        half = Decimal(5 + 4 * beyond).scaleb(-1)  # 0.1, 0.5 or 0.9 stand for less than half, half, more than half
        exact = Decimal(whole) + (half if rest else 0)
        signed = exact if scaled >= 0 else -exact
        return signed.quantize(Decimal(1), rounding=mode).scaleb(-scale)


@settings(max_examples=80, deadline=None)
@given(amount=CENTS, pieces=WHOLE.filter(bool))
def test_quotients_are_exact_and_rounded_half_away_from_zero(
    con: duckdb.DuckDBPyConnection, rows: Plan, amount: Decimal, pieces: int
) -> None:
    amount = amount.quantize(Decimal("0.01")) if abs(amount) < 10**10 else Decimal(1)
    put(con, [amount], [pieces])
    got = dict(zip((c.name for c in rows.columns), support.run_whole(con, rows)[0], strict=True))
    q = Fraction(amount) / pieces
    assert got["cents"] == got["through"] == rounded(q, 2)
    assert got["sixteen"] == rounded(q, 16)
    assert got["five"] == rounded(q, 5)
    assert got["up"] == rounded(q, 0, ROUND_CEILING)
    assert got["down"] == rounded(q, 0, ROUND_FLOOR)
    assert got["cut"] == rounded(q, 0, ROUND_DOWN)
    assert got["whole"] == rounded(q, 0)
    assert got["dime"] == rounded(Fraction(amount), 1)
    assert got["hundreds"] == rounded(Fraction(amount), -2)
    assert got["thrice"] == rounded(q * 3, 16)
    assert got["plus"] == rounded(q + 1, 16)
    assert got["product"] == amount * pieces
    assert got["back"] == pieces if amount else True


@settings(max_examples=50, deadline=None)
@given(amounts=st.lists(CENTS, min_size=1, max_size=30))
def test_averages_and_shares_are_exact(con: duckdb.DuckDBPyConnection, amounts: list[Decimal]) -> None:
    amounts = [a for a in amounts if abs(a) < 10**10] or [Decimal("0.01")]
    put(con, amounts, [1] * len(amounts))
    p = support.planned("SELECT sum(amount) AS s, avg(amount) AS a, CAST(avg(amount) AS DECIMAL(15,2)) AS c FROM sales")
    total = sum((Fraction(a) for a in amounts), Fraction())
    expected = (rounded(total, 2), rounded(total / len(amounts), 16), rounded(total / len(amounts), 2))
    assert support.run_whole(con, p) == support.run_steps(con, p) == [expected]


@settings(max_examples=40, deadline=None)
@given(amounts=st.lists(CENTS, min_size=2, max_size=20), shift=st.integers(0, 9 * 10**9))
def test_variance_does_not_cancel(con: duckdb.DuckDBPyConnection, amounts: list[Decimal], shift: int) -> None:
    """Values close together and far from zero: sums of squares as doubles would lose every digit."""
    amounts = [a % 10 + shift for a in amounts]
    put(con, amounts, [1] * len(amounts))
    p = support.planned("SELECT var_pop(amount) AS v FROM sales")
    mean = sum((Fraction(a) for a in amounts), Fraction()) / len(amounts)
    expected = float(sum(((Fraction(a) - mean) ** 2 for a in amounts), Fraction()) / len(amounts))
    assert support.run_whole(con, p)[0][0] == pytest.approx(expected, rel=1e-12, abs=1e-12)


BIG = st.integers(-(10**37), 10**37) | st.integers(-(10**19), 10**19) | st.integers(-1000, 1000)


@settings(max_examples=150, deadline=None)
@given(n=BIG, d=BIG.filter(bool), shift=st.integers(0, 20), mode=st.sampled_from(["round", "floor", "ceil", "trunc"]))
def test_the_macros_divide_at_every_size(con: duckdb.DuckDBPyConnection, n: int, d: int, shift: int, mode: str) -> None:
    """One division where it fits, long division elsewhere; what fits in neither is an error."""
    powers = f"{10 ** (shift // 2)}::HUGEINT, {10 ** (shift - shift // 2)}::HUGEINT"
    limit = f", {LIMIT // 10**shift}::HUGEINT" if mode == "round" else ""
    expected = rounded(Fraction(n * 10**shift, d), 0, MODES[mode])
    try:
        got = con.execute(f"SELECT penstock_div_{mode}(({n})::HUGEINT, ({d})::HUGEINT, {powers}{limit})").fetchone()
    except duckdb.OutOfRangeException:
        assert abs(expected) * 10 >= 2**127 or abs(d) * 10 ** (shift - shift // 2) >= 2**127
        return
    assert got == (int(expected),)


def test_a_known_average_that_doubles_get_wrong(con: duckdb.DuckDBPyConnection) -> None:
    put(con, [Decimal("1.00"), Decimal("1.01")], [1, 1])
    p = support.planned("SELECT CAST(avg(amount) AS DECIMAL(15,2)) AS a FROM sales")
    assert support.run_whole(con, p) == [(Decimal("1.01"),)]
    assert con.execute("SELECT CAST(avg(amount) AS DECIMAL(15,2)) FROM sales").fetchone() == (Decimal("1.00"),)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT CAST(sum(amount) AS DECIMAL(3,2)) AS x FROM sales", "Casting value"),
        ("SELECT amount / (pieces - 1) AS x, sale_id FROM sales", "[Dd]ivision by zero"),
        ("SELECT pieces // (pieces - 1) AS x, sale_id FROM sales", "[Dd]ivision by zero"),
        ("SELECT sum(big * 9000000000000000000) AS x FROM sales", "Overflow"),
        ("SELECT sum(big) * 10000000000 * 10000000000 AS x FROM sales", "Overflow|out of range"),
    ],
)
def test_what_does_not_fit_is_an_error(con: duckdb.DuckDBPyConnection, sql: str, message: str) -> None:
    put(con, [Decimal("12345.67")], [1])
    con.execute("UPDATE sales SET big = 9000000000000000000")
    p = support.planned(sql)
    with pytest.raises(duckdb.Error, match=message):
        support.run_whole(con, p)


def test_guarded_divisions_do_not_fail(con: duckdb.DuckDBPyConnection) -> None:
    put(con, [Decimal(1)], [0])
    sql = (
        "SELECT sale_id, amount / nullif(pieces, 0) AS a, CASE WHEN pieces = 0 THEN 0 ELSE amount / pieces END AS b "
        "FROM sales"
    )
    assert support.run_whole(con, support.planned(sql)) == [("0", None, Decimal(0))]
