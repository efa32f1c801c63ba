"""The store, opened: a connection string, the tables brought up to date, and whose store it is.

`Store.open` starts the private server where the settings say `embedded`, checks the server's version and encoding,
runs the migrations that are missing, and compares the project's id in the state folder with the one in the store.
Connections come from `Store.connect`: autocommit, UTC, Penstock's own schema in the search path; begin a transaction
with `connection.transaction()`. Every error of psycopg leaves this package as one of `store.errors`: see
`errors_explained`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from penstock.project.model import Settings, StoreSettings
from penstock.store.errors import (
    DiskFull,
    LeaseLost,
    NewerSchema,
    NotUtf8,
    OtherProject,
    PositionMoved,
    StoreAway,
    StoreEmpty,
    StoreError,
    StoreRefused,
    StoreTooOld,
    ValueTooLarge,
)
from penstock.store.private import PrivateServer, open_private_server

Connection = psycopg.Connection[TupleRow]

OLDEST_VERSION = 150000
CONNECT_OPTIONS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_REFUSALS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "permission denied", "no password")
_AWAY = ("08", "57P", "25006", "53300", "40", "55P03")
"""SQLSTATE prefixes of failures that pass: connection, shutdown, read-only standby, too many clients, conflicts."""

_RIGHTS = "the user of `store:` needs CREATE on the database, or schemas of its own: CREATE SCHEMA ... AUTHORIZATION"


@dataclass
class Store:
    """An open store. `connect` may be called from any thread."""

    url: str
    schema: str
    own_schema: str
    server: PrivateServer | None = None
    project_id: str = ""
    project_name: str = ""
    log_id: str = ""
    """Names the log of this store; the folder of its segments."""
    secret: bytes = b""
    """The key of content hashes."""

    @classmethod
    def open(cls, settings: Settings, *, create: bool = True) -> Store:
        """Opens the store that `settings` name. Without `create` its tables must be there. Raises StoreError."""
        server = None if settings.store.url else open_private_server(settings.state)
        url = settings.store.url or (server.url() if server else "")
        store = cls(url, settings.store.schema, settings.store.own_schema, server)
        try:
            with errors_explained(store), store.connect("penstock open") as connection:
                _check_server(connection)
                _migrate(connection, store, create=create)
                _identify(connection, store, settings)
        except BaseException:
            store.close()
            raise
        return store

    @property
    def channel(self) -> str:
        """The channel of NOTIFY: payload is the pipeline that moved, or `request`."""
        return self.own_schema

    def connect(self, application: str = "penstock", *, results: bool = False, read_only: bool = False) -> Connection:
        """Opens a connection. With `results` unqualified names are those of the results' schema, else Penstock's own.

        Raises StoreAway (retryable) or StoreRefused. An embedded server that died is started again.
        """
        path = sql.SQL(", ").join(map(sql.Identifier, [self.schema, "public"] if results else [self.own_schema]))
        settings = [
            ("TimeZone", "UTC"),
            ("DateStyle", "ISO, MDY"),
            ("IntervalStyle", "postgres"),
            ("lock_timeout", "30s"),
            ("search_path", path.as_string() + ", pg_temp"),
            ("default_transaction_read_only", "on" if read_only else "off"),
        ]
        connection = self._dial(application)
        try:
            with errors_explained(self):
                calls = ", ".join(["set_config(%s, %s, false)"] * len(settings))
                connection.execute(f"SELECT {calls}", [part for pair in settings for part in pair])
        except BaseException:
            connection.close()
            raise
        return connection

    def _dial(self, application: str) -> Connection:
        given = conninfo_to_dict(self.url)
        options = {k: v for k, v in CONNECT_OPTIONS.items() if k not in given}
        for attempt in (1, 2):
            try:
                return psycopg.connect(
                    self.url, autocommit=True, application_name=application, client_encoding="UTF8", **options
                )
            except psycopg.OperationalError as error:
                if self.server is None or attempt == 2:
                    raise self._why_not(error) from error
                self.server.ensure()
        raise AssertionError

    def _why_not(self, error: psycopg.OperationalError) -> StoreError:
        """Returns why no connection could be had, without the password."""
        text = str(error).strip()
        if any(word in text for word in _REFUSALS):
            return StoreRefused(f"{self}: {text}", hint="check user, password, database and rights of `store:`")
        return StoreAway(f"{self}: {text}", hint="is the server running and reachable from here?")

    def __str__(self) -> str:
        """Returns where the store is, without user and password."""
        if self.server is not None:
            return f"the embedded store in {self.server.directory}"
        try:
            parts = conninfo_to_dict(self.url)
        except psycopg.ProgrammingError:
            return "the store"
        host = parts.get("host") or parts.get("hostaddr") or os.environ.get("PGHOST") or "the local socket"
        return f"the store at {host}:{parts.get('port') or 5432}, database {parts.get('dbname') or parts.get('user')}"

    def close(self) -> None:
        """Lets go of the private server. Connections are their openers'. May be called twice."""
        if self.server is not None:
            self.server.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def errors_explained(what: object = "the store") -> Iterator[None]:
    """Turns psycopg's errors within into StoreErrors. `what` names whom or what they are about."""
    try:
        yield
    except psycopg.Error as error:
        raise explain(error, what) from error


def explain(error: psycopg.Error, what: object) -> StoreError:
    """Returns the StoreError that says what psycopg's `error` means."""
    state = error.sqlstate or ""
    text = error.diag.message_primary or str(error).strip()
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    found = f"{what}: {text}{detail}"
    if state == "PEN16":
        return LeaseLost(found, hint="this run ends; the other one goes on")
    if state == "PEN17":
        return PositionMoved(found)
    if state == "53100" or "No space left on device" in text:
        return DiskFull(found, hint="free some space where the store's data is")
    if state in ("22003", "22001", "54000") and state:
        return ValueTooLarge(found, hint="cast it to a wider type in the pipeline's SELECT")
    if state.startswith(_AWAY) or (not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)):
        return StoreAway(found, hint="is the server running and reachable from here?")
    return StoreRefused(found, hint=_RIGHTS if state == "42501" else "")


