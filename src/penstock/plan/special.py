"""Function calls to nodes: those with rules of their own, and the plain ones DuckDB types for us."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from zoneinfo import available_timezones

from sqlglot import exp

from penstock.errors import nearest
from penstock.plan import coerce, exact, functions, times, understood
from penstock.plan.errors import (
    NotDeterministicError,
    SqlTypeError,
    TimezoneError,
    UnsupportedFunctionError,
    UnsupportedSqlError,
)
from penstock.plan.oracle import Refused, expression_type
from penstock.plan.places import said
from penstock.plan.render import lower, render
from penstock.plan.scope import Builder
from penstock.plan.tree import INTERVAL, NULL, TUPLE, Node, call, integer, literal
from penstock.sqltypes import BIGINT, DATE, DOUBLE, INTEGER, LOCAL_TIMESTAMP, TEXT, TIMESTAMP, SqlType, decimal

_NO_LISTS = {
    exp.Array: "a list", exp.Struct: "a struct", exp.Bracket: "indexing into a list", exp.Map: "a map",
    exp.JSONExtract: "a path into JSON", exp.JSONExtractScalar: "a path into JSON", exp.Lambda: "a lambda",
    exp.Dot: "a field of a struct", exp.Columns: "COLUMNS(...)",
}  # fmt: skip


def build(builder: Builder, sql: exp.Expr) -> Node:
    """Returns the node of a function call (or of anything the operators left over). Raises PlanError."""
    if functions.is_not_deterministic(sql):
        msg = f"{functions.function_name(sql)}() gives another value at another time"
        raise NotDeterministicError(msg, hint="use the event time or another column of the row")
    known = functions.name_and_arguments(sql)
    if known is None or known[0] not in functions.KNOWN:
        raise _unknown(sql, known[0] if known else None)
    understood.check(sql)
    name, arguments = known
    if name in ("date_trunc", "date_part", "date_diff", "date_sub"):
        return _with_unit(builder, name, arguments)
    args = [builder.build(a) for a in arguments]
    if any(a.type == TUPLE for a in args):
        msg = f"{name}() takes no tuple"
        raise SqlTypeError(msg, hint="pass single values")
    return _BUILDERS.get(name, _plain)(builder, name, args)


def _unknown(sql: exp.Expr, name: str | None) -> UnsupportedFunctionError | UnsupportedSqlError:
    what = _NO_LISTS.get(type(sql))
    if what:
        return UnsupportedSqlError(
            f"{what} is not supported", hint="name columns; map parts of a value to columns at intake (fields:)"
        )
    if not isinstance(sql, exp.Func):
        text = said(sql)
        return UnsupportedSqlError(f"{text} is not supported", hint="write it with CASE, comparisons and functions")
    called = name or functions.function_name(sql)
    near = nearest(called, functions.KNOWN)
    hint = "compute it at intake (fields: of the source)"
    if near.startswith("did"):
        hint = f"{near} Or {hint}"
    return UnsupportedFunctionError(f"{called}() is not among the functions a pipeline may call", hint=hint)


def _plain(builder: Builder, name: str, args: list[Node]) -> Node:
    """Builds a function that needs nothing but its arguments in the right shape; DuckDB tells the result's type."""
    args = [exact.settle(a) for a in args]
    if name in ("strftime", "strptime", "try_strptime") and args[-1].op != "literal":
        msg = f"the format of {name}() must be a constant"
        raise UnsupportedSqlError(msg, hint=f"{name}(x, '%Y-%m-%d')")
    if name in functions.CALENDAR_FUNCTIONS:
        args = [times.to_local(a, builder.zone) if a.type == TIMESTAMP else a for a in args]
    elif name in functions.DOUBLE_FUNCTIONS:
        args = [_number(name, a, DOUBLE) for a in args]
    elif name in ("concat", "concat_ws"):
        args = [coerce.as_text(a) for a in args]
    nullable = None if name in functions.NULL_IN_NULL_OUT else True
    node = call(name, _result_type(name, args), *args, nullable=nullable)
    if name in ("concat", "concat_ws"):
        return call(name, TEXT, *args, nullable=name == "concat_ws" and args[0].nullable)
    return node


def _number(name: str, node: Node, type_: SqlType) -> Node:
    if node.type != NULL and not exact.is_number(node.type):
        msg = f"{name}() takes a number, not {node.type}"
        raise SqlTypeError(msg, hint="cast it: CAST(x AS DECIMAL(15,2))", place=node.place)
    return coerce.cast(node, type_, "UTC")


