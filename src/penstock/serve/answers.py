"""From a request for an endpoint to its reply: parameters, statement, snapshot, representation, labels.

Nothing here knows HTTP servers: the fast path and Starlette both call `respond`. What can be refused, in order: the
representation, the parameters, an endpoint whose tables are not there, the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl

import psycopg
from psycopg.pq.abc import PGresult

from penstock.errors import PenstockError
from penstock.observe import emit
from penstock.observe.events import Notice
from penstock.serve.catalogue import Catalogue, Served, wrap
from penstock.serve.describe import Description
from penstock.serve.errors import (
    AnswerFailed,
    AnswerTooLarge,
    AnswerTooSlow,
    InvalidParameters,
    NotAcceptable,
    ResultNotReady,
    StoreAway,
    ValuesRefused,
)
from penstock.serve.finality import Finality
from penstock.serve.link import StoreLost, one_line
from penstock.serve.negotiate import FORMS, Form, choose, has_it
from penstock.serve.paging import key_of, next_link, token
from penstock.serve.pool import Pool
from penstock.serve.problems import problem
from penstock.serve.reply import Ask, Headers, Reply
from penstock.serve.sql import quoted
from penstock.serve.stamp import Stamps
from penstock.serve.statement import MOST_BYTES
from penstock.serve.values import ParameterError, Unusable, bind
from penstock.serve.versions import POLL_SECONDS

_OUTDATED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.InvalidSqlStatementName,
    psycopg.errors.UndefinedObject,
)
"""What a statement fails with when the tables changed since it was prepared."""
_MOST_FIELDS = 200
_MOST_QUESTIONS = 10_000
_LONGEST_REMEMBERED = 1_000
_Key = tuple[str, str, str]
"""Path, query and form of a request."""
_ALWAYS = (("vary", "Accept"), ("cache-control", "no-cache"))


class Answer(NamedTuple):
    """One answer, whole: as it is sent, and what decides how long it may be sent again."""

    served: Served
    version: str | None
    """The version of the data; None when it is not steady and so not kept."""
    etag: str
    headers: Headers
    body: bytes

    def reply(self, if_none_match: str | None) -> Reply:
        """Returns the answer, or 304 to one who has it."""
        if if_none_match is not None and has_it(if_none_match, self.etag):
            return Reply(304, [h for h in self.headers if h[0] != "content-type"])
        return Reply(200, self.headers, self.body)


@dataclass(frozen=True)
class _Question:
    """A request, understood: what is asked of the store."""

    served: Served
    form: Form
    given: Mapping[str, bytes | None]
    """Each parameter's value, paging's own too."""
    pattern: tuple[bool, ...] | None
    """Paging: which values of the key after which the page begins are not NULL."""
    label: bytes
    """Equal only for equal questions of an endpoint."""


@dataclass
class _Flight:
    """A question on its way to the store, and those who came later with the same one."""

    began: float
    joined: asyncio.Future[Answer] | None = None

    def land(self, outcome: Answer | PenstockError) -> None:
        if self.joined is None or self.joined.done():
            return
        if isinstance(outcome, Answer):
            self.joined.set_result(outcome)
        else:
            self.joined.set_exception(outcome)
            self.joined.exception()  # taken note of, should all who joined be gone


class Answers:
    """Answers requests for endpoints, each from one snapshot of the store."""

    def __init__(self, pool: Pool, catalogue: Catalogue) -> None:
        self._pool = pool
        self._catalogue = catalogue
        self._stamps = Stamps()
        self._finality = Finality(self._window_ends)
        windows = (
            "SELECT window_start, (extract(epoch FROM window_end) * 1000000)::bigint AS ends"
            f" FROM {quoted(catalogue.own_schema)}.pipeline_window WHERE pipeline = $1::text"
        )
        asked = f"{windows} AND window_start IN (SELECT json_array_elements_text($2::json))"
        self._ends_sql = f"{asked} UNION ALL ({windows} ORDER BY ends DESC LIMIT $3::bigint)".encode()
        self._flights: dict[_Key, _Flight] = {}
        self._questions: dict[_Key, _Question] = {}

    async def respond(self, ask: Ask, served: Served, in_path: Mapping[str, str]) -> Reply | Answer:
        """Returns the answer to `ask`, or the problem with it as a Reply."""
        form = choose(ask.accept)
        if form is None:
            known = ", ".join(f.media_types[0] for f in FORMS)
            return problem(NotAcceptable(f"'{ask.accept}' cannot be had; there is {known}"), ask.path)
        key = (ask.path, ask.query, form.name)
        question = self._questions.get(key)
        errors: list[ParameterError] = []
        if question is None:
            question, errors = _question(ask, served, in_path, form, self._catalogue.secret)
        if question is None:
            found = f"{len(errors)} of the request's parameters {'is' if len(errors) == 1 else 'are'} wrong"
            return problem(InvalidParameters(found), ask.path, errors)
        self._remember(ask, key, question)
        try:
            return await self._shared(ask, key, question)
        except PenstockError as error:
            return problem(error, ask.path)

    def _remember(self, ask: Ask, key: _Key, question: _Question) -> None:
        """Keeps how a request was understood: the same one comes again when the data has changed."""
        if len(self._questions) >= _MOST_QUESTIONS:
            self._questions.clear()
        if len(ask.path) + len(ask.query) <= _LONGEST_REMEMBERED:
            self._questions[key] = question

    async def _shared(self, ask: Ask, key: _Key, question: _Question) -> Answer:
        """Answers equal questions that come within a poll's time of each other by one statement."""
        flight = self._flights.get(key)
        if flight is not None and time.monotonic() - flight.began < POLL_SECONDS:
            flight.joined = flight.joined or asyncio.get_running_loop().create_future()
            return await asyncio.shield(flight.joined)
        self._flights[key] = flight = _Flight(time.monotonic())
        try:
            answer = await self._fresh(ask, question)
        except BaseException as error:
            gone = StoreAway("the request that asked the store was given up", hint="ask again")
            flight.land(error if isinstance(error, PenstockError) else gone)
            raise
        else:
            flight.land(answer)
            return answer
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _fresh(self, ask: Ask, question: _Question) -> Answer:
        try:
            try:
                return await self._ask_store(ask, question)
            except _OUTDATED:
                await self._catalogue.describe_again(question.served)
                return await self._ask_store(ask, question)
        except StoreLost as error:
            self._catalogue.nudge()
            raise StoreAway(str(error), hint="ask again in a second") from error
        except psycopg.Error as error:
            raise _failed(error, question.served) from error

    async def _ask_store(self, ask: Ask, question: _Question) -> Answer:
        if self._catalogue.lost:
            raise StoreLost(self._catalogue.lost)
        served = question.served
        if served.description is None:
            await self._catalogue.ready(served)
        prepared = served.statement(question.form.name, question.pattern)
        values = [question.given[name] for name in prepared.order]
        result = await self._pool.run(prepared.name, prepared.sql, values)
        return await self._answer(ask, question, prepared.description, result)

    async def _answer(self, ask: Ask, question: _Question, description: Description, result: PGresult) -> Answer:
        value = result.get_value
        stamp = self._stamps.of((value(0, 0), value(0, 1), value(0, 2), value(0, 3)))
        body, last = value(0, 5), value(0, 6)
        if body is None:
            msg = f"the answer has more than {MOST_BYTES} bytes"
            raise AnswerTooLarge(msg, hint="ask for less, or page")
        whole = wrap(question.form.name, body, description)
        version = stamp.version if description.steady and stamp.version else None
        etag = _etag(question, version, whole)
        headers = [("content-type", question.form.content_type), ("etag", etag), *_ALWAYS, *stamp.headers]
        if description.windows:
            final = value(0, 4) != b"0" and await self._finality.is_final(_windows(description, result), stamp)
            headers.append(("penstock-final", "true" if final else "false"))
        if last is not None:
            after = token(self._catalogue.secret, question.served.endpoint, json.loads(last))
            headers.append(("link", next_link(ask.path, ask.query, after)))
        return Answer(question.served, version, etag, headers, whole)

    async def _window_ends(self, pipeline: str, starts: Sequence[str], more: int) -> dict[str, int]:
        """Returns when these windows end, and the latest `more`, in microseconds."""
        values = [pipeline.encode(), json.dumps(list(starts)).encode(), b"%d" % more]
        found = await self._pool.run(b"window-ends", self._ends_sql, values)
        rows = ((found.get_value(i, 0), found.get_value(i, 1)) for i in range(found.ntuples))
        return {start.decode(): int(end) for start, end in rows if start is not None and end is not None}


