"""Holds one private PostgreSQL for as long as somebody uses it. Run as a script; imports the standard library only.

`python -I -S supervise.py DIR` reads `DIR/launch.json`, makes itself a process of its own session (Ctrl-C in a
terminal does not reach it), creates the cluster if there is none, and starts postgres. Every process that uses the
server holds a shared flock on `DIR/users.lock`; once this process gets the exclusive lock nobody is left, so it shuts
postgres down and ends. A user that was killed holds nothing, so nothing has to be cleaned up for it.
`DIR/supervisor.lock` is held exclusively for this process's whole life: who finds it free knows that no supervisor
runs. `DIR/server.pid` is the postgres that this supervisor started, so that one of an earlier is not taken for it.

`python -I -S supervise.py --as JSON -- PROGRAM ARGS...` becomes PROGRAM under another identity: PostgreSQL refuses to
run as root and `initdb` wants a user with a name, so it enters a user namespace that maps us to such a user, or changes
to another uid. Either way the kernel is asked to interrupt PROGRAM when the supervisor dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
QUICK_DEATHS_ALLOWED = 5


def assume_identity(identity: dict[str, Any]) -> None:
    """Becomes the user of `identity`: {} stays as it is, {"inside": uid} is a namespace, {"uid", "gid"} a change."""
    if "inside" in identity:
        uid, gid = os.geteuid(), os.getegid()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "the kernel allows no user namespace")
        inside = identity["inside"]
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{inside} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{inside} {gid} 1")
    elif "uid" in identity:
        os.setgroups([])
        os.setgid(identity["gid"])
        os.setuid(identity["uid"])


def become(identity: dict[str, Any], command: list[str]) -> None:
    """Replaces this process by `command` under `identity`, to be interrupted when the parent dies."""
    assume_identity(identity)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    os.execv(command[0], command)


def lives_in(pid: int, data: Path) -> bool:
    """Whether process `pid` is a postgres of the data folder (postgres changes to it at start)."""
    try:
        if Path("/proc/self").exists():
            return os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)") == str(data)
        shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return "postgres" in shown.stdout and str(data) in shown.stdout


def processes_of(data: Path) -> list[int]:
    """Returns the pids of the processes whose working folder is the data folder; [] where there is no /proc."""
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    return [pid for pid in pids if lives_in(pid, data)]


def postmaster_pid(data: Path) -> int:
    """Returns the pid in postmaster.pid, 0 without one."""
    try:
        return int((data / "postmaster.pid").read_text().split("\n")[0])
    except (OSError, ValueError):
        return 0


def end_leftovers(data: Path, socket: Path) -> None:
    """Ends the postgres of a supervisor that was killed, and the backends of a postmaster that was.

    Afterwards no postgres of `data` lives, so lock files that are still there are stale; postgres itself would be
    misled by a zombie, or by another program that got the number.
    """
    pid = postmaster_pid(data)
    if pid and lives_in(pid, data):
        for how, seconds in ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
            if gone(pid, data, seconds):
                break
    for leftover in processes_of(data):
        with contextlib.suppress(ProcessLookupError):
            os.kill(leftover, signal.SIGKILL)
    for leftover in processes_of(data):
        gone(leftover, data, 5.0)
    (data / "postmaster.pid").unlink(missing_ok=True)
    (socket / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def gone(pid: int, data: Path, seconds: float) -> bool:
    """Waits at most `seconds` until `pid` is no postgres of `data` any more."""
    until = time.monotonic() + seconds
    while lives_in(pid, data):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


class Gone(Exception):
    """postgres or initdb ended; the text says how."""


class Supervisor:
    """One postgres and the wait for its last user."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.launch: dict[str, Any] = json.loads((directory / "launch.json").read_text())
        self.data = Path(self.launch["data"])
        self.ended = threading.Event()
        self.server: subprocess.Popen[bytes] | None = None

    def command(self, program: str, *args: str) -> list[str]:
        """Returns the command line that runs `program` of the binaries under the launch's identity."""
        become_it = [sys.executable, "-I", "-S", __file__, "--as", json.dumps(self.launch["identity"]), "--"]
        return [*become_it, str(Path(self.launch["bin"]) / program), *args]

    def create_cluster(self) -> None:
        """Runs initdb beside the final place and moves the result there: a cluster is there whole or not at all."""
        fresh = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        self.give(self.data.parent)
        password = self.data.with_name("initdb.password")
        password.unlink(missing_ok=True)
        with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write((self.directory / "password").read_text())
        self.give(password)
        args = ["-D", str(fresh), "-U", self.launch["user"], "-A", "scram-sha-256", "--pwfile", str(password)]
        args += ["-E", "UTF8", "--locale=C"]
        made = subprocess.run(self.command("initdb", *args), capture_output=True, text=True, check=False)
        password.unlink()
        if made.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise Gone(made.stderr.strip() or made.stdout.strip())
        fresh.rename(self.data)
        parent = os.open(self.data.parent, os.O_RDONLY)
        os.fsync(parent)
        os.close(parent)

    def give(self, path: Path) -> None:
        """Makes `path` and what is below it belong to the user postgres runs as, where that is another than now."""
        uid = self.launch["identity"].get("uid", os.geteuid())
        gid = self.launch["identity"].get("gid", os.getegid())
        if path == self.data.parent == self.directory or os.geteuid() != 0 or path.stat().st_uid == uid:
            return
        os.chown(path, uid, gid)
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                os.chown(os.path.join(folder, name), uid, gid, follow_symlinks=False)

    def start(self) -> subprocess.Popen[bytes]:
        """Starts postgres; its messages go to our own stderr, which is DIR/server.log."""
        settings = [f"-c{name}={value}" for name, value in self.launch["settings"].items()]
        command = self.command("postgres", "-D", str(self.data), "-k", self.launch["socket"], *settings)
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2)

    def wait_for_last_user(self) -> None:
        """Runs in a thread: gets the users' lock exclusively, keeps it, and has postgres shut down fast."""
        users = os.open(self.directory / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(users, fcntl.LOCK_EX)
        self.ended.set()
        while (server := self.server) is not None and server.poll() is None:
            # Again and again, as one that comes before postgres has its handlers is lost.
            server.send_signal(signal.SIGINT)
            time.sleep(0.1)

    def run(self) -> None:
        """Holds postgres until the last user is gone. Starts it again when it dies, unless it dies time and again."""
        threading.Thread(target=self.wait_for_last_user, daemon=True).start()
        if not (self.data / "PG_VERSION").exists():
            self.create_cluster()
        self.give(self.data)
        self.give(Path(self.launch["socket"]))
        quick_deaths = 0
        while not self.ended.is_set():
            end_leftovers(self.data, Path(self.launch["socket"]))
            began = time.monotonic()
            self.server = self.start()
            (self.directory / "server.pid").write_text(str(self.server.pid))
            if self.ended.is_set():
                self.server.kill()
            code = self.server.wait()
            quick_deaths = quick_deaths + 1 if time.monotonic() - began < 10 else 0
            if not self.ended.is_set() and (code == 1 or quick_deaths >= QUICK_DEATHS_ALLOWED):
                msg = f"postgres ended with code {code}"
                raise Gone(msg)


def detach() -> None:
    """Leaves session and process group of whoever started us; the parent returns at once."""
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")


def supervise(directory: Path) -> None:
    """Becomes the supervisor of `directory`; returns at once when there is one. A failure is told in failure.json."""
    lock = os.open(directory / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    (directory / "server.pid").unlink(missing_ok=True)
    (directory / "failure.json").unlink(missing_ok=True)
    detach()
    os.truncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    failure = directory / "failure.json"
    try:
        Supervisor(directory).run()
    except (OSError, Gone) as error:
        failure.write_text(json.dumps({"text": str(error)}))
    os._exit(0)


def main(args: list[str]) -> None:
    if args[0] == "--as":
        become(json.loads(args[1]), args[3:])
    supervise(Path(args[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
