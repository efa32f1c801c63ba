"""The `after` of paged answers: the last row's key, sealed so that it is taken back only where it was given out.

A token is the key's values as PostgreSQL printed them and a keyed digest over them and the endpoint; one that was
changed, or belongs to another endpoint or another order, is refused as a wrong parameter.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from binascii import Error as Base64Error
from urllib.parse import parse_qsl, quote, urlencode

from penstock.project.model import EndpointFile, Parameter
from penstock.serve.values import Unusable

_DIGEST_BYTES = 12


def page_parameters(endpoint: EndpointFile) -> tuple[Parameter, ...]:
    """Returns the parameters that paging adds to an endpoint."""
    if endpoint.paging is None:
        return ()
    size = {"type": "integer", "minimum": 1, "maximum": endpoint.paging.max, "default": endpoint.paging.size}
    return (
        Parameter("page_size", size, False, False, "How many rows a page has"),
        Parameter("after", {"type": "string"}, False, False, 'Where the page begins: from a Link with rel="next"'),
    )


def _seal(secret: bytes, endpoint: EndpointFile, payload: bytes) -> bytes:
    order = repr((endpoint.name, endpoint.paging.by if endpoint.paging else ())).encode()
    return hmac.new(secret, order + b"\0" + payload, hashlib.sha256).digest()[:_DIGEST_BYTES]


def token(secret: bytes, endpoint: EndpointFile, key: list[str | None]) -> str:
    """Returns the `after` for the page that follows the row with this key."""
    payload = json.dumps(key, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_seal(secret, endpoint, payload) + payload).decode().rstrip("=")


def key_of(secret: bytes, endpoint: EndpointFile, text: str) -> list[str | None]:
    """Returns the key in a token. Raises Unusable for any that `token` did not make for this endpoint."""
    refused = "is not an `after` of this endpoint; take it from the Link header as it stands"
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Base64Error, ValueError) as error:
        raise Unusable(refused) from error
    digest, payload = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if not hmac.compare_digest(digest, _seal(secret, endpoint, payload)):
        raise Unusable(refused)
    key: list[str | None] = json.loads(payload)
    return key


def next_link(path: str, query: str, after: str) -> str:
    """Returns the Link header (RFC 8288) to the page that begins `after`, with the request's other parameters."""
    pairs = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != "after"]
    return f'<{quote(path)}?{urlencode([*pairs, ("after", after)])}>; rel="next"'
