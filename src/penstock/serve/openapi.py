"""The OpenAPI 3.1 document, generated from the endpoints and from what the store says of their columns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from penstock.project.model import Parameter
from penstock.serve.catalogue import Catalogue, Served
from penstock.serve.describe import AnswerColumn
from penstock.serve.negotiate import CSV, FORMS, JSON, NDJSON
from penstock.serve.problems import CONTENT_TYPE

_JSON_TYPES: Mapping[str, dict[str, Any]] = {
    "bigint": {"type": "integer", "format": "int64"},
    "integer": {"type": "integer", "format": "int32"},
    "smallint": {"type": "integer", "minimum": -32768, "maximum": 32767},
    "double precision": {"type": "number", "format": "double"},
    "real": {"type": "number", "format": "float"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "timestamp with time zone": {"type": "string", "format": "date-time"},
    "timestamp without time zone": {"type": "string"},
    "interval": {"type": "string", "format": "duration"},
    "uuid": {"type": "string", "format": "uuid"},
    "bytea": {"type": "string", "contentEncoding": "base64"},
}
_PROBLEMS = {
    "400": "A parameter is wrong, missing or unknown; `errors` names each",
    "405": "The method is not GET, HEAD or OPTIONS",
    "406": "The media type asked for cannot be had",
    "500": "The endpoint could not be answered",
    "503": "The store is away, or the result is not ready yet; ask again after `Retry-After` seconds",
    "504": "The answer took longer than the time limit",
}
_TEXT = {"type": "string"}
_INSTANT = {"type": "string", "format": "date-time"}
_HEADERS: Mapping[str, dict[str, Any]] = {
    "ETag": {"description": "Names the version of the data, the parameters and the representation", "schema": _TEXT},
    "Penstock-As-Of": {"description": "When the data was last brought up to date", "schema": _INSTANT},
    "Penstock-Watermark": {"description": "Event time up to which the data is complete", "schema": _INSTANT},
    "Penstock-Final": {
        "description": "Whether every row's window is final; false for an empty answer, absent without a window",
        "schema": {"type": "string", "enum": ["true", "false"]},
    },
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "instance": _TEXT,
        "code": {"type": "string", "pattern": "^PEN[0-9]{3}$"},
        "hint": _TEXT,
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"parameter": _TEXT, "in": _TEXT, "detail": _TEXT}},
        },
    },
}


def document(title: str, catalogue: Catalogue) -> dict[str, Any]:
    """Returns the document for the endpoints as they are described now."""
    paths = {s.endpoint.path: {"get": _operation(s)} for s in catalogue.endpoints.values()}
    version = hashlib.blake2b(repr(paths).encode(), digest_size=6).hexdigest()
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": f"The kept answers of {title}."},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": _PROBLEM_SCHEMA},
            "headers": dict(_HEADERS),
            "responses": {status: _problem(text, status) for status, text in _PROBLEMS.items()},
        },
    }


def _problem(text: str, status: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    response: dict[str, Any] = {"description": text, "content": {CONTENT_TYPE: {"schema": schema}}}
    if status == "503":
        response["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    if status == "405":
        response["headers"] = {"Allow": {"schema": _TEXT}}
    return response


def _operation(served: Served) -> dict[str, Any]:
    endpoint = served.endpoint
    operation: dict[str, Any] = {"operationId": endpoint.name}
    operation |= {"summary": endpoint.summary} if endpoint.summary else {}
    operation |= {"description": endpoint.description} if endpoint.description else {}
    headers: dict[str, dict[str, Any]] = {n: {"$ref": f"#/components/headers/{n}"} for n in _HEADERS}
    if endpoint.paging:
        headers["Link"] = {"description": 'The next page, as rel="next"', "schema": _TEXT}
    answers: dict[str, Any] = {
        "200": {"description": "The answer", "headers": headers, "content": _content(served)},
        "304": {"description": "The answer is the one named by If-None-Match"},
    }
    answers |= {status: {"$ref": f"#/components/responses/{status}"} for status in _PROBLEMS}
    return operation | {"parameters": [_parameter(p) for p in served.parameters.values()], "responses": answers}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema = {"type": "string"} | {
        k: v for k, v in parameter.schema.items() if k not in ("required", "in", "description")
    }
    shown: dict[str, Any] = {
        "name": parameter.name,
        "in": "path" if parameter.in_path else "query",
        "required": parameter.required or parameter.in_path,
        "schema": schema,
    }
    text = parameter.description or parameter.schema.get("description")
    return shown | ({"description": text} if text else {})


def _content(served: Served) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "object"}
    if served.description:
        columns = served.description.columns
        row["properties"] = {c.name: column_schema(c, served.endpoint.decimals) for c in columns}
        row["required"] = [c.name for c in columns]
        row["additionalProperties"] = False
    text = {"type": "string"}
    shapes: dict[str, dict[str, Any]] = {JSON.name: {"type": "array", "items": row}, NDJSON.name: text, CSV.name: text}
    return {form.media_types[0]: {"schema": shapes[form.name]} for form in FORMS}


def column_schema(column: AnswerColumn, decimals: str) -> dict[str, Any]:
    """Returns the JSON Schema of a column's values; any may be null."""
    kind = column.type.split("(")[0].strip()
    if column.type.endswith("[]"):
        return {"type": ["array", "null"]}
    if kind in ("json", "jsonb"):
        return {}
    if kind == "numeric":
        found: dict[str, Any] = {"type": "string", "format": "decimal"} if decimals == "string" else {"type": "number"}
    else:
        found = dict(_JSON_TYPES.get(column.type, _JSON_TYPES.get(kind, _TEXT)))
    return found | {"type": [found["type"], "null"]}
