"""The server process: granian in our own event loop, the poll beside it, and an end that finishes what was begun.

The socket is bound here before anything else, so that a port that is taken is an error with its name and port 0 is
reported as the port it became. granian's server gets the socket handed in; on the way down it stops accepting, lets
running requests finish and closes idle connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from granian._granian import SocketHolder
from granian.server.embed import Server as Granian

import penstock
from penstock.errors import PenstockErrors
from penstock.observe import emit, subscribe, unsubscribe
from penstock.observe.events import Notice, Serving, StoreLostFromView
from penstock.observe.metrics import Metrics
from penstock.project.model import Project
from penstock.serve.answers import Answers
from penstock.serve.cache import DEFAULT_BYTES, Cache
from penstock.serve.catalogue import Catalogue, check_on_store
from penstock.serve.errors import CannotListen
from penstock.serve.link import StoreLost
from penstock.serve.pool import Pool
from penstock.serve.readings import Readings
from penstock.serve.rsgi import FastPath
from penstock.serve.versions import POLL_SECONDS, Poller
from penstock.serve.web import Web

BACKLOG = 1024
LAST_WORDS_SECONDS = 0.2
"""granian's threads need the loop for a moment after their last connection is closed."""


@dataclass(frozen=True)
class ServeOptions:
    """How to serve, beside what the project says. None = the project's setting."""

    host: str | None = None
    port: int | None = None
    connections: int = 4
    """To the store."""
    timeout: float = 10.0
    """Seconds a statement may take."""
    cache_bytes: int = DEFAULT_BYTES
    """For hot answers; 0 keeps none."""
    revive: Callable[[], None] | None = None
    """Called (blocking, in a thread) when the store is lost: brings an embedded store back that nobody else would."""
    grace: float = 10.0
    """Seconds running requests have to finish when the server stops."""


def run_server(
    project: Project,
    store_url: str,
    options: ServeOptions = ServeOptions(),
    *,
    on_ready: Callable[[str, int], None] = lambda host, port: None,
    stop: Callable[[asyncio.Event], None] | None = None,
) -> None:
    """Serves the project's endpoints from the store until SIGINT or SIGTERM. Blocks.

    `on_ready` is called with host and port once requests are answered. `stop` is called in the loop with an event that
    ends the server when it is set, for callers that have other reasons than a signal. Raises CannotListen,
    StoreNotReached, and PenstockErrors with every endpoint that the store refuses.
    """
    serve = project.settings.serve
    with listen(options.host or serve.host, serve.port if options.port is None else options.port) as sock:
        serve_on(project, store_url, options, sock, on_ready, stop)


def serve_on(
    project: Project,
    store_url: str,
    options: ServeOptions,
    sock: socket.socket,
    on_ready: Callable[[str, int], None],
    stop: Callable[[asyncio.Event], None] | None,
) -> None:
    """Serves on a socket that listens; otherwise as `run_server`."""
    asyncio.run(_serve(project, store_url, options, sock, on_ready, stop))


