"""The endpoints as they are served now: each with its description by the store, its statements and its data's version.

An endpoint whose table is not there yet is served as a problem with the reason and looked at again: when the set of
pipelines changes, and when somebody asks for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psycopg
from starlette.routing import compile_path

import penstock
from penstock.errors import PenstockError
from penstock.project.model import EndpointFile, Parameter, Project
from penstock.serve.describe import Description, Results, describe, session_settings
from penstock.serve.errors import BadPaging, EndpointRefused, ResultNotReady, StoreNotReached
from penstock.serve.link import Link, StoreLost, one_line
from penstock.serve.paging import page_parameters
from penstock.serve.sql import quoted
from penstock.serve.statement import build
from penstock.serve.versions import Versions

LOOK_AGAIN_SECONDS = 1.0
LOOK_SECONDS = 10.0
Outcome = Description | PenstockError


@dataclass(frozen=True)
class Prepared:
    """A statement under the name it is prepared as; `order` names its parameters."""

    name: bytes
    sql: bytes
    order: tuple[str, ...]
    description: Description
    """What it was built from."""


@dataclass
class Tally:
    """Answers sent from the cache since they were last reported."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds


@dataclass(eq=False)
class Served:
    """One endpoint and what is known of it."""

    endpoint: EndpointFile
    own_schema: str
    parameters: Mapping[str, Parameter]
    description: Description | None = None
    trouble: PenstockError | None = None
    """Why there is no description."""
    looked: float = float("-inf")
    generation: int = 0
    version: str | None = None
    """The data's version by the last poll; None when it is not known: then nothing cached is sent."""
    identity: bytes = b""
    """A digest of what an answer means, apart from data and parameters."""
    sent: Tally = field(default_factory=Tally)
    unchanged: Tally = field(default_factory=Tally)
    """304s."""
    _statements: dict[tuple[str, tuple[bool, ...] | None], Prepared] = field(default_factory=dict)

    def describe_as(self, description: Description) -> None:
        """Takes over what the store says now."""
        self.generation += 1
        self.description, self.trouble = description, None
        self._statements = {}
        facts = (penstock.__version__, self.endpoint.name, self.endpoint.decimals, self.endpoint.paging, description)
        self.identity = hashlib.blake2b(repr(facts).encode(), digest_size=16).digest()

    def statement(self, form: str, after: tuple[bool, ...] | None) -> Prepared:
        """Returns the statement for a representation and a pattern of paging keys. Described before."""
        key = (form, after)
        if key not in self._statements:
            assert self.description is not None
            built = build(self.endpoint, self.description, self.own_schema, form, after)
            pattern = "" if after is None else "".join("v" if present else "n" for present in after)
            name = f"{self.endpoint.name}/{self.generation}/{form}/{pattern}"
            digest = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
            self._statements[key] = Prepared(digest.encode(), built.sql.encode(), built.order, self.description)
        return self._statements[key]


def wrap(form: str, body: bytes, description: Description) -> bytes:
    """Returns an answer's body around the rows as PostgreSQL wrote them."""
    if form == "json":
        return b"[" + body + b"]"
    if form == "ndjson":
        return body + b"\n" if body else body
    return ",".join(_csv_name(c.name) for c in description.columns).encode() + b"\r\n" + body


def _csv_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if re.search(r'[",\r\n]', name) else name


