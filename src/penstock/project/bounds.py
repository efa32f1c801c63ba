"""A contract's bounds, moved onto the values that a column's type can have.

`maximum: 0.005` on a decimal(12,2) is 0.00: cast as it stands it would round to 0.01 and let 0.01 through. Bounds
beyond the type's range restrict nothing, or leave nothing; bounds that leave no value are errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, InvalidOperation

from penstock.project.columntypes import RANGES
from penstock.sqltypes import SqlType

_WIDE = Context(prec=400)
_LEAST = ("minimum", "exclusive_minimum")


def number(text: str) -> Decimal:
    """Returns a finite number as written in YAML or JSON. Raises ValueError."""
    try:
        value = Decimal(int(text, 0)) if re.match(r"0[xo]", text) else Decimal(text)
    except (InvalidOperation, ValueError) as e:
        msg = "is not a number"
        raise ValueError(msg) from e
    if not value.is_finite() or abs(value.adjusted()) > 300:
        msg = "is not a number that a column can hold"
        raise ValueError(msg)
    return value


def bound(kind: str, text: str, type_: SqlType) -> str | None:
    """Returns the bound as a text that casts to the type exactly, None when it restricts nothing.

    `kind` is minimum, exclusive_minimum, maximum or exclusive_maximum. Raises ValueError with a sentence when it is
    not of the type or no value can keep to it.
    """
    if type_.is_exact_number:
        return _exact(kind, number(text), type_)
    if type_.kind == "double":
        return format(number(text), "f")
    if type_.kind in _TIMES:
        return _TIMES[type_.kind](text)
    msg = f"is a bound on {type_}, which has none"
    raise ValueError(msg)


def _exact(kind: str, value: Decimal, type_: SqlType) -> str | None:
    # a value above 0.005 is one above 0.00, and one of at least 0.005 is one of at least 0.01
    rounding = ROUND_CEILING if kind in ("minimum", "exclusive_maximum") else ROUND_FLOOR
    scaled = value.quantize(Decimal(1).scaleb(-type_.scale), rounding=rounding, context=_WIDE)
    low, high = limits(type_)
    if kind in _LEAST:
        if scaled > high or (scaled == high and kind != "minimum"):
            msg = f"leaves no value of {type_}"
            raise ValueError(msg)
        return format(scaled, "f") if scaled >= low else None
    if scaled < low or (scaled == low and kind != "maximum"):
        msg = f"leaves no value of {type_}"
        raise ValueError(msg)
    return format(scaled, "f") if scaled <= high else None


def limits(type_: SqlType) -> tuple[Decimal, Decimal]:
    """Returns the least and greatest value of an exact number's type."""
    if type_.kind == "decimal":
        high = (Decimal(10) ** type_.precision - 1).scaleb(-type_.scale, context=_WIDE)
        return -high, high
    low, most = RANGES[type_.kind]
    return Decimal(low), Decimal(most)


def _date(text: str) -> str:
    return _iso(text, lambda t: date.fromisoformat(t).isoformat(), "a date like 2026-01-31")


def _time(text: str) -> str:
    return _iso(text, lambda t: time.fromisoformat(t).isoformat(), "a time like 23:59:59")


def _timestamp(text: str) -> str:
    return _iso(text, lambda t: datetime.fromisoformat(t).isoformat(sep=" "), "a time like 2026-01-31T23:59:59Z")


def _iso(text: str, read: Callable[[str], str], example: str) -> str:
    try:
        return read(text.strip())
    except ValueError as e:
        msg = f"is not {example}"
        raise ValueError(msg) from e


_TIMES: dict[str, Callable[[str], str]] = {"date": _date, "time": _time, "timestamp": _timestamp}


def leaves_nothing(low: str | None, high: str | None, exclusive: bool, type_: SqlType) -> bool:
    """Whether no value lies between two bounds (texts as `bound` gives them)."""
    if low is None or high is None:
        return False
    if type_.is_exact_number or type_.kind == "double":
        least, most = Decimal(low), Decimal(high)
        return least > most or (exclusive and least == most)
    if type_.kind == "date" or type_.kind == "time":
        return low > high or (exclusive and low == high)
    first, last = datetime.fromisoformat(low), datetime.fromisoformat(high)
    if (first.tzinfo is None) != (last.tzinfo is None):
        return False
    return first > last or (exclusive and first == last)