def _windows(description: Description, result: PGresult) -> tuple[tuple[str, str | None], ...]:
    starts = (result.get_value(0, 7 + i) for i in range(len(description.windows)))
    return tuple((p, v.decode() if v else None) for (_, p), v in zip(description.windows, starts, strict=True))


def _question(
    ask: Ask, served: Served, in_path: Mapping[str, str], form: Form, secret: bytes
) -> tuple[_Question | None, list[ParameterError]]:
    given: dict[str, list[str]] = {name: [value] for name, value in in_path.items()}
    try:
        pairs = parse_qsl(ask.query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        return None, [ParameterError("", "the query is not UTF-8, or has too many fields", "query")]
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    values, errors = bind(given, served.parameters)
    text = values.pop("after", None) if served.endpoint.paging else None
    try:
        after = None if text is None else tuple(key_of(secret, served.endpoint, text))
    except Unusable as error:
        return None, [*errors, ParameterError("after", str(error), "query")]
    return (None, errors) if errors else (_understood(served, form, values, after), [])


def _understood(
    served: Served, form: Form, values: Mapping[str, str | None], after: tuple[str | None, ...] | None
) -> _Question:
    given = {**values, **{f"after:{i}": value for i, value in enumerate(after or ())}}
    label = repr((form.name, sorted(values.items()), after)).encode()
    pattern = None if after is None else tuple(value is not None for value in after)
    bound = {name: None if value is None else value.encode() for name, value in given.items()}
    return _Question(served, form, bound, pattern, label)


def _etag(question: _Question, version: str | None, body: bytes) -> str:
    """Returns a strong validator: of data version, parameters and representation; of the body where none is known."""
    digest = hashlib.blake2b(question.served.identity, digest_size=16)
    digest.update(question.label)
    digest.update(body if version is None else version.encode())
    return f'"{digest.hexdigest()}"'


def _failed(error: psycopg.Error, served: Served) -> PenstockError:
    """Returns what PostgreSQL's error means to the one who asked."""
    told = one_line(error)
    name = served.endpoint.name
    if isinstance(error, psycopg.errors.QueryCanceled):
        return AnswerTooSlow(f"endpoint {name}: {told}", hint="narrow the question")
    if isinstance(error, psycopg.DataError):
        return ValuesRefused(told, hint="use other values")
    if isinstance(error, psycopg.errors.ProgramLimitExceeded | psycopg.errors.OutOfMemory):
        return AnswerTooLarge(told, hint="ask for less, or page")
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return ResultNotReady(told, hint="ask again in a second")
    emit(Notice(f"endpoint failed: {told}", name))
    return AnswerFailed(f"endpoint {name} could not be answered", hint="the server's log says why")
