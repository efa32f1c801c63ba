"""penstock.yaml: the settings, and the environments laid over them.

The model declares the file's keys. An environment replaces `store`, `log` and `engine` whole and lays the rest over
key by key; environments that are not chosen are checked for their keys, but their references are not resolved. Logs
and engines that the format knows and this installation does not have are refused when the chosen settings use them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from penstock.errors import nearest
from penstock.project.checked import check_model
from penstock.project.errors import NotAvailable, UnknownEnvironment, WrongValue
from penstock.project.model import LoggingSettings, LogSettings, ServeSettings, Settings, StoreSettings
from penstock.project.values import TimeZone
from penstock.project.variables import Variables, check_secrets, fill_in
from penstock.project.yamlfile import Document, Node, Problems

FILE = "penstock.yaml"
_WHOLE = ("store", "log", "engine")
"""Keys that an environment replaces whole."""
_IDENTIFIER = r"^[a-z_][a-z0-9_]{0,50}$"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreTable(_Model):
    """Where results and Penstock's own tables live."""

    url: str = Field(
        default="embedded",
        description="A PostgreSQL 15 or newer as a URL, or `embedded` for a private one that Penstock runs",
        examples=["${STORE_URL}"],
    )
    schema_: str = Field(
        default="public",
        alias="schema",
        pattern=_IDENTIFIER,
        description="The schema of the result tables; Penstock's own are in `penstock`, or `penstock_<schema>`",
        examples=["public"],
    )

    @field_validator("schema_")
    @classmethod
    def _is_free(cls, value: str) -> str:
        if value.startswith("pg_") or value in ("information_schema", "penstock"):
            msg = "is a schema of PostgreSQL's or Penstock's own"
            raise ValueError(msg)
        return value

    @field_validator("url")
    @classmethod
    def _is_postgres(cls, value: str) -> str:
        if value != "embedded" and not value.startswith(("postgresql://", "postgres://")):
            msg = "should be `embedded` or a URL that begins with postgresql://"
            raise ValueError(msg)
        return value


def _as_store(value: object) -> object:
    """A text stands for the URL."""
    return {"url": value} if isinstance(value, str) else value


class LogTable(_Model):
    """Where the log's segments live."""

    segments: str | None = Field(
        default=None,
        min_length=1,
        description="The folder or bucket of the log's segments; default: a folder in the state folder",
        examples=["s3://bucket/prefix"],
    )
    kafka: dict[str, Any] | None = Field(
        default=None,
        description="Keep the log in Kafka; only where a Kafka log is installed",
        examples=[{"bootstrap": "host:9092", "replication": 3}],
    )


class EngineTable(_Model):
    """An engine other than the embedded one."""

    spark: dict[str, Any] | None = Field(
        default=None,
        description="Run the pipelines on Spark; only where a Spark engine is installed",
        examples=[{"master": "spark://host:7077"}],
    )


class ServeTable(_Model):
    """Where the API listens."""

    host: str = Field(default="127.0.0.1", min_length=1, description="The address to listen on", examples=["0.0.0.0"])
    port: int = Field(default=8080, ge=0, le=65535, description="The port; 0 takes any free one", examples=[8080])


