"""Times and time zones: no rendered expression depends on a session's TimeZone.

A `timestamp` is an instant. Whatever reads a calendar or a clock off it goes through `local` (the wall-clock time in
the pipeline's zone), whatever makes an instant of a wall-clock time through `instant`. Windows of an hour or less on
instants are `slot`s: the instant is moved back by how far its wall-clock time is into the slot, so that an hour the
clock repeats is two slots, as PostgreSQL has it. Longer windows start at the instant their wall-clock start names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

from penstock.plan import exact
from penstock.plan.errors import SqlTypeError
from penstock.plan.tree import INTERVAL, NULL, Node, call, literal
from penstock.sqltypes import DATE, LOCAL_TIMESTAMP, TEXT, TIME, TIMESTAMP, SqlType

_MICROSECOND = 1
_SECOND = 1_000_000
_HOUR = 3600 * _SECOND
_DAY = 24 * _HOUR


@dataclass(frozen=True, order=True)
class Span:
    """A length of time: months, days, microseconds."""

    months: int = 0
    days: int = 0
    microseconds: int = 0

    def __str__(self) -> str:
        sign = -1 if self.microseconds < 0 else 1
        seconds, microseconds = divmod(abs(self.microseconds), _SECOND)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        amounts = (self.months, self.days, *(sign * n for n in (hours, minutes, seconds, microseconds)))
        return " ".join(f"{n} {u}" for n, u in zip(amounts, _NAMES, strict=True) if n) or "0 days"

    def approximate(self) -> int:
        """Returns microseconds, a month taken as 30 days: for comparing lengths."""
        return (self.months * 30 + self.days) * _DAY + self.microseconds

    def is_fixed(self) -> bool:
        return not self.months and not self.days

    def node(self) -> Node:
        return literal(str(self), INTERVAL)


_NAMES = ("months", "days", "hours", "minutes", "seconds", "microseconds")
_UNITS = {
    "microsecond": Span(microseconds=1), "millisecond": Span(microseconds=1000), "second": Span(microseconds=_SECOND),
    "minute": Span(microseconds=60 * _SECOND), "hour": Span(microseconds=_HOUR), "day": Span(days=1),
    "week": Span(days=7), "month": Span(months=1), "quarter": Span(months=3), "year": Span(months=12),
    "decade": Span(months=120), "century": Span(months=1200),
}  # fmt: skip
_SHORT = {
    "us": "microsecond", "ms": "millisecond", "s": "second", "sec": "second", "m": "minute", "min": "minute",
    "h": "hour", "hr": "hour", "d": "day", "w": "week", "mon": "month", "y": "year", "yr": "year",
    "centurie": "century",
}  # fmt: skip


def unit(word: str) -> tuple[str, Span] | None:
    """Returns (name, length) of a unit as DuckDB writes it (`minutes`, `min`, `MINUTE`), None for an unknown one."""
    name = word.strip("'\" ").lower()
    for form in (name, name.removesuffix("s")):
        known = _SHORT.get(form, form)
        if known in _UNITS:
            return known, _UNITS[known]
    return None


def span(text: str, default_unit: str = "") -> Span | None:
    """Returns the length that `1 day 2 hours` (or `15` with a unit beside it) says; None when it says none."""
    months = days = microseconds = 0
    rest = text.strip()
    pieces = re.findall(r"\s*(-?\d+)\s*([A-Za-z]*)\s*", rest)
    if not pieces or "".join(re.findall(r"\s*-?\d+\s*[A-Za-z]*\s*", rest)) != rest:
        return None
    for number, word in pieces:
        found = unit(word or default_unit)
        if found is None:
            return None
        one = found[1]
        months += int(number) * one.months
        days += int(number) * one.days
        microseconds += int(number) * one.microseconds
    return Span(months, days, microseconds)


def span_of(node: Node) -> Span:
    """Returns the length of an interval literal."""
    found = span(node.value)
    return found if found is not None else Span()


def to_local(node: Node, zone: str) -> Node:
    """Returns a date or time as wall-clock time: instants in `zone`, dates at midnight."""
    if node.type == TIMESTAMP:
        return Node("local", LOCAL_TIMESTAMP, (node,), zone, node.nullable)
    return node if node.type == LOCAL_TIMESTAMP else exact.cast(node, LOCAL_TIMESTAMP)


def to_instant(node: Node, zone: str) -> Node:
    """Returns a wall-clock time or date as the instant it names in `zone` (the later one of a repeated hour)."""
    if node.type == TIMESTAMP:
        return node
    return Node("instant", TIMESTAMP, (to_local(node, zone),), zone, node.nullable)


_TIMES = (DATE, LOCAL_TIMESTAMP, TIMESTAMP, TIME)


def is_time(type_: SqlType) -> bool:
    return type_ in (DATE, LOCAL_TIMESTAMP, TIMESTAMP)


def cast(node: Node, type_: SqlType, zone: str, mode: str = "") -> Node:
    """Returns the node cast to any type, wall clock and instants turned into each other in `zone`.

    Raises SqlTypeError for casts whose result would depend on a session (instants as text, text columns as instants).
    """
    if node.type in (type_, NULL):
        return node if node.type == type_ else Node("cast", type_, (node,))
    if node.op == "literal" and node.type == TEXT and type_ in _TIMES and not mode:
        return time_literal(node, type_, zone)
    if type_ == TIMESTAMP:
        if is_time(node.type):
            return to_instant(node, zone)
        msg = "text becomes an instant only through a zone"
        raise SqlTypeError(msg, hint="write CAST(x AS TIMESTAMP) AT TIME ZONE 'Europe/Berlin'", place=node.place)
    if node.type == TIMESTAMP:
        if type_ in (DATE, TIME, LOCAL_TIMESTAMP):
            return exact.cast(to_local(node, zone), type_)
        msg = f"a timestamp as {type_} depends on how it is shown"
        raise SqlTypeError(msg, hint="use strftime(x, '%Y-%m-%d %H:%M:%S') or epoch_us(x)", place=node.place)
    return exact.cast(node, type_, mode)


def time_literal(node: Node, type_: SqlType, zone: str) -> Node:
    """Returns a text literal as a date, time or instant. Raises SqlTypeError when it is none."""
    value = node.value.strip()
    try:
        if type_ == DATE:
            parsed = datetime.fromisoformat(value)
            return literal(parsed.date().isoformat(), DATE, node.place)
        if type_ == TIME:
            return literal(value, TIME, node.place)
        parsed = datetime.fromisoformat(value)
    except ValueError:
        msg = f"{value!r} is no {type_}"
        raise SqlTypeError(msg, hint="write '2026-01-31' or '2026-01-31 09:30:00'", place=node.place) from None
    if type_ == TIMESTAMP and parsed.tzinfo is not None:
        return literal(parsed.isoformat(" "), TIMESTAMP, node.place)
    wall = literal(parsed.replace(tzinfo=None).isoformat(" "), LOCAL_TIMESTAMP, node.place)
    return to_instant(wall, zone) if type_ == TIMESTAMP else wall


def truncate(part: str, node: Node, zone: str) -> Node:
    """Returns date_trunc(part, node): of an instant an instant, of dates and wall-clock times a wall-clock time."""
    found = unit(part)
    if found is None:
        msg = f"date_trunc knows no part {part!r}"
        raise SqlTypeError(msg, hint="year, quarter, month, week, day, hour, minute or second", place=node.place)
    name, length = found
    local = to_local(node, zone)
    floor = call("date_trunc", LOCAL_TIMESTAMP, literal(name, TEXT), local)
    return _floor_instant(node, local, floor, length, zone) if node.type == TIMESTAMP else floor


def bucket(width: Node, node: Node, zone: str, origin: Node | None = None) -> Node:
    """Returns time_bucket(width, node[, origin]) counted on the wall clock. Dates stay dates."""
    length = span_of(width)
    if length.approximate() <= 0 or (length.months and (length.days or length.microseconds)):
        msg = f"time_bucket needs a width above zero of either months or days and time, not '{width.value}'"
        raise SqlTypeError(msg, hint="e.g. INTERVAL '15 minutes' or INTERVAL '3 months'", place=width.place)
    local = to_local(node, zone)
    extra: tuple[Node, ...] = ()
    if origin is not None:
        extra = (origin if origin.type == INTERVAL else to_local(origin, zone),)
    floor = call("time_bucket", LOCAL_TIMESTAMP, length.node(), local, *extra)
    if node.type == TIMESTAMP:
        return _floor_instant(node, local, floor, length, zone)
    return exact.cast(floor, DATE) if node.type == DATE else floor


def _floor_instant(node: Node, local: Node, floor: Node, length: Span, zone: str) -> Node:
    if length.is_fixed() and length.microseconds <= _HOUR and zone != "UTC":
        return Node("slot", TIMESTAMP, (node, local, floor), str(length), node.nullable)
    return to_instant(floor, zone)


def shift(op: str, node: Node, length: Node, zone: str) -> Node:
    """Returns node + length or node - length; months and days are moved on the wall clock."""
    if node.type == TIMESTAMP:
        if length.op == "literal" and span_of(length).is_fixed():
            return replace(call(op, TIMESTAMP, node, length), place=node.place)
        return to_instant(call(op, LOCAL_TIMESTAMP, to_local(node, zone), length), zone)
    return call(op, TIME if node.type == TIME else LOCAL_TIMESTAMP, node, length)


def common(nodes: list[Node]) -> SqlType:
    """Returns the type that dates and times of these types are compared as."""
    types = {n.type for n in nodes}
    for candidate in (TIMESTAMP, LOCAL_TIMESTAMP, DATE):
        if candidate in types:
            return candidate
    return TIME
