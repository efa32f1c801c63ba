"""Hot answers by request, bounded in bytes.

Two generations: answers go into the young one; when that is full it becomes the old one and the old one's answers are
let go, except those asked for meanwhile. So what is in use stays, and an access costs two dictionary lookups at most.
"""

from __future__ import annotations

from penstock.serve.answers import Answer

Key = tuple[str, str, str | None]
"""Path, query and Accept header, as they came."""
DEFAULT_BYTES = 64 * 1024 * 1024
_OVERHEAD = 1024
"""Bytes an entry costs beside its body and key."""


class Cache:
    """Answers by request. Whether one is still of the data's present version is the reader's to check."""

    def __init__(self, most_bytes: int = DEFAULT_BYTES) -> None:
        self._half = most_bytes // 2
        self._young: dict[Key, Answer] = {}
        self._old: dict[Key, Answer] = {}
        self._bytes = 0

    def get(self, key: Key) -> Answer | None:
        found = self._young.get(key)
        if found is not None:
            return found
        found = self._old.pop(key, None)
        if found is not None:
            self.put(key, found)
        return found

    def put(self, key: Key, answer: Answer) -> None:
        """Keeps `answer`, unless it is too large to be worth it."""
        size = _size(key, answer)
        if size > self._half // 4:
            return
        before = self._young.get(key)
        self._bytes += size - (_size(key, before) if before else 0)
        if self._bytes > self._half:
            self._old, self._young, self._bytes = self._young, {}, size
        self._young[key] = answer

    def clear(self) -> None:
        self._young, self._old, self._bytes = {}, {}, 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


def _size(key: Key, answer: Answer) -> int:
    return len(answer.body) + len(key[0]) + len(key[1]) + len(key[2] or "") + _OVERHEAD
