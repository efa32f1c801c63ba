"""sources/*.yaml: the keys that all sources share, and the connector's own, read by the connector's own model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from penstock.errors import nearest
from penstock.project.checked import check_model, fields_at
from penstock.project.errors import (
    BadExpression,
    BadRule,
    UnknownProperty,
    UnknownStream,
    WrongValue,
)
from penstock.project.expressions import ExpressionChecker
from penstock.project.model import SourceFile, Stream
from penstock.project.values import Duration, TimeZone
from penstock.project.variables import Variables, check_secrets, fill_in
from penstock.project.yamlfile import Document, Problems


def _above_nothing(value: timedelta) -> timedelta:
    if value < timedelta(milliseconds=1):
        msg = "should be at least 1ms"
        raise ValueError(msg)
    return value


class SourceKeys(BaseModel):
    """The keys that every source has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = Field(description="The kind of source", examples=["files"])
    stream: str = Field(description="The stream that the rows belong to, as a contract names it", examples=["sales"])
    every: Annotated[Duration, AfterValidator(_above_nothing)] = Field(
        default="10s", validate_default=True, description="How often to look for something new", examples=["1s"]
    )
    fields: dict[str, str] = Field(
        default={},
        description="Property of the contract: expression over the source's columns (DuckDB's SQL). A property that is"
        " left out is the column of its name",
        examples=[{"sale_id": "'db-' || id"}],
    )
    where: str | None = Field(
        default=None, description="Which rows are ours, an expression; others are not read", examples=["country = 'DE'"]
    )
    operation: str | None = Field(
        default=None,
        description="An expression that yields 'upsert' or 'delete' (upsert streams)",
        examples=["CASE WHEN deleted THEN 'delete' ELSE 'upsert' END"],
    )
    timezone: TimeZone | None = Field(
        default=None, description="The zone of times that have none; default: the project's", examples=["Europe/Berlin"]
    )
    idle_after: Duration | None = Field(
        default=None, description="When a quiet source stops holding back the watermark; default: the contract's"
    )
    allowed_lateness: Duration | None = Field(
        default=None, description="How late rows of this source may be; default: the contract's", examples=["1h"]
    )
    renamed_from: str | None = Field(
        default=None, description="The source's name before this one: its cursor goes along", examples=["shop"]
    )


@dataclasses.dataclass(frozen=True)
class SourceReader:
    """What reading a source needs beside its file."""

    streams: Mapping[str, Stream]
    connectors: Mapping[str, type[BaseModel]]
    timezone: str
    variables: Variables
    expressions: ExpressionChecker
    problems: Problems

    def read(self, name: str, document: Document) -> SourceFile | None:
        """Returns the source, or None; what is wrong goes to the problems."""
        check_secrets(document, self.problems)
        document = fill_in(document, self.variables, self.problems)
        if document.root.kind != "mapping":
            self.problems.error(
                WrongValue("a source is keys and values", hint="begin with `type:`", place=document.place())
            )
            return None
        connector = self._connector(document)
        common, own = _split(document, connector)
        keys = check_model(
            SourceKeys, common, self.problems, also_known=tuple(fields_at(connector, ())) if connector else ()
        )
        config = (
            check_model(connector, own, self.problems, also_known=tuple(SourceKeys.model_fields)) if connector else None
        )
        if keys is None:
            return None
        source = self._source(name, keys, config, document)
        self._check(source, document)
        return source

    def _connector(self, document: Document) -> type[BaseModel] | None:
        node = document.root.mapping.get("type")
        if node is None or not isinstance(node.value, str):
            return None
        if node.value not in self.connectors and not node.unresolved:
            hint = nearest(node.value, self.connectors)
            self.problems.error(
                WrongValue(f"'{node.value}' is not a type of source", hint=hint, place=document.place(("type",)))
            )
        return self.connectors.get(node.value)

    def _source(self, name: str, keys: SourceKeys, config: BaseModel | None, document: Document) -> SourceFile:
        return SourceFile(
            name=name,
            type=keys.type,
            stream=keys.stream,
            every=keys.every,
            every_given="every" in keys.model_fields_set,
            fields=keys.fields,
            where=keys.where,
            operation=keys.operation,
            timezone=keys.timezone or self.timezone,
            idle_after=keys.idle_after,
            allowed_lateness=keys.allowed_lateness,
            renamed_from=keys.renamed_from,
            config=config,
            place=document.place(),
        )

    def _check(self, source: SourceFile, document: Document) -> None:
        stream = self.streams.get(source.stream)
        stream_node = document.node(("stream",))
        if stream is None and not (stream_node and stream_node.unresolved):
            hint = nearest(source.stream, self.streams) if self.streams else "no contract describes a stream yet"
            place = document.place(("stream",))
            self.problems.error(UnknownStream(f"no contract describes '{source.stream}'", hint=hint, place=place))
        if stream is not None:
            self._check_fields(source, stream, document)
            if source.operation is not None and stream.changes != "upsert":
                found = f"`operation` is for upsert streams; '{stream.name}' is an append stream"
                hint = "remove it, or give the contract the custom property changes: upsert"
                self.problems.error(BadRule(found, hint=hint, place=document.place(("operation",), key=True)))
        for path, text in (
            *((("fields", key), text) for key, text in source.fields.items()),
            (("where",), source.where),
            (("operation",), source.operation),
        ):
            node = document.node(path)
            wrong = self.expressions.expression(text) if text is not None and node and not node.unresolved else ""
            if wrong:
                self.problems.error(
                    BadExpression(f"'{_short(node.text if node else '')}': {wrong}", place=document.place(path))
                )

    def _check_fields(self, source: SourceFile, stream: Stream, document: Document) -> None:
        names = [c.name for c in stream.columns]
        for key in source.fields:
            if key not in names:
                found = f"the stream '{stream.name}' has no property '{key}'"
                place = document.place(("fields", key), key=True)
                self.problems.error(UnknownProperty(found, hint=nearest(key, names), place=place))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _split(document: Document, connector: type[BaseModel] | None) -> tuple[Document, Document]:
    """Returns the keys that all sources share, and the others. Without a connector the others are left out."""
    common = {k: v for k, v in document.root.mapping.items() if k in SourceKeys.model_fields}
    others = {k: v for k, v in document.root.mapping.items() if k not in SourceKeys.model_fields}
    return (
        dataclasses.replace(document, root=dataclasses.replace(document.root, mapping=common)),
        dataclasses.replace(document, root=dataclasses.replace(document.root, mapping=others)),
    )
