"""endpoints/*.sql: a header with route and parameters, and one SELECT over the results in PostgreSQL's SQL.

What can be told without a database is checked here: that path, parameters and SQL fit together, that defaults keep
to their own schema, that the SQL is one SELECT, and that the tables it reads are results of the project.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Literal

import jsonschema
import sqlglot
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlglot import exp
from sqlglot.errors import SqlglotError

from penstock.errors import Place, nearest
from penstock.project.checked import check_model
from penstock.project.errors import BadEndpoint, UnknownTable
from penstock.project.model import EndpointFile, Paging, Parameter
from penstock.project.parameters import ParameterMark, split_parameters
from penstock.project.pipeline import OrderedColumn
from penstock.project.sqlfile import Sql, parse_order, split_sql
from penstock.project.variables import Variables, fill_in
from penstock.project.yamlfile import Document, Problems

RESERVED_PATHS = ("/openapi.json", "/docs", "/livez", "/readyz", "/startupz", "/healthz", "/metrics")
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+|\{[A-Za-z_][A-Za-z0-9_]*\}")
_PAGING = ("page_size", "after")
"""Parameters that paging adds."""


class ParameterSchema(BaseModel):
    """One parameter: a JSON Schema of a single value, and whether it must be given."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    type: Literal["string", "integer", "number", "boolean"] = Field(description="The JSON type", examples=["string"])
    format: Literal["date", "date-time", "time", "uuid", "email", "uri", "int32", "int64"] | None = Field(
        default=None, description="A closer kind of text or number", examples=["date"]
    )
    required: bool = Field(default=False, description="Whether the parameter must be given; those in the path are")
    default: Any = Field(default=None, description="The value when it is not given", examples=[10])
    minimum: int | float | None = Field(default=None, description="The least value", examples=[1])
    maximum: int | float | None = Field(default=None, description="The greatest value", examples=[1000])
    exclusive_minimum: int | float | None = Field(
        default=None, alias="exclusiveMinimum", description="A bound that values are above", examples=[0]
    )
    exclusive_maximum: int | float | None = Field(
        default=None, alias="exclusiveMaximum", description="A bound that values are below", examples=[100]
    )
    multiple_of: int | float | None = Field(
        default=None, alias="multipleOf", gt=0, description="A number that divides every value", examples=[5]
    )
    min_length: int | None = Field(default=None, alias="minLength", ge=0, description="The least length", examples=[1])
    max_length: int | None = Field(
        default=None, alias="maxLength", ge=0, description="The greatest length", examples=[50]
    )
    pattern: str | None = Field(default=None, description="A regular expression", examples=["^[A-Z]{2}$"])
    enum: list[str | int | float | bool] | None = Field(
        default=None, min_length=1, description="The only values allowed", examples=[["day", "week"]]
    )
    description: str = Field(default="", description="What it means, for the OpenAPI document")
    title: str | None = Field(default=None, description="A short name, for the OpenAPI document")
    examples: list[Any] | None = Field(default=None, description="Examples, for the OpenAPI document")
    deprecated: bool | None = Field(default=None, description="Whether callers should stop using it")

    @model_validator(mode="after")
    def _pattern_compiles(self) -> ParameterSchema:
        try:
            re.compile(self.pattern or "")
        except (re.error, OverflowError, RecursionError) as e:
            msg = f"has a pattern that is not a regular expression: {e}"
            raise ValueError(msg) from e
        return self

    def json_schema(self) -> dict[str, Any]:
        """Returns the JSON Schema of the value."""
        given = self.model_dump(by_alias=True, exclude_unset=True, exclude={"required", "description"})
        return {k: v for k, v in given.items() if v is not None}


class PagingHeader(BaseModel):
    """Paging by a unique key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: list[OrderedColumn] = Field(
        min_length=1,
        description="Columns of the answer that hold a unique key",
        examples=[["date desc", "salesman_id"]],
    )
    size: int = Field(default=100, ge=1, description="Rows on a page when the caller does not say", examples=[100])
    max: int = Field(default=1000, ge=1, description="The most rows a caller may ask for", examples=[1000])

    @model_validator(mode="after")
    def _size_within_max(self) -> PagingHeader:
        if self.size > self.max:
            msg = f"has a size of {self.size}, which is more than its max of {self.max}"
            raise ValueError(msg)
        return self


class EndpointHeader(BaseModel):
    """The opening comment of an endpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="The route; parameters in braces", examples=["/api/v1/salesmen/{id}/history"])
    summary: str = Field(default="", description="One line for the OpenAPI document", examples=["Cities by sales"])
    description: str = Field(default="", description="More of it, for the OpenAPI document")
    parameters: dict[str, ParameterSchema] = Field(
        default={}, description="Parameters by name; `:name` in the SQL is its value"
    )
    paging: PagingHeader | None = Field(default=None, description="Answers in pages, with a link to the next")
    decimals: Literal["number", "string"] = Field(
        default="number", description="Whether decimals are JSON numbers (all digits) or texts", examples=["string"]
    )


def read_endpoint(
    name: str, text: str, file: str, tables: Collection[str] | None, variables: Variables, problems: Problems
) -> EndpointFile | None:
    """Returns the endpoint of a file's text, or None; what is wrong goes to `problems`.

    `tables` are the results that exist; None leaves that check out (when pipelines could not be read).
    """
    sql = split_sql(text, file, problems)
    if sql is None:
        return None
    header = fill_in(sql.header, variables, problems)
    model = check_model(EndpointHeader, header, problems)
    if model is None:
        return None
    in_path = re.findall(r"\{([^{}/]*)\}", model.path)
    _check_path(model, header, in_path, problems)
    _check_parameters(model, header, sql, in_path, problems)
    _check_sql(sql, tables, problems)
    paging = model.paging
    return EndpointFile(
        name=name,
        path=model.path,
        sql=sql.text,
        sql_line=sql.line,
        summary=model.summary,
        description=model.description,
        parameters=tuple(
            Parameter(key, p.json_schema(), p.required or key in in_path, key in in_path, p.description)
            for key, p in model.parameters.items()
        ),
        paging=Paging(tuple(map(parse_order, paging.by)), paging.size, paging.max) if paging else None,
        decimals=model.decimals,
        place=header.place(("path",)),
    )


