"""YAML files as trees that know where every key and value stands.

The parser's events are ruamel.yaml's; the tree is built here, because nothing between events and tree keeps the
place of keys, refuses duplicate keys, follows exactly YAML 1.2's core types, and stays bounded on hostile files:
nesting is limited, and so is the number of nodes that aliases unfold to. Scalars keep their text as written, from
which decimals are read without a detour through double.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from penstock.errors import PenstockError, Place
from penstock.project.errors import BrokenYaml, DuplicateKey, UnreadableFile

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 60
MAX_NODES = 200_000

KeyPath = tuple[str | int, ...]
"""The way to a value: keys of mappings and indexes of sequences."""


@dataclass
class Problems:
    """What was found while reading: errors, and warnings that stop nothing."""

    errors: list[PenstockError] = field(default_factory=list)
    warnings: list[PenstockError] = field(default_factory=list)

    def error(self, error: PenstockError) -> None:
        self.errors.append(error)

    def warn(self, warning: PenstockError) -> None:
        self.warnings.append(warning)


@dataclass(frozen=True)
class Node:
    """One value: `items` of a mapping or sequence, or `value` of a scalar (None, bool, int, float or str)."""

    kind: Literal["mapping", "sequence", "scalar"]
    line: int
    column: int
    value: Any = None
    text: str = ""
    """A scalar as written (before variables are filled in)."""
    mapping: Mapping[str, Node] = field(default_factory=dict)
    keys: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Line and column of each key of a mapping."""
    sequence: Sequence[Node] = ()
    size: int = 1
    unresolved: bool = False
    """A variable or secret file in this scalar has no value here."""
    hidden: bool = False
    """The value came from outside the file: it must not be printed."""

    def plain(self) -> Any:
        """Returns the value as dicts, lists and scalars."""
        if self.kind == "mapping":
            return {k: v.plain() for k, v in self.mapping.items()}
        if self.kind == "sequence":
            return [v.plain() for v in self.sequence]
        return self.value

    def child(self, step: str | int) -> Node | None:
        """Returns the value below a key or index, or None."""
        if isinstance(step, str):
            return self.mapping.get(step)
        return self.sequence[step] if 0 <= step < len(self.sequence) else None

    def walk(self, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Node]]:
        """Yields every scalar with its path."""
        if self.kind == "scalar":
            yield path, self
        for key, child in self.mapping.items():
            yield from child.walk((*path, key))
        for index, child in enumerate(self.sequence):
            yield from child.walk((*path, index))


def path_text(path: KeyPath) -> str:
    """Returns `schema[0].name` for ('schema', 0, 'name')."""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")


@dataclass(frozen=True)
class Document:
    """A file's tree, with the file's name relative to the project folder."""

    file: str
    root: Node
    at: KeyPath = ()
    """Where `root` stands in the file, for documents that are a part of one."""

    def node(self, path: KeyPath) -> Node | None:
        found: Node | None = self.root
        for step in path:
            found = found.child(step) if found else None
        return found

    def place(self, path: KeyPath = (), *, key: bool = False) -> Place:
        """Returns the place of the value at `path`, or of its key; of the nearest parent when there is none."""
        node = self.root
        line, column = node.line, node.column
        for depth, step in enumerate(path, 1):
            below = node.child(step)
            if below is None:
                break
            at_key = node.keys.get(step) if isinstance(step, str) else None
            line, column = at_key if at_key and key and depth == len(path) else (below.line, below.column)
            node = below
        return Place(self.file, line, column, path_text((*self.at, *path)))

    def part(self, path: KeyPath) -> Document | None:
        """Returns the document of what stands at `path`, or None when nothing does."""
        node = self.node(path)
        return Document(self.file, node, (*self.at, *path)) if node else None


