"""SQL expressions to typed nodes: names, literals, operators, casts, CASE. Functions are in special.py.

`Expressions.build` never guesses: what it does not know it refuses with a reason. Names are resolved by the scope it
is given, so the same code builds rows, groups and windows; who may contain what is checked afterwards, by the tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlglot import exp

from penstock.plan import aggregates, coerce, exact, special, times, understood, windows
from penstock.plan.errors import PlanError, SqlTypeError, UnsupportedSqlError
from penstock.plan.places import Places, said
from penstock.plan.scope import Scope
from penstock.plan.tree import INTERVAL, NULL_LITERAL, TUPLE, Node, call, integer, literal
from penstock.sqltypes import BOOLEAN, DOUBLE, TEXT, SqlType, decimal


class Expressions:
    """Builds nodes in one scope. `zone` is the pipeline's time zone."""

    def __init__(self, scope: Scope, places: Places, zone: str) -> None:
        self.scope = scope
        self.places = places
        self.zone = zone

    def build(self, sql: exp.Expr) -> Node:
        """Returns the typed node of an expression. Raises PlanError with its place."""
        try:
            node = self._dispatch(sql)
        except PlanError as e:
            if e.place is None:
                e.place = self.places.of(sql)
            raise
        return node if node.place else replace(node, place=self.places.of(sql))

    def _dispatch(self, sql: exp.Expr) -> Node:
        if isinstance(sql, exp.Column):
            understood.check(sql)
            return self.scope.resolve(sql, self.places.of(sql))
        handler = _HANDLERS.get(type(sql))
        if handler:
            understood.check(sql)
            return handler(self, sql)
        if aggregates.is_aggregate(sql):
            if aggregates.is_kept(sql):
                understood.check(sql)
            with self.scope.inside_aggregate():
                return aggregates.build(self, sql)
        return special.build(self, sql)

    def condition(self, sql: exp.Expr) -> Node:
        """Returns the node of a condition. Raises SqlTypeError when it is no boolean."""
        return coerce.boolean(self.build(sql))


def _literal(builder: Expressions, sql: exp.Expr) -> Node:
    text = str(sql.this)
    if sql.is_string:
        return literal(text, TEXT)
    return number(text)


def number(text: str) -> Node:
    """Returns the literal of a number as SQL writes it: whole, decimal, or DOUBLE with an exponent."""
    plain = text.replace("_", "")
    if "e" in plain.lower():
        return literal(repr(float(plain)), DOUBLE)
    if "." not in plain:
        if len(plain.lstrip("0")) > 38:
            msg = f"{text} has more than 38 digits"
            raise SqlTypeError(msg, hint="exact numbers have at most 38 digits")
        return integer(int(plain))
    whole, fraction = plain.split(".")
    whole = whole.lstrip("0")
    if len(whole) + len(fraction) > 38:
        msg = f"{text} has more than 38 digits"
        raise SqlTypeError(msg, hint="exact numbers have at most 38 digits")
    if not fraction:
        return integer(int(whole or "0"))
    return literal(f"{whole or '0'}.{fraction}", decimal(max(1, len(whole) + len(fraction)), len(fraction)))


def _interval(builder: Expressions, sql: exp.Expr) -> Node:
    amount = sql.this
    word = sql.args["unit"].name if sql.args.get("unit") else ""
    text = amount.name if isinstance(amount, exp.Literal) else ""
    if isinstance(amount, exp.Neg) and isinstance(amount.this, exp.Literal):
        text = "-" + amount.this.name
    length = times.span(text, word)
    if length is None:
        msg = f"INTERVAL must be a literal such as '15 minutes', not {said(sql)}"
        raise UnsupportedSqlError(msg, hint="write the length as a constant")
    return length.node()


_TYPES = {
    exp.DType.TINYINT: "smallint", exp.DType.SMALLINT: "smallint", exp.DType.INT: "integer",
    exp.DType.BIGINT: "bigint", exp.DType.DOUBLE: "double", exp.DType.TEXT: "text", exp.DType.VARCHAR: "text",
    exp.DType.CHAR: "text", exp.DType.BOOLEAN: "boolean", exp.DType.DATE: "date", exp.DType.TIME: "time",
    exp.DType.TIMESTAMPNTZ: "local_timestamp", exp.DType.TIMESTAMP: "local_timestamp",
    exp.DType.TIMESTAMPTZ: "timestamp", exp.DType.UUID: "uuid",
}  # fmt: skip


