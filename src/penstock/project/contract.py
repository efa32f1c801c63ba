"""contracts/*.yaml: Open Data Contract Standard files read into streams.

A file may describe several streams. The standard's own schema and model decide whether it is valid (`odcs`); here its
rules become a stream. What the file says and Penstock does not act on is kept in sentences, for `validate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from open_data_contract_standard.model import SchemaObject

from penstock.errors import nearest
from penstock.project.column import ColumnReader, describe_quality
from penstock.project.errors import BadName, BadRule, DuplicateName, NothingActs, UnknownProperty
from penstock.project.expressions import ExpressionChecker
from penstock.project.model import Column, Stream
from penstock.project.odcs import read_odcs
from penstock.project.values import parse_duration
from penstock.project.variables import Variables, fill_in
from penstock.project.yamlfile import Document, KeyPath, Node, Problems


@dataclass(frozen=True)
class CustomProperty:
    """A customProperties entry of a stream that Penstock acts on."""

    name: str
    description: str
    default: str
    example: str


CUSTOM_PROPERTIES = (
    CustomProperty(
        "eventTime", "The property that says when it happened; must be required", "no windows by time", "sold_at"
    ),
    CustomProperty(
        "allowedLateness", "How far behind the newest event a row may be before its window is final", "0s", "1h"
    ),
    CustomProperty(
        "idleAfter",
        "A source whose readings found nothing for so long no longer holds the watermark back",
        "5m",
        "10m",
    ),
    CustomProperty("maxAhead", "A row further in the future than this is refused", "1d", "1h"),
    CustomProperty(
        "changes",
        "`append`: rows are facts, the same key again is a duplicate. `upsert`: the same key again replaces the row",
        "append",
        "upsert",
    ),
    CustomProperty(
        "version",
        "The property by which a newer row of a key is known (upsert); required with several sources, or files",
        "the source's position",
        "updated_at",
    ),
    CustomProperty(
        "duplicatesWithin",
        "How far back, in event time, a key is remembered (append); an older row with a key goes to quarantine",
        "for ever",
        "30d",
    ),
)
"""What a stream's customProperties may say; others are left alone."""
_BY_NAME = {c.name: c for c in CUSTOM_PROPERTIES}
_STREAM_LEVEL = (("relationships", "relationships are not checked"),)
_FILE_LEVEL = (
    ("slaProperties", "service levels (slaProperties) are not measured"),
    ("servers", "servers are not connected to; sources/ says where rows come from"),
    ("roles", "roles are not granted"),
)


@dataclass(frozen=True)
class ContractReader:
    """What reading a contract needs beside its file."""

    variables: Variables
    expressions: ExpressionChecker
    problems: Problems

    def read(self, document: Document) -> list[Stream]:
        """Returns the file's streams; what is wrong goes to the problems."""
        objects = read_odcs(document, self.problems)
        if objects is None:
            return []
        if not objects:
            found = "the contract describes no stream"
            self.problems.warn(
                NothingActs(found, hint="add `schema:` with one entry per stream", place=document.place())
            )
        shared = []
        for key, said in _FILE_LEVEL:
            if document.root.child(key) is not None:
                shared.append(said)
                self.problems.warn(NothingActs(said, place=document.place((key,), key=True)))
        return [
            _StreamReader(self, document, ("schema", index), model).read(shared) for index, model in enumerate(objects)
        ]


