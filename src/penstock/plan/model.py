"""What the planner yields: a pipeline's meaning, and the statements an engine runs to keep it. Pure data.

The SQL in here is DuckDB's, rendered from typed syntax trees; all of it may use the macros of `penstock.plan.macros`
(`MACROS`: CREATE MACRO statements to run in every connection first). Expressions over rows name the stream's columns
and stamps; the finish names the columns of the state.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.sqltypes import SqlType


@dataclass(frozen=True)
class ResultColumn:
    """A column of the result table, in SELECT order."""

    name: str
    type: SqlType
    lineage: tuple[str, ...] = ()
    """The stream's columns it is computed from."""


@dataclass(frozen=True)
class Window:
    """The window of the event time in GROUP BY."""

    column: str
    """The result column that holds it (a key column)."""
    expression: str
    """The window's value as SQL over the event time column, for `explain` and `validate`."""
    end: str
    """SQL for the instant (TIMESTAMPTZ) at which the window of a row ends, over the stream's columns."""


@dataclass(frozen=True)
class Group:
    """A grouping expression; in lists, a column of the primary key."""

    name: str
    """The state's column, `g0`, `g1`, ..."""
    sql: str
    type: SqlType
    column: str
    """The result column that holds it."""


@dataclass(frozen=True)
class Additive:
    """A sum that inverts: a row taken back is subtracted. Counts are sums of 0 and 1."""

    name: str
    sql: str
    """The value of one row, NULL adds nothing; state starts at 0 and is never NULL."""
    type: SqlType
    """Of the sum in the state: bigint, hugeint or decimal(38, s)."""


@dataclass(frozen=True)
class Extreme:
    """min, max, arg_min or arg_max: merges by comparing, recomputes the group when a row is taken back."""

    name: str
    kind: str
    sql: str
    """The value kept."""
    type: SqlType
    order: tuple[tuple[str, SqlType], ...] = ()
    """arg_min/arg_max: what is compared, most significant first; rows where any is NULL do not take part. Total."""
    filter: str | None = None


@dataclass(frozen=True)
class Distinct:
    """Values with their counts, in a state table of its own; finish sees the number of values as column `name`."""

    name: str
    values: tuple[tuple[str, SqlType], ...]
    """Rows where any is NULL do not take part."""
    filter: str | None = None


@dataclass(frozen=True)
class Kept:
    """Lists: a column of the row that is kept under its key."""

    name: str
    sql: str
    type: SqlType


@dataclass(frozen=True)
class Steps:
    """How the answer is kept. State columns: the groups, `n` (rows that count), then additives, extremes, kept."""

    where: str | None
    """Which rows take part, over the stream's columns."""
    groups: tuple[Group, ...]
    additives: tuple[Additive, ...] = ()
    extremes: tuple[Extreme, ...] = ()
    distincts: tuple[Distinct, ...] = ()
    kept: tuple[Kept, ...] = ()
    is_list: bool = False
    finish: str = ""
    """SELECT of the result columns from relation `s`: state rows with n > 0 of whole units, with one more column per
    distinct. Contains HAVING, window functions, QUALIFY. Without groups `s` has one row always (n may be 0)."""
    unit: tuple[str, ...] | None = None
    """State group columns that the window functions partition by: the finished unit. None = no window functions, each
    group is its own unit; () = the whole table is one unit."""


@dataclass(frozen=True)
class Plan:
    """One pipeline, planned."""

    name: str
    stream: str
    columns: tuple[ResultColumn, ...]
    key: tuple[str, ...]
    """Result columns that identify a row; () = a single row."""
    indexes: tuple[tuple[tuple[str, bool], ...], ...]
    window: Window | None
    late: str
    """`restate` or `set_aside`."""
    timezone: str
    typed_select: str
    """The SELECT with rule 3's types over a relation named as the stream, holding the rows that count: run whole it
    gives the pipeline's answer. Which rows count (net of -1, late ones) is the relation's business."""
    fingerprint: str
    """Of the normalised plan: equal for equal meanings, whatever the layout, comments and aliases of the text."""
    steps: Steps
