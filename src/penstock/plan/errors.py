"""Why a SELECT cannot be kept current: the planner's errors, each with the place in the .sql file."""

from __future__ import annotations

from penstock.errors import PenstockError


class PlanError(PenstockError):
    """Base of the planner's errors."""


class SqlSyntaxError(PlanError):
    """The text is not one SELECT of DuckDB's dialect.

    A pipeline's file holds an optional comment with YAML and then exactly one SELECT. Mend the text at the place
    named; `penstock explain` prints what was understood once it parses.
    """

    code = "PEN501"
    title = "SQL syntax error"


class UnknownStreamError(PlanError):
    """FROM names something that is no stream of this project and no CTE of this SELECT.

    Streams are declared by the contracts. Result tables of other pipelines cannot be read by a pipeline; select from
    the stream itself.
    """

    code = "PEN502"
    title = "unknown stream"


class UnknownColumnError(PlanError):
    """A name is neither a column of the stream nor an alias of this SELECT. The contract lists the columns."""

    code = "PEN503"
    title = "unknown column"


class UnsupportedSqlError(PlanError):
    """A form of SQL that Penstock cannot keep current row by row, or that has no meaning for a kept table.

    The message says why and names the nearest form that works. Nothing is half supported: what is not refused is
    kept exactly.
    """

    code = "PEN504"
    title = "cannot be kept current"


class UnsupportedFunctionError(PlanError):
    """A function that is not on the list of deterministic functions.

    Answers must come out the same on every replay and every engine, so only functions whose result depends on their
    arguments alone are let in. Compute the value at intake (`fields:` of the source) when it is needed anyway.
    """

    code = "PEN505"
    title = "unsupported function"


class NotDeterministicError(PlanError):
    """The function gives another value at another time (`now()`, `random()`, ...), so the answer could not be
    computed again. Use the event time or another column of the row instead."""

    code = "PEN506"
    title = "not deterministic"


class SqlTypeError(PlanError):
    """The operands have types that do not go together, or a value cannot be exact. Cast explicitly."""

    code = "PEN507"
    title = "types do not fit"


class InexactError(PlanError):
    """A sum, average or variance over DOUBLE depends on the order of addition and cannot be taken back exactly.

    Cast the operand: `sum(CAST(x AS DECIMAL(18,2)))`, or declare the column as decimal in the contract.
    """

    code = "PEN508"
    title = "not exact"


class OrderNotTotalError(PlanError):
    """An order decides a value, but rows may tie: the answer would depend on chance.

    Add the primary key (for arg_max: `arg_max(x, (at, id))`) or the grouping columns (row_number) to the order. `rank`
    and `dense_rank` need no total order.
    """

    code = "PEN509"
    title = "order is not total"


class KeyNotSelectedError(PlanError):
    """The result's rows cannot be told apart: a grouping column, or the primary key of a list, is not selected."""

    code = "PEN510"
    title = "key is not selected"


class GroupingError(PlanError):
    """A column stands outside GROUP BY and outside an aggregate, or an aggregate stands where none can be."""

    code = "PEN511"
    title = "grouping"


class ResultColumnError(PlanError):
    """A result column has no name, the same name as another, a reserved name, or a type no table can hold."""

    code = "PEN512"
    title = "result column"


class NoWindowError(PlanError):
    """`late:` is given, but GROUP BY has no window of the event time, so no row can be late.

    Group by a window of the contract's eventTime, e.g. `CAST(sold_at AS DATE)` or `date_trunc('hour', sold_at)`, or
    leave `late:` out.
    """

    code = "PEN513"
    title = "no window"


class UnknownIndexColumnError(PlanError):
    """`indexes:` names a column that the SELECT does not yield."""

    code = "PEN514"
    title = "index"


class OverflowCertainError(PlanError):
    """Exact numbers have at most 38 digits; this expression needs more decimals than that for any value.

    Cast an operand to fewer decimals first.
    """

    code = "PEN515"
    title = "more than 38 digits"


class BindError(PlanError):
    """DuckDB does not accept the statement the planner made of the SELECT. The message is DuckDB's own.

    Usually an argument has a type or value that the function does not take.
    """

    code = "PEN516"
    title = "does not bind"


class TimezoneError(PlanError):
    """The timezone is not one of the IANA time zone database (`Europe/Berlin`, `UTC`)."""

    code = "PEN517"
    title = "unknown timezone"
