"""Where segments are kept: a local folder or a bucket. Names are chosen once and their bytes never change.

`put` returns only when the bytes are durable under their name: locally the file is written beside, fsynced, renamed,
and the folder fsynced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import obstore.store
import pyarrow as pa
from obstore.exceptions import BaseError

from penstock.log.errors import LogDiskFull, SegmentMissing, SegmentsAway
from penstock.observe import emit
from penstock.observe.events import Step


class Segments(ABC):
    """The segments of one log."""

    @abstractmethod
    def put(self, name: str, content: pa.Buffer) -> None:
        """Stores `content` under the new name. Raises LogDiskFull, SegmentsAway."""

    @abstractmethod
    def get(self, name: str, offset: int, length: int) -> pa.Buffer:
        """Returns `length` bytes, fewer where the segment ends before. Raises SegmentMissing, SegmentsAway."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Deletes the segment; one that is not there is no error."""

    @abstractmethod
    def names(self) -> Iterator[tuple[str, datetime]]:
        """Yields every segment with the time it was written."""


class FolderSegments(Segments):
    """Segments in a local folder, made when first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, content: pa.Buffer) -> None:
        with self._explained(name):
            self.folder.mkdir(parents=True, exist_ok=True)
            beside = self.folder / f"{name}.new"
            with beside.open("wb") as file:
                file.write(content)
                emit(Step("log.segment_written", name))
                os.fsync(file.fileno())
            beside.rename(self.folder / name)
            self._sync_folder()
        emit(Step("log.segment_synced", name))

    def get(self, name: str, offset: int, length: int) -> pa.Buffer:
        # Not mapped: a file that is truncated under a mapping kills the process.
        with self._explained(name), (self.folder / name).open("rb") as file:
            file.seek(offset)
            return pa.py_buffer(file.read(length))

    def delete(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def names(self) -> Iterator[tuple[str, datetime]]:
        if self.folder.is_dir():
            for entry in os.scandir(self.folder):
                yield entry.name, datetime.fromtimestamp(entry.stat().st_mtime, UTC)

    def _sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            msg = f"{self.folder / name} is not there"
            raise SegmentMissing(msg, hint="bring it back from a backup of the state folder") from error
        except OSError as error:
            msg = f"{self.folder / name}: {error.strerror or error}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise LogDiskFull(msg, hint="free some space; the batch is tried again") from error
            raise SegmentsAway(msg, hint="see the rights of the folder and the disk") from error


class BucketSegments(Segments):
    """Segments in an S3-compatible bucket (or what else obstore has a URL for)."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        http = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
        self.bucket = obstore.store.from_url(
            self.url,
            client_options={"allow_http": http, "timeout": "60s"},
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
        )

    def put(self, name: str, content: pa.Buffer) -> None:
        with self._explained(name):
            obstore.put(self.bucket, name, memoryview(content).cast("B"))
        emit(Step("log.segment_synced", name))

    def get(self, name: str, offset: int, length: int) -> pa.Buffer:
        with self._explained(name):
            return pa.py_buffer(bytes(obstore.get_range(self.bucket, name, start=offset, length=length)))

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._explained(name):
            obstore.delete(self.bucket, name)

    def names(self) -> Iterator[tuple[str, datetime]]:
        with self._explained(""):
            for page in obstore.list(self.bucket):
                for found in page:
                    yield str(found["path"]), found["last_modified"]

    @contextlib.contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
                msg = f"{self.url}/{name} is not there"
                raise SegmentMissing(msg, hint="bring it back from a backup of the bucket") from error
            msg = f"{self.url}/{name}: {_essence(str(error))}"
            raise SegmentsAway(msg, hint="see bucket, endpoint and credentials in the environment (AWS_...)") from error


def _essence(text: str) -> str:
    """Returns what matters of an object store's error: its first line, and the server's own words."""
    said = re.search(r"<Message>(.*?)</Message>", text)
    return text.split("\n")[0][:300] + (f" ({said[1]})" if said else "")


def open_segments(place: str | None, state: Path, log_id: str) -> Segments:
    """Returns the segments of log `log_id`: in the bucket `place`, or below the state folder when that is None.

    Each log has a folder of its own, so that another store's segments at the same place are never touched.
    """
    if place is None:
        return FolderSegments(state / "log" / log_id)
    if "://" not in place:
        return FolderSegments(Path(place) / log_id)
    if place.startswith("file://"):
        return FolderSegments(Path(place.removeprefix("file://")) / log_id)
    return BucketSegments(f"{place.rstrip('/')}/{log_id}")
