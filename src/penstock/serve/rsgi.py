"""The fast path: what granian calls for every request.

A GET whose answer is at hand and of the data's present version is sent as it lies there, before anything is parsed.
Other GETs of endpoints are answered without Starlette; whatever is left goes to it.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette

from penstock.observe import emit
from penstock.observe.events import AnswersSent, Notice, RequestServed
from penstock.serve.answers import Answer, Answers
from penstock.serve.cache import Cache, Key
from penstock.serve.catalogue import Catalogue
from penstock.serve.errors import AnswerFailed
from penstock.serve.negotiate import has_it
from penstock.serve.problems import problem
from penstock.serve.reply import Ask, Reply
from penstock.serve.versions import TRUST_SECONDS


class FastPath:
    """The RSGI application."""

    def __init__(self, catalogue: Catalogue, answers: Answers, web: Starlette, cache: Cache) -> None:
        self._catalogue = catalogue
        self._versions = catalogue.versions
        self._answers = answers
        self._web = web
        self.cache = cache

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        began = time.monotonic()
        if scope.method != "GET":
            await self._starlette(scope, protocol, began)
            return
        headers = scope.headers
        key = (scope.path, scope.query_string, headers.get("accept"))
        hot = self.cache.get(key)
        if hot is None or hot.version != hot.served.version or began - self._versions.checked > TRUST_SECONDS:
            await self._answer(scope, protocol, key, began)
            return
        known = headers.get("if-none-match")
        if known is not None and has_it(known, hot.etag):
            protocol.response_empty(304, hot.reply(known).headers)
            hot.served.unchanged.add(time.monotonic() - began)
            return
        protocol.response_bytes(200, hot.headers, hot.body)
        hot.served.sent.add(time.monotonic() - began)

    async def _answer(self, scope: Any, protocol: Any, key: Key, began: float) -> None:
        """Answers a GET that no kept answer fits."""
        found = self._catalogue.find(key[0])
        if found is None:
            await self._starlette(scope, protocol, began)
            return
        served, in_path = found
        accept, known = scope.headers.get_all("accept"), scope.headers.get("if-none-match")
        ask = Ask(key[0], key[1], ", ".join(accept) or None, known)
        try:
            answer = await self._answers.respond(ask, served, in_path)
        except Exception as error:  # noqa: BLE001 - the last stop before granian, which would print a traceback
            emit(Notice(f"a request failed: {error!r}", served.endpoint.name))
            answer = problem(AnswerFailed("the server met an error of its own", hint="its log says which"), key[0])
        if isinstance(answer, Answer):
            if answer.version is not None and len(accept) <= 1:
                self._keep(key, answer)
            answer = answer.reply(known)
        _send(protocol, answer)
        emit(RequestServed(served.endpoint.name, answer.status, time.monotonic() - began, cached=False))

    def _keep(self, key: Key, answer: Answer) -> None:
        self.cache.put(key, answer)
        if answer.version != answer.served.version:
            self._catalogue.nudge()  # the store is ahead of the last poll

    async def _starlette(self, scope: Any, protocol: Any, began: float) -> None:
        status = await bridge(self._web, scope, protocol)
        found = self._catalogue.find(scope.path)
        name = found[0].endpoint.name if found else ""
        emit(RequestServed(name, status, time.monotonic() - began, cached=False))

    def flush(self) -> None:
        """Emits what was sent from the cache since the last call."""
        for served in self._catalogue.endpoints.values():
            for tally, status in ((served.sent, 200), (served.unchanged, 304)):
                if tally.count:
                    emit(AnswersSent(served.endpoint.name, status, tally.count, tally.seconds))
                    tally.count, tally.seconds = 0, 0.0


def _send(protocol: Any, reply: Reply) -> None:
    if reply.body:
        protocol.response_bytes(reply.status, reply.headers, reply.body)
    else:
        protocol.response_empty(reply.status, reply.headers)


async def bridge(app: Starlette, scope: Any, protocol: Any) -> int:
    """Has the ASGI application answer an RSGI request without a body; returns the status."""
    status = 500
    headers: list[tuple[str, str]] = []
    body = b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status, headers, body
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in message["headers"]]
        else:
            body += message.get("body", b"")

    try:
        await app(_asgi_scope(scope), receive, send)
    except Exception as error:  # noqa: BLE001 - Starlette raises again what it has answered with 500
        emit(Notice(f"a request failed: {error!r}", scope.path))
    _send(protocol, Reply(status, headers, body))
    return status


def _asgi_scope(scope: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": scope.http_version,
        "method": scope.method,
        "scheme": scope.scheme,
        "path": scope.path,
        "raw_path": quote(scope.path).encode(),
        "query_string": scope.query_string.encode(),
        "root_path": "",
        "headers": [
            (k.lower().encode("latin-1"), v.encode("latin-1", errors="replace")) for k, v in scope.headers.items()
        ],
        "server": None,
        "client": None,
    }