def sql_type(to: exp.Expr) -> SqlType:
    """Returns the type a CAST names. Raises SqlTypeError for one we do not carry."""
    if to.this == exp.DType.DECIMAL:
        numbers = [p.name for p in to.expressions]
        if not all(isinstance(p.this, exp.Literal) and p.name.isdigit() for p in to.expressions):
            msg = f"precision and scale must be whole numbers in {said(to)}"
            raise SqlTypeError(msg, hint="e.g. DECIMAL(15,2)")
        given = [int(n) for n in numbers] or [18, 3]
        try:
            return decimal(given[0], given[1] if len(given) > 1 else 0)
        except ValueError as e:
            raise SqlTypeError(str(e), hint="e.g. DECIMAL(15,2)") from e
    if to.this == exp.DType.INT128:
        return decimal(38, 0)
    kind = _TYPES.get(to.this)
    if kind is None:
        msg = f"no column can have the type {said(to)}"
        raise SqlTypeError(msg, hint="DECIMAL(p,s), BIGINT, INTEGER, DOUBLE, VARCHAR, BOOLEAN, DATE, TIMESTAMP, ...")
    return SqlType(kind)


def _cast(builder: Expressions, sql: exp.Expr) -> Node:
    if sql.args.get("to") and sql.args["to"].this == exp.DType.INTERVAL:
        length = times.span(sql.this.name) if isinstance(sql.this, exp.Literal) else None
        if length is not None:
            return length.node()
    target = sql_type(sql.args["to"])
    mode = "try" if isinstance(sql, exp.TryCast) else ""
    return coerce.cast(builder.build(sql.this), target, builder.zone, mode)


def _arithmetic(builder: Expressions, sql: exp.Expr) -> Node:
    return coerce.arithmetic(
        _OPERATORS[type(sql)], builder.build(sql.this), builder.build(sql.expression), builder.zone
    )


def _comparison(builder: Expressions, sql: exp.Expr) -> Node:
    left, right = builder.build(sql.this), builder.build(sql.expression)
    return coerce.compare(_OPERATORS[type(sql)], left, right, builder.zone)


def _connector(builder: Expressions, sql: exp.Expr) -> Node:
    word = "and" if isinstance(sql, exp.And) else "or"
    return call(word, BOOLEAN, builder.condition(sql.this), builder.condition(sql.expression))


def _between(builder: Expressions, sql: exp.Expr) -> Node:
    value = builder.build(sql.this)
    low, high = builder.build(sql.args["low"]), builder.build(sql.args["high"])
    above = coerce.compare(">=", value, low, builder.zone)  # BETWEEN SYMMETRIC is refused by `understood`
    return call("and", BOOLEAN, above, coerce.compare("<=", value, high, builder.zone))


def _in(builder: Expressions, sql: exp.Expr) -> Node:
    if sql.args.get("query") or sql.args.get("unnest"):
        msg = "IN (SELECT ...) depends on other rows than the one at hand"
        raise UnsupportedSqlError(msg, hint="write the values out: x IN ('a', 'b')")
    value = builder.build(sql.this)
    options = [builder.build(e) for e in sql.expressions]
    if value.type == TUPLE or any(o.type == TUPLE for o in options):
        msg = "IN over tuples is not supported"
        raise UnsupportedSqlError(msg, hint="write (a = 1 AND b = 2) OR (a = 3 AND b = 4)")
    return call("in", BOOLEAN, *coerce.same_type([value, *options], builder.zone))


def _is(builder: Expressions, sql: exp.Expr) -> Node:
    value = builder.build(sql.this)
    if isinstance(sql.expression, exp.Null):
        return call("is null", BOOLEAN, value, nullable=False)
    other = builder.build(sql.expression)
    return replace(coerce.compare("is not distinct from", value, other, builder.zone), nullable=False)


def _like(builder: Expressions, sql: exp.Expr) -> Node:
    word = "like" if isinstance(sql, exp.Like) else "ilike"
    like = call(word, BOOLEAN, coerce.text(builder.build(sql.this)), coerce.text(builder.build(sql.expression)))
    return call("not", BOOLEAN, like) if sql.args.get("negate") else like


def _escape(builder: Expressions, sql: exp.Expr) -> Node:
    if not isinstance(sql.this, exp.Like):
        msg = "ESCAPE goes with LIKE only"
        raise UnsupportedSqlError(msg, hint="use LIKE, or regexp_matches(x, '...')")
    like = builder.build(sql.this)
    plain = like.args[0] if like.value == "not" else like
    escaped = call("like escape", BOOLEAN, *plain.args, builder.build(sql.expression))
    return call("not", BOOLEAN, escaped) if like.value == "not" else escaped