def _result_type(name: str, args: list[Node]) -> SqlType:
    shown = [a if a.op == "literal" else Node("cast", a.type, (Node("literal", NULL, value="null"),)) for a in args]
    if any(a.type in (INTERVAL, NULL) and a.op != "literal" for a in args):
        msg = f"{name}() cannot be typed with these arguments"
        raise SqlTypeError(msg, hint="cast the arguments")
    try:
        found = expression_type(render(lower(Node("call", NULL, tuple(shown), name))))
    except Refused as e:
        raise SqlTypeError(f"{name}(): {e}", hint="cast the arguments to what the function takes") from e
    if found is None:
        msg = f"{name}() yields a type no column can have"
        raise SqlTypeError(msg, hint="use another function")
    return found


def _with_unit(builder: Builder, name: str, arguments: list[exp.Expr]) -> Node:
    """Builds date_trunc, date_part, date_diff and date_sub, whose first argument is the name of a unit."""
    word = arguments[0].name.lower()
    args = [builder.build(a) for a in arguments[1:]]
    if not args or not all(times.is_time(a.type) or a.type.kind == "time" for a in args):
        found = ", ".join(str(a.type) for a in args)
        msg = f"{name}('{word}', ...) takes dates and timestamps, not {found}"
        raise SqlTypeError(msg, hint="cast it: CAST(x AS TIMESTAMP)")
    if name == "date_trunc":
        return times.truncate(word, args[0], builder.zone)
    known = times.unit(word)
    if name == "date_part":
        return _date_part(builder, known[0] if known else word, args)
    unit = literal(known[0] if known else word, TEXT)
    if len(args) == 2 and args[0].type != args[1].type:
        args = [times.to_local(a, builder.zone) for a in args]
    return _plain(builder, name, [unit, *args])


def _date_part(builder: Builder, word: str, args: list[Node]) -> Node:
    """Returns date_part('hour', x) as hour(x): the same, and DuckDB gives it a whole number's type."""
    name = {"dow": "dayofweek", "weekday": "dayofweek", "doy": "dayofyear", "weekofyear": "week"}.get(word, word)
    if name not in functions.CALENDAR_FUNCTIONS | functions.INSTANT_FUNCTIONS:
        msg = f"there is no part '{word}' of a date"
        raise SqlTypeError(msg, hint="year, quarter, month, week, day, dow, doy, hour, minute, second, epoch")
    return _plain(builder, name, args)


def at_time_zone(builder: Builder, zone: exp.Expr, value: Node) -> Node:
    """Returns value AT TIME ZONE zone: instants to wall-clock times and the other way round."""
    name = zone.name if isinstance(zone, exp.Literal) and zone.is_string else ""
    if not name:
        msg = "AT TIME ZONE needs a constant zone"
        raise UnsupportedSqlError(msg, hint="write it out: AT TIME ZONE 'Europe/Berlin'")
    zone_name = checked_zone(name)
    if value.type == TIMESTAMP:
        return times.to_local(value, zone_name)
    if times.is_time(value.type):
        return times.to_instant(value, zone_name)
    msg = f"AT TIME ZONE takes a timestamp, not {value.type}"
    raise SqlTypeError(msg, hint="cast it: CAST(x AS TIMESTAMP) AT TIME ZONE 'UTC'")


def checked_zone(name: str) -> str:
    """Returns the name of an IANA time zone. Raises TimezoneError."""
    known = _zones()
    if name in known:
        return name
    near = nearest(name, known)
    msg = f"{name!r} is no time zone"
    raise TimezoneError(msg, hint=near if near.startswith("did") else "e.g. UTC or Europe/Berlin")


@cache
def _zones() -> frozenset[str]:
    """Returns the zones both the system and DuckDB know."""
    return frozenset(available_timezones() - {"localtime"})


def _timezone(builder: Builder, name: str, args: list[Node]) -> Node:
    if len(args) != 2 or args[0].op != "literal" or args[0].type != TEXT:
        msg = "timezone() needs a constant zone and a timestamp"
        raise UnsupportedSqlError(msg, hint="timezone('Europe/Berlin', sold_at)")
    return at_time_zone(builder, exp.Literal.string(args[0].value), args[1])


def _time_bucket(builder: Builder, name: str, args: list[Node]) -> Node:
    if len(args) < 2 or args[0].type != INTERVAL or not times.is_time(args[1].type):
        msg = "time_bucket takes a constant interval and a date or timestamp"
        raise SqlTypeError(msg, hint="time_bucket(INTERVAL '15 minutes', sold_at)")
    zone, origin = builder.zone, args[2] if len(args) > 2 else None
    if origin is not None and origin.type == TEXT:
        zone, origin = checked_zone(origin.value), None
    if origin is not None and not (origin.op in ("literal", "cast", "instant") and not origin.has("column")):
        msg = "the origin of time_bucket must be a constant"
        raise UnsupportedSqlError(msg, hint="TIMESTAMP '2026-01-05', or INTERVAL '6 hours'")
    return times.bucket(args[0], args[1], zone, origin)


