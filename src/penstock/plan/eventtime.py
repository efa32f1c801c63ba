"""Recognises windows of the event time among the grouping expressions, and says when the window of a row ends.

A window is an expression that, read along wall-clock time, is constant for a stretch and then changes for good:
a date, date_trunc, time_bucket, and what only relabels these (casts, strftime with all coarser fields, year, a shift
by a constant). `Step` is such an expression with the wall-clock start and length of the stretch a row falls into.

The end is the instant after the last one that any row with this value can have. Clocks that are set back show some
wall-clock times twice: the end is then that of the second time, found by asking for the last microsecond of the
stretch (the later of two instants is what a wall-clock time is turned into) and adding one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from penstock.plan.times import Span, span_of, to_local, unit
from penstock.plan.tree import INTERVAL, Node, call, literal
from penstock.sqltypes import DATE, LOCAL_TIMESTAMP, TEXT, TIMESTAMP

_DAY = Span(days=1)
_DAY_MICROSECONDS = 86_400_000_000


@dataclass(frozen=True)
class Step:
    """A step function of the event time. `width` None: not a step yet, the (shifted) wall-clock time itself."""

    zone: str
    start: Node
    """The wall-clock start of the row's stretch; with `width` None the wall-clock time."""
    width: Span | None = None
    aligned: bool = True
    """Whether stretches begin where days (or, with months, months) begin."""
    slot: Node | None = None
    """Set for slots of instants: the slot's own start."""
    moved_back: tuple[Span, ...] = ()
    """What was added to the wall-clock time before it was cut into stretches."""
    moved_back_instant: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Recognised:
    """A grouping expression that is a window: its index among the groups, its end, and its rough length."""

    group: int
    end: Node
    length: int


def recognise(groups: Sequence[Node], event_time: Node, zone: str) -> Recognised | None:
    """Returns the shortest window of the event time among the grouping expressions, None when there is none."""
    found = []
    for index, group in enumerate(groups):
        step = step_of(group, event_time, zone)
        if step is not None and step.width is not None:
            found.append(Recognised(index, end_of(step), step.width.approximate()))
    return min(found, key=lambda r: r.length, default=None)


def end_of(step: Step) -> Node:
    """Returns the instant at which the window of a row ends."""
    width = step.width or Span()
    if step.slot is not None:
        end = call("+", TIMESTAMP, step.slot, width.node())
    else:
        local = call("+", LOCAL_TIMESTAMP, to_local(step.start, step.zone), width.node())
        for back in step.moved_back:
            local = call("-", LOCAL_TIMESTAMP, local, back.node())
        end = _last_instant(local, step.zone)
    for back in step.moved_back_instant:
        end = call("-", TIMESTAMP, end, back.node())
    return end


def _last_instant(local: Node, zone: str) -> Node:
    if zone == "UTC":
        return Node("instant", TIMESTAMP, (local,), zone, local.nullable)
    tick = Span(microseconds=1).node()
    last = Node("instant", TIMESTAMP, (call("-", LOCAL_TIMESTAMP, local, tick),), zone, local.nullable)
    return call("+", TIMESTAMP, last, tick)


def step_of(node: Node, event_time: Node, zone: str) -> Step | None:
    """Returns the step function an expression is of the event time, None when it is not one."""
    if node == event_time:
        return _event_time_itself(node, zone)
    if node.op == "local":
        return _local(node, event_time, zone)
    if node.op == "instant":
        return step_of(node.args[0], event_time, zone)
    if node.op == "slot":
        return _slot(node, event_time, zone)
    if node.op == "cast":
        return _cast(node, event_time, zone)
    if node.op == "call" and node.value in _CALLS:
        return _CALLS[node.value](node, event_time, zone)
    return None


def _event_time_itself(node: Node, zone: str) -> Step | None:
    if node.type == DATE:
        return Step(zone, node, _DAY)
    return Step(zone, node) if node.type == LOCAL_TIMESTAMP else None


def _local(node: Node, event_time: Node, zone: str) -> Step | None:
    inner = node.args[0]
    if inner == event_time:
        return Step(node.value, node)
    if inner.op == "instant" and inner.value == node.value:
        return step_of(inner.args[0], event_time, zone)
    if inner.op == "slot":
        found = _slot(inner, event_time, zone)
        return replace(found, slot=None) if found and found.zone == node.value else None
    if inner.op == "call" and inner.value in ("+", "-") and inner.args[0] == event_time:
        return Step(node.value, node, moved_back_instant=(_moved(inner),))
    return None


def _moved(node: Node) -> Span:
    by = span_of(node.args[1])
    return by if node.value == "+" else Span(-by.months, -by.days, -by.microseconds)


