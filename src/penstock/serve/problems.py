"""Errors as answers: problem+json (RFC 9457) with the catalogue's code, and the HTTP status of each code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from penstock.errors import PenstockError
from penstock.serve.errors import (
    AnswerFailed,
    AnswerTooLarge,
    AnswerTooSlow,
    BadPaging,
    EndpointRefused,
    InvalidParameters,
    MethodNotAllowed,
    NoSuchPath,
    NotAcceptable,
    ResultNotReady,
    StoreAway,
    ValuesRefused,
)
from penstock.serve.reply import Reply
from penstock.serve.values import ParameterError

STATUS: Mapping[type[PenstockError], int] = {
    InvalidParameters: 400,
    ValuesRefused: 400,
    NoSuchPath: 404,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    AnswerFailed: 500,
    AnswerTooLarge: 500,
    EndpointRefused: 500,
    BadPaging: 500,
    StoreAway: 503,
    ResultNotReady: 503,
    AnswerTooSlow: 504,
}
ALLOW = "GET, HEAD, OPTIONS"
RETRY_AFTER_SECONDS = 1
CONTENT_TYPE = "application/problem+json"


def problem(
    error: PenstockError,
    instance: str,
    errors: Iterable[ParameterError] = (),
) -> Reply:
    """Returns `error` as the answer to a request for `instance` (its path). Its place in our files is not told."""
    status = STATUS.get(type(error), 500)
    body: dict[str, object] = {
        "type": f"urn:penstock:error:{error.code}",
        "title": error.title,
        "status": status,
        "detail": error.found,
        "instance": instance,
        "code": error.code,
    }
    if error.hint:
        body["hint"] = error.hint
    listed = [e.as_json() for e in errors]
    if listed:
        body["errors"] = listed
    headers = [("content-type", CONTENT_TYPE), ("cache-control", "no-store"), ("vary", "Accept")]
    if status == 405:
        headers.append(("allow", ALLOW))
    if status == 503:
        headers.append(("retry-after", str(RETRY_AFTER_SECONDS)))
    return Reply(status, headers, json.dumps(body, ensure_ascii=False).encode())
