"""A guard: every argument that sqlglot hangs on a syntax node must be one we read, or the SQL is refused.

sqlglot keeps some meaning in flags (`NOT LIKE` is a LIKE with `negate`). A flag nobody reads would be a wrong answer
in silence, so what is not listed here is refused by name.
"""

from __future__ import annotations

from sqlglot import exp

from penstock.plan.errors import UnsupportedSqlError
from penstock.plan.functions import argument_names
from penstock.plan.places import said

_ALWAYS = frozenset(["this", "expression", "expressions"])
_ARGUMENTS: dict[type, frozenset[str]] = {
    kind: frozenset(names.split())
    for kind, names in {
        exp.Literal: "is_string", exp.Column: "table", exp.Identifier: "quoted", exp.Case: "ifs default",
        exp.If: "true false", exp.Cast: "to safe", exp.TryCast: "to safe requires_string", exp.Interval: "unit",
        exp.Between: "low high", exp.AtTimeZone: "zone", exp.Like: "negate", exp.ILike: "negate",
        exp.In: "query unnest", exp.Div: "typed safe", exp.DPipe: "safe",
        exp.Window: "partition_by order alias over spec",
        exp.Ordered: "desc nulls_first", exp.Count: "big_int", exp.ArgMax: "count", exp.ArgMin: "count",
        exp.Min: "count", exp.Max: "count", exp.Lag: "offset default", exp.Lead: "offset default",
        exp.Trim: "position", exp.Pad: "is_left fill_pattern", exp.UnixToTime: "scale", exp.Greatest: "ignore_nulls",
        exp.Least: "ignore_nulls", exp.Concat: "safe coalesce", exp.ConcatWs: "safe coalesce",
        exp.DateDiff: "date_part_boundary", exp.RegexpReplace: "single_replace", exp.SHA2: "length",
        exp.RegexpExtract: "null_if_pos_overflow", exp.Subquery: "alias", exp.Star: "except_ replace rename",
        exp.Select: (
            "with_ from_ where group having qualify windows distinct"
            " joins laterals order limit offset sample pivots connect"
        ),
        exp.Table: "alias db joins laterals sample pivots", exp.TableAlias: "", exp.CTE: "alias", exp.With: "recursive",
        exp.Group: "all rollup cube grouping_sets", exp.Distinct: "on",
    }.items()
}  # fmt: skip


def check(sql: exp.Expr) -> None:
    """Raises UnsupportedSqlError when the node says something that no code of ours reads."""
    known = _ALWAYS | _ARGUMENTS.get(type(sql), frozenset()) | argument_names(sql)
    for key, value in sql.args.items():
        if key in known or value is None or value is False or value == []:
            continue
        msg = f"{key.strip('_').upper().replace('_', ' ')} is not supported in {said(sql)}"
        raise UnsupportedSqlError(msg, hint="leave it out, or write it with plain columns, comparisons and functions")