class LoggingTable(_Model):
    """What Penstock writes about itself (not the log of rows)."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important messages that are written", examples=["info"]
    )
    format: Literal["text", "json"] = Field(
        default="text", description="Lines for people, or one JSON object on a line", examples=["json"]
    )


class Overlay(_Model):
    """What an environment may say; each key as in the settings themselves."""

    timezone: TimeZone = Field(default="UTC", description="What a day is, unless a pipeline says otherwise")
    state: str | None = Field(
        default=None,
        min_length=1,
        description="The state folder; default: .penstock, and in it one folder per environment",
        examples=["/var/lib/penstock/sales"],
    )
    store: Annotated[StoreTable, BeforeValidator(_as_store, json_schema_input_type=str | StoreTable)] = Field(
        default=StoreTable(), description="`embedded`, the URL of a PostgreSQL, or `url` and `schema`"
    )
    log: Literal["embedded"] | LogTable = Field(default="embedded", description="`embedded`, or where its parts live")
    engine: Literal["duckdb"] | EngineTable = Field(default="duckdb", description="What runs the SQL")
    serve: ServeTable = Field(default=ServeTable(), description="Where the API listens")
    logging: LoggingTable = Field(default=LoggingTable(), description="What Penstock writes about itself")


class SettingsFile(Overlay):
    """penstock.yaml."""

    name: str = Field(min_length=1, max_length=100, description="The project's name", examples=["sales"])
    environments: dict[str, Overlay] = Field(
        default={}, description="Settings by environment, chosen with `--env`; each lays its keys over those above"
    )


@dataclasses.dataclass(frozen=True)
class Available:
    """What this installation has beyond the embedded parts: words of `log:` and `engine:`."""

    logs: Collection[str] = ()
    engines: Collection[str] = ()


def read_settings(
    document: Document | None, environment: str | None, variables: Variables, problems: Problems, available: Available
) -> Settings:
    """Returns the settings of the chosen environment; defaults where the file has errors, which go to `problems`."""
    root = variables.root
    fallback = Settings(name=root.name or "project", state=root / ".penstock" / (environment or "default"))
    if document is None:
        return fallback
    check_secrets(document, problems)
    chosen = _chosen(document, environment, problems)
    filled = fill_in(chosen, variables, problems)
    whole = check_model(SettingsFile, filled, problems)
    _check_other_environments(document, environment, problems)
    if whole is None:
        return fallback
    _refuse_unavailable(filled, available, problems)
    return _settings(whole, environment, root)


def _chosen(document: Document, environment: str | None, problems: Problems) -> Document:
    """Returns the settings with the chosen environment laid over them and all environments left out."""
    root = document.root
    others = root.mapping.get("environments")
    base = {k: v for k, v in root.mapping.items() if k != "environments"}
    over = others.mapping.get(environment) if others and environment else None
    if environment not in (None, "default") and over is None:
        known = others.mapping if others else {}
        found = f"there is no environment '{environment}'"
        problems.error(UnknownEnvironment(found, hint=nearest(str(environment), known), place=document.place()))
    return dataclasses.replace(document, root=_laid_over(dataclasses.replace(root, mapping=base), over))


def _laid_over(base: Node, over: Node | None) -> Node:
    if over is None or over.kind != "mapping":
        return base
    merged = dict(base.mapping)
    for key, value in over.mapping.items():
        below = merged.get(key)
        deep = key not in _WHOLE and below is not None and below.kind == value.kind == "mapping"
        merged[key] = _laid_over(below, value) if deep and below else value
    return dataclasses.replace(base, mapping=merged, keys={**base.keys, **over.keys})


def _check_other_environments(document: Document, environment: str | None, problems: Problems) -> None:
    """Checks the environments that are not chosen; what they refer to is not needed, so it may be missing."""
    part = document.part(("environments",))
    if part is None:
        return
    if part.root.kind != "mapping":
        problems.error(WrongValue("should be environments by name", place=part.place()))
        return
    for name, node in part.root.mapping.items():
        below = document.part(("environments", name))
        if below is not None and name != environment and not _is_empty(node):
            check_model(Overlay, _unresolved(below), problems)


def _is_empty(node: Node) -> bool:
    return node.kind == "scalar" and node.value is None


def _unresolved(document: Document) -> Document:
    """Returns the document with every reference marked as having no value."""
    return dataclasses.replace(document, root=_mark(document.root))


def _mark(node: Node) -> Node:
    return dataclasses.replace(
        node,
        unresolved=isinstance(node.value, str) and "${" in node.value,
        mapping={k: _mark(v) for k, v in node.mapping.items()},
        sequence=[_mark(v) for v in node.sequence],
    )


def _refuse_unavailable(document: Document, available: Available, problems: Problems) -> None:
    for key, words in (("log", available.logs), ("engine", available.engines)):
        table = document.root.mapping.get(key)
        for word in table.mapping if table else ():
            if word in ("kafka", "spark") and word not in words:
                found = f"this installation has no {key} of the kind '{word}'"
                hint = f"leave `{key}` out for the embedded one, or choose another environment with --env"
                problems.error(NotAvailable(found, hint=hint, place=document.place((key, word), key=True)))


def _settings(file: SettingsFile, environment: str | None, root: Path) -> Settings:
    store = file.store
    state = root / file.state if file.state else root / ".penstock" / (environment or "default")
    return Settings(
        name=file.name,
        timezone=file.timezone,
        state=state,
        environment=environment or "default",
        store=StoreSettings(None if store.url == "embedded" else store.url, store.schema_),
        log=LogSettings(file.log.segments if isinstance(file.log, LogTable) else None),
        serve=ServeSettings(file.serve.host, file.serve.port),
        logging=LoggingSettings(file.logging.level, file.logging.format),
    )