def _check_path(model: EndpointHeader, header: Document, in_path: list[str], problems: Problems) -> None:
    place = header.place(("path",))
    segments = model.path.removeprefix("/").split("/")
    if not model.path.startswith("/") or not all(_SEGMENT.fullmatch(s) for s in segments):
        hint = "it begins with /, and each part is plain text or one {parameter}"
        problems.error(BadEndpoint(f"'{model.path}' is not a route", hint=hint, place=place))
        return
    if model.path in RESERVED_PATHS:
        problems.error(BadEndpoint(f"'{model.path}' is Penstock's own", hint="choose another route", place=place))
    for key in {k for k in in_path if in_path.count(k) > 1}:
        problems.error(BadEndpoint(f"'{{{key}}}' stands twice in the path", place=place))
    for key in in_path:
        if key not in model.parameters:
            hint = f"declare it: parameters: {{{key}: {{type: string}}}}"
            problems.error(BadEndpoint(f"the path's '{{{key}}}' is not under parameters", hint=hint, place=place))


def _check_parameters(
    model: EndpointHeader, header: Document, sql: Sql, in_path: list[str], problems: Problems
) -> None:
    marks = [p for p in split_parameters(sql.text) if isinstance(p, ParameterMark)]
    used = {m.name for m in marks}
    table = header.root.mapping.get("parameters")
    declared = table.mapping if table else {}
    for mark in marks:
        if mark.name not in declared and mark.name not in _PAGING:
            before = sql.text[: mark.at]
            place = Place(header.file, sql.line + before.count("\n"), len(before) - (before.rfind("\n") + 1) + 1)
            hint = nearest(mark.name, declared) if declared else f"declare '{mark.name}' under parameters"
            problems.error(BadEndpoint(f"':{mark.name}' is not a parameter", hint=hint, place=place))
    for key, parameter in model.parameters.items():
        place = header.place(("parameters", key), key=True)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            problems.error(
                BadEndpoint(f"'{key}' is not a parameter's name", hint="use letters, digits and _", place=place)
            )
        elif key not in used:
            hint = f"use it in the SQL as :{key}, or remove it"
            problems.error(BadEndpoint(f"nothing uses the parameter '{key}'", hint=hint, place=place))
        if model.paging and key in _PAGING:
            problems.error(BadEndpoint(f"'{key}' is paging's own parameter", hint="rename it", place=place))
        if parameter.default is not None:
            _check_default(key, parameter, header, in_path, problems)


def _check_default(
    key: str, parameter: ParameterSchema, header: Document, in_path: list[str], problems: Problems
) -> None:
    place = header.place(("parameters", key, "default"))
    node = header.node(("parameters", key, "default"))
    if key in in_path or parameter.required:
        hint = "remove `default` or `required`; parameters in the path are always given"
        problems.error(BadEndpoint(f"the required parameter '{key}' has a default", hint=hint, place=place))
    elif node is None or not (node.unresolved or node.hidden):
        for error in jsonschema.Draft202012Validator(parameter.json_schema()).iter_errors(parameter.default):
            problems.error(BadEndpoint(f"the default of '{key}' breaks its own rules: {error.message}", place=place))


def _check_sql(sql: Sql, tables: Collection[str] | None, problems: Problems) -> None:
    text = "".join(p if isinstance(p, str) else f"${p.name}" for p in split_parameters(sql.text))
    try:
        statements = sqlglot.parse(text, read="postgres")
    except (SqlglotError, RecursionError, ValueError) as e:
        problems.error(_syntax_error(e, sql))
        return
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        place = Place(sql.header.file, sql.line, 1)
        problems.error(BadEndpoint("the SQL is not one SELECT", hint="an endpoint only reads", place=place))
        return
    if tables is None:
        return
    for table in _tables(statements[0]):
        name = table.name if table.this.args.get("quoted") else table.name.lower()
        if name not in tables:
            line, last = int(table.this.meta.get("line", 1)), int(table.this.meta.get("col", 0))
            place = Place(sql.header.file, sql.line + line - 1, max(1, last - len(table.name) + 1))
            problems.error(UnknownTable(f"no pipeline keeps '{name}'", hint=nearest(name, tables), place=place))


def _syntax_error(e: Exception, sql: Sql) -> BadEndpoint:
    details = getattr(e, "errors", None) or [{}]
    line, column = details[0].get("line") or 1, details[0].get("col") or 1
    found = str(details[0].get("description") or e).splitlines()[0].split(". Line")[0].rstrip(".")
    highlight = details[0].get("highlight")
    near = f" near '{highlight}'" if highlight else ""
    place = Place(sql.header.file, sql.line + line - 1, column)
    return BadEndpoint(f"the SQL cannot be parsed: {found}{near}", hint="PostgreSQL's SQL is expected", place=place)


def _tables(query: exp.Query) -> Iterator[exp.Table]:
    """Yields the plain tables that a query reads: no CTEs, no functions, nothing of another schema."""
    ctes = {cte.alias_or_name for cte in query.find_all(exp.CTE)}
    for table in query.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier) and not table.db and table.name not in ctes:
            yield table
