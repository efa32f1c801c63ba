"""The published JSON Schemas of the project's files, for editors: made from the models that read the files.

Any value may be a reference such as `${PORT}`, so where a value is not a text anyway, a text that holds `${` is allowed
beside it. Contracts have the standard's own schema.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from penstock.project.endpoint import EndpointHeader
from penstock.project.odcs import published_schema
from penstock.project.pipeline import PipelineHeader
from penstock.project.settings import SettingsFile
from penstock.project.source import SourceKeys

Schema = dict[str, Any]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Schema = {"type": "string", "pattern": r"\$\{"}
_ABOUT = ("description", "default", "examples", "title")


def schemas(connectors: Mapping[str, type[BaseModel]]) -> dict[str, Schema]:
    """Returns file kind -> JSON Schema: settings, contract, source, pipeline, endpoint (the last two: of the opening
    comment). `connectors` are the types of sources with the models of their own keys."""
    return {
        "settings": _published(SettingsFile, "penstock.yaml"),
        "contract": published_schema(),
        "source": source_schema(connectors),
        "pipeline": _published(PipelineHeader, "The opening comment of a pipeline"),
        "endpoint": _published(EndpointHeader, "The opening comment of an endpoint"),
    }


def _published(model: type[BaseModel], title: str) -> Schema:
    schema = with_references(model.model_json_schema())
    return {"$schema": _DIALECT, **schema, "title": title}


def source_schema(connectors: Mapping[str, type[BaseModel]]) -> Schema:
    """Returns the schema of a source: the common keys, and the connector's own by `type`."""
    common = SourceKeys.model_json_schema()
    definitions: Schema = {}
    common["properties"]["type"]["enum"] = sorted(connectors)
    branches = []
    for word, model in sorted(connectors.items()):
        own = model.model_json_schema(ref_template=f"#/$defs/{word}_{{model}}")
        definitions |= {f"{word}_{name}": with_references(d) for name, d in own.pop("$defs", {}).items()}
        then = {k: v for k, v in with_references(own).items() if k in ("properties", "required")}
        branches.append({"if": {"properties": {"type": {"const": word}}, "required": ["type"]}, "then": then})
    properties = {"type": common["properties"].pop("type"), **with_references(common)["properties"]}
    return {
        "$schema": _DIALECT,
        "title": "A source",
        "type": "object",
        "required": common["required"],
        "properties": properties,
        "allOf": branches,
        "unevaluatedProperties": False,
        "$defs": definitions,
    }


def with_references(schema: Schema) -> Schema:
    """Returns the schema with `${VAR}` allowed for every value that is not any text already."""
    changed = copy.deepcopy(schema)
    for part in [changed, *changed.get("$defs", {}).values()]:
        part["properties"] = {k: _value(v) for k, v in part.get("properties", {}).items()}
        if not part["properties"]:
            del part["properties"]
    return changed


def _value(schema: Schema) -> Schema:
    """Returns the schema of one value, with a reference allowed beside it where it is no plain text."""
    if "items" in schema:
        schema["items"] = _value(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = _value(schema["additionalProperties"])
    narrow = schema.get("type") in ("integer", "number", "boolean") or any(
        word in schema for word in ("enum", "const", "pattern", "minLength", "maxLength")
    )
    if "anyOf" in schema:
        schema["anyOf"] = [*schema["anyOf"], _REFERENCE]
    elif narrow:
        about = {k: schema.pop(k) for k in _ABOUT if k in schema}
        schema = {**about, "anyOf": [schema, _REFERENCE]}
    return schema
