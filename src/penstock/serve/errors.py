"""What can be wrong with an endpoint, with serving, and with a request. Request errors are answered as problem+json.

80x to 81x are found by `validate` or at the start, 82x are the server's, 84x are answers to requests (their HTTP
status is in `penstock.serve.problems.STATUS`).
"""

from __future__ import annotations

from penstock.errors import PenstockError


class NotOneSelect(PenstockError):
    """An endpoint answers with one SELECT and changes nothing: no INSERT, UPDATE, DELETE, DDL, SELECT INTO or row
    locks, no second statement. Write one SELECT (WITH and UNION are fine)."""

    code = "PEN802"
    title = "endpoint is not one SELECT"


class ColumnNotKnown(PenstockError):
    """The endpoint names a column that the pipeline's result does not have. Mend the name or add it to the
    pipeline's SELECT."""

    code = "PEN807"
    title = "column not known"


class BadPaging(PenstockError):
    """`paging.by` must name columns that the endpoint selects, and a size that is not above `max`."""

    code = "PEN809"
    title = "paging not possible"


class EndpointRefused(PenstockError):
    """PostgreSQL does not accept the endpoint's SQL over the tables of the store: a wrong type, an unknown function
    or column. The message is PostgreSQL's own; mend the statement at the place named."""

    code = "PEN810"
    title = "endpoint refused by the store"


class CannotListen(PenstockError):
    """The address to serve on is in use or not one of this machine's. Stop the other program, or set `serve.port`
    (or `--port`) to a free one."""

    code = "PEN820"
    title = "cannot listen"


class ServerDied(PenstockError):
    """The server process ended without saying why. Its last words are in the message or on standard error; start
    `penstock serve` alone to see them."""

    code = "PEN821"
    title = "server ended"


class StoreNotReached(PenstockError):
    """The store does not answer at the start. Check that PostgreSQL runs, its address, user and password; with the
    embedded store, look at the state folder's postgres/log."""

    code = "PEN822"
    title = "store not reachable"
    retryable = True


class InvalidParameters(PenstockError):
    """The request's parameters are missing, unknown, repeated or not what the endpoint's schema says. `errors` in
    the answer names each."""

    code = "PEN840"
    title = "invalid parameters"


class NoSuchPath(PenstockError):
    """No endpoint answers this path. `/openapi.json` lists those that exist."""

    code = "PEN841"
    title = "not found"


class MethodNotAllowed(PenstockError):
    """Endpoints are read with GET or HEAD; OPTIONS tells which methods there are."""

    code = "PEN842"
    title = "method not allowed"


class NotAcceptable(PenstockError):
    """The `Accept` header names no media type the answer can be had in: application/json, application/x-ndjson and
    text/csv."""

    code = "PEN843"
    title = "not acceptable"


class StoreAway(PenstockError):
    """The store does not answer at the moment. Ask again after the seconds in `Retry-After`."""

    code = "PEN844"
    title = "store away"
    retryable = True


class ResultNotReady(PenstockError):
    """A table that the endpoint reads is not there yet: its pipeline has not delivered its first result. Ask again
    after the seconds in `Retry-After`."""

    code = "PEN845"
    title = "result not ready"
    retryable = True


class AnswerTooSlow(PenstockError):
    """The statement took longer than the endpoint's time limit. Narrow the question, or add an index to the pipeline
    (`indexes:` in its header)."""

    code = "PEN846"
    title = "answer took too long"
    retryable = True


class AnswerTooLarge(PenstockError):
    """The answer is larger than the server hands out at once. Give the endpoint `paging:` or a LIMIT, or ask for
    less."""

    code = "PEN847"
    title = "answer too large"


class AnswerFailed(PenstockError):
    """The endpoint's statement failed for a reason that is not the request's. The server's log has PostgreSQL's
    message; mend the endpoint."""

    code = "PEN848"
    title = "endpoint failed"


class ValuesRefused(PenstockError):
    """PostgreSQL cannot compute the answer for these values, e.g. a division by zero or a number out of range."""

    code = "PEN849"
    title = "values not usable"
