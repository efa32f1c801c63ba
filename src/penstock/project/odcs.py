"""The Open Data Contract Standard's own schema and model, for every version 3 file.

`open-data-contract-standard` carries the schema of the newest version (3.2). It is read with two amendments, so that
each file that is valid under its own version is accepted. First, its conditions on `logicalType` also match where no
logicalType stands (and then demand what only a map has); they are made to ask for one. Second, 3.0 was laxer: it
allowed further keys except at the root and in streams and properties, and exclusiveMinimum and exclusiveMaximum were
booleans about minimum and maximum. For 3.0 files those demands are taken out. Findings are told
as errors with places.

Properties are validated one by one instead of through the schema's recursion: its `unevaluatedProperties` makes a
validator go through everything below a value several times, which is exponential in the depth of nesting.
"""

from __future__ import annotations

import copy
import importlib.resources
import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError, best_match
from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject
from pydantic import ValidationError as ModelError

from penstock.errors import PenstockError, nearest
from penstock.project.checked import shown
from penstock.project.errors import BadContract, MissingKey, UnknownKey
from penstock.project.yamlfile import Document, KeyPath, Node, Problems

_NEWER_THAN_3_0 = {
    "SchemaBaseProperty": ("enum", "relationships", "semanticType"),
    "SchemaElement": ("id", "deprecated", "synonyms"),
    "SchemaObject": ("context", "relationships"),
    "DataQuality": ("id",),
    "DataQualityLibrary": ("arguments", "metric"),
    "CustomProperty": ("id", "description", "vendor"),
    "Server": ("id",),
    "Role": ("id",),
    "Pricing": ("id",),
    "SupportItem": ("id", "customProperties"),
    "ServiceLevelAgreementProperty": (
        "id", "description", "schedule", "scheduler", "customProperties", "authoritativeDefinitions",
    ),
}  # fmt: skip
"""Keys of the newest schema that 3.0 does not know: in a 3.0 file they may hold anything."""
_PROPERTY_KEYS_NEWER_THAN_3_0 = {
    "enum",
    "relationships",
    "semanticType",
    "map",
    "id",
    "deprecated",
    "synonyms",
    "context",
}
Found = tuple[KeyPath, ValidationError]
"""What the schema finds in a piece of the file, with the piece's place."""
_CLOSED = ("unevaluatedProperties", "additionalProperties")


@cache
def published_schema() -> dict[str, Any]:
    """Returns the schema that the standard's package carries, unchanged."""
    package = importlib.resources.files("open_data_contract_standard")
    schema: dict[str, Any] = json.loads((package / "schema.json").read_text(encoding="utf-8"))
    return schema


@cache
def _validator(lax: bool) -> jsonschema.Draft201909Validator:
    schema = copy.deepcopy(published_schema())
    _ask_for_what_is_compared(schema)
    _stop_at_properties(schema)
    if lax:
        _relax(schema)
    return jsonschema.Draft201909Validator(schema)


def _ask_for_what_is_compared(schema: Any) -> None:
    """Makes each `if` on a property's value fail where that property is missing."""
    if isinstance(schema, dict):
        condition = schema.get("if")
        for part in [condition, *condition.get("anyOf", ())] if isinstance(condition, dict) else ():
            if "properties" in part:
                part.setdefault("required", list(part["properties"]))
        for value in schema.values():
            _ask_for_what_is_compared(value)
    elif isinstance(schema, list):
        for value in schema:
            _ask_for_what_is_compared(value)


