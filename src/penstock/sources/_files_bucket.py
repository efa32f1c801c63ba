"""A bucket of S3-compatible storage as a place of files.

Credentials, region and endpoint come from the source's `s3:` keys, else from the environment (`AWS_*`), else from
what the machine it runs on is granted. Objects appear whole; one that is replaced while it is read is noticed by its
etag. A prefix without objects is an empty folder: buckets know no folders that could vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from obstore import exceptions as failures
from obstore.store import S3Store

from penstock.sources._files_config import S3Config
from penstock.sources._files_store import Item, Place, Raw
from penstock.sources.errors import AfterFailed, BucketRefused, BucketUnreachable

T = TypeVar("T")
_REFUSED = (failures.PermissionDeniedError, failures.UnauthenticatedError, failures.InvalidPathError)
_GONE = (failures.NotFoundError, failures.PreconditionError)
_RIGHTS = "check the bucket's name, the keys (`s3:` or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and their rights"
_NETWORK = "check `s3.endpoint` or AWS_ENDPOINT_URL, the network and the service; it is tried again"


class Bucket(Place):
    """The objects below one prefix."""

    settles_at_once = True

    def __init__(self, url: str, config: S3Config, environment: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self.url, self.name = url, parts.netloc
        self._prefix = parts.path.strip("/")
        self._store = _store(parts.netloc, config, environment)

    def items(self) -> list[Item]:
        found = self._ask(lambda: self._store.list(self._prefix or None).collect())
        items = [self._item(meta) for meta in found]
        items = [i for i in items if i.name and not i.name.endswith("/") and not _hidden(i.name)]
        return sorted(items, key=lambda item: item.name.encode())

    def item(self, name: str) -> Item | None:
        try:
            return self._item(self._ask(lambda: self._store.head(self._key(name))))
        except FileNotFoundError:
            return None

    def open(self, item: Item) -> Raw:
        if self.item(item.name) is None:
            raise FileNotFoundError(item.key)
        return _Object(self, item)

    def read(self, item: Item, offset: int, length: int) -> bytes:
        """Returns part of an object as it was listed. Raises FileNotFoundError, SourceError."""
        if length <= 0:
            return b""
        options: Any = {"range": (offset, offset + length)}
        if item.version:
            options["if_match"] = item.version
        return self._ask(lambda: bytes(self._store.get(item.key, options=options).bytes()))

    def move(self, item: Item, target: str, mark: str) -> None:
        goal = f"{_prefix_in(self.name, target)}/{item.name}".lstrip("/")
        try:
            there = self._head(goal)
            if there is not None and there.get("e_tag") != item.version:
                goal = f"{goal}.{mark}"
            self._ask(lambda: self._store.copy(item.key, goal))
            self._ask(lambda: self._store.delete(item.key))
        except FileNotFoundError:
            return
        except BucketRefused as e:
            found = f"s3://{self.name}/{item.key} was read but cannot be moved to {goal}: {e.found}"
            raise AfterFailed(found, hint=e.hint) from e

    def delete(self, item: Item) -> None:
        try:
            self._ask(lambda: self._store.delete(item.key))
        except FileNotFoundError:
            return
        except BucketRefused as e:
            found = f"s3://{self.name}/{item.key} was read but cannot be deleted: {e.found}"
            raise AfterFailed(found, hint=e.hint) from e

    def below(self, target: str) -> str:
        goal = _prefix_in(self.name, target)
        if self._prefix and not goal.startswith(f"{self._prefix}/"):
            return ""
        return goal[len(self._prefix) :].lstrip("/") + "/"

    def _head(self, key: str) -> Mapping[str, Any] | None:
        try:
            return self._ask(lambda: self._store.head(key))
        except FileNotFoundError:
            return None

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _item(self, meta: Mapping[str, Any]) -> Item:
        key, at = str(meta["path"]), meta["last_modified"]
        name = key[len(self._prefix) + 1 :] if self._prefix else key
        mtime_ns = int(at.timestamp() * 1_000_000) * 1000
        return Item(name, int(meta["size"]), mtime_ns, key, str(meta.get("e_tag") or ""))

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except _GONE as e:
            if "NoSuchBucket" in str(e):
                raise BucketRefused(f"there is no bucket {self.name!r}", hint=_RIGHTS) from e
            raise FileNotFoundError(str(e)) from e
        except _REFUSED as e:
            raise BucketRefused(f"{self.url}: {_first_line(e)}", hint=_RIGHTS) from e
        except failures.BaseError as e:
            if "NoSuchBucket" in str(e):
                raise BucketRefused(f"there is no bucket {self.name!r}", hint=_RIGHTS) from e
            if "InvalidAccessKeyId" in str(e) or "SignatureDoesNotMatch" in str(e):
                raise BucketRefused(f"{self.url}: {_first_line(e)}", hint=_RIGHTS) from e
            raise BucketUnreachable(f"{self.url}: {_first_line(e)}", hint=_NETWORK) from e


class _Object(Raw):
    def __init__(self, bucket: Bucket, item: Item) -> None:
        self._bucket, self._item = bucket, item

    def read(self, offset: int, length: int) -> bytes:
        return self._bucket.read(self._item, offset, min(length, self._item.size - offset))

    def close(self) -> None:
        pass


def _store(bucket: str, config: S3Config, environment: Mapping[str, str]) -> S3Store:
    given = {
        "endpoint": config.endpoint,
        "region": config.region,
        "access_key_id": config.access_key_id,
        "secret_access_key": config.secret_access_key,
        "session_token": config.session_token,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    named = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = config.endpoint or next((environment[n] for n in named if environment.get(n)), "")
    if endpoint:
        options |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
        if not config.region and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & environment.keys():
            options["region"] = "us-east-1"
    retries: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
    client: Any = {"allow_http": endpoint.startswith("http://"), "timeout": timedelta(seconds=60)}
    return S3Store(bucket, client_options=client, retry_config=retries, **options)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _prefix_in(bucket: str, target: str) -> str:
    """The key prefix that `move:` names: from the bucket's root."""
    return target.removeprefix(f"s3://{bucket}/").strip("/")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
