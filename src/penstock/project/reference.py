"""The reference pages of the configuration and of the errors, as Markdown, made from the code that reads and raises.

Pure functions: the models' fields with their descriptions, defaults and examples, and the error classes' docstrings.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from penstock.errors import PenstockError
from penstock.project.contract import CUSTOM_PROPERTIES
from penstock.project.endpoint import EndpointHeader
from penstock.project.pipeline import PipelineHeader
from penstock.project.settings import Overlay, SettingsFile
from penstock.project.source import SourceKeys
from penstock.project.values import DURATION_PATTERN

_NOTE = "<!-- Made by `make docs`; do not change by hand. -->\n"
_STAGES = {
    "1": "Project folder",
    "2": "Sources",
    "3": "Intake",
    "4": "Log",
    "5": "Plan",
    "6": "Engines",
    "7": "Store",
    "8": "Serve",
    "9": "Running and the command line",
}
_CONTRACT = """\
A contract is an [Open Data Contract Standard](https://bitol-io.github.io/open-data-contract-standard/) file of version
3.0, 3.1 or 3.2. Each entry of `schema:` is a stream. What acts on every row: `logicalType` and `physicalType`,
`required`, `unique`, `primaryKey` and `primaryKeyPosition`, `logicalTypeOptions` (minimum, maximum, exclusiveMinimum,
exclusiveMaximum, multipleOf, minLength, maxLength, pattern, format), and allowed values: `enum` of 3.2, the custom
property `enum` of a property, or the `validValues` of a library rule that tolerates no other value. `penstock validate`
names everything else that a contract says.

The `customProperties` of a stream:
"""


@dataclass(frozen=True)
class Row:
    """One key of a file."""

    key: str
    kind: str
    default: str
    example: str
    meaning: str


def configuration_page(connectors: Mapping[str, type[BaseModel]]) -> str:
    """Returns the page of every key of every file. `connectors`: type word -> the model of its own keys."""
    parts = [
        _NOTE,
        "# Configuration\n",
        "Every key of every file of a project folder. `${VAR}`, `${VAR:-default}` and `${VAR:?message}` may stand in"
        " any value; durations are written `250ms`, `10s`, `5m`, `1h`, `30d`.\n",
        "## penstock.yaml\n",
        _table(sorted(rows(SettingsFile, leave_out=("environments",)), key=lambda r: r.key != "name")),
        "### environments\n",
        "`environments:` holds settings by name, chosen with `--env`. An environment replaces `store`, `log` and"
        f" `engine` whole and lays the rest over key by key. It may say: {_listed(Overlay)}.\n",
        "## Contracts\n",
        _CONTRACT,
        _custom_properties(),
        "## Sources\n",
        "Keys that every source has:\n",
        _table(rows(SourceKeys)),
        *(part for word, model in sorted(connectors.items()) for part in _connector(word, model)),
        "## Pipelines\n",
        "Keys of the opening comment:\n",
        _table(rows(PipelineHeader)),
        "## Endpoints\n",
        "Keys of the opening comment:\n",
        _table(rows(EndpointHeader)),
    ]
    return "\n".join(parts).rstrip() + "\n"


def source_page(word: str, about: str, model: type[BaseModel]) -> str:
    """Returns the page of one type of source: what it is (the connector's docstring) and its keys."""
    keys = "Its own keys, beside those that [every source](../reference/configuration.md#sources) has:\n"
    parts = [_NOTE, f"# type: {word}\n", inspect.cleandoc(about), "", "## Keys\n", keys, _table(rows(model))]
    return "\n".join(parts).rstrip() + "\n"


def errors_page(classes: Iterable[type[PenstockError]]) -> str:
    """Returns the catalogue of errors, by code. Raises ValueError when two classes have one code."""
    by_code: dict[str, type[PenstockError]] = {}
    for cls in classes:
        if cls.code in by_code and by_code[cls.code] is not cls:
            msg = f"{cls.code} is both {cls.__name__} and {by_code[cls.code].__name__}"
            raise ValueError(msg)
        by_code[cls.code] = cls
    parts = [_NOTE, "# Errors\n", "Every error has a code, says what was found and where, and what to do.\n"]
    stage = ""
    for code, cls in sorted(by_code.items()):
        if code[3] != stage:
            stage = code[3]
            parts.append(f"## {_STAGES[stage]}\n")
        again = "\n\nPenstock tries again by itself, with growing pauses." if cls.retryable else ""
        parts.append(f"### {code} {cls.title}\n\n{_docstring(cls)}{again}\n")
    return "\n".join(parts)


def _docstring(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "")


def _connector(word: str, model: type[BaseModel]) -> Iterator[str]:
    yield f"### type: {word}\n"
    yield f"{_docstring(model)}\n"
    yield _table(rows(model))


def _custom_properties() -> str:
    lines = ["| property | meaning | default | example |", "| --- | --- | --- | --- |"]
    lines += [f"| `{c.name}` | {c.description} | {c.default} | `{c.example}` |" for c in CUSTOM_PROPERTIES]
    return "\n".join(lines) + "\n"


def _listed(model: type[BaseModel]) -> str:
    return ", ".join(f"`{name}`" for name in model.model_fields)


def _table(found: Iterable[Row]) -> str:
    lines = ["| key | value | default | example | meaning |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| `{r.key}` | {r.kind} | {r.default} | {r.example} | {r.meaning} |" for r in found]
    return "\n".join(lines) + "\n"


def rows(model: type[BaseModel], *, leave_out: tuple[str, ...] = ()) -> list[Row]:
    """Returns the keys of a model in order, those of nested models with dots."""
    schema = model.model_json_schema()
    return list(_rows(schema, schema.get("$defs", {}), "", leave_out))


def _rows(
    schema: dict[str, Any], definitions: dict[str, Any], prefix: str, leave_out: tuple[str, ...]
) -> Iterator[Row]:
    required = schema.get("required", ())
    for key, value in schema.get("properties", {}).items():
        if prefix + key in leave_out:
            continue
        default = "required" if key in required else _default(value.get("default"))
        examples = value.get("examples") or []
        secret = " Only as a reference, never literally." if value.get("secret") else ""
        yield Row(
            prefix + key,
            _kind(value, definitions),
            default,
            _code(examples[0]) if examples else "",
            _cell((value.get("description") or "").rstrip(".") + ("." if secret else "") + secret),
        )
        for inner, dots in _nested(value, definitions):
            yield from _rows(inner, definitions, f"{prefix}{key}{dots}", leave_out)


def _nested(value: dict[str, Any], definitions: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields the models with keys of their own that a value may be, with what stands between the names."""
    options = [value, *value.get("anyOf", ()), *value.get("allOf", ())]
    for option in options:
        if "$ref" in option:
            yield definitions[option["$ref"].rsplit("/", 1)[1]], "."
        below = option.get("additionalProperties")
        if isinstance(below, dict) and "$ref" in below:
            yield definitions[below["$ref"].rsplit("/", 1)[1]], ".NAME."


_KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": ""}


def _kind(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Returns what a value may be, in words."""
    if "$ref" in value:
        target = definitions[value["$ref"].rsplit("/", 1)[1]]
        return _kind(target, definitions) if "enum" in target else "keys"
    if "const" in value or "enum" in value:
        return ", ".join(f"`{v}`" for v in value.get("enum", [value.get("const")]))
    if "anyOf" in value:
        kinds = dict.fromkeys(_kind(v, definitions) for v in value["anyOf"])
        return " or ".join(k for k in kinds if k)
    kind = value.get("type")
    if isinstance(kind, list):
        return " or ".join(_KINDS[k] for k in kind)
    if kind == "array":
        inner = value.get("items")
        return f"list of {_kind(inner, definitions)}" if isinstance(inner, dict) and inner else "list"
    if kind == "object":
        return "names and values" if "additionalProperties" in value else "keys"
    if value.get("pattern") == DURATION_PATTERN:
        return "duration"
    return _KINDS.get(str(kind), "any value")


def _default(value: Any) -> str:
    if value is None or value in ({}, []) or isinstance(value, dict):
        return ""
    return "" if value == "" else _code(value)


def _code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{_cell(text)}`" if text else ""


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