def _stop_at_properties(schema: Any) -> None:
    """Takes the schema's recursion out: what refers to a property's schema accepts any keys and values."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if isinstance(value, dict) and value.get("$ref") in (
                "#/$defs/SchemaProperty",
                "#/$defs/SchemaItemProperty",
            ):
                schema[key] = {"type": "object"}
            else:
                _stop_at_properties(value)
    elif isinstance(schema, list):
        for value in schema:
            _stop_at_properties(value)


def _relax(schema: dict[str, Any]) -> None:
    """Takes out of the newest schema what it demands beyond 3.0."""
    definitions = schema["$defs"]
    for name, definition in definitions.items():
        if not name.startswith("Schema"):
            _open(definition)
    definitions["SchemaBaseProperty"].pop("unevaluatedProperties", None)
    for condition in definitions["SchemaBaseProperty"]["allOf"]:
        options = condition.get("then", {}).get("properties", {}).get("logicalTypeOptions", {}).get("properties", {})
        options |= {key: True for key in ("exclusiveMinimum", "exclusiveMaximum") if key in options}
    for name, keys in _NEWER_THAN_3_0.items():
        for key in keys:
            definitions[name]["properties"][key] = True
    definitions["DataQualityLibrary"]["required"] = []
    definitions["DataQualityOperators"].pop("oneOf", None)
    definitions["CustomProperty"]["required"] = []
    definitions["ServerSource"]["DuckdbServer"]["properties"]["schema"] = True
    definitions["Team"] = definitions["TeamMember"] = True
    definitions["StableId"] = True
    schema["properties"]["team"] = {"type": ["array", "object"]}


def _open(schema: Any) -> None:
    """Lets further keys stand wherever the schema forbids them."""
    if isinstance(schema, dict):
        for word in _CLOSED:
            if schema.get(word) is False:
                del schema[word]
        for value in schema.values():
            _open(value)
    elif isinstance(schema, list):
        for value in schema:
            _open(value)


def read_odcs(document: Document, problems: Problems) -> list[SchemaObject] | None:
    """Returns the contract's schema objects in the standard's model, or None after adding errors to `problems`."""
    data = document.root.plain()
    if not isinstance(data, dict):
        hint = "begin with `apiVersion: v3.1.0` and `kind: DataContract`"
        problems.error(BadContract("a contract is keys and values", hint=hint, place=document.place()))
        return None
    version = str(data.get("apiVersion", ""))
    if version.startswith("v2."):
        found = f"apiVersion {version} is not read; Penstock reads version 3"
        problems.error(BadContract(found, hint="raise it to v3.1.0", place=document.place(("apiVersion",))))
        return None
    lax = version.startswith("v3.0")
    # a key that two parts of the schema forbid is told once
    errors = {str(e): e for e in _findings(document, _validator(lax))}
    for error in errors.values():
        problems.error(error)
    if errors:
        return None
    try:
        schema = data.get("schema") or []
        part = {"schema": [_without_newer_keys(s) for s in schema] if lax else schema}
        return OpenDataContractStandard.model_validate(part).schema_ or []
    except ModelError as e:
        first = e.errors(include_url=False)[0]
        path = tuple(p for p in first["loc"] if isinstance(p, int | str))
        problems.error(
            BadContract(f"is not what the standard's model reads: {first['msg']}", place=document.place(path))
        )
        return None


def _without_newer_keys(schema: Any) -> Any:
    """Returns a 3.0 schema element without keys that mean something only in later versions."""
    if not isinstance(schema, dict):
        return schema
    kept = {k: v for k, v in schema.items() if k not in _PROPERTY_KEYS_NEWER_THAN_3_0 and k != "quality"}
    for key in ("properties",):
        if isinstance(kept.get(key), list):
            kept[key] = [_without_newer_keys(p) for p in kept[key]]
    if "items" in kept:
        kept["items"] = _without_newer_keys(kept["items"])
    return kept


def _pieces(document: Document, validator: jsonschema.Draft201909Validator) -> Iterator[Found]:
    """Yields what the schema finds: in the file without its properties, and in each property at any depth."""
    yield from (((), e) for e in validator.iter_errors(document.root.plain()))
    for index, entry in enumerate(_list(document.root.child("schema"))):
        for path, name in _properties(entry, ("schema", index)):
            node = document.node(path)
            schema = {"$ref": f"#/$defs/{name}"}
            yield from ((path, e) for e in validator.descend(node.plain() if node else None, schema))


def _properties(node: Node, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yields the path of every property below a schema element, with the name of its schema."""
    for index, inner in enumerate(_list(node.child("properties"))):
        yield (*path, "properties", index), "SchemaProperty"
        yield from _properties(inner, (*path, "properties", index))
    for steps in (("items",), ("map", "key"), ("map", "value")):
        below: Node | None = node
        for step in steps:
            below = below.child(step) if below else None
        if below is not None:
            yield (*path, *steps), "SchemaItemProperty"
            yield from _properties(below, (*path, *steps))


