"""The contract's rules on a single row, over columns that already have the contract's types.

A rule is a SQL condition that is true for a bad row, and mostly also a *proof*: a look at cheap facts of the whole
column (number of nulls, least and greatest value, lengths) that shows no row can be bad, so that the SQL need not
run. Numbers are handed out in the contract's order: the lowest number that a row breaks is its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.intake import exact
from penstock.intake.coerce import YEARS
from penstock.intake.errors import BadRule
from penstock.intake.expressions import literal, quote
from penstock.project.model import Column, Stream

PER_COLUMN = 64
"""Numbers of a column: its index times this, plus EXPRESSION, COERCION, then its rules."""
EXPRESSION, COERCION, FIRST_RULE = 1, 2, 3
AHEAD = "$AHEAD"
"""Stands in a rule's SQL for the latest event time that is let in."""

_ZONE = ZoneInfo("UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Facts:
    """What is cheap to know of a whole column."""

    def __init__(self, column: pa.ChunkedArray, ahead: datetime) -> None:
        self._column = column
        self.ahead = ahead

    @property
    def nulls(self) -> int:
        return int(self._column.null_count)

    @cached_property
    def _range(self) -> tuple[Any, Any]:
        column = self._column
        if pa.types.is_timestamp(column.type) or pa.types.is_time64(column.type):
            column = column.cast(pa.int64())
        elif pa.types.is_date32(column.type):
            column = column.cast(pa.int32())
        found = pc.min_max(column)
        return found["min"].as_py(), found["max"].as_py()

    def within(self, low: Any, high: Any) -> bool:
        """Whether all values are at least `low` and at most `high` (None: no bound). Times as `ticks`."""
        least, greatest = self._range
        return least is None or ((low is None or least >= low) and (high is None or greatest <= high))

    @cached_property
    def _bytes(self) -> tuple[int | None, int | None]:
        found = pc.min_max(pc.binary_length(self._column))
        return found["min"].as_py(), found["max"].as_py()

    def characters_within(self, low: int, high: int | None) -> bool:
        """Whether lengths are surely within: a character has one to four bytes."""
        least, greatest = self._bytes
        return least is None or greatest is None or (least > (low - 1) * 4 and (high is None or greatest <= high))

    @cached_property
    def no_zero_byte(self) -> bool:
        """Looks at the bytes as they lie there, those below nulls included."""
        return all(_no_zero_byte(chunk) for chunk in self._column.chunks)


def _no_zero_byte(chunk: pa.Array) -> bool:
    _, offsets, data = chunk.buffers()
    if data is None or not data.size or not len(chunk):
        return True
    places = np.frombuffer(offsets, np.int32)
    used = np.frombuffer(data, np.uint8)[places[chunk.offset] : places[chunk.offset + len(chunk)]]
    return not used.size or int(used.min()) != 0


@dataclass(frozen=True)
class Rule:
    """One rule of one column."""

    number: int
    word: str
    column: Column
    bad: str
    """SQL over the column's name: true when the row breaks the rule; false or NULL when not."""
    wants: str
    """What the contract wants, to follow the found value in a sentence."""
    proof: Callable[[Facts], bool] = lambda facts: False


def ticks(value: Any) -> Any:
    """Returns times as Arrow counts them (microseconds, days; of a time of day those since midnight)."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (aware - _EPOCH) // timedelta(microseconds=1)
    if isinstance(value, time):
        return (datetime.combine(_EPOCH.date(), value, UTC) - _EPOCH) // timedelta(microseconds=1)
    return (value - _EPOCH.date()).days if isinstance(value, date) else value


def rules(stream: Stream) -> tuple[Rule, ...]:
    """Returns the rules of `stream` in the contract's order. Raises BadRule."""
    needed = {*stream.primary_key, stream.event_time, stream.version}
    found = []
    for index, column in enumerate(stream.columns):
        made = list(_of_column(column, column.required or column.name in needed))
        if column.name == stream.event_time:
            made.append(_ahead(column, stream))
        found += [_numbered(rule, index * PER_COLUMN + FIRST_RULE + i, column) for i, rule in enumerate(made)]
    return tuple(found)


_MOMENTS = (ticks(datetime.min.replace(tzinfo=UTC)), ticks(datetime.max.replace(tzinfo=UTC)))
_HELD = {
    "timestamp": _MOMENTS, "local_timestamp": _MOMENTS, "date": (ticks(date.min), ticks(date.max)),
    "time": (0, 86_400_000_000 - 1),
}  # fmt: skip
"""YEARS as Arrow counts them."""


@dataclass(frozen=True)
class _Made:
    word: str
    bad: str
    wants: str
    proof: Callable[[Facts], bool] = lambda facts: False


def _numbered(made: _Made, number: int, column: Column) -> Rule:
    return Rule(number, made.word, column, made.bad, made.wants, made.proof)


def _of_column(column: Column, required: bool) -> Iterator[_Made]:
    x, kind = quote(column.name), column.type.kind
    if required:
        yield _Made("required", f"{x} IS NULL", "a value is required", lambda f: f.nulls == 0)
    if kind == "text":
        yield _Made(exact.NUL, f"contains({x}, chr(0))", "a text cannot hold U+0000", lambda f: f.no_zero_byte)
    if kind == "double":
        yield _Made(exact.NOT_FINITE, f"NOT isfinite({x})", "double holds neither NaN nor infinity", _finite)
    if kind in YEARS:
        yield _years(x, kind)
    yield from _bounds(column, x)
    if column.multiple_of is not None:
        yield _multiple(column, x)
    yield from _lengths(column, x)
    if column.pattern is not None:
        yield _pattern(column, x)
    if column.enum is not None:
        yield _enum(column, x)


def _finite(facts: Facts) -> bool:
    """min_max passes over NaN, so nothing is proved where doubles may hold it."""
    return False


def _years(x: str, kind: str) -> _Made:
    low, high = YEARS[kind]
    least, most = _HELD[kind]
    wants = "00:00 to 23:59:59.999999 are held" if kind == "time" else "years 1 to 9999 are held"
    return _Made(exact.RANGE, f"{x} < {low} OR {x} > {high}", wants, lambda f: f.within(least, most))


def _ahead(column: Column, stream: Stream) -> _Made:
    kind = "TIMESTAMP" if column.type.kind == "local_timestamp" else column.type.duckdb
    return _Made(
        "maxAhead",
        f"{quote(column.name)} > {kind} '{AHEAD}'",
        f"event times may be at most {stream.max_ahead} ahead of the reading",
        lambda f: f.within(None, ticks(f.ahead.date() if column.type.kind == "date" else f.ahead)),
    )


def _bounds(column: Column, x: str) -> Iterator[_Made]:
    if column.minimum is not None:
        yield _bound(column, x, "minimum", column.minimum)
    if column.exclusive_minimum is not None:
        yield _bound(column, x, "exclusiveMinimum", column.exclusive_minimum)
    if column.maximum is not None:
        yield _bound(column, x, "maximum", column.maximum)
    if column.exclusive_maximum is not None:
        yield _bound(column, x, "exclusiveMaximum", column.exclusive_maximum)


_BAD_SIGN = {"minimum": "<", "exclusiveMinimum": "<=", "maximum": ">", "exclusiveMaximum": ">="}
_WANTS = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most", "exclusiveMaximum": "less than"}


def _bound(column: Column, x: str, word: str, text: str) -> _Made:
    wants = f"{_WANTS[word]} {text} is wanted"
    if column.type.is_exact_number:
        return _number_bound(column, x, word, text)
    value = _read(column, word, text)
    proof = _bound_proof(word, ticks(value)) if not isinstance(value, float) else _finite
    return _Made(word, f"{x} {_BAD_SIGN[word]} {sql_value(value, column)}", wants, proof)


def _bound_proof(word: str, tick: Any) -> Callable[[Facts], bool]:
    if word == "minimum":
        return lambda f: f.within(tick, None)
    if word == "maximum":
        return lambda f: f.within(None, tick)
    return lambda f: False


def _number_bound(column: Column, x: str, word: str, text: str) -> _Made:
    """Moves the bound to the nearest value the type holds, so that values and bound compare exactly."""
    wants = f"{_WANTS[word]} {text} is wanted"
    number = _plain_number(column, word, text)
    lower = word in ("minimum", "exclusiveMinimum")
    up = word in ("minimum", "exclusiveMaximum")
    scale = column.type.scale
    context = Context(prec=200)
    moved = number.quantize(Decimal(1).scaleb(-scale), rounding=ROUND_CEILING if up else ROUND_FLOOR, context=context)
    digits = column.type.precision - scale if column.type.kind == "decimal" else 38
    if abs(moved) >= Decimal(10) ** digits:
        return _Made(word, "true" if lower == (moved > 0) else "false", wants)
    width = f"DECIMAL({digits + scale},{scale})"
    inclusive = Decimal(1).scaleb(-scale)
    least = {"minimum": moved, "exclusiveMinimum": moved + inclusive}.get(word)
    most = {"maximum": moved, "exclusiveMaximum": moved - inclusive}.get(word)
    bad = f"CAST({x} AS {width}) {_BAD_SIGN[word]} CAST('{moved}' AS {width})"
    return _Made(word, bad, wants, lambda f: f.within(least, most))


def _plain_number(column: Column, word: str, text: str) -> Decimal:
    try:
        number = Decimal(text)
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > 100:
        raise _bad(column, word, f"{text!r} is no bound for {column.type}")
    return number


def _multiple(column: Column, x: str) -> _Made:
    step = _plain_number(column, "multipleOf", str(column.multiple_of))
    exponent = step.normalize().as_tuple().exponent
    scale = max(column.type.scale, -exponent if isinstance(exponent, int) else 0, 0)
    whole = column.type.precision - column.type.scale if column.type.kind == "decimal" else 38 - scale
    if step <= 0 or whole + scale > 38 or not column.type.is_exact_number:
        raise _bad(column, "multipleOf", f"{column.multiple_of!r} is no step for {column.type}")
    width = f"DECIMAL({whole + scale},{scale})"
    bad = f"CAST({x} AS {width}) % CAST('{step}' AS {width}) <> 0"
    return _Made("multipleOf", bad, f"a multiple of {column.multiple_of} is wanted")


def _lengths(column: Column, x: str) -> Iterator[_Made]:
    low, high = column.min_length, column.max_length
    if low is not None:
        wants = f"at least {low} characters are wanted"
        yield _Made("minLength", f"length({x}) < {low}", wants, lambda f: f.characters_within(low, None))
    if high is not None:
        wants = f"at most {high} characters are wanted"
        yield _Made("maxLength", f"length({x}) > {high}", wants, lambda f: f.characters_within(0, high))


def _pattern(column: Column, x: str) -> _Made:
    pattern = column.pattern or ""
    try:
        with duckdb.connect(config={"threads": 1}) as con:
            con.sql(f"SELECT regexp_matches('', {literal(pattern)})").fetchall()
    except duckdb.Error as error:
        raise _bad(column, "pattern", f"{pattern!r} is no RE2 pattern: {error}") from error
    return _Made("pattern", f"NOT regexp_matches({x}, {literal(pattern)})", f"the pattern {pattern} is wanted")


def _enum(column: Column, x: str) -> _Made:
    values = [_read(column, "enum", text) for text in column.enum or ()]
    listed = ", ".join(sql_value(v, column) for v in values)
    wants = f"one of {', '.join(column.enum or ())} is wanted"
    return _Made("enum", f"{x} NOT IN ({listed})" if values else f"{x} IS NOT NULL", exact.shorten(wants, 200))


def _read(column: Column, word: str, text: str) -> exact.Value:
    try:
        return exact.read(column, text, _ZONE)
    except exact.Unfit as unfit:
        raise _bad(column, word, f"{text!r} is no {column.type}: {unfit.why}") from unfit


def _bad(column: Column, word: str, found: str) -> BadRule:
    return BadRule(f"{column.name}: {word} {found}", hint="mend the rule in the contract", place=column.place)


def sql_value(value: exact.Value, column: Column) -> str:
    """Returns `value` as a SQL literal of `column`'s type."""
    text = value.isoformat() if isinstance(value, (date, time)) else str(value)
    return f"CAST({literal(text)} AS {column.type.duckdb})"