def listen(host: str, port: int) -> socket.socket:
    """Returns a listening socket. Raises CannotListen."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        msg = f"{host}:{port}: {os.strerror(error.errno) if error.errno and error.errno > 0 else error}"
        raise CannotListen(msg, hint="set `serve.port` in penstock.yaml to a free one; 0 takes any") from error
    return sock


class _Embedded(Granian):
    """granian on a socket that is already bound."""

    def __init__(self, target: object, sock: socket.socket) -> None:
        host, port = sock.getsockname()[:2]
        super().__init__(target, host, port, log_enabled=False, websockets=False, http="1")  # type: ignore[arg-type]
        self._given = sock

    def wind_down(self) -> None:
        """Stops accepting; `serve` returns when the running requests are done."""
        self.interrupt_signal = True
        self.main_loop_interrupt.set()

    def _init_shared_socket(self) -> None:
        holder: Any = SocketHolder
        self._ssp: Any = None
        self._shd: Any = holder(os.dup(self._given.fileno()), False, BACKLOG)
        self._sfd: Any = self._shd.get_fd()


class Api:
    """All parts of one server, put together. `run` keeps the poll going; `target` is what granian calls."""

    def __init__(self, project: Project, store_url: str, options: ServeOptions) -> None:
        store = project.settings.store
        self.metrics = Metrics(penstock.__version__)
        self._readings = Readings(store_url, store.own_schema)
        self._pool = Pool(store_url, store.schema, size=options.connections, timeout=options.timeout)
        self.catalogue = Catalogue(project, store_url, options.timeout)
        self._poller = Poller(self._pool, store.own_schema, self._changed, options.revive)
        self.catalogue.attach(self._poller.versions, self._poller.nudge)
        answers = Answers(self._pool, self.catalogue)
        self.web = Web(project.settings.name, self.catalogue, answers, self._render)
        self.target = FastPath(self.catalogue, answers, self.web.application(), Cache(options.cache_bytes))
        self._describing: asyncio.Task[None] | None = None
        self._why_lost = ""

    async def start(self) -> None:
        """Describes the endpoints and polls for the first time, so that the first request finds everything ready."""
        with contextlib.suppress(StoreLost):
            await self._poller.first()
            await self.catalogue.describe_again()

    async def run(self) -> None:
        """Polls and reports until cancelled."""
        polling = asyncio.ensure_future(self._poller.run())
        try:
            while True:
                await asyncio.sleep(POLL_SECONDS)
                self.target.flush()
                self._pool.expire()
                if polling.done():
                    emit(Notice(f"the poll of the store ended and is begun again: {polling.exception()!r}", "serve"))
                    polling = asyncio.ensure_future(self._poller.run())
        finally:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)
            self.target.flush()
            await self._pool.close()

    def _changed(self) -> None:
        lost = self.catalogue.lost
        if lost:
            self.target.cache.clear()
        if lost != self._why_lost:
            emit(StoreLostFromView(lost))
            self._why_lost = lost
        if self.catalogue.take_versions():
            self._describing = asyncio.ensure_future(self._describe())

    async def _describe(self) -> None:
        with contextlib.suppress(StoreLost):
            await self.catalogue.describe_again()

    async def _render(self) -> bytes:
        self.target.flush()
        return self.metrics.render(await self._readings.now())


async def _serve(
    project: Project,
    store_url: str,
    options: ServeOptions,
    sock: socket.socket,
    on_ready: Callable[[str, int], None],
    stop: Callable[[asyncio.Event], None] | None,
) -> None:
    refused = await check_on_store(project, store_url, timeout=options.timeout)
    if refused:
        raise PenstockErrors(refused)
    api = Api(project, store_url, options)
    subscribe(api.metrics.handle)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not the main thread
            loop.add_signal_handler(number, ended.set)
    if stop is not None:
        stop(ended)
    await api.start()
    granian = _Embedded(api.target, sock)
    tasks: tuple[asyncio.Task[Any], ...] = (asyncio.ensure_future(granian.serve()), asyncio.ensure_future(api.run()))
    host, port = sock.getsockname()[:2]
    emit(Serving(f"http://{host}:{port}", len(project.endpoints)))
    on_ready(host, port)
    try:
        await ended.wait()
    finally:
        api.web.stopping = True
        await _wind_down(granian, tasks, options.grace)
        unsubscribe(api.metrics.handle)


async def _wind_down(granian: _Embedded, tasks: tuple[asyncio.Task[Any], ...], grace: float) -> None:
    serving, running = tasks
    granian.wind_down()
    await asyncio.wait((serving,), timeout=grace)
    await asyncio.sleep(LAST_WORDS_SECONDS)
    running.cancel()
    serving.cancel()
    await asyncio.gather(serving, running, return_exceptions=True)
