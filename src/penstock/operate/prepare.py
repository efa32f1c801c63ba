"""What a run does before its threads start: contracts compared with the log's, result tables made or taken over."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from penstock.log.model import ROW_STAMPS
from penstock.operate.core import Core
from penstock.project.model import Project, Stream
from penstock.store.connect import Connection, errors_explained
from penstock.store.results import ResultTable, create, load_pipelines, plan_as_json


@dataclass(frozen=True)
class Home:
    """Where a pipeline is kept: its table, and the folder of its engine's state."""

    result: ResultTable
    folder: Path


def log_columns(stream: Stream) -> pa.Schema:
    """Returns the contract's columns and the stamps that engines look at, as reading the log wants them.

    Batches older than a column have NULL there.
    """
    stamps = (ROW_STAMPS.field("_weight"), ROW_STAMPS.field("_watermark"))
    return pa.schema([*(pa.field(column.name, column.type.arrow) for column in stream.columns), *stamps])


def prepare_contracts(connection: Connection, project: Project) -> None:
    """Compares the contracts with those under which the log's rows were accepted."""


def prepare_pipelines(core: Core, connection: Connection) -> Mapping[str, Home]:
    """Makes the tables of new pipelines and takes up those of known ones."""
    known = load_pipelines(connection)
    homes = {}
    for plan in core.plans.values():
        result = ResultTable.of(plan, core.store.schema)
        if plan.name not in known:
            generation = str(uuid.uuid4())
            with errors_explained(core.store), connection.transaction():
                create(connection, result)
                connection.execute(
                    "INSERT INTO pipeline (name, table_schema, table_name, generation, fingerprint, plan, key,"
                    " window_column) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                    [plan.name, result.schema, result.table, generation, plan.fingerprint, plan_as_json(plan),
                     list(plan.key), plan.window.column if plan.window else None],
                )  # fmt: skip
        else:
            generation = known[plan.name].generation
        homes[plan.name] = Home(result, core.state / "engine" / generation)
    return homes