def _date(builder: Builder, name: str, args: list[Node]) -> Node:
    return coerce.cast(args[0], DATE, builder.zone)


def _date_add(builder: Builder, name: str, args: list[Node]) -> Node:
    return coerce.arithmetic("+", args[0], args[1], builder.zone)


def _abs(builder: Builder, name: str, args: list[Node]) -> Node:
    return exact.sign_known(_any_number(name, args[0]))


def _any_number(name: str, node: Node) -> Node:
    return node if exact.is_number(node.type) else _number(name, node, DOUBLE)


def _whole_of(builder: Builder, name: str, args: list[Node]) -> Node:
    """Builds ceil, floor and trunc: exactly, also of a quotient."""
    node = _any_number(name, args[0])
    if len(args) > 1:
        return _round(builder, name, args)
    if exact.is_open(node) and node.type != DOUBLE:
        return exact.round_open(node, name)
    if exact.is_whole(node.type):
        return node
    node = exact.settle(node)
    if node.type == DOUBLE:
        return call(name, DOUBLE, node)
    return exact.cast(
        call(name, _result_type(name, [node]), node), decimal(max(1, node.type.precision - node.type.scale + 1), 0)
    )


def _round(builder: Builder, name: str, args: list[Node]) -> Node:
    node = _any_number(name, args[0])
    places = args[1] if len(args) > 1 else integer(0)
    if places.op != "literal" or not exact.is_whole(places.type):
        msg = f"the number of decimals of {name}() must be a constant"
        raise UnsupportedSqlError(msg, hint=f"{name}(x, 2)")
    scale = int(places.value)
    if node.type == DOUBLE:
        return call(name, DOUBLE, node, exact.cast(places, INTEGER))
    if name == "round":
        return exact.round_to(node, scale)
    if scale < 0 or scale > 37:
        msg = f"trunc(x, {scale}) is not supported"
        raise UnsupportedSqlError(msg, hint="trunc(x / 100) * 100")
    unit = integer(10**scale)
    cut = exact.round_ratio(exact.divide(exact.multiply(node, unit), integer(1)), decimal(38, 0), "trunc")
    return exact.cast(exact.divide(cut, unit), decimal(38, scale))


def _sign(builder: Builder, name: str, args: list[Node]) -> Node:
    node = exact.settle(_any_number(name, args[0]))
    return exact.cast(call("sign", _result_type("sign", [node]), node), INTEGER)


def _mod(builder: Builder, name: str, args: list[Node]) -> Node:
    return coerce.arithmetic("%", args[0], args[1], builder.zone)


def _combined(builder: Builder, name: str, args: list[Node]) -> Node:
    return args[0] if len(args) == 1 else coerce.combined(name, args, builder.zone)


def _nullif(builder: Builder, name: str, args: list[Node]) -> Node:
    equal = coerce.compare("=", args[0], args[1], builder.zone)
    return coerce.case_of([equal, Node("literal", NULL, value="null")], args[0], builder.zone)


def _log(builder: Builder, name: str, args: list[Node]) -> Node:
    """log(x) has base 10, log(b, x) base b; log2 and log10 arrive as log(2, x) and log(10, x)."""
    if len(args) == 1:
        return _plain(builder, "log10", args)
    base = args[0].value if args[0].op == "literal" else ""
    if base not in ("2", "10"):
        msg = "log() takes base 2 or 10"
        raise UnsupportedFunctionError(msg, hint="ln(x) / ln(b)")
    return _plain(builder, f"log{base}", args[1:])


def _unix_to_time(builder: Builder, name: str, args: list[Node]) -> Node:
    """sqlglot gives one class to epoch_ms(x), to_timestamp(x) and make_timestamp(x); the second argument tells."""
    scale = args[1].value if len(args) > 1 else "0"
    if times.is_time(args[0].type):
        return _plain(builder, "epoch_ms", args[:1])
    if scale == "3":
        return call("epoch_ms", LOCAL_TIMESTAMP, exact.cast(_number(name, args[0], BIGINT), BIGINT))
    if scale == "6":
        return call("make_timestamp", LOCAL_TIMESTAMP, _number(name, args[0], BIGINT))
    return call("to_timestamp", TIMESTAMP, _number(name, args[0], DOUBLE))


_BUILDERS: dict[str, Callable[[Builder, str, list[Node]], Node]] = {
    "timezone": _timezone, "time_bucket": _time_bucket, "date": _date, "date_add": _date_add, "abs": _abs,
    "ceil": _whole_of, "floor": _whole_of, "trunc": _whole_of, "round": _round, "sign": _sign, "mod": _mod,
    "coalesce": _combined, "greatest": _combined, "least": _combined, "nullif": _nullif, "log": _log,
    "unix_to_time": _unix_to_time,
}  # fmt: skip