class _StreamReader:
    """Reads one entry of `schema:`."""

    def __init__(self, reader: ContractReader, document: Document, path: KeyPath, model: SchemaObject) -> None:
        self.reader, self.problems, self.model = reader, reader.problems, model
        self.document, self.path = document, path
        self.name = model.name or ""
        self.not_acted_on: list[str] = []
        self.custom = self.custom_properties()

    def text(self, key: str) -> str:
        node = self.document.root.child(key)
        return node.text if node is not None else ""

    def read(self, shared: list[str]) -> Stream:
        if self.name.startswith("_") or not self.name.strip():
            hint = "names that begin with _ are Penstock's own; rename the stream"
            place = self.document.place((*self.path, "name"))
            self.problems.error(BadName(f"'{self.name}' cannot be a stream's name", hint=hint, place=place))
        columns = self.columns()
        self.name_the_rest()
        stream = Stream(
            name=self.name,
            columns=columns,
            primary_key=self.primary_key(),
            event_time=self.column_named("eventTime", columns),
            allowed_lateness=self.duration("allowedLateness", timedelta(0)),
            idle_after=self.duration("idleAfter", timedelta(minutes=5)),
            max_ahead=self.duration("maxAhead", timedelta(days=1)),
            changes="upsert" if self.word("changes", ("append", "upsert")) == "upsert" else "append",
            version=self.column_named("version", columns),
            duplicates_within=self.duration("duplicatesWithin", timedelta(0))
            if self.given("duplicatesWithin")
            else None,
            contract_id=self.text("id"),
            contract_version=self.text("version"),
            not_acted_on=(*self.not_acted_on, *(f"{self.name}: {said}" for said in shared)),
            place=self.document.place((*self.path, "name")),
        )
        self.check(stream)
        return stream

    def columns(self) -> tuple[Column, ...]:
        columns: list[Column] = []
        for index, model in enumerate(self.model.properties or ()):
            lax = self.text("apiVersion").startswith("v3.0")
            path = (*self.path, "properties", index)
            reader = ColumnReader(self.document, path, self.name, lax, self.reader.expressions, self.problems)
            column = reader.read(model)
            self.not_acted_on += reader.not_acted_on
            twin = next((c for c in columns if c.name.lower() == column.name.lower()), None)
            if twin is not None:
                found = f"{self.name} has '{twin.name}' and '{column.name}', which SQL takes for the same"
                self.problems.error(DuplicateName(found, hint="rename or remove one", place=column.place))
            columns.append(column)
        if not columns:
            found = f"the stream '{self.name}' has no properties, so no row can have any"
            self.problems.warn(
                NothingActs(found, hint="list them under `properties:`", place=self.document.place(self.path))
            )
        return tuple(columns)

    def primary_key(self) -> tuple[str, ...]:
        """Returns the key's columns by primaryKeyPosition; those without one after them, in the file's order."""
        keys = [p for p in self.model.properties or () if p.primaryKey]
        placed = sorted(keys, key=lambda p: p.primaryKeyPosition if (p.primaryKeyPosition or 0) > 0 else 2**31)  # type: ignore[arg-type, return-value]  # a position above 0 is a number
        positions = [p.primaryKeyPosition for p in keys if (p.primaryKeyPosition or 0) > 0]
        for position in {p for p in positions if positions.count(p) > 1}:
            found = f"two properties of {self.name} have the primaryKeyPosition {position}"
            self.problems.error(BadRule(found, hint="number them 1, 2, 3", place=self.document.place(self.path)))
        return tuple(p.name or "" for p in placed)

    def custom_properties(self) -> dict[str, tuple[Node, KeyPath]]:
        """Returns the entries that Penstock acts on, with references filled in, and warns of names close to them."""
        found: dict[str, tuple[Node, KeyPath]] = {}
        for index, custom in enumerate(self.model.customProperties or ()):
            path = (*self.path, "customProperties", index, "value")
            part = self.document.part(path)
            if custom.property in _BY_NAME and part is not None:
                found[custom.property] = (fill_in(part, self.reader.variables, self.problems).root, path)
            elif custom.property:
                self.maybe_meant(custom.property, (*path[:-1], "property"))
        return found

    def maybe_meant(self, name: str, path: KeyPath) -> None:
        hint = nearest(name, _BY_NAME)
        if hint.startswith("did you mean"):
            found = f"nothing acts on the custom property '{name}'"
            self.problems.warn(NothingActs(found, hint=hint, place=self.document.place(path)))

    def given(self, name: str) -> bool:
        return name in self.custom

    def wrong(self, name: str, found: str, hint: str = "", error: Callable[..., Any] = BadRule) -> None:
        place = self.document.place(self.custom[name][1])
        self.problems.error(error(f"{self.name}: {found}", hint=hint, place=place))

    def duration(self, name: str, default: timedelta) -> timedelta:
        if name not in self.custom:
            return default
        node = self.custom[name][0]
        if node.unresolved:
            return default
        try:
            return parse_duration(node.value)
        except ValueError as e:
            self.wrong(name, f"{name} '{node.text}' {e}")
            return default

    def word(self, name: str, words: tuple[str, ...]) -> str:
        node = self.custom[name][0] if name in self.custom else None
        if node is None or node.unresolved:
            return words[0]
        if node.value not in words:
            self.wrong(name, f"{name} is '{node.text}'", nearest(node.text, words))
            return words[0]
        return str(node.value)

    def column_named(self, name: str, columns: tuple[Column, ...]) -> str | None:
        """Returns the property that a custom property names, None when there is none."""
        node = self.custom[name][0] if name in self.custom else None
        if node is None or node.unresolved:
            return None
        names = [c.name for c in columns]
        if node.value in names:
            return str(node.value)
        self.wrong(
            name, f"{name} names '{node.text}', which is no property", nearest(node.text, names), UnknownProperty
        )
        return None

    def check(self, stream: Stream) -> None:
        """Checks what the custom properties say against each other and the columns."""
        if stream.event_time is not None:
            column = stream.column(stream.event_time)
            if column.type.kind not in ("timestamp", "date"):
                hint = "the event time is a timestamp or a date"
                self.wrong("eventTime", f"eventTime names '{column.name}', which is {column.type}", hint)
            if not column.required:
                hint = f"add `required: true` to {column.name}"
                self.wrong("eventTime", f"eventTime names '{column.name}', which may be missing", hint)
        if stream.changes == "upsert" and not stream.primary_key:
            hint = "give the properties that identify a row `primaryKey: true`"
            self.wrong("changes", "an upsert stream needs a primary key and has none", hint)
        if stream.version is not None and stream.changes != "upsert":
            self.wrong("version", "`version` is for upsert streams", "remove it, or add changes: upsert")
        if stream.version is not None and stream.column(stream.version).type.kind == "json":
            self.wrong(
                "version", f"the version '{stream.version}' is {stream.column(stream.version).type}, which has no order"
            )
        if stream.duplicates_within is not None:
            if stream.changes != "append" or not stream.primary_key:
                self.wrong("duplicatesWithin", "duplicatesWithin is for append streams with a primary key")
            if stream.event_time is None:
                self.wrong(
                    "duplicatesWithin", "duplicatesWithin needs an event time", "add the custom property eventTime"
                )

    def name_the_rest(self) -> None:
        for key, said in _STREAM_LEVEL:
            if getattr(self.model, key):
                self.ignore(said, (*self.path, key))
        quality = self.document.node((*self.path, "quality"))
        for index, node in enumerate(quality.sequence if quality else ()):
            self.ignore(describe_quality(node, None), (*self.path, "quality", index))

    def ignore(self, what: str, path: KeyPath) -> None:
        sentence = f"{self.name}: {what}"
        self.not_acted_on.append(sentence)
        self.problems.warn(NothingActs(sentence, place=self.document.place(path, key=True)))
