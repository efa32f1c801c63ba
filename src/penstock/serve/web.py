"""The Starlette application behind the fast path: endpoints again (every method), documents, health and metrics.

Everything that is not a plain GET of an endpoint comes here, so all of HTTP's corners are in one place: HEAD, OPTIONS,
405 with Allow, 404 as a problem.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.errors import nearest
from penstock.observe.metrics import CONTENT_TYPE as METRICS_TYPE
from penstock.serve.answers import Answer, Answers
from penstock.serve.catalogue import Catalogue, Served
from penstock.serve.docs_page import CONTENT_SECURITY_POLICY, page
from penstock.serve.errors import AnswerFailed, MethodNotAllowed, NoSuchPath
from penstock.serve.negotiate import has_it
from penstock.serve.openapi import document
from penstock.serve.problems import ALLOW, problem
from penstock.serve.reply import Ask, Headers, Reply

OWN_PATHS = ("/", "/docs", "/openapi.json", "/livez", "/healthz", "/readyz", "/startupz", "/metrics")
Metrics = Callable[[], Awaitable[bytes]]
Handler = Callable[[Request], Awaitable[Reply]]


class Web:
    """The handlers, over what the endpoints' answers come from."""

    def __init__(self, title: str, catalogue: Catalogue, answers: Answers, metrics: Metrics) -> None:
        self._title = title
        self._catalogue = catalogue
        self._answers = answers
        self._metrics = metrics
        self.stopping = False

    def application(self) -> Starlette:
        """Returns the ASGI application."""
        health = (self.livez, self.livez, self.readyz, self.readyz)
        own = (self.docs, self.docs, self.openapi, *health, self.metrics)
        # A project may have an endpoint at /, not at our other paths.
        routes = [Route(s.endpoint.path, _response(self.endpoint(s))) for s in self._catalogue.in_order()]
        routes += [Route(path, _response(handler)) for path, handler in zip(OWN_PATHS, own, strict=True)]
        refusals = {404: _response(self.unknown), 405: _response(_refuse_method), Exception: _response(_failed)}
        app = Starlette(routes=routes, exception_handlers={k: _with_error(v) for k, v in refusals.items()})
        app.router.redirect_slashes = False
        return app

    def endpoint(self, served: Served) -> Handler:
        """Returns the handler of an endpoint."""

        async def handler(request: Request) -> Reply:
            accept = ", ".join(request.headers.getlist("accept")) or None
            path, query = request.scope["path"], request.scope["query_string"].decode()
            ask = Ask(path, query, accept, request.headers.get("if-none-match"))
            in_path = {name: str(value) for name, value in request.path_params.items()}
            answer = await self._answers.respond(ask, served, in_path)
            return answer.reply(ask.if_none_match) if isinstance(answer, Answer) else answer

        return handler

    async def unknown(self, request: Request) -> Reply:
        path = request.scope["path"]
        known = [*(s.endpoint.path for s in self._catalogue.in_order()), *OWN_PATHS]
        return problem(NoSuchPath(f"nothing answers {path}", hint=nearest(path, known)), path)

    async def docs(self, request: Request) -> Reply:
        body = page(self._title).encode()
        extra = [("content-security-policy", CONTENT_SECURITY_POLICY)]
        return _page(request, "text/html; charset=utf-8", body, extra)

    async def openapi(self, request: Request) -> Reply:
        body = json.dumps(document(self._title, self._catalogue), ensure_ascii=False, indent=1).encode()
        return _page(request, "application/json", body, [("access-control-allow-origin", "*")])

    async def livez(self, _: Request) -> Reply:
        return _state(200, {"status": "ok"})

    async def readyz(self, request: Request) -> Reply:
        """Ready when the store answers; endpoints that wait for their tables are told and do not count."""
        lost = self._catalogue.lost
        ready = not lost and not self.stopping
        body: dict[str, object] = {"status": "ok" if ready else "unavailable"}
        if "verbose" in request.query_params or not ready:
            body["checks"] = [
                {"check": "store", "ok": not lost, "detail": lost},
                {"check": "stopping", "ok": not self.stopping, "detail": "the server is stopping" * self.stopping},
                *(_endpoint_check(s.endpoint.name, s.trouble) for s in self._catalogue.endpoints.values()),
            ]
        return _state(200 if ready else 503, body)

    async def metrics(self, _: Request) -> Reply:
        return Reply(200, [("content-type", METRICS_TYPE), ("cache-control", "no-store")], await self._metrics())


def _endpoint_check(name: str, trouble: Exception | None) -> dict[str, object]:
    return {"check": f"endpoint {name}", "ok": trouble is None, "detail": str(trouble or "")}


def _state(status: int, body: dict[str, object]) -> Reply:
    headers = [("content-type", "application/json"), ("cache-control", "no-store")]
    return Reply(status, headers, json.dumps(body).encode())


def _page(request: Request, content_type: str, body: bytes, extra: list[tuple[str, str]]) -> Reply:
    etag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    headers = [("content-type", content_type), ("etag", etag), ("cache-control", "no-cache"), *extra]
    if has_it(request.headers.get("if-none-match"), etag):
        return Reply(304, headers[1:])
    return Reply(200, headers, body)


async def _refuse_method(request: Request) -> Reply:
    if request.method == "OPTIONS":
        return Reply(204, [("allow", ALLOW)])
    return problem(MethodNotAllowed(f"{request.method} is not for {request.url.path}"), request.url.path)


async def _failed(request: Request) -> Reply:
    return problem(AnswerFailed("the server met an error of its own", hint="its log says which"), request.url.path)


def _response(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        reply = await handler(request)
        response = Response(reply.body, reply.status)
        response.raw_headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in _sized(reply)]
        return response

    return respond


def _sized(reply: Reply) -> Headers:
    bodiless = reply.status in (204, 304)
    return reply.headers if bodiless else [*reply.headers, ("content-length", str(len(reply.body)))]


def _with_error(
    respond: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, _: Exception) -> Response:
        return await respond(request)

    return answer
