"""The content of one file: its unpacked bytes in order, and the hash of the bytes as they are stored.

Offsets are of unpacked content. A plain file can be entered anywhere; one that is packed (.gz, .zst) or not of an
ASCII-like encoding (utf-16) is entered by reading over what comes before. A packed file is read through once before
its first row is given out: a torn or oversized one is refused whole.

Hashes are XXH3 with 128 bits (`xxhsum -H2` shows the same): they tell files apart that differ, eight times as fast as
SHA-256, but do not stand against somebody who wants two files to look alike.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator

import pyarrow as pa
import xxhash

from penstock.sources._files_store import Item, Raw

STEP = 8 << 20
"""Bytes asked of the place at a time."""
PACKINGS = {".gz": "gzip", ".zst": "zstd"}
WIDE = {"utf-16": "", "utf-16-le": "utf-16-le", "utf-16-be": "utf-16-be"}
"""Encodings that are turned into UTF-8 before rows are looked for."""


class Unreadable(Exception):
    """The file (or the rest of it) cannot be read: one refusal. `rule` is a short word for grouping."""

    def __init__(self, reason: str, rule: str = "unreadable_file") -> None:
        super().__init__(reason)
        self.reason = reason
        self.rule = rule


class Gone(Exception):
    """The file vanished, shrank or was replaced while it was read."""


def packing_of(name: str) -> str | None:
    """The codec of a name's ending, None for a plain file."""
    lowered = name.lower()
    return next((codec for ending, codec in PACKINGS.items() if lowered.endswith(ending)), None)


class _Stored(io.RawIOBase):
    """The stored bytes [0, size) as a stream for the unpacker; every byte passes the hash."""

    def __init__(self, raw: Raw, size: int, mark: int = 0) -> None:
        self.raw, self.size, self.offset = raw, size, 0
        self.hash = xxhash.xxh3_128()
        self.mark, self.hash_at_mark = mark, ""
        self._step, self._at = b"", 0

    def readable(self) -> bool:
        return True

    def read(self, length: int | None = -1) -> bytes:
        length = self.size - self.offset if length is None or length < 0 else length
        if self._at >= len(self._step):
            until = self.mark if self.offset < self.mark else self.size
            self._step, self._at = _read(self.raw, self.offset, min(STEP, until - self.offset)), 0
            self.hash.update(self._step)
            if self.offset + len(self._step) == self.mark:
                self.hash_at_mark = self.hash.hexdigest()
        part = self._step[self._at : self._at + length]
        self._at += len(part)
        self.offset += len(part)
        return part


def _read(raw: Raw, offset: int, length: int) -> bytes:
    part = bytearray(length)
    _read_into(raw, offset, memoryview(part))
    return bytes(part)


def _read_into(raw: Raw, offset: int, view: memoryview) -> None:
    """Fills the view. Raises Gone where the file ends before, Unreadable."""
    try:
        length = raw.read_into(offset, view)
    except FileNotFoundError as e:
        message = "the file was deleted or replaced while it was read"
        raise Gone(message) from e
    except OSError as e:
        message = f"the file cannot be read at byte {offset}: {e.strerror or e}"
        raise Unreadable(message) from e
    if length < len(view):
        message = f"the file ended at byte {offset + length} while it was read; it had {offset + len(view)} or more"
        raise Gone(message)


def stored_hash(raw: Raw, size: int) -> str:
    """XXH3 (128 bits) of the first `size` stored bytes. Raises Unreadable, Gone."""
    stored = _Stored(raw, size)
    while stored.read(STEP):
        pass
    return stored.hash.hexdigest()


