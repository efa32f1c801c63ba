"""The state file of one pipeline generation: opened, checked, thrown away when it cannot be trusted.

The file is attached to an in-memory DuckDB as the schema `disk`. Its `meta` table says which format and plan it
belongs to and the place in the log it stands for; a file that does not open, is of another format, plan or time-zone
data, or lacks a table is deleted and made anew. State is a pure function of the log, so nothing is lost by that.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from penstock.engines.duckdb_layout import instant
from penstock.engines.duckdb_sql import Statements
from penstock.engines.duckdb_windows import CREATE as CREATE_WINDOWS
from penstock.engines.errors import StateBusyError
from penstock.log.model import ORIGIN, ChainPoint, Position
from penstock.observe import emit
from penstock.observe.events import Notice
from penstock.plan.macros import MACROS
from penstock.plan.model import Plan

FORMAT = "2"
"""Of the state tables. Another number means: build again from the log."""

_IDENTITY = ("format", "fingerprint", "time-zone data")

_DAMAGE = ("checksum", "corrupt", "could not read enough bytes", "deserializ")

_META = (
    "CREATE TABLE disk.meta (format VARCHAR, plan VARCHAR, fingerprint VARCHAR, timezones VARCHAR, pos BIGINT, "
    "batch VARCHAR, watermark TIMESTAMPTZ, set_aside BIGINT)"
)


@dataclass(frozen=True)
class Standing:
    """What the state stands for: a place in the log, the stream's watermark there, late rows set aside so far."""

    at: ChainPoint = ORIGIN
    watermark: datetime | None = None
    set_aside: int = 0


@dataclass(frozen=True)
class Room:
    """What a state may use: memory as DuckDB writes it (`256MB`), threads."""

    memory_limit: str
    threads: int


def file_of(folder: Path, plan: Plan) -> Path:
    """Returns the state file of `plan` in `folder`: one per pipeline and fingerprint."""
    return folder / f"{plan.name}.{plan.fingerprint[:16]}.duckdb"


def sweep(folder: Path, keep: Iterable[Plan]) -> list[Path]:
    """Deletes the state files in `folder` that belong to none of the plans; returns those deleted."""
    kept = {file_of(folder, plan).name for plan in keep}
    gone = [path for path in folder.glob("*.duckdb") if path.name not in kept]
    for path in gone:
        _delete(path)
    return gone


def time_zones(con: duckdb.DuckDBPyConnection) -> str:
    """Returns the version of the time-zone data that DuckDB computes days with: it is part of its ICU extension."""
    rows = con.execute("SELECT extension_version FROM duckdb_extensions() WHERE extension_name = 'icu'").fetchall()
    return f"duckdb {duckdb.__version__} icu {rows[0][0] if rows else 'none'}"


