"""The connection to a PostgreSQL that is read: how it is opened, what its session is set to, what its errors mean.

Every session is read-only and prints values so that nothing is lost: times as ISO in UTC, floats as the shortest text
that reads back the same, bytes as hex. It carries an advisory lock as a mark, by which other readers of ours know
that this session cannot write (see `_postgres_marks`). libpq gives no SQLSTATE for a refused connection, so those are
told apart by the server's words; what is not recognised counts as an outage and is tried again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from penstock.sources.base import SourceError
from penstock.sources.errors import (
    PostgresColumnMissing,
    PostgresConnectionInvalid,
    PostgresDatabaseMissing,
    PostgresEncoding,
    PostgresLoginRefused,
    PostgresLost,
    PostgresNoRights,
    PostgresQueryFailed,
    PostgresTableMissing,
    PostgresUnreachable,
)

Connection = psycopg.Connection[tuple[Any, ...]]

READER_MARK = (0x50454E53, 0x52454144)
"""The two keys of the advisory lock that our reading sessions hold ("PENS", "READ")."""

_SESSION = """
SET client_encoding = 'UTF8'; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601';
SET extra_float_digits = 1; SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET xmlbinary = 'base64';
SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '30s';
SET standard_conforming_strings = on; SET default_transaction_read_only = on;
SET default_transaction_isolation = 'read committed';
"""

_LOGIN_WORDS = ("authentication failed", "no password supplied", "pg_hba.conf", "no PostgreSQL user name specified")


def connection_string(connection: str | Mapping[str, Any]) -> str:
    """Returns libpq's connection string. Raises PostgresConnectionInvalid for text libpq cannot read."""
    try:
        if isinstance(connection, str):
            conninfo = make_conninfo(connection)
        else:
            conninfo = make_conninfo(**{k: v for k, v in connection.items() if v is not None})
    except psycopg.ProgrammingError as e:
        raise _unreadable(_without_values(str(e))) from e
    port = str(conninfo_to_dict(conninfo).get("port") or "")
    if port and not port.replace(",", "").isdigit():
        found = "its port is not a number"
        raise _unreadable(found)
    return conninfo


def _unreadable(why: str) -> PostgresConnectionInvalid:
    hint = "write postgresql://user@host:5432/database, or {host, port, dbname, user, password, sslmode}"
    return PostgresConnectionInvalid(f"the connection cannot be read: {why}", hint=hint, place="connection")


def _without_values(message: str) -> str:
    """Leaves out what libpq quotes: it may be a part of the password."""
    return message.split('"')[0].strip(" :\n") or "not a connection string"


def describe(conninfo: str) -> str:
    """Returns `user@host:port/dbname` of a connection string, without any secret."""
    d = conninfo_to_dict(conninfo)
    return f"{d.get('user') or '?'}@{d.get('host') or 'localhost'}:{d.get('port') or 5432}/{d.get('dbname') or '?'}"


def connect(conninfo: str, source: str) -> Connection:
    """Opens a read-only session for `source`. Raises SourceError (PEN260, PEN261, PEN272)."""
    keys: dict[str, Any] = {"application_name": f"penstock/{source}"[:63]}
    if "connect_timeout" not in conninfo_to_dict(conninfo):
        keys["connect_timeout"] = 10
    try:
        conn = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None, **keys)
    except psycopg.Error as e:
        raise _refused(e, describe(conninfo)) from e
    try:
        with translated("the session's settings"):
            conn.execute(_SESSION)
            conn.execute(f"SELECT pg_catalog.pg_advisory_lock_shared({READER_MARK[0]}, {READER_MARK[1]})")
    except SourceError:
        conn.close()
        raise
    return conn


def _refused(e: psycopg.Error, where: str) -> SourceError:
    """Says why a connection could not be made."""
    message = " ".join(str(e).split())
    said = message.rsplit("FATAL: ", 1)[-1].strip() if "FATAL: " in message else message
    found = f"{where}: {said}"
    if 'database "' in said and "does not exist" in said:
        return PostgresDatabaseMissing(found, hint="mend dbname in `connection:`, or create it", place="connection")
    if any(w in said for w in _LOGIN_WORDS) or ('role "' in said and ("does not exist" in said or "log in" in said)):
        hint = "check user and password in `connection:` (the variable it refers to), and the server's pg_hba.conf"
        return PostgresLoginRefused(found, hint=hint, place="connection")
    hint = "is the server up and can it be reached from here? It is tried again by itself"
    return PostgresUnreachable(found, hint=hint, place="connection")


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns psycopg's errors into ours; `what` was being read (a table, or `the query`)."""
    try:
        yield
    except psycopg.Error as e:
        raise translate(e, what) from e


ENCODING_HINT = (
    "convert it in `query:`, for a text in WIN1252:"
    " convert_from(convert(convert_to(name, 'SQL_ASCII'), 'WIN1252', 'UTF8'), 'SQL_ASCII') AS name"
)
_MISSING_TABLE = (pg.UndefinedTable, pg.InvalidSchemaName)
_BROKEN_OFF = ("08", "53", "57", "58", "40", "55", "XX")
"""SQLSTATE classes that pass: connection, resources, operator, system, rollback, not-in-state, internal."""


def translate(e: psycopg.Error, what: str) -> SourceError:
    """Returns our error for one of psycopg's that came while `what` was read."""
    said = e.diag.message_primary or " ".join(str(e).split())
    found = f"{what}: {said}"
    if isinstance(e, _MISSING_TABLE):
        return PostgresTableMissing(found, hint="was it dropped or renamed? Mend `table:` or `query:`")
    if isinstance(e, pg.UndefinedColumn):
        return PostgresColumnMissing(found, hint="was it dropped or renamed? Mend `query:` and `fields:`")
    if isinstance(e, pg.InsufficientPrivilege):
        return PostgresNoRights(found, hint=_grant_hint(said))
    if isinstance(e, (pg.CharacterNotInRepertoire, pg.UntranslatableCharacter)):
        return PostgresEncoding(found, hint=ENCODING_HINT)
    state = e.sqlstate or ""
    if not state or state[:2] in _BROKEN_OFF:
        return PostgresLost(found, hint="nothing is lost: it goes on from its cursor when the server answers again")
    detail = e.diag.message_hint or "run the query in psql under the same role; it must be one SELECT that only reads"
    return PostgresQueryFailed(f"{found} (SQLSTATE {state})", hint=detail)


def _grant_hint(said: str) -> str:
    kind = "USAGE ON SCHEMA" if "schema" in said else "SELECT ON"
    name = said.rsplit(" ", 1)[-1]
    return f"as the owner: GRANT {kind} {name} TO <the role of `connection:`>"