class Content:
    """The unpacked bytes of the first `item.size` stored bytes.

    `mark` is how many stored bytes an earlier reading had seen: their hash is known after entering.
    """

    def __init__(self, raw: Raw, item: Item, encoding: str = "utf-8", limit: int = 1 << 62, mark: int = 0) -> None:
        self._raw, self._item, self._encoding, self._limit = raw, item, encoding, limit
        self.packing = packing_of(item.name)
        self.size = item.size
        """Stored bytes."""
        self.offset = 0
        self._hash = xxhash.xxh3_128()
        self._known = self._known_at_mark = ""
        self._mark = mark
        self._pending = b""
        self._parts: Iterator[bytes] | None = None
        if self.packing is None and item.size > limit:
            message = f"the file has {item.size} bytes; max_file_size is {limit}"
            raise Unreadable(message, "too_large")
        if self.packing or encoding in WIDE:
            self._measure()
            self._parts = self._unpacked()

    @property
    def hash(self) -> str:
        """XXH3 (128 bits) of what was consumed so far; of the whole file for one that is packed or utf-16."""
        return self._known or self._hash.hexdigest()

    @property
    def plain(self) -> bool:
        """Whether the content is the stored bytes."""
        return self._parts is None

    def consume(self, data: bytes) -> None:
        """Takes note of bytes that were read and dealt with, in their order."""
        if self._parts is None:
            self._hash.update(data)

    @property
    def at_end(self) -> bool:
        if self._parts is None:
            return self.offset >= self._item.size
        while not self._pending and (more := next(self._parts, None)) is not None:
            self._pending = more
        return not self._pending

    @property
    def ahead(self) -> int:
        """How many bytes at least can be read now, 0 at the end only."""
        if self._parts is None:
            return self._item.size - self.offset
        return 0 if self.at_end else len(self._pending)

    def read(self, length: int) -> bytes:
        """Returns up to `length` bytes, b'' at the end only. Raises Unreadable, Gone."""
        if self._parts is None:
            part = _read(self._raw, self.offset, min(length, self._item.size - self.offset))
        elif self.at_end:
            part = b""
        else:
            part, self._pending = self._pending[:length], self._pending[length:]
        self.offset += len(part)
        return part

    def read_into(self, view: memoryview) -> int:
        """Reads into `view` and returns how much, 0 at the end only. Raises Unreadable, Gone."""
        if self._parts is None:
            length = min(len(view), self._item.size - self.offset)
            _read_into(self._raw, self.offset, view[:length])
            self.offset += length
            return length
        part = self.read(len(view))
        view[: len(part)] = part
        return len(part)

    def peek(self, length: int) -> bytes:
        """Returns the next bytes without reading them; fewer at the end only. Raises Unreadable, Gone."""
        if self._parts is None:
            return _read(self._raw, self.offset, min(length, self._item.size - self.offset))
        while len(self._pending) < length and (more := next(self._parts, None)) is not None:
            self._pending += more
        return self._pending[:length]

    def enter(self, offset: int) -> str | None:
        """Reads over the first `offset` bytes and returns the hash of the stored bytes up to there, or up to the mark
        where the content is not the stored bytes; None when there are not that many."""
        if self._item.size < self._mark:
            return None
        while self.offset < offset:
            part = self.read(min(STEP, offset - self.offset))
            if not part:
                return None
            self.consume(part)
        return self.hash if self._parts is None else self._known_at_mark

    def _measure(self) -> None:
        stored = _Stored(self._raw, self._item.size, self._mark)
        size = 0
        for part in _unpack(stored, self.packing):
            size += len(part)
            if size > self._limit:
                message = f"the file unpacks to more than max_file_size, {self._limit} bytes"
                raise Unreadable(message, "too_large")
        self._known, self._known_at_mark = stored.hash.hexdigest(), stored.hash_at_mark

    def _unpacked(self) -> Iterator[bytes]:
        parts = _unpack(_Stored(self._raw, self._item.size), self.packing)
        return _narrow(parts, self._encoding) if self._encoding in WIDE else parts


def _unpack(stored: _Stored, packing: str | None) -> Iterator[bytes]:
    if packing is None:
        while part := stored.read(STEP):
            yield part
        return
    if not stored.size:
        return
    try:
        with pa.CompressedInputStream(pa.PythonFile(stored, mode="r"), packing) as stream:
            while part := stream.read(STEP):
                yield part
    except (Unreadable, Gone):
        raise
    except (OSError, ValueError) as e:
        message = f"the file cannot be unpacked ({packing}): {e}"
        raise Unreadable(message) from e


def byte_order(first: bytes, encoding: str) -> str:
    """The exact codec of a utf-16 file by its first two bytes; little endian without a mark, as is usual."""
    if encoding != "utf-16":
        return encoding
    return "utf-16-be" if first.startswith(codecs.BOM_UTF16_BE) else "utf-16-le"


def _narrow(parts: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """UTF-16 as UTF-8. Halves of pairs stay (invalid) so that their row alone is refused."""
    decoder: codecs.IncrementalDecoder | None = None
    for part in parts:
        if decoder is None:
            decoder = codecs.getincrementaldecoder(byte_order(part, encoding))("surrogatepass")
        yield _decode(decoder, part, False)
    if decoder is not None:
        yield _decode(decoder, b"", True)


def _decode(decoder: codecs.IncrementalDecoder, part: bytes, final: bool) -> bytes:
    try:
        return decoder.decode(part, final).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError as e:
        message = f"the file is no utf-16: {e.reason}"
        raise Unreadable(message, "encoding") from e
