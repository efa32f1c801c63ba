"""The server as a child process of `run`: the writer's threads and the API do not share an interpreter.

The parent binds the socket and hands it down, so a port that is taken is told before anything starts, the address is
known at once, and a child that crashed is replaced without a refused connection. The child's standard input stays open:
what it needs comes first (the store's URL with its password among it: never an argument), then the parent's
observations; its end means that the parent is gone, and the child ends too. On its standard output the child says what
it observes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import queue
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import penstock
from penstock.errors import PenstockError, PenstockErrors
from penstock.observe import Observation, emit, subscribe, unsubscribe
from penstock.observe.events import Notice
from penstock.observe.logs import LEVELS, level_of
from penstock.observe.metrics import OF_THE_WRITER
from penstock.observe.wire import decode, encode
from penstock.project.model import EndpointFile, Project
from penstock.serve.errors import ServerDied
from penstock.serve.server import ServeOptions, listen, serve_on

STOP_SECONDS = 15.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
_MOST_WAITING = 10_000


@dataclass(frozen=True)
class _Orders:
    """What the child is told."""

    project: Project
    store_url: str
    options: ServeOptions
    socket_fd: int


class ServeChild:
    """The API of a project in a process of its own; replaced when it crashes, until `stop`."""

    def __init__(self, project: Project, store_url: str, options: ServeOptions = ServeOptions()) -> None:
        """Binds the address. Raises CannotListen."""
        self._bare = replace(project, streams={}, sources={}, pipelines={}, problems=(), warnings=())
        self._url, self._options = store_url, options
        serve = project.settings.serve
        self._socket = listen(options.host or serve.host, serve.port if options.port is None else options.port)
        self._process: subprocess.Popen[str] | None = None
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._outbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.error: PenstockError | None = None
        """Why the API ended for good: endpoints that the store refuses."""

    @property
    def addresses(self) -> list[str]:
        """What to open: the page of the API, and each endpoint that answers as it is or for a day (today)."""
        host, port = self._socket.getsockname()[:2]
        root = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        return [f"{root}/docs", *(root + path for e in self._bare.endpoints.values() if (path := _opens_at(e)))]

    @property
    def pid(self) -> int | None:
        """The child's process id, None before it started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Starts the child and does not wait for it: connections made before it is up wait in the socket's queue."""
        subscribe(self._hand_over)
        for work in (self._watch, self._write):
            thread = threading.Thread(target=work, name=f"serve-{work.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def wait_ready(self, timeout: float) -> bool:
        """Waits until the child answers requests; False after `timeout` seconds."""
        return self._ready.wait(timeout)

    def stop(self) -> None:
        """Lets the child finish its requests and waits for its end. May be called twice."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        with suppress(ValueError):
            unsubscribe(self._hand_over)
        self._outbox.put(None)
        process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        for thread in self._threads:
            thread.join(STOP_SECONDS)
        self._socket.close()

    def _hand_over(self, observation: Observation) -> None:
        if isinstance(observation, OF_THE_WRITER) and self._outbox.qsize() < _MOST_WAITING:
            self._outbox.put(encode(observation))

    def _watch(self) -> None:
        """Keeps a child running: one that ends without being asked is replaced after a pause that grows."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            code = self._run_one()
            if self._stopping.is_set() or self.error is not None:
                return
            emit(
                Notice(
                    str(ServerDied(f"the API's process ended with code {code}", hint="it is started again")), "serve"
                )
            )
            self._stopping.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _run_one(self) -> int:
        fd = self._socket.fileno()
        package = str(Path(penstock.__file__).parents[1])
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        with subprocess.Popen(
            [sys.executable, "-m", "penstock.serve.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(fd,),
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        ) as process:
            assert process.stdin
            assert process.stdout
            orders = pickle.dumps(_Orders(self._bare, self._url, self._options, fd))
            with suppress(BrokenPipeError):
                process.stdin.write(base64.b64encode(orders).decode() + "\n")
                process.stdin.flush()
            self._process = process
            if self._stopping.is_set():
                process.terminate()
            for line in process.stdout:
                self._heard(line)
            return process.wait()

    def _heard(self, line: str) -> None:
        """Takes in one line of the child's: ready, an error that ends it, or an observation."""
        try:
            said = json.loads(line)
        except ValueError:
            return
        if said.get("event") == "ready":
            self._ready.set()
        elif said.get("event") == "error":
            self.error = ServerDied(said["text"], hint="mend it and start again")
            emit(Notice(said["text"], "serve"))
        else:
            with suppress(KeyError, TypeError):
                emit(decode(line))

    def _write(self) -> None:
        """Hands observations down the child's standard input; what cannot be written is lost: metrics, no data."""
        while (line := self._outbox.get()) is not None:
            process = self._process
            if process is not None and process.stdin is not None:
                with suppress(OSError, ValueError):
                    process.stdin.write(line + "\n")
                    process.stdin.flush()


def _opens_at(endpoint: EndpointFile) -> str | None:
    """The path with what it must be given, so that opening it answers; None where only the caller knows that."""
    needed = [p for p in endpoint.parameters if p.required]
    if any(p.in_path or p.schema.get("format") != "date" for p in needed):
        return None
    today = datetime.now(UTC).date()
    return endpoint.path + ("?" if needed else "") + "&".join(f"{p.name}={today}" for p in needed)


def _say(line: str) -> None:
    with suppress(OSError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _tell(observation: Observation) -> None:
    """Says what the parent should log; never what came from it."""
    if not isinstance(observation, OF_THE_WRITER) and LEVELS[level_of(observation)] >= LEVELS["info"]:
        _say(encode(observation))


def _listen_to_parent(stdin: IO[str], loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """Takes the parent's observations in until its end of the pipe is closed: then the server ends."""
    for line in stdin:
        with suppress(KeyError, TypeError, ValueError):
            emit(decode(line))
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(ended.set)


def main() -> int:
    """Serves as the child: reads its orders from standard input and ends with it."""
    orders: Any = pickle.loads(base64.b64decode(sys.stdin.readline()))
    subscribe(_tell)

    def hold(ended: asyncio.Event) -> None:
        arguments = (sys.stdin, asyncio.get_running_loop(), ended)
        threading.Thread(target=_listen_to_parent, args=arguments, daemon=True).start()

    def ready(_: str, __: int) -> None:
        _say(json.dumps({"event": "ready"}))

    try:
        with socket.socket(fileno=orders.socket_fd) as sock:
            sock.setblocking(False)
            serve_on(orders.project, orders.store_url, orders.options, sock, ready, hold)
    except (PenstockError, PenstockErrors) as error:
        if isinstance(error, PenstockError) and error.retryable:
            emit(Notice(str(error), "serve"))
            return 3
        _say(json.dumps({"event": "error", "text": str(error)}))
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    os._exit(code)  # threads of the server's runtime may still hold the interpreter
