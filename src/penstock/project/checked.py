"""A document checked against a pydantic model, with pydantic's findings told as errors with places.

The model declares a file's keys once: names, types, defaults, descriptions, examples. What pydantic finds is
translated here: into the place of the key or value, what was found (as the file writes it, never what a variable
holds), and what is expected; unknown keys get the nearest known one. Findings about values that have no value here
(an unset variable) are left out, since nothing is known about them.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from penstock.errors import PenstockError, nearest
from penstock.project.errors import MissingKey, UnknownKey, WrongValue
from penstock.project.variables import holds_secret
from penstock.project.yamlfile import Document, KeyPath, Node, Problems

M = TypeVar("M", bound=BaseModel)

_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "mapping_type": "keys and values",
}
"""pydantic's kinds of errors that say no more than which type is expected."""
_CONTINUES = re.compile(r"(should|must|is|are|has|holds|breaks|needs|cannot)\b")
"""How messages begin that go on from the value; others are sentences of their own."""
_SHOULD = re.compile(r"^[A-Z][a-z]+ should")
"""How pydantic's own messages begin."""


def check_model(
    model: type[M], document: Document, problems: Problems, *, also_known: Sequence[str] = (), retry: bool = True
) -> M | None:
    """Returns the document's content as `model`, or None, after adding every finding to `problems`.

    `also_known` are keys that others read from the same mapping, for the hint about an unknown key. With `retry`, keys
    with errors are left out and the rest is read with their defaults, so that later checks have something to go on.
    """
    if document.root.kind != "mapping":
        problems.error(WrongValue(f"{_shown(document, ())} is not keys and values", place=document.place()))
        return None
    data = document.root.plain()
    try:
        return model.model_validate(data)
    except ValidationError as e:
        findings = e.errors(include_url=False)
    bad = {step for e in findings for step in _path(document, e)[:1]}
    for error in _without_union_noise(document, findings):
        path = _path(document, error)
        if not _left_out(document, path):
            problems.error(_told(model, document, error, path, also_known))
    rest = {k: v for k, v in data.items() if k not in bad}
    try:
        return model.model_validate(rest) if retry and len(rest) < len(data) else None
    except ValidationError:
        return None


def _path(document: Document, error: ErrorDetails) -> KeyPath:
    """Returns the part of pydantic's location that is in the document: names of union members are left out."""
    path: KeyPath = ()
    for index, step in enumerate(error["loc"]):
        node = document.node(path)
        missing = error["type"] == "missing" and index == len(error["loc"]) - 1
        if node is not None and (node.child(step) is not None or missing):
            path = (*path, step)
    return path


def _left_out(document: Document, path: KeyPath) -> bool:
    """Whether nothing is to be said about a value: it has none here, or it is a secret, which is told elsewhere."""
    node = document.node(path)
    return node is not None and (node.unresolved or (node.kind == "scalar" and _is_secret(document, path, node)))


def _is_secret(document: Document, path: KeyPath, node: Node) -> bool:
    return holds_secret((*document.at, *path), node.text)


