"""The project as typed values: what reading the folder yields and every later stage takes.

Pure data, no I/O. `Problem`s are PenstockErrors that were found; a folder with errors still yields what could be
read, so that `validate` can report all of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from penstock.errors import PenstockError, Place
from penstock.sqltypes import SqlType


@dataclass(frozen=True)
class Column:
    """One property of a contract's stream with the rules that act on a single row."""

    name: str
    type: SqlType
    required: bool = False
    unique: bool = False
    minimum: str | None = None
    """Bounds are kept as the text of the file, compared in the column's own type."""
    maximum: str | None = None
    exclusive_minimum: str | None = None
    exclusive_maximum: str | None = None
    multiple_of: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    enum: tuple[str, ...] | None = None
    """Allowed values as text, compared after a cast to the column's type."""
    date_format: str | None = None
    """How texts of this column are written, as strptime (ODCS's JDK patterns are translated on reading)."""
    description: str = ""
    classification: str = ""
    place: Place = field(default=Place(""), compare=False)


@dataclass(frozen=True)
class Stream:
    """A stream: its contract as far as Penstock acts on it."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    event_time: str | None = None
    allowed_lateness: timedelta = timedelta(0)
    idle_after: timedelta = timedelta(minutes=5)
    max_ahead: timedelta = timedelta(days=1)
    changes: Literal["append", "upsert"] = "append"
    version: str | None = None
    """The property by which a newer row of a key is known (upsert); None = the source's position."""
    duplicates_within: timedelta | None = None
    contract_id: str = ""
    contract_version: str = ""
    not_acted_on: tuple[str, ...] = ()
    """What the contract says and Penstock does not act on, one sentence each, for `validate`."""
    place: Place = field(default=Place(""), compare=False)

    def column(self, name: str) -> Column:
        """Returns the column called `name`. Raises KeyError."""
        for c in self.columns:
            if c.name == name:
                return c
        raise KeyError(name)


@dataclass(frozen=True)
class SourceFile:
    """One file of sources/: the keys all sources share, and the connector's own as its validated config model."""

    name: str
    type: str
    stream: str
    every: timedelta = timedelta(seconds=10)
    every_given: bool = False
    """Whether the file says `every` (bulk reads once without it)."""
    fields: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    operation: str | None = None
    """An expression that yields 'upsert' or 'delete' (upsert streams)."""
    timezone: str = "UTC"
    idle_after: timedelta | None = None
    allowed_lateness: timedelta | None = None
    renamed_from: str | None = None
    config: Any = None
    """The connector's own pydantic model, as its `Config` class declares it."""
    place: Place = field(default=Place(""), compare=False)


@dataclass(frozen=True)
class PipelineFile:
    """One file of pipelines/: the header and the SELECT, not yet planned."""

    name: str
    sql: str
    sql_line: int = 1
    """1-based line of the file on which `sql` begins, so that the planner's places are the file's."""
    description: str = ""
    late: Literal["restate", "set_aside"] = "restate"
    late_given: bool = False
    timezone: str = "UTC"
    indexes: tuple[tuple[tuple[str, bool], ...], ...] = ()
    """Each index is (column, descending) pairs."""
    renamed_from: str | None = None
    place: Place = field(default=Place(""), compare=False)


@dataclass(frozen=True)
class Parameter:
    """One parameter of an endpoint: a JSON Schema, and whether it must be given."""

    name: str
    schema: Mapping[str, Any]
    required: bool
    in_path: bool
    description: str = ""


@dataclass(frozen=True)
class Paging:
    by: tuple[tuple[str, bool], ...]
    """(column, descending) pairs that hold a unique key."""
    size: int = 100
    max: int = 1000


@dataclass(frozen=True)
class EndpointFile:
    """One file of endpoints/: route, parameters and the SELECT over the results (PostgreSQL's SQL)."""

    name: str
    path: str
    sql: str
    sql_line: int = 1
    summary: str = ""
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    paging: Paging | None = None
    decimals: Literal["number", "string"] = "number"
    place: Place = field(default=Place(""), compare=False)


@dataclass(frozen=True)
class StoreSettings:
    """`url` None means the embedded private server. `schema` is where results go."""

    url: str | None = None
    schema: str = "public"

    @property
    def own_schema(self) -> str:
        """The schema of Penstock's own tables."""
        return "penstock" if self.schema == "public" else f"penstock_{self.schema}"


@dataclass(frozen=True)
class LogSettings:
    """`segments` None means the folder below the state folder; else a URL such as s3://bucket/prefix."""

    segments: str | None = None


@dataclass(frozen=True)
class ServeSettings:
    host: str = "127.0.0.1"
    port: int = 8080


@dataclass(frozen=True)
class LoggingSettings:
    level: str = "info"
    format: Literal["text", "json"] = "text"


@dataclass(frozen=True)
class Settings:
    name: str
    timezone: str = "UTC"
    state: Path = Path(".penstock")
    """The state folder of the chosen environment, absolute."""
    environment: str = "default"
    store: StoreSettings = StoreSettings()
    log: LogSettings = LogSettings()
    engine: Literal["duckdb"] = "duckdb"
    serve: ServeSettings = ServeSettings()
    logging: LoggingSettings = LoggingSettings()


@dataclass(frozen=True)
class Project:
    """A folder, read. `problems` holds every error found; `warnings` what `validate` says without failing."""

    root: Path
    settings: Settings
    streams: Mapping[str, Stream]
    sources: Mapping[str, SourceFile]
    pipelines: Mapping[str, PipelineFile]
    endpoints: Mapping[str, EndpointFile]
    problems: tuple[PenstockError, ...] = ()
    warnings: tuple[PenstockError, ...] = ()
