"""What a run does with pipelines before its threads start: tables made, taken up, or begun to be built beside."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from penstock.log.model import ROW_STAMPS
from penstock.observe import emit
from penstock.observe.events import Notice
from penstock.operate.core import Core
from penstock.plan.model import Plan
from penstock.project.model import Stream
from penstock.store import adopt
from penstock.store.adopt import PipelineChange
from penstock.store.connect import Connection, errors_explained
from penstock.store.errors import CannotReplace
from penstock.store.results import PipelineRow, ResultTable, load_pipelines


@dataclass(frozen=True)
class Home:
    """Where a pipeline is kept: its table, and the folder of its engine's state."""

    result: ResultTable
    folder: Path
    builds: bool = False
    """Whether it is built beside the result that serves, to take its place."""


def log_columns(stream: Stream) -> pa.Schema:
    """Returns the contract's columns and the stamps that engines look at, as reading the log wants them.

    Batches older than a column have NULL there.
    """
    stamps = (ROW_STAMPS.field("_weight"), ROW_STAMPS.field("_watermark"))
    return pa.schema([*(pa.field(column.name, column.type.arrow) for column in stream.columns), *stamps])


def prepare_pipelines(core: Core, connection: Connection) -> Mapping[str, Home]:
    """Makes the tables of new pipelines, takes up those of known ones, begins to build what changed beside them.

    Raises CannotReplace before anything is built that could not take the old result's place, and what making tables
    raises. Removed pipelines' tables stay.
    """
    renamed = {p.name: p.renamed_from for p in core.project.pipelines.values() if p.renamed_from}
    with errors_explained(core.store):
        changes = adopt.compare(connection, core.plans, core.store.schema, renamed)
    homes = {}
    for change in changes:
        if change.plan is None:
            adopt.mark_removed(connection, change.name)
            emit(Notice("its file is gone; its table stays until `penstock run --drop`", change.name))
        else:
            homes[change.name] = _home(core, connection, change, change.plan)
    return homes


def _home(core: Core, connection: Connection, change: PipelineChange, plan: Plan) -> Home:
    token = core.lease.token
    if change.renamed_from:
        with errors_explained(core.store), connection.transaction():
            adopt.rename(connection, change.renamed_from, plan.name, token)
    builds = False
    row = load_pipelines(connection).get(plan.name)
    if change.kind == "new":
        with errors_explained(core.store), connection.transaction():
            result = adopt.register(connection, plan, core.store.schema)
    elif change.kind == "missing":
        with errors_explained(core.store), connection.transaction():
            result = adopt.remake(connection, plan, core.store.schema)
    elif change.kind == "changed" and row:
        result, builds = _begin_build(core, connection, row, plan), True
    else:
        assert row
        result = adopt.update_in_place(connection, row, plan, token)
    generation = load_pipelines(connection)[result.pipeline].generation
    return Home(result, core.state / "engine" / generation, builds)


def _begin_build(core: Core, connection: Connection, row: PipelineRow, plan: Plan) -> ResultTable:
    standing = adopt.obstacles(connection, row, plan)
    if standing:
        found = f"pipeline {plan.name} changed, but {'; '.join(standing)}"
        raise CannotReplace(found, hint="drop those views first, or give the changed pipeline another name")
    emit(Notice("its meaning changed: it is built anew from the log while the old result serves", plan.name))
    with errors_explained(core.store), connection.transaction():
        return adopt.begin_build(connection, plan, core.store.own_schema)


def forget_old_states(core: Core, connection: Connection) -> None:
    """Deletes the engines' states that no result belongs to any more: replaced, dropped, or a build given up."""
    known = {row.generation for row in load_pipelines(connection).values()}
    engines = core.state / "engine"
    for folder in engines.iterdir() if engines.is_dir() else ():
        if folder.name not in known:
            shutil.rmtree(folder, ignore_errors=True)


def drop_removed(core: Core, connection: Connection) -> list[str]:
    """Drops the tables of pipelines whose file is gone. Returns their names."""
    gone = [row for row in load_pipelines(connection).values() if row.removed_at and not row.builds]
    for row in gone:
        adopt.drop(connection, row.name, core.lease.token)
    return [row.name for row in gone]
