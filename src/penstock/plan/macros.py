"""Macros that every DuckDB connection running planned SQL needs first. Exact arithmetic on 128-bit integers.

An exact quotient is computed on unscaled integers: `n` and `d` as HUGEINT, and a power of ten in two factors p1 * p2
so that the remainder times a factor stays far below 2**127. Every overflow on the way is DuckDB's error.
"""

from __future__ import annotations

_FRACTION = "((n % d) * p1) % d"
_WHOLE = f"((n // d) * p1 + ((n % d) * p1) // d) * p2 + ((({_FRACTION}) * p2) // d)"
_REST = f"((({_FRACTION}) * p2) % d)"
_SIGN = "CASE WHEN (n < 0) = (d < 0) THEN 1 ELSE -1 END"


def _quotient(name: str, adjust: str) -> str:
    return (
        f"CREATE OR REPLACE TEMP MACRO {name}(n, d, p1, p2) AS "
        f"CASE WHEN n IS NULL OR d IS NULL THEN NULL WHEN d = 0 THEN error('division by zero') "
        f"ELSE {_WHOLE} + {adjust} END"
    )


MACROS: tuple[str, ...] = (
    _quotient("penstock_div_round", f"CASE WHEN abs({_REST}) >= abs(d) - abs({_REST}) THEN {_SIGN} ELSE 0 END"),
    _quotient("penstock_div_floor", f"CASE WHEN {_REST} <> 0 AND (n < 0) <> (d < 0) THEN -1 ELSE 0 END"),
    _quotient("penstock_div_ceil", f"CASE WHEN {_REST} <> 0 AND (n < 0) = (d < 0) THEN 1 ELSE 0 END"),
    _quotient("penstock_div_trunc", "0"),
    # The sum of squared distances from the mean, from exact sums: sxx - sx * sx / n without cancellation.
    "CREATE OR REPLACE TEMP MACRO penstock_squares(sx, sxx, n) AS "
    "CASE WHEN n = 0 THEN NULL ELSE "
    "CAST(sxx - (sx // n) * (sx + sx % n) - ((sx % n) * (sx % n)) // n AS DOUBLE) "
    "- CAST(((sx % n) * (sx % n)) % n AS DOUBLE) / n END",
)
"""CREATE MACRO statements (temporary: they belong to the connection, not to a database file)."""
