"""Where files are: a local folder or a bucket, behind the same few verbs.

A place lists items in the order of their names (bytewise), opens one for reading by offset, and moves or deletes one.
Names are relative, separated by `/` and always valid text; a local name that is not valid UTF-8 is shown with
backslash escapes and still opened by its real bytes.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.sources.errors import AfterFailed, FolderMissing, FolderUnreadable


@dataclass(frozen=True)
class Item:
    """One file as it was listed. `size` in bytes, `mtime_ns` in nanoseconds since 1970 UTC."""

    name: str
    size: int
    mtime_ns: int
    key: str
    """How the place itself calls it: a path or an object key."""
    version: str = ""
    """The bucket's mark of the content (etag), '' for local files."""


class Raw(ABC):
    """The bytes of one file as they are stored."""

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset`; fewer only at the end. Raises OSError."""

    def read_into(self, offset: int, view: memoryview) -> int:
        """Reads bytes from `offset` into `view`; returns how many, fewer than it takes at the end only."""
        part = self.read(offset, len(view))
        view[: len(part)] = part
        return len(part)

    @abstractmethod
    def close(self) -> None:
        """Lets go of the file. May be called twice."""


class Place(ABC):
    """A folder or a bucket prefix."""

    settles_at_once: bool = False
    """Whether a file appears whole or not at all (objects in a bucket)."""

    @abstractmethod
    def items(self) -> list[Item]:
        """Returns all files below the place, by name. Raises SourceError when the place itself cannot be read."""

    @abstractmethod
    def item(self, name: str) -> Item | None:
        """Returns the item of that name as it is now, None when it is gone."""

    def stat(self, item: Item) -> Item | None:
        """Returns the item as it is now, None when it is gone."""
        return self.item(item.name)

    def has(self, name: str) -> bool:
        """Whether there is a file of that name, hidden ones included."""
        return self.item(name) is not None

    @abstractmethod
    def open(self, item: Item) -> Raw:
        """Raises OSError (FileNotFoundError, PermissionError)."""

    @abstractmethod
    def move(self, item: Item, target: str, mark: str) -> None:
        """Moves to `target`/name; where that exists already, `mark` is added to the name. Gone already = done."""

    @abstractmethod
    def delete(self, item: Item) -> None:
        """Gone already = done. Raises AfterFailed."""

    @abstractmethod
    def below(self, target: str) -> str:
        """Returns what names begin with that lie in the folder files are moved to, '' when it is not below."""


class Pattern:
    """A glob over relative names: `*` and `?` within one folder, `**/` over any number of folders, `[...]`."""

    def __init__(self, glob: str) -> None:
        self._regex = re.compile(_translate(glob), re.DOTALL)

    def matches(self, name: str) -> bool:
        return self._regex.fullmatch(name) is not None


def _translate(glob: str) -> str:
    out, i = "", 0
    while i < len(glob):
        if glob.startswith("**/", i):
            out, i = out + "(?:[^/]+/)*", i + 3
        elif glob.startswith("**", i):
            out, i = out + ".*", i + 2
        elif glob[i] == "*":
            out, i = out + "[^/]*", i + 1
        elif glob[i] == "?":
            out, i = out + "[^/]", i + 1
        elif glob[i] == "[" and "]" in glob[i + 2 :]:
            end = glob.index("]", i + 2) + 1
            out, i = out + fnmatch.translate(glob[i:end])[4:-3], end
        else:
            out, i = out + re.escape(glob[i]), i + 1
    return out


class LocalRaw(Raw):
    def __init__(self, path: str) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed by close)

    def read(self, offset: int, length: int) -> bytes:
        part = bytearray(length)
        return bytes(part[: self.read_into(offset, memoryview(part))])

    def read_into(self, offset: int, view: memoryview) -> int:
        self._file.seek(offset)
        have = 0
        while have < len(view) and (got := self._file.readinto(view[have:])):
            have += got
        return have

    def close(self) -> None:
        self._file.close()


class Folder(Place):
    """A local folder; targets of moves are relative to `base`.

    Hidden files and folders (a leading dot) are left out: tools write their halves there. Links to files and folders
    are followed; a link to a folder that holds it is not entered again.
    """

    def __init__(self, root: Path, base: Path) -> None:
        self.root, self._base = root, base

    def below(self, target: str) -> str:
        inside = os.path.relpath(self._base / target, self.root)
        return "" if inside == os.curdir or inside.startswith(os.pardir) else f"{inside}/"

    def items(self) -> list[Item]:
        if not self.root.is_dir():
            what = "is not a folder" if self.root.exists() else "does not exist"
            raise FolderMissing(
                f"the folder {self.root} {what}",
                hint="make or mount it, or correct `path`; reading goes on by itself once it is there",
            )
        found = list(self._below(str(self.root), "", frozenset()))
        found.sort(key=lambda item: item.name.encode())
        return found

    def _below(self, folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[Item]:
        try:
            here = os.stat(folder)
            entries = [e for e in os.scandir(folder) if not e.name.startswith(".")]
        except FileNotFoundError:
            return
        except OSError as e:
            found = f"the folder {_text(folder)} cannot be listed: {e.strerror}"
            raise FolderUnreadable(found, hint="give Penstock's user the right to read and enter it") from e
        if (here.st_dev, here.st_ino) in above:
            return
        for entry in entries:
            name = f"{prefix}{_text(entry.name)}"
            if _is_dir(entry):
                yield from self._below(entry.path, f"{name}/", above | {(here.st_dev, here.st_ino)})
            elif (item := _item(entry.path, name)) is not None:
                yield item

    def item(self, name: str) -> Item | None:
        return _item(str(self.root / name), name)

    def stat(self, item: Item) -> Item | None:
        return _item(item.key, item.name)

    def open(self, item: Item) -> Raw:
        return LocalRaw(item.key)

    def move(self, item: Item, target: str, mark: str) -> None:
        goal = self._base / target / item.name
        try:
            if not os.path.lexists(item.key):
                return
            goal.parent.mkdir(parents=True, exist_ok=True)
            if goal.exists():
                goal = goal.with_name(f"{goal.name}.{mark}")
            _rename(item.key, goal)
        except OSError as e:
            found = f"{item.name} was read but cannot be moved to {goal}: {e.strerror}"
            raise AfterFailed(found, hint="give Penstock's user the right to write in both folders") from e

    def delete(self, item: Item) -> None:
        try:
            os.unlink(item.key)
        except FileNotFoundError:
            return
        except OSError as e:
            found = f"{item.name} was read but cannot be deleted: {e.strerror}"
            raise AfterFailed(found, hint="give Penstock's user the right to write in its folder") from e


def _rename(source: str, goal: Path) -> None:
    try:
        os.rename(source, goal)
    except OSError as e:
        if e.errno != errno.EXDEV:
            raise
        _copy_over(source, goal)


def _copy_over(source: str, goal: Path) -> None:
    """Moves to another file system: the whole copy appears under its name at once, then the source goes."""
    half = goal.with_name(f".{goal.name}.part")
    with open(source, "rb") as read, open(half, "wb") as write:
        while part := read.read(1 << 20):
            write.write(part)
        write.flush()
        os.fsync(write.fileno())
    os.replace(half, goal)
    os.unlink(source)


def _text(name: str) -> str:
    """A name as valid text: bytes that are no UTF-8 become backslash escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _item(path: str, name: str) -> Item | None:
    """The regular file at `path`; None for what is gone, a dangling link, a pipe or a socket."""
    try:
        found = os.stat(path)
    except PermissionError as e:
        message = f"the folder {_text(os.path.dirname(path))} can be listed but not entered"
        raise FolderUnreadable(message, hint="give Penstock's user the right to enter it (x)") from e
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Item(name, found.st_size, found.st_mtime_ns, path)