def _check_server(connection: Connection) -> None:
    version = connection.info.server_version
    if version < OLDEST_VERSION:
        msg = f"the server is PostgreSQL {version // 10000}"
        raise StoreTooOld(msg, hint="use PostgreSQL 15 or newer, or `store: embedded`")
    encoding = connection.execute("SELECT current_setting('server_encoding')").fetchone()
    if encoding != ("UTF8",):
        msg = f"the database's encoding is {encoding[0] if encoding else 'unknown'}"
        raise NotUtf8(msg, hint="CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0")


@dataclass(frozen=True)
class Migration:
    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Returns the migrations this version knows, in order."""
    folder = resources.files("penstock.store") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [Migration(int(f.name[:4]), f.name, f.read_text(encoding="utf-8")) for f in files]


def _migrate(connection: Connection, store: Store, *, create: bool) -> None:
    """Runs the migrations that are missing. Several processes may do so at the same time: one does, the others wait."""
    known = migrations()
    done = _migrations_done(connection, store)
    if done is not None:
        _check_known(done, known, store)
        if len(done) == len(known):
            return
    if not create and done is None:
        msg = f"{store}: there is no schema {store.own_schema} with Penstock's tables"
        raise StoreEmpty(msg, hint="`penstock run` makes them; or is it another environment, `--env NAME`?")
    if not create:
        msg = f"{store}: schema {store.own_schema} has no Penstock tables of this version"
        raise NewerSchema(msg, hint="`penstock run` makes them")
    # A session's lock, released with the connection: only a transaction begun after it sees what the other one made.
    lock = f"penstock.migrate.{store.own_schema}"
    connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [lock])
    with connection.transaction():
        done = _migrations_done(connection, store)
        if done is None:
            _create_schemas(connection, store)
            done = {}
        for migration in known[len(done) :]:
            connection.execute(migration.text.encode())
            values = [migration.number, migration.name, migration.checksum]
            connection.execute("INSERT INTO migration (number, name, checksum) VALUES (%s, %s, %s)", values)


def _migrations_done(connection: Connection, store: Store) -> dict[int, str] | None:
    """Returns number and checksum of the migrations that were run; None when there is no table of them."""
    there = connection.execute("SELECT to_regclass(%s)", [f'"{store.own_schema}".migration']).fetchone()
    if there is None or there[0] is None:
        return None
    return dict(connection.execute("SELECT number, checksum FROM migration ORDER BY number").fetchall())


def _check_known(done: dict[int, str], known: list[Migration], store: Store) -> None:
    ours = {migration.number: migration.checksum for migration in known}
    foreign = [number for number, checksum in done.items() if ours.get(number) != checksum]
    if foreign:
        msg = f"{store}: schema {store.own_schema} has migration {foreign[0]}, which this version does not know"
        raise NewerSchema(msg, hint="use the Penstock version that wrote it, or another schema")


def _create_schemas(connection: Connection, store: Store) -> None:
    for name in (store.own_schema, store.schema):
        found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [name]).fetchone()
        if not found:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    connection.execute(
        "CREATE TABLE migration (number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,"
        " applied_at timestamptz NOT NULL DEFAULT now())"
    )


def _identify(connection: Connection, store: Store, settings: Settings) -> None:
    """Compares the project's id in the state folder with the store's; gives both one where they have none."""
    folder = _folder_id(settings)
    with connection.transaction():
        connection.execute(
            "INSERT INTO project (id, name, results_schema, log_id, secret) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [folder or uuid.uuid4(), settings.name, store.schema, uuid.uuid4(), secrets.token_bytes(16)],
        )
        row = connection.execute("SELECT id, name, log_id, secret FROM project").fetchone()
    if row is None:
        raise AssertionError
    _check_same_project(store, settings, folder, (str(row[0]), row[1]))
    store.project_id, store.project_name, store.log_id, store.secret = str(row[0]), row[1], str(row[2]), bytes(row[3])
    if folder is None:
        _write_folder_id(settings, store.project_id)


def _check_same_project(store: Store, settings: Settings, folder: str | None, found: tuple[str, str]) -> None:
    """`found` is the store's project: id and name. A folder without an id is the project of its name."""
    if folder == found[0] or (folder is None and settings.name == found[1]):
        return
    msg = f"{store}: schema {store.own_schema} is used by project '{found[1]}' ({found[0]}); this is '{settings.name}'"
    if folder is not None:
        msg += f", whose state folder {settings.state} says {folder}"
    raise OtherProject(msg, hint="give this project its own schema: `store: {url: ..., schema: other}`")


def _folder_id(settings: Settings) -> str | None:
    try:
        return str(uuid.UUID(json.loads((settings.state / "project.json").read_text())["id"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_folder_id(settings: Settings, project_id: str) -> None:
    settings.state.mkdir(parents=True, exist_ok=True)
    fresh = settings.state / f"project.json.{os.getpid()}"
    fresh.write_text(json.dumps({"id": project_id, "name": settings.name}))
    fresh.rename(settings.state / "project.json")


def open_url(url: str, state: Path, *, name: str = "test", schema: str = "public") -> Store:
    """Opens the store at `url` for a project `name` with its state in `state`."""
    return Store.open(Settings(name=name, state=state, store=StoreSettings(url=url, schema=schema)))
