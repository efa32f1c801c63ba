"""SELECT to Plan: the one function the other stages call.

    text -> syntax tree (sqlglot) -> Query (query.py) -> checks -> steps and typed SELECT (steps.py) -> bound by DuckDB

All reasons to refuse are told at once, each with its place in the pipeline's file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from penstock.errors import PenstockError, PenstockErrors, Place
from penstock.plan import checks, eventtime, fingerprint, query, steps
from penstock.plan.errors import BindError, NoWindowError, PlanError, SqlSyntaxError, TimezoneError
from penstock.plan.model import Plan, ResultColumn, Steps, Window
from penstock.plan.oracle import Oracle, Refused
from penstock.plan.places import Places
from penstock.plan.render import lower, render
from penstock.plan.special import checked_zone
from penstock.plan.tree import column, columns_of
from penstock.project.model import PipelineFile, Stream
from penstock.sqltypes import BIGINT, SqlType


def plan(pipeline: PipelineFile, streams: Mapping[str, Stream]) -> Plan:
    """Returns the plan of a pipeline. Raises PenstockErrors with every reason why it is refused."""
    places = Places(pipeline)
    context = query.Context(streams, places, pipeline.timezone)
    _check_zone(pipeline, context.errors)
    found: query.Query | None = None
    with context.collecting():
        found = _read(context, pipeline)
    if found is None or context.errors:
        raise _all(context.errors)
    made = _make(pipeline, found, context.errors)
    if made is None or context.errors:
        raise _all(context.errors)
    return made


def _read(context: query.Context, pipeline: PipelineFile) -> query.Query:
    try:
        return query.read(context, parse(pipeline, context.places))
    except RecursionError as e:
        msg = "the SELECT is nested too deeply to be read"
        raise SqlSyntaxError(msg, hint="write it in fewer levels", place=context.places.line_column(1, 1)) from e


def _all(errors: list[PenstockError]) -> PenstockErrors:
    nowhere = Place("")
    unique = {(e.code, e.found, e.place): e for e in errors}
    return PenstockErrors(sorted(unique.values(), key=lambda e: e.place or nowhere))


def _check_zone(pipeline: PipelineFile, errors: list[PenstockError]) -> None:
    try:
        checked_zone(pipeline.timezone)
    except TimezoneError as e:
        e.place = pipeline.place
        errors.append(e)


def parse(pipeline: PipelineFile, places: Places) -> exp.Expr:
    """Returns the syntax tree of the SELECT. Raises SqlSyntaxError."""
    try:
        statements = [s for s in sqlglot.parse(pipeline.sql, dialect="duckdb") if s is not None]
    except ParseError as e:
        first = e.errors[0] if e.errors else {}
        place = _token_end(places, first)
        found = _readable(str(first.get("description", "")), str(first.get("highlight", "")))
        raise SqlSyntaxError(found, hint="a pipeline is one SELECT of DuckDB's dialect", place=place) from e
    except TokenError as e:
        raise SqlSyntaxError(str(e), hint="is a quote or comment left open?", place=pipeline.place) from e
    if len(statements) != 1 or isinstance(statements[0], exp.Semicolon):
        msg = f"there are {len(statements)} statements" if statements else "there is no SELECT"
        place = places.of(statements[1]) if len(statements) > 1 else places.line_column(1, 1)
        raise SqlSyntaxError(msg, hint="a pipeline's file holds exactly one SELECT", place=place)
    return statements[0]


def _readable(description: str, word: str) -> str:
    if description.startswith("Required keyword"):
        return f"something is missing after '{word}'"
    description = re.sub(r" but got <Token.*", "", description)
    return f"{description.removesuffix('.')} at '{word}'" if word else description or "the text cannot be read"


def _token_end(places: Places, error: Mapping[str, object]) -> Place:
    line, column_ = error.get("line"), error.get("col")
    if not isinstance(line, int) or not isinstance(column_, int):
        return places.line_column(1, 1)
    width = len(str(error.get("highlight") or " "))
    return places.line_column(line, max(1, column_ - width + 1))


def _make(pipeline: PipelineFile, found: query.Query, errors: list[PenstockError]) -> Plan | None:
    columns = _columns(found)
    errors += checks.all_problems(found, pipeline, columns)
    if errors:
        return None
    key = checks.key_of(found)
    window = _window(found, key, pipeline.timezone)
    if window is None and pipeline.late_given:
        msg = f"late: {pipeline.late} is given, but GROUP BY has no window of the event time"
        hint = "group by one, e.g. CAST(sold_at AS DATE), or leave late: out"
        errors.append(NoWindowError(msg, hint=hint, place=pipeline.place))
        return None
    made = Plan(
        name=pipeline.name,
        stream=found.stream.name,
        columns=columns,
        key=key,
        indexes=pipeline.indexes,
        window=window,
        late=pipeline.late,
        timezone=pipeline.timezone,
        typed_select=steps.typed_select(found),
        fingerprint=fingerprint.of(found, pipeline, columns, window),
        steps=steps.steps(found, key),
    )
    try:
        _bind(made, found)
    except PlanError as e:
        e.place = e.place or Place(pipeline.place.file, pipeline.sql_line, 1)
        errors.append(e)
    return made


def _columns(found: query.Query) -> tuple[ResultColumn, ...]:
    groups = found.groups or ()
    result = []
    for output in found.outputs:
        names = set(columns_of(output.node))
        for node in output.node.walk():
            if node.op == "group":
                names |= columns_of(groups[int(node.value)])
        order = [c.name for c in found.stream.columns if c.name in names]
        result.append(ResultColumn(output.name, lower(output.node).type, tuple(order)))
    return tuple(result)


def _window(found: query.Query, key: tuple[str, ...], zone: str) -> Window | None:
    name = found.stream.event_time
    if name is None or not found.groups:
        return None
    declared = found.stream.column(name)
    event_time = column(name, declared.type, nullable=not declared.required)
    seen = eventtime.recognise(found.groups, event_time, zone)
    if seen is None:
        return None
    value = render(lower(found.groups[seen.group]))
    return Window(key[seen.group], value, render(lower(seen.end)))


def _bind(made: Plan, found: query.Query) -> None:
    """Has DuckDB bind every statement of the plan. Raises BindError when it refuses, or types differ."""
    stream_columns = [(c.name, c.type) for c in found.stream.columns]
    state = _state_columns(made.steps)
    with Oracle() as oracle:
        try:
            oracle.table(made.stream, stream_columns)
            oracle.table("s", state)
        except Refused as e:
            raise BindError(str(e), hint="rename the column in the contract") from e
        for statement in (made.typed_select, made.steps.finish):
            _compare(oracle, statement, [(c.name, c.type.duckdb) for c in made.columns])
        _compare(oracle, _partials(made), [(name, t.duckdb) for name, t in state])


def _state_columns(kept: Steps) -> list[tuple[str, SqlType]]:
    rows = [("n", BIGINT)]
    groups = [(g.name, g.type) for g in kept.groups]
    rest = [(a.name, a.type) for a in kept.additives] + [(e.name, e.type) for e in kept.extremes]
    rest += [(k.name, k.type) for k in kept.kept] + [(d.name, BIGINT) for d in kept.distincts]
    return [*groups, *rows, *rest]


def _partials(made: Plan) -> str:
    """Returns a SELECT that holds every expression of the steps, to be bound only."""
    kept = made.steps
    items = [f"{g.sql} AS {g.name}" for g in kept.groups] + ["CAST(1 AS BIGINT) AS n"]
    items += [f"CAST({a.sql} AS {a.type.duckdb}) AS {a.name}" for a in kept.additives]
    for e in kept.extremes:
        conditions = [t for t in (e.filter, *(f"({sql}) IS NOT NULL" for sql, _ in e.order)) if t]
        guard = " AND ".join(conditions) or "true"
        items.append(f"CASE WHEN {guard} THEN {e.sql} END AS {e.name}")
    items += [f"{k.sql} AS {k.name}" for k in kept.kept]
    for d in kept.distincts:
        values = ", ".join(f"CAST({sql} AS {t.duckdb})" for sql, t in d.values)
        items.append(f"CAST(CASE WHEN {d.filter or 'true'} THEN hash({values}) % 2 END AS BIGINT) AS {d.name}")
    window = f" AND {made.window.end} IS NOT NULL" if made.window else ""
    return f'SELECT {", ".join(items)} FROM "{made.stream}" WHERE {kept.where or "true"}{window}'


def _compare(oracle: Oracle, statement: str, expected: list[tuple[str, str]]) -> None:
    try:
        bound = oracle.describe(statement)
    except Refused as e:
        raise BindError(str(e), hint="penstock explain prints what was made of the SELECT") from e
    for (name, wanted), (_, got) in zip(expected, bound, strict=True):
        if wanted != {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ"}.get(got, got):
            msg = f"column '{name}' is {got} in DuckDB, but was planned as {wanted}"
            raise BindError(msg, hint=f"cast it: CAST(... AS {wanted})")