def _case(builder: Expressions, sql: exp.Expr) -> Node:
    subject = builder.build(sql.this) if sql.this else None
    arms: list[Node] = []
    for branch in sql.args["ifs"]:
        condition = builder.build(branch.this)
        test = coerce.compare("=", subject, condition, builder.zone) if subject else coerce.boolean(condition)
        arms += [test, builder.build(branch.args["true"])]
    otherwise = builder.build(sql.args["default"]) if sql.args.get("default") else NULL_LITERAL
    return coerce.case_of(arms, otherwise, builder.zone)


def _if(builder: Expressions, sql: exp.Expr) -> Node:
    otherwise = builder.build(sql.args["false"]) if sql.args.get("false") else NULL_LITERAL
    return coerce.case_of([builder.condition(sql.this), builder.build(sql.args["true"])], otherwise, builder.zone)


def _negation(builder: Expressions, sql: exp.Expr) -> Node:
    inner = builder.condition(sql.this)
    if inner.op == "call" and inner.value == "is null":
        return replace(inner, value="is not null")
    return call("not", BOOLEAN, inner)


def _minus(builder: Expressions, sql: exp.Expr) -> Node:
    value = builder.build(sql.this)
    if value.type == INTERVAL:
        length = times.span_of(value)
        return times.Span(-length.months, -length.days, -length.microseconds).node()
    if not exact.is_number(value.type):
        msg = f"-x needs a number, not {value.type}"
        raise SqlTypeError(msg, hint="cast it: -CAST(x AS DECIMAL(15,2))")
    return exact.negate(value)


def _at_time_zone(builder: Expressions, sql: exp.Expr) -> Node:
    return special.at_time_zone(builder, sql.args["zone"], builder.build(sql.this))


def _concatenation(builder: Expressions, sql: exp.Expr) -> Node:
    return call("||", TEXT, coerce.as_text(builder.build(sql.this)), coerce.as_text(builder.build(sql.expression)))


def _tuple(builder: Expressions, sql: exp.Expr) -> Node:
    return Node("tuple", TUPLE, tuple(builder.build(e) for e in sql.expressions))


def _subquery(builder: Expressions, sql: exp.Expr) -> Node:
    msg = "a subquery inside an expression depends on other rows than the one at hand"
    hint = "compare with a window over the results: sum(x) > avg(sum(x)) OVER ()"
    raise UnsupportedSqlError(msg, hint=hint)


def _window(builder: Expressions, sql: exp.Expr) -> Node:
    return windows.build(builder, sql)


def _filter(builder: Expressions, sql: exp.Expr) -> Node:
    return aggregates.build_filtered(builder, sql)


_OPERATORS: dict[type[exp.Expr], str] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.IntDiv: "//", exp.Mod: "%", exp.EQ: "=",
    exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=", exp.NullSafeEQ: "is not distinct from",
    exp.NullSafeNEQ: "is distinct from",
}  # fmt: skip

_HANDLERS: dict[type[exp.Expr], Callable[[Expressions, exp.Expr], Node]] = {
    exp.Literal: _literal, exp.Interval: _interval, exp.Cast: _cast, exp.TryCast: _cast,
    exp.Boolean: lambda b, s: literal("true" if s.this else "false", BOOLEAN), exp.Null: lambda b, s: NULL_LITERAL,
    exp.Paren: lambda b, s: b.build(s.this), exp.Add: _arithmetic, exp.Sub: _arithmetic, exp.Mul: _arithmetic,
    exp.Div: _arithmetic, exp.IntDiv: _arithmetic, exp.Mod: _arithmetic, exp.EQ: _comparison, exp.NEQ: _comparison,
    exp.LT: _comparison, exp.LTE: _comparison, exp.GT: _comparison, exp.GTE: _comparison,
    exp.NullSafeEQ: _comparison, exp.NullSafeNEQ: _comparison, exp.And: _connector, exp.Or: _connector,
    exp.Between: _between, exp.In: _in, exp.Is: _is, exp.Like: _like, exp.ILike: _like, exp.Escape: _escape,
    exp.Case: _case, exp.If: _if, exp.Not: _negation, exp.Neg: _minus, exp.AtTimeZone: _at_time_zone,
    exp.DPipe: _concatenation, exp.Tuple: _tuple, exp.Subquery: _subquery, exp.Exists: _subquery,
    exp.Select: _subquery, exp.Window: _window, exp.Filter: _filter,
}  # fmt: skip