def _slot(node: Node, event_time: Node, zone: str) -> Step | None:
    inner = step_of(node.args[2], event_time, zone)
    return replace(inner, slot=node) if inner else None


def _cast(node: Node, event_time: Node, zone: str) -> Step | None:
    inner = step_of(node.args[0], event_time, zone)
    if inner is None or node.type not in (DATE, LOCAL_TIMESTAMP, TEXT):
        return None
    if node.type != DATE:
        return inner if inner.width is not None or node.type == LOCAL_TIMESTAMP else None
    return _coarser(inner, _DAY, node)


def _coarser(inner: Step, width: Span, start: Node, *, aligned: bool = True) -> Step | None:
    """Returns the step that cutting `inner` into stretches of `width` gives: the coarser of the two, if one fits."""
    cut = replace(inner, start=start, width=width, aligned=aligned, slot=None)
    if inner.width is None:
        return cut
    if aligned and inner.aligned and _divides(inner.width, width):
        return cut
    if _divides(width, inner.width) or (width == _DAY and inner.width.approximate() >= _DAY.approximate()):
        return inner
    return None


def _divides(fine: Span, coarse: Span) -> bool:
    """Tells whether stretches of `fine` never cross the border of a stretch of `coarse`, both aligned to days."""
    if fine.months:
        return bool(coarse.months) and coarse.months % fine.months == 0
    if fine.days == 1 and not fine.microseconds:
        return bool(coarse.months) or (coarse.days > 0 and not coarse.microseconds)
    if fine.days:
        return fine == coarse
    if coarse.is_fixed():
        return coarse.microseconds % fine.microseconds == 0 and _DAY_MICROSECONDS % coarse.microseconds == 0
    return _DAY_MICROSECONDS % fine.microseconds == 0 and not coarse.microseconds


def _truncated(node: Node, event_time: Node, zone: str) -> Step | None:
    inner = step_of(node.args[1], event_time, zone)
    found = unit(node.args[0].value)
    return _coarser(inner, found[1], node) if inner and found else None


def _bucketed(node: Node, event_time: Node, zone: str) -> Step | None:
    inner = step_of(node.args[1], event_time, zone)
    width = span_of(node.args[0])
    plain = len(node.args) == 2 and (not width.microseconds or _divides(width, _DAY))
    return _coarser(inner, width, node, aligned=plain) if inner else None


_FORMATS = (
    (r"%Y", "year"), (r"%Y%m", "month"), (r"%Y%b", "month"), (r"%Y%B", "month"), (r"%Y%j", "day"), (r"%Y%m%d", "day"),
    (r"%Y%b%d", "day"), (r"%G%V", "week"), (r"%F", "day"), (r"%Y%m%d%H", "hour"), (r"%F%H", "hour"),
    (r"%Y%m%d%H%M", "minute"),    (r"%F%H%M", "minute"),
)  # fmt: skip


def _formatted(node: Node, event_time: Node, zone: str) -> Step | None:
    """strftime is a window when its format has a field and all coarser ones, in whatever order."""
    if node.args[1].op != "literal":
        return None
    fields = sorted(re.findall(r"%-?([A-Za-z])", node.args[1].value))
    for pattern, name in _FORMATS:
        if sorted(re.findall(r"%([A-Za-z])", pattern)) == fields:
            return _by_unit(node.args[0], name, event_time, zone)
    return None


def _by_unit(value: Node, name: str, event_time: Node, zone: str) -> Step | None:
    local = to_local(value, zone)
    return _truncated(call("date_trunc", LOCAL_TIMESTAMP, literal(name, TEXT), local), event_time, zone)


def _year(node: Node, event_time: Node, zone: str) -> Step | None:
    return _by_unit(node.args[0], "year", event_time, zone)


def _last_day(node: Node, event_time: Node, zone: str) -> Step | None:
    return _by_unit(node.args[0], "month", event_time, zone)


def _shifted(node: Node, event_time: Node, zone: str) -> Step | None:
    """A shift by a constant: before cutting it moves the borders, afterwards it only relabels."""
    by = node.args[1]
    if by.op != "literal" or not (by.type == INTERVAL or by.type.is_exact_number):
        return None
    inner = step_of(node.args[0], event_time, zone)
    if inner is None or (by.type == INTERVAL and span_of(by).months):
        return None
    if inner.width is not None:
        return inner
    if by.type != INTERVAL:
        return None
    return replace(inner, start=node, moved_back=(*inner.moved_back, _moved(node)))


_CALLS: dict[str, Callable[[Node, Node, str], Step | None]] = {
    "date_trunc": _truncated, "time_bucket": _bucketed, "strftime": _formatted, "year": _year,
    "last_day": _last_day, "+": _shifted, "-": _shifted,
}  # fmt: skip