class Catalogue:
    """All endpoints of a project, found by path."""

    def __init__(self, project: Project, url: str, timeout: float) -> None:
        store = project.settings.store
        self._url, self._timeout = url, timeout
        self._schema, self.own_schema = store.schema, store.own_schema
        self.endpoints = {
            e.name: Served(e, store.own_schema, {p.name: p for p in (*e.parameters, *page_parameters(e))})
            for e in project.endpoints.values()
        }
        self.secret = b""
        self.versions = Versions()
        self.nudge: Callable[[], None] = lambda: None
        self._results = Results(self._schema, {})
        self._exact = {s.endpoint.path: s for s in self.endpoints.values() if "{" not in s.endpoint.path}
        self._patterns = [
            (compile_path(s.endpoint.path)[0], s) for s in self.endpoints.values() if "{" in s.endpoint.path
        ]
        self._looking = asyncio.Lock()

    @property
    def lost(self) -> str:
        """Why the store cannot be asked now; '' when it can."""
        return self.versions.error

    def attach(self, versions: Versions, nudge: Callable[[], None]) -> None:
        """Takes the poll's findings from here on; `nudge` asks for a poll at once."""
        self.versions, self.nudge = versions, nudge

    def in_order(self) -> list[Served]:
        """Returns the endpoints as they are looked up: literal paths before patterns."""
        return [*self._exact.values(), *(s for _, s in self._patterns)]

    def find(self, path: str) -> tuple[Served, dict[str, str]] | None:
        """Returns the endpoint that answers `path` and the values in it; a literal path comes before a pattern."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact, {}
        for pattern, served in self._patterns:
            if match := pattern.match(path):
                return served, match.groupdict()
        return None

    def take_versions(self) -> bool:
        """Takes over what the poll found; tells whether the set of pipelines changed, so that all must be described."""
        for served in self.endpoints.values():
            steady = served.description is not None and served.description.steady
            pipelines = served.description.pipelines if served.description else ()
            served.version = self.versions.of(pipelines) if steady else None
        changed = not self.versions.lost and dict(self._results.windows) != self.versions.windows
        if changed:
            self._results = Results(self._schema, dict(self.versions.windows))
        return changed

    async def ready(self, served: Served) -> None:
        """Sees to it that `served` is described. Raises what stands in the way, StoreLost."""
        if served.description is None and time.monotonic() - served.looked > LOOK_AGAIN_SECONDS:
            await self.describe_again(served)
        if served.description is None:
            raise served.trouble or ResultNotReady("the endpoint has not been looked at yet", hint="ask again")

    async def describe_again(self, *these: Served) -> None:
        """Asks the store about these endpoints, or all. Raises StoreLost."""
        async with self._looking:
            for served, outcome in await self.look(these or tuple(self.endpoints.values()), self._results):
                served.looked = time.monotonic()
                if isinstance(outcome, Description):
                    served.describe_as(outcome)
                else:
                    served.description, served.trouble = None, outcome
            self.take_versions()

    async def look(
        self, these: tuple[Served, ...], results: Results
    ) -> list[tuple[Served, Description | PenstockError]]:
        """Describes endpoints on a connection of its own. Raises StoreLost."""
        link = await Link.open(self._url, session_settings(self._schema, int(self._timeout * 1000)))
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                self.secret = self.secret or await _secret(link, self.own_schema)
                return [(served, await _outcome(link, served.endpoint, results)) for served in these]
        except TimeoutError as error:
            msg = "the store does not answer"
            raise StoreLost(msg) from error
        except psycopg.Error as error:
            raise StoreLost(one_line(error)) from error
        finally:
            link.abandon()


async def _outcome(link: Link, endpoint: EndpointFile, results: Results) -> Outcome:
    try:
        return await describe(link, endpoint, results)
    except (ResultNotReady, EndpointRefused, BadPaging) as error:
        return error


async def _secret(link: Link, own_schema: str) -> bytes:
    """Returns the key of paging tokens: the same in every process that serves this store."""
    rows = await link.ask(f"SELECT encode(secret, 'hex') FROM {quoted(own_schema)}.project")
    return hashlib.sha256(b"paging" + (rows[0][0] or "").encode()).digest() if rows else b""


async def check_on_store(project: Project, url: str, *, timeout: float = 10.0) -> list[PenstockError]:
    """Prepares every endpoint on the store and returns what PostgreSQL refuses.

    A table that is not there yet is no error: its pipeline will bring it. Raises StoreNotReached.
    """
    catalogue = Catalogue(project, url, timeout)
    try:
        found = await catalogue.look(tuple(catalogue.endpoints.values()), Results(project.settings.store.schema, {}))
    except StoreLost as error:
        raise StoreNotReached(
            str(error), hint="does PostgreSQL run, is the URL right, has `run` been there?"
        ) from error
    return [o for _, o in found if isinstance(o, PenstockError) and not isinstance(o, ResultNotReady)]
