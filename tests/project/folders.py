"""Project folders for tests: written from texts, read, and compared by what was found."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from penstock.errors import PenstockError
from penstock.project.model import Project
from penstock.project.read import read_project
from penstock.project.values import ByteSize, Duration
from penstock.sources.base import SourceConfig

SETTINGS = "name: sales\n"
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: sales
version: 1.0.0
status: active
schema:
  - name: sales
    logicalType: object
    customProperties:
      - {property: eventTime, value: sold_at}
      - {property: allowedLateness, value: 1h}
    properties:
      - {name: sale_id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: sold_at, logicalType: timestamp, required: true}
      - {name: amount, logicalType: number, physicalType: "decimal(12,2)", required: true}
      - {name: city, logicalType: string, required: true, logicalTypeOptions: {minLength: 1, maxLength: 100}}
"""
SOURCE = "type: lake\nstream: sales\npath: drops\n"
PIPELINE = "SELECT city, sum(amount) AS total FROM sales GROUP BY city\n"
ENDPOINT = "/*\npath: /cities\n*/\nSELECT city, total FROM top_cities\n"
GOOD = {
    "penstock.yaml": SETTINGS,
    "contracts/sales.odcs.yaml": CONTRACT,
    "sources/drops.yaml": SOURCE,
    "pipelines/top_cities.sql": PIPELINE,
    "endpoints/cities.sql": ENDPOINT,
}


class Login(SourceConfig):
    """A nested model, as connectors have them."""

    host: str = Field(description="Host")
    password: str | None = Field(default=None, description="Password", json_schema_extra={"secret": True})


class LakeConfig(SourceConfig):
    """A connector of every shape that configuration has."""

    path: str = Field(description="The folder", examples=["drops"])
    format: Literal["csv", "json"] = Field(default="csv", description="The format")
    connection: str | Login | None = Field(default=None, description="URL or parts")
    wait: Duration | None = Field(default=None, description="How long to wait")
    limit: ByteSize = Field(default=10, description="The greatest size")
    columns: tuple[str, ...] = Field(default=(), description="Names")
    pieces: int = Field(default=1, ge=1, description="How many")
    color: str = Field(default="", description="A color, whose check repeats what it was given")

    @field_validator("color")
    @classmethod
    def _is_a_color(cls, value: str) -> str:
        if value not in ("", "red", "green"):
            msg = f"{value!r} is no color"
            raise ValueError(msg)
        return value


class HeapConfig(SourceConfig):
    """A connector whose rows come in any order."""

    positions_order_versions = False


CONNECTORS: Mapping[str, type[SourceConfig]] = {"lake": LakeConfig, "heap": HeapConfig}


def write(root: Path, files: Mapping[str, str | bytes | None]) -> Path:
    """Writes files below `root`; None leaves one out."""
    for name, content in files.items():
        if content is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
    return root


def read(
    root: Path,
    files: Mapping[str, str | bytes | None],
    env: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Project:
    """Returns the good project with `files` over it."""
    return read_project(write(root, {**GOOD, **files}), env, CONNECTORS, environ or {})


def told(errors: tuple[PenstockError, ...] | list[PenstockError]) -> list[str]:
    """Returns `file:line:col code found (hint)` of each, to compare."""
    return [
        f"{e.place.file if e.place else ''}:{e.place.line if e.place else 0}:{e.place.column if e.place else 0} "
        f"{e.code} {e.found}" + (f" ({e.hint})" if e.hint else "")
        for e in errors
    ]


def only(project: Project) -> str:
    """Returns the only error's text."""
    (error,) = told(project.problems)
    return error