class StateFile:
    """An open state file. `con` is the one connection; `rebuilt` says why the file was made anew, '' if it was not."""

    def __init__(self, plan: Plan, statements: Statements, folder: Path, room: Room) -> None:
        self.plan, self.statements, self.room = plan, statements, room
        self.path = file_of(folder, plan)
        self.rebuilt = ""
        self.closed = False
        folder.mkdir(parents=True, exist_ok=True)
        self.con = self._connect()
        existed = self.path.exists()
        why = self._attach()
        if not why and existed:
            why = self._distrust()
        if why:
            self.discard(why)
        elif not existed:
            self._create()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self.room.memory_limit,
            "threads": self.room.threads,
            "autoinstall_known_extensions": False,
            "temp_directory": str(self.path) + ".tmp",
            "preserve_insertion_order": True,
        }
        con = duckdb.connect(config=config)
        self._threads = self.room.threads
        con.execute("SET TimeZone = " + "'" + self.plan.timezone.replace("'", "''") + "'")
        for macro in MACROS:
            con.execute(macro)
        return con

    def _attach(self) -> str:
        """Attaches the file; returns why it cannot be used, '' when it can. Raises StateBusyError."""
        path = str(self.path).replace("'", "''")
        try:
            self.con.execute(f"ATTACH '{path}' AS disk")
        except duckdb.Error as error:
            if isinstance(error, duckdb.ResourceInUseException) or "set lock on file" in str(error):
                raise StateBusyError(
                    f"{self.path.name} of pipeline '{self.plan.name}': {first_line(error)}",
                    hint="stop the other process, or set another `state` folder",
                ) from error
            return f"the file does not open: {first_line(error)}"
        return ""

    def _distrust(self) -> str:
        """Returns why the attached file is not this plan's state, '' when it is."""
        try:
            rows = self.con.execute("SELECT format, fingerprint, timezones FROM disk.meta").fetchall()
            for table in (*self.statements.table_names, "w"):
                self.con.execute(f"SELECT * FROM disk.{table} LIMIT 0")
            if rows:
                self.standing()  # a file that was cut off may open and lack the columns beside
        except duckdb.Error as error:
            return f"the file is not a pipeline's state: {first_line(error)}"
        if len(rows) != 1:
            return "the file does not say what it is"
        return next(
            (
                f"the file has {what} '{found}', needed is '{needed}'"
                for what, found, needed in zip(_IDENTITY, rows[0], self._identity(), strict=True)
                if found != needed
            ),
            "",
        )

    def _identity(self) -> tuple[str, str, str]:
        return FORMAT, self.plan.fingerprint, time_zones(self.con)

    def _create(self) -> None:
        self.con.begin()
        self.con.execute(_META)
        format_, fingerprint, zones = self._identity()
        values = [format_, self.plan.name, fingerprint, zones, int(ORIGIN.position), ORIGIN.batch_id, None, 0]
        self.con.execute("INSERT INTO disk.meta VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        for statement in (*self.statements.tables("disk"), CREATE_WINDOWS):
            self.con.execute(statement)
        self.con.commit()

    def discard(self, why: str) -> None:
        """Throws the file away, saying so, and makes an empty one."""
        self.rebuilt = why
        emit(Notice(f"state of pipeline '{self.plan.name}' is built again from the log: {why}", of=self.plan.name))
        self.erase()

    def erase(self) -> None:
        """Deletes the file and makes an empty one in its place."""
        self.con.close()
        _delete(self.path)
        self.con = self._connect()
        self._attach()
        self._create()

    def reopen(self) -> None:
        """Opens the file again after a failure that made the connection unusable: its last commit stands."""
        self.con.close()
        self.con = self._connect()
        self._attach()

    def use_threads(self, *, many: bool) -> None:
        """Uses one thread for few rows: waking up the others costs more than they do."""
        wanted = self.room.threads if many else 1
        if wanted != self._threads:
            self.con.execute(f"SET threads = {wanted}")
            self._threads = wanted

    def standing(self) -> Standing:
        """Returns what the file stands for."""
        row = self.con.execute("SELECT pos, batch, epoch_us(watermark), set_aside FROM disk.meta").fetchall()[0]
        return Standing(ChainPoint(Position(row[0]), row[1]), None if row[2] is None else instant(row[2]), row[3])

    def stand(self, standing: Standing) -> None:
        """Writes what the file stands for, within the caller's transaction."""
        values = [int(standing.at.position), standing.at.batch_id, standing.watermark, standing.set_aside]
        self.con.execute("UPDATE disk.meta SET pos = ?, batch = ?, watermark = ?, set_aside = ?", values)

    def close(self) -> None:
        """Closes the file; may be called twice."""
        self.closed = True
        self.con.close()


def first_line(error: Exception) -> str:
    """Returns DuckDB's message without the excerpt of our SQL below it."""
    return str(error).strip().splitlines()[0]


def damaged(error: duckdb.Error) -> bool:
    """Returns whether an error says that the file's content is not what was written."""
    if isinstance(error, duckdb.InternalException | duckdb.FatalException | duckdb.SerializationException):
        return True
    return any(word in str(error).lower() for word in _DAMAGE)


def _delete(path: Path) -> None:
    for name in (path, path.with_name(path.name + ".wal")):
        name.unlink(missing_ok=True)
    shutil.rmtree(path.with_name(path.name + ".tmp"), ignore_errors=True)