def _without_union_noise(document: Document, findings: list[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Yields the findings, without those of union members that the value was never meant for.

    pydantic reports each member of a union. A mapping was meant for a member with keys and a scalar for one without:
    findings that only say that the value is of another kind are dropped when others exist for the same value.
    """
    groups: dict[KeyPath, list[ErrorDetails]] = {}
    for error in findings:
        groups.setdefault(_union_at(document, error), []).append(error)
    for at, group in groups.items():
        below = [e for e in group if len(_path(document, e)) > len(at)]
        telling = [e for e in group if e["type"] not in _EXPECTED]
        yield from below or telling or group[:1]


def _union_at(document: Document, error: ErrorDetails) -> KeyPath:
    """Returns the path of the union that a finding is about: up to the first step that is not in the document."""
    path: KeyPath = ()
    for index, step in enumerate(error["loc"]):
        node = document.node(path)
        if node is None or node.child(step) is None:
            return path if index < len(error["loc"]) - 1 or error["type"] != "missing" else (*path, step)
        path = (*path, step)
    return path


def _told(
    model: type[BaseModel], document: Document, error: ErrorDetails, path: KeyPath, also_known: Sequence[str]
) -> PenstockError:
    kind = error["type"]
    if kind == "extra_forbidden":
        known = [*fields_at(model, path[:-1]), *(also_known if len(path) == 1 else ())]
        return UnknownKey(f"'{path[-1]}'", hint=nearest(str(path[-1]), known), place=document.place(path, key=True))
    if kind == "missing":
        described = fields_at(model, path[:-1]).get(str(path[-1]), "")
        return MissingKey(f"'{path[-1]}' is required", hint=described, place=document.place(path))
    shown = _shown(document, path)
    if kind in _EXPECTED:
        node = document.node(path)
        hint = "put it into quotes" if kind == "string_type" and node is not None and node.kind == "scalar" else ""
        return WrongValue(f"{shown} is not {_EXPECTED[kind]}", hint=hint, place=document.place(path))
    if kind in ("literal_error", "enum"):
        words = [w.strip("'") for w in str(error["ctx"]["expected"]).replace(" or ", ", ").split(", ")]
        hint = nearest(str(_shown(document, path)).strip("'"), words)
        return WrongValue(f"{shown} is not one of {', '.join(words)}", hint=hint, place=document.place(path))
    message = _message(document, error, path)
    node = document.node(path)
    about_value = kind not in ("value_error", "assertion_error") or (node is not None and node.kind == "scalar")
    continues = about_value and _CONTINUES.match(message)
    return WrongValue(f"{shown} {message}" if continues else message, place=document.place(path))


def _message(document: Document, error: ErrorDetails, path: KeyPath) -> str:
    """Returns what is expected, without anything that came from outside the file."""
    cause = error.get("ctx", {}).get("error")
    message = str(cause) if cause is not None else _SHOULD.sub("should", error["msg"])
    node = document.node(path)
    for below, inner in node.walk() if node is not None else ():
        if inner.hidden and holds_secret((*document.at, *path, *below), str(inner.value)):
            return "holds a secret that is not valid here"  # any more words might repeat a part of it
        if inner.hidden and str(inner.value):
            message = message.replace(str(inner.value), inner.text)
    return message


def _shown(document: Document, path: KeyPath) -> str:
    """Returns a value as the file writes it, for a message; shortened, and without secrets."""
    node = document.node(path)
    if node is None:
        return "nothing"
    if node.kind != "scalar":
        return "a list" if node.kind == "sequence" else "a mapping"
    if _is_secret(document, path, node):
        return "the secret"
    if node.value is None:
        return "nothing"
    text = node.text if len(node.text) <= 60 else node.text[:57] + "..."
    return f"'{text}'"


def shown(node: Node) -> str:
    """Returns a value as the file writes it, for messages about values that are no secrets."""
    return _shown(Document("", node), ())


def fields_at(model: type[BaseModel], path: KeyPath) -> dict[str, str]:
    """Returns the keys that may stand at `path` below `model`, each with its description and example."""
    models: list[Any] = [model]
    for step in path:
        models = [inner for m in models for inner in _below(m, step)]
    found: dict[str, str] = {}
    for candidate in models:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            for name, info in candidate.model_fields.items():
                example = f", e.g. {info.examples[0]}" if info.examples else ""
                found[info.alias or name] = f"{info.description or ''}{example}".strip()
    return found


def _below(annotation: Any, step: str | int) -> Iterator[Any]:
    """Yields the types that a value of `annotation` has at a key or index."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, info in annotation.model_fields.items():
            if (info.alias or name) == step:
                yield from _members(info.annotation)
        return
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in (dict, Mapping) and len(arguments) == 2:
        yield from _members(arguments[1])
    elif arguments:
        yield from _members(arguments[0])


def _members(annotation: Any) -> Iterator[Any]:
    """Yields the members of a union, or the type itself, without Annotated."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _members(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _members(member)
    else:
        yield annotation