def read_text(path: Path, file: str, problems: Problems) -> str | None:
    """Returns a file's text, or None after adding an UnreadableFile to `problems`."""
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as e:
        reason = e.strerror or str(e)
        problems.error(UnreadableFile(f"cannot be read: {reason}", hint="is it a file that you may read?", place=file))
        return None
    if size > MAX_BYTES:
        found = f"has {size} bytes; at most {MAX_BYTES} are read"
        problems.error(UnreadableFile(found, hint="is this data that belongs into a source's folder?", place=file))
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        before = data[: e.start].decode("utf-8-sig", "replace")
        place = Place(file, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        found = f"is not UTF-8: byte 0x{data[e.start]:02x} at offset {e.start}"
        problems.error(UnreadableFile(found, hint="save the file as UTF-8", place=place))
        return None


def read_yaml(path: Path, file: str, problems: Problems) -> Document | None:
    """Returns a file's tree, or None after adding what is wrong with it to `problems`."""
    text = read_text(path, file, problems)
    return None if text is None else parse_yaml(text, file, problems)


def parse_yaml(text: str, file: str, problems: Problems, *, line: int = 0, column: int = 0) -> Document | None:
    """Returns the tree of `text`, or None after adding what is wrong to `problems`; an empty text is a null scalar.

    `line` and `column` are what stands before the text in its file: lines above, and characters before its first.
    """
    builder = _Builder(file, problems, line, column)
    try:
        root = builder.build(text)
    except _Stop as e:
        problems.error(e.error)
        return None
    return Document(file, root)


class _Stop(Exception):
    """Reading this file ends here."""

    def __init__(self, error: PenstockError) -> None:
        self.error = error
        super().__init__()


class _Builder:
    """Builds the tree of one document from events."""

    def __init__(self, file: str, problems: Problems, line: int, column: int) -> None:
        self.file, self.problems, self.line, self.column = file, problems, line, column
        self.anchors: dict[str, Node | None] = {}
        self.nodes = 0

    def place(self, mark: Any) -> Place:
        return Place(self.file, *self.at(mark))

    def at(self, mark: Any) -> tuple[int, int]:
        return mark.line + 1 + self.line, mark.column + 1 + (self.column if mark.line == 0 else 0)

    def stop(self, mark: Any, found: str, hint: str = "") -> _Stop:
        return _Stop(BrokenYaml(found, hint=hint, place=self.place(mark)))

    def build(self, text: str) -> Node:
        self.events = self._events(text)
        root: Node | None = None
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    raise self.stop(event.start_mark, "a second document begins here", "a file holds one; remove ---")
                root = self.node(next(self.events), 0)
            elif isinstance(event, StreamEndEvent) and root is None:
                line, column = self.at(event.start_mark)
                return Node("scalar", line, column)
        return root or Node("scalar", 1, 1)

    def _events(self, text: str) -> Iterator[Any]:
        try:
            yield from YAML(typ="safe", pure=True).parse(text)
        except MarkedYAMLError as e:
            raise _Stop(self._broken(e)) from e
        except ReaderError as e:
            before = text[: e.position]
            line, column = before.count("\n"), len(before) - (before.rfind("\n") + 1)
            at = Place(self.file, line + 1 + self.line, column + 1 + (0 if line else self.column))
            code = e.character if isinstance(e.character, int) else ord(str(e.character)[:1] or "\0")
            raise _Stop(BrokenYaml(f"character U+{code:04X} may not stand in YAML", place=at)) from e
        except _ODD as e:
            # ruamel lets some of Python's own errors out on odd input (e.g. an escape beyond Unicode)
            raise _Stop(BrokenYaml(f"cannot be parsed ({type(e).__name__})", place=Place(self.file, 1, 1))) from e

    def _broken(self, e: MarkedYAMLError) -> BrokenYaml:
        mark = e.problem_mark or e.context_mark
        place = self.place(mark) if mark else Place(self.file)
        found = " ".join(str(part) for part in (e.context, e.problem) if part).replace("\n", " ")
        return BrokenYaml(found, hint=_yaml_hint(found), place=place)

    def node(self, event: Any, depth: int) -> Node:
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise self.stop(event.start_mark, f"is nested more than {MAX_DEPTH} deep")
        if isinstance(event, AliasEvent):
            return self.alias(event)
        if event.anchor:
            self.anchors[event.anchor] = None
        node = self.collection(event, depth) if isinstance(event, CollectionStartEvent) else self.scalar(event)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def alias(self, event: AliasEvent) -> Node:
        name = event.anchor or ""
        if name not in self.anchors:
            raise self.stop(event.start_mark, f"alias *{name} has no anchor &{name} before it", "quote a text with *")
        node = self.anchors[name]
        if node is None:
            raise self.stop(event.start_mark, f"alias *{name} stands inside what it refers to")
        self.nodes += node.size
        if self.nodes > MAX_NODES:
            raise self.stop(event.start_mark, f"aliases unfold to more than {MAX_NODES} values")
        return node

    def collection(self, event: CollectionStartEvent, depth: int) -> Node:
        if event.tag and event.tag not in ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise self.stop(event.start_mark, f"tag {event.tag} is not one of YAML's core types", "remove it")
        line, column = self.at(event.start_mark)
        if isinstance(event, MappingStartEvent):
            mapping, keys = self.pairs(depth)
            size = 1 + sum(1 + child.size for child in mapping.values())
            return Node("mapping", line, column, mapping=mapping, keys=keys, size=size)
        items = []
        while not isinstance(inner := next(self.events), SequenceEndEvent):
            items.append(self.node(inner, depth + 1))
        return Node("sequence", line, column, sequence=items, size=1 + sum(i.size for i in items))

    def pairs(self, depth: int) -> tuple[dict[str, Node], dict[str, tuple[int, int]]]:
        mapping: dict[str, Node] = {}
        keys: dict[str, tuple[int, int]] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            key = self.node(event, depth + 1)
            if key.kind != "scalar":
                raise self.stop(
                    event.start_mark, "a list or mapping stands where a key must be", "quote texts with [ or {"
                )
            if key.text in mapping:
                found = f"key '{key.text}' stands here and in line {keys[key.text][0]}"
                self.problems.error(DuplicateKey(found, hint="remove one", place=self.place(event.start_mark)))
            keys[key.text] = self.at(event.start_mark)
            mapping[key.text] = self.node(next(self.events), depth + 1)
        return mapping, keys

    def scalar(self, event: ScalarEvent) -> Node:
        line, column = self.at(event.start_mark)
        if any(0xD800 <= ord(c) < 0xE000 for c in event.value):
            raise self.stop(event.start_mark, "holds half of a surrogate pair, which is not a character")
        value = event.value if event.style else core_value(event.value)
        if event.tag and event.tag != "!":
            value = self.tagged(event)
        elif event.tag == "!":
            value = event.value
        if value is _TOO_LONG:
            raise self.stop(event.start_mark, "a number of more than 4000 digits", "quote it if it is a text")
        return Node("scalar", line, column, value=value, text=event.value)

    def tagged(self, event: ScalarEvent) -> Any:
        tag = str(event.tag).removeprefix("tag:yaml.org,2002:")
        if tag == "str":
            return event.value
        value = core_value(event.value)
        if tag == "float" and type(value) in (int, float):
            return float(value)
        if type(value) is _TAGGED.get(tag):
            return value
        raise self.stop(event.start_mark, f"tag {event.tag} does not fit this value", "remove the tag")


_ODD = (
    YAMLError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, AssertionError, RecursionError,
)  # fmt: skip
_TOO_LONG = object()
_TAGGED = {"int": int, "bool": bool, "null": type(None)}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".inf": float("inf"), ".Inf": float("inf"), ".INF": float("inf"),
    "+.inf": float("inf"), "+.Inf": float("inf"), "+.INF": float("inf"),
    "-.inf": float("-inf"), "-.Inf": float("-inf"), "-.INF": float("-inf"),
    ".nan": float("nan"), ".NaN": float("nan"), ".NAN": float("nan"),
}  # fmt: skip


def core_value(text: str) -> Any:
    """Returns the value of a plain scalar by YAML 1.2's core schema: null, bool, int, float, else the text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) < 4000 else _TOO_LONG
    if re.fullmatch(r"0o[0-7]{1,4000}", text):
        return int(text[2:], 8)
    if re.fullmatch(r"0x[0-9a-fA-F]{1,4000}", text):
        return int(text[2:], 16)
    return float(text) if _FLOAT.fullmatch(text) else text


def _yaml_hint(found: str) -> str:
    if "\\t" in found:
        return "indent with blanks, not tabs"
    if "mapping values are not allowed" in found:
        return "quote a text that holds ': ', and indent keys of one level alike"
    if "stream end" in found or "end of stream" in found:
        return "a bracket or quote is not closed"
    return "look at the indentation, quotes and brackets at and before this place"
