"""Macros that every DuckDB connection running planned SQL needs first. Exact arithmetic on whole numbers.

An exact quotient is computed on unscaled integers, rounded once. Three ways, by size, since 128-bit division is what
costs: 64 bits (chosen in `render.py`, thirty times faster), one division in 128 bits (|n| * 10**shift up to `m`), and
long division in two steps of the powers p1 * p2 = 10**shift, where only the quotient itself must fit. Every overflow
on the way is DuckDB's error, never a wrong number.
"""

from __future__ import annotations

LIMIT = 3 * 10**37
"""Up to here twice a number plus another still fits 128 bits."""

_SIGN = "CASE WHEN (n < 0) = (d < 0) THEN 1 ELSE -1 END"
_REMAINDER = "(((n % d) * p1) % d)"
_CUT = f"((n // d) * p1 + ((n % d) * p1) // d) * p2 + (({_REMAINDER} * p2) // d)"
_REST = f"(({_REMAINDER} * p2) % d)"
_CHECKED = "WHEN n IS NULL OR d IS NULL THEN NULL"
"""Division by zero is DuckDB's own error: error() would make the macro volatile, and windows refuse to order by it."""


def _macro(head: str, body: str) -> str:
    return f"CREATE OR REPLACE TEMP MACRO {head} AS {body}"


def _long(name: str, adjust: str) -> str:
    return _macro(f"{name}(n, d, p1, p2)", f"CASE {_CHECKED} ELSE {_CUT} + {adjust} END")


MACROS: tuple[str, ...] = (
    _macro("penstock_round(n, d)", f"CASE {_CHECKED} ELSE ({_SIGN}) * ((abs(n) * 2 + abs(d)) // (abs(d) * 2)) END"),
    _macro(
        "penstock_div_round(n, d, p1, p2, m)",
        f"CASE {_CHECKED} WHEN n BETWEEN -m AND m AND d BETWEEN -CAST({LIMIT} AS HUGEINT) AND CAST({LIMIT} AS HUGEINT) "
        f"THEN ({_SIGN}) * ((abs(n) * p1 * p2 * 2 + abs(d)) // (abs(d) * 2)) "
        f"ELSE {_CUT} + CASE WHEN abs({_REST}) >= abs(d) - abs({_REST}) THEN {_SIGN} ELSE 0 END END",
    ),
    _long("penstock_div_floor", f"CASE WHEN {_REST} <> 0 AND (n < 0) <> (d < 0) THEN -1 ELSE 0 END"),
    _long("penstock_div_ceil", f"CASE WHEN {_REST} <> 0 AND (n < 0) = (d < 0) THEN 1 ELSE 0 END"),
    _long("penstock_div_trunc", "0"),
    # The sum of squared distances from the mean, from exact sums: sxx - sx * sx / n without cancellation.
    _macro(
        "penstock_squares(sx, sxx, n)",
        "CASE WHEN n = 0 THEN NULL ELSE "
        "CAST(sxx - (sx // n) * (sx + sx % n) - ((sx % n) * (sx % n)) // n AS DOUBLE) "
        "- CAST(((sx % n) * (sx % n)) % n AS DOUBLE) / n END",
    ),
)
"""CREATE MACRO statements (temporary: they belong to the connection, not to a database file)."""