def _list(node: Node | None) -> Sequence[Node]:
    return node.sequence if node is not None else ()


def _findings(document: Document, validator: jsonschema.Draft201909Validator) -> Iterator[PenstockError]:
    found = list(_pieces(document, validator))
    elsewhere = [(*prefix, *e.absolute_path) for prefix, e in found if e.validator not in _CLOSED]
    for prefix, error in found:
        path: KeyPath = (*prefix, *error.absolute_path)
        if error.validator in _CLOSED:
            nested = any(p[: len(path)] == path for p in elsewhere)
            yield from _unknown_keys(document, error, path, validator, nested)
        elif error.validator == "required":
            key = str(error.message).split("'")[1]
            yield MissingKey(f"'{key}' is required", hint=_hint(error, key), place=document.place(path))
        else:
            yield _told(document, error, prefix)


def _unknown_keys(
    document: Document, error: ValidationError, path: KeyPath, validator: jsonschema.Draft201909Validator, nested: bool
) -> Iterator[PenstockError]:
    """Yields an UnknownKey for each key that the schema has not. A key it has is there because of another error."""
    known = set(_property_names(error.schema, validator.schema))
    for key in error.instance if isinstance(error.instance, dict) else ():
        place = document.place((*path, str(key)), key=True)
        if key not in known:
            yield UnknownKey(f"'{key}'", hint=nearest(str(key), known), place=place)
        elif not nested and f"'{key}'" in error.message:
            found = f"'{key}' may not stand beside the other keys here"
            yield BadContract(found, hint="look at the kind of this value", place=place)


def _property_names(schema: Any, root: Any) -> Iterator[str]:
    """Yields the names of properties that a schema has for one value, through references and conditions."""
    if not isinstance(schema, dict):
        return
    yield from schema.get("properties", {})
    if "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        yield from _property_names(target, root)
    for word in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(word, ()):
            yield from _property_names(part, root)
    for word in ("then", "else"):
        yield from _property_names(schema.get(word), root)


def _told(document: Document, error: ValidationError, prefix: KeyPath) -> PenstockError:
    """Returns one finding as an error; of several possible forms, the nearest one's finding."""
    if error.context and (inner := best_match(error.context)) is not None and not _is_choice(error):
        error = inner
    path: KeyPath = (*prefix, *error.absolute_path)
    asked: Any = error.validator_value
    node = document.node(path)
    value = shown(node) if node is not None else "nothing"
    place = document.place(path)
    if error.validator == "enum":
        words = [str(w) for w in asked]
        return BadContract(
            f"{value} is not one of the standard's words", hint=nearest(value.strip("'"), words), place=place
        )
    if error.validator == "type":
        kinds = asked if isinstance(asked, list) else [asked]
        return BadContract(f"{value} is not of the type {' or '.join(kinds)}", place=place)
    if _is_choice(error):
        words = [key for form in asked for key in form.get("required", ())]
        return BadContract(f"exactly one is needed of {', '.join(words)}", place=place)
    what = {"pattern": "does not match the standard's pattern", "minItems": "has too few items"}
    said = what.get(str(error.validator), f"breaks the standard's rule {error.validator}: {asked}")
    return BadContract(f"{value} {said}", place=place)


def _is_choice(error: ValidationError) -> bool:
    """Whether the error is about a choice between keys (`mustBe`, `mustBeLessThan`, ...)."""
    forms: Any = error.validator_value if error.validator == "oneOf" else None
    return bool(forms) and all(isinstance(f, dict) and f.get("required") for f in forms)


def _hint(error: ValidationError, key: str) -> str:
    schema = error.schema.get("properties", {}).get(key, {}) if isinstance(error.schema, dict) else {}
    return str(schema.get("description", "")).split(". ")[0] if isinstance(schema, dict) else ""
