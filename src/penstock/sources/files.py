"""`type: files`: rows of files in a folder or bucket, each file once, in the order of their names (bytewise).

What is known of a file is its receipt: how far it was read, the hash of what was read, size and time. So the cursor
is only the number of the round. A round reads the files that stood when it began, to the size they had; where it finds
more than one, it records them all as `pending` first, so that a round cut off by a crash ends where it would have
ended. Files that are still being written are waited for a moment, then left to the next round.

**Which files.** All below `path` that `match` takes, or whose ending is known: .csv .tsv .jsonl .ndjson .json
.parquet, each also with .gz or .zst. Names that begin with a dot are left out. A folder that is not there, or may not
be read, is an error; it is tried again.

**Rows.** Every file also has the columns `_file`, `_line` and `_modified_at`. `_line` is the number of the line on
which a row begins; of JSON arrays and Parquet, the number of the row. CSV and Parquet columns are found without regard
to case, JSON names exactly. JSON numbers are read by their text, objects and arrays within a row as JSON text.

**Broken input.** A row that cannot be read (wrong number of fields, malformed quotes or JSON, a name twice in an
object, bytes that are no text of the encoding, a NUL byte, too long) goes to quarantine with its line number and bytes,
and the rest goes on. A quote that never closes costs the line it stands on. A file that cannot be read at all (torn,
not what its ending says, too large, no rights) goes to quarantine whole, before any of its rows is taken when it is
packed, and stays where it is. A damaged row group of a Parquet file is one refusal.

**Numbers and dates of CSV.** `decimal`, `thousands` and the formats act on columns that are numbers or dates: by the
contract, where a property is that column; by `types`; or where everything that mentions the column casts it to one.
What does not follow them is refused: `1.50` is no number where the comma is the decimal mark.

**The same file again.** A file that grew is read from its old end when its beginning is unchanged. One that changed
otherwise is a new file where the stream has a primary key (known rows are duplicates) or where files that were read
are moved away or deleted; else it is refused whole. The same content under a new name is not read again, unless
`same_content: load`.

**Complete files.** By default a file must have stood still for a second; Parquet counts as soon as it has its end, and
objects in a bucket at once. Write under another name and rename where you can.

**Buckets.** `path: s3://bucket/prefix`. Keys, region and endpoint come from `s3:`, else from the environment
(`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`), else from what
the machine is granted.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import UTC, datetime

import pyarrow as pa
from watchfiles import watch
from watchfiles.main import FileChange

from penstock.observe import emit
from penstock.observe.events import Step
from penstock.sources._files_bucket import Bucket
from penstock.sources._files_config import FilesConfig, MoveConfig
from penstock.sources._files_content import Gone, Unreadable, stored_hash
from penstock.sources._files_read import Changed, Chunk, Reading, Start, known_format, start_of
from penstock.sources._files_store import Folder, Item, Pattern, Place, Raw
from penstock.sources._files_values import Values
from penstock.sources.base import Cursor, RawBatch, Receipt, Refusal, Source, SourceContext

ADDED = {"_file": pa.string(), "_line": pa.int64(), "_modified_at": pa.timestamp("us", tz="UTC")}
"""Columns every file has beside its own."""
SETTLED = frozenset({"done", "unreadable", "same_content", "gone"})
KEPT = 64 << 10
STABLE_FOR = 1.0
"""Seconds; the default of `ready: {stable_for}` for local files."""


class Files(Source):
    """Reads CSV, JSON lines, JSON arrays and Parquet files as they appear."""

    type = "files"
    Config = FilesConfig

    def __init__(self, context: SourceContext) -> None:
        super().__init__(context)
        self.config: FilesConfig = context.file.config
        used = context.columns_used
        own = None if used is None else frozenset(used - set(ADDED))
        self._added = [name for name in ADDED if used is None or name in used]
        self._values = Values(self.config.csv, context.stream, context.file)
        self._reading = Reading(self.config, context, own, self._values)
        self._place = self._make_place()
        after = self.config.after
        self._moved = self._place.below(after.move) if isinstance(after, MoveConfig) else ""
        self._pattern = Pattern(self.config.match) if self.config.match else None
        self._receipts: dict[str, Receipt] = {}
        self._done: dict[int, defaultdict[str, set[str]]] = {}
        """Size -> hash -> names of the files that were read to their end."""
        self._items: dict[str, Item] = {}
        self._round = 0
        self._seen: dict[str, tuple[int, int, float]] = {}
        self._held: list[str] = []
        self._may_watch = True
        self._watch: Generator[set[FileChange], None, None] | None = None

    def _make_place(self) -> Place:
        if self.config.path.startswith("s3://"):
            return Bucket(self.config.path, self.config.s3, os.environ)
        return Folder(self.context.root / self.config.path, self.context.root)

    def open(self, cursor: Cursor, receipts: Mapping[str, Receipt]) -> None:
        self._receipts = {}
        self._done = {}
        for receipt in receipts.values():
            self._note(receipt)
        self._round = int(cursor.get("round", 0))
        self._stop_watching()
        self._may_watch = True
        self._place.items()

    def wait_for_change(self, seconds: float) -> bool:
        if not self._may_watch or not isinstance(self._place, Folder) or not self._place.root.is_dir():
            return False
        until = time.monotonic() + seconds
        if self._watch is None:
            self._watch = watch(
                self._place.root, debounce=200, step=20, rust_timeout=100, yield_on_timeout=True, raise_interrupt=False
            )
        try:
            while time.monotonic() < until and not self.stop_requested():
                if next(self._watch, None):
                    return True
        except (OSError, RuntimeError):  # too many watches, a file system without them: polling goes on
            self._may_watch = False
            self._stop_watching()
        return False

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def close(self) -> None:
        self._items = {}
        self._stop_watching()
        self._values.close()

    def waiting(self) -> str:
        return "; ".join(self._held[:3]) + (f"; and {len(self._held) - 3} more" if len(self._held) > 3 else "")

    def committed(self, batch: RawBatch) -> None:
        receipt = self._receipts.get(batch.item or "")
        if receipt is not None and receipt in batch.receipts and receipt.item in self._items:
            self._after(self._items[receipt.item], receipt)

    def round(self) -> Iterator[RawBatch]:
        unfinished = [r for r in self._receipts.values() if r.state in ("pending", "reading")]
        if unfinished:
            yield from self._read_all(self._of_unfinished_round(unfinished))
            return
        found = self._candidates()
        ready = [item for item in found if self._wait_for(item) == 0]
        yield from self._announced(ready)
        whole = {item.name for item in ready}
        late = [item for item in found if item.name not in whole]
        yield from self._announced(self._settled(late))

    # which files

    def _candidates(self) -> list[Item]:
        """The files that are new or changed; unchanged ones get what `after` still owes them."""
        listed = self._place.items()
        names = {item.name for item in listed}
        found = []
        for item in listed:
            if not self._is_ours(item.name, names):
                continue
            receipt = self._receipts.get(item.name)
            if receipt is None or not self._is_settled(receipt, item):
                found.append(item)
            else:
                self._after(item, receipt)
        return found

    def _is_ours(self, name: str, names: set[str]) -> bool:
        marker = self.config.ready.marker
        if marker and (name.rsplit("/", 1)[-1] == marker or (name.endswith(marker) and name[: -len(marker)] in names)):
            return False
        if self._moved and name.startswith(self._moved):
            return False
        if self._pattern is None:
            return bool(self.config.format or known_format(name))
        return self._pattern.matches(name)

    def _is_settled(self, receipt: Receipt, item: Item) -> bool:
        same = _same(receipt, item)
        if same and receipt.details.get("denied"):
            return not self._can_open(item)
        return same and receipt.state in SETTLED

    def _can_open(self, item: Item) -> bool:
        try:
            self._place.open(item).close()
        except OSError:
            return False
        return True

    def _wait_for(self, item: Item) -> float:
        """Seconds until the file is taken to be complete, as far as can be told now; 0 = it is."""
        ready = self.config.ready
        if ready.marker and not self._marked(item, ready.marker):
            return -1.0
        if ready.stable_for is None and (ready.marker or self._place.settles_at_once or self._has_footer(item)):
            return 0.0
        wanted = STABLE_FOR if ready.stable_for is None else ready.stable_for.total_seconds()
        age = time.time() - item.mtime_ns / 1e9
        if age >= wanted:
            return 0.0
        size, mtime, since = self._seen.get(item.name, (-1, -1, 0.0))
        if (size, mtime) != (item.size, item.mtime_ns):
            since = time.monotonic()
            self._seen[item.name] = (item.size, item.mtime_ns, since)
        return max(0.0, min(wanted - max(age, 0.0), since + wanted - time.monotonic()))

    def _marked(self, item: Item, marker: str) -> bool:
        folder = item.name.rpartition("/")[0]
        beside = f"{folder}/{marker}" if folder else marker
        return self._place.has(item.name + marker) or self._place.has(beside)

    def _has_footer(self, item: Item) -> bool:
        """Whether a Parquet file has its end, which is written last."""
        try:
            if self._reading.format_of(item.name) != "parquet" or item.size < 12:
                return False
            raw = self._place.open(item)
        except (Unreadable, OSError):
            return False
        try:
            return raw.read(item.size - 4, 4) == b"PAR1"
        except OSError:
            return False
        finally:
            raw.close()

    def _settled(self, items: Iterable[Item]) -> list[Item]:
        """Waits a moment for files that are still being written; returns those that stood still."""
        settled, held = [], []
        for item in items:
            wait = self._wait_for(item)
            if wait > 0:
                self._sleep(wait)
            now = self._place.stat(item)
            if wait >= 0 and now is not None and self._wait_for(now) == 0:
                settled.append(now)
            elif now is not None:
                held.append(f"{item.name} has no marker yet" if wait < 0 else f"{item.name} is still being written")
        self._held = held
        return settled

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self.stop_requested():
            time.sleep(min(left, 0.1))

    def _of_unfinished_round(self, receipts: list[Receipt]) -> list[Item]:
        """The files of a round that was cut off, to the sizes they had when it began."""
        now = {item.name: item for item in self._place.items()}
        items = []
        for receipt in sorted(receipts, key=lambda r: r.item.encode()):
            size = receipt.size
            item = now.get(receipt.item) or Item(receipt.item, size, int(receipt.details.get("mtime_ns", 0)), "")
            items.append(item if item.size < size else dataclasses.replace(item, size=size))
        return items

    # reading

    def _announced(self, items: list[Item]) -> Iterator[RawBatch]:
        if not items:
            return
        self._round += 1
        if len(items) > 1:
            receipts = tuple(self._receipt(i, self._receipts.get(i.name), "pending") for i in items)
            announced = self._batch(items[0], None, receipts=receipts)
            yield from self._give(dataclasses.replace(announced, origin="", item=None))
        yield from self._read_all(items)

    def _read_all(self, items: list[Item]) -> Iterator[RawBatch]:
        for item in items:
            if self.stop_requested():
                return
            self._items[item.name] = item
            yield from self._read(item)

    def _give(self, batch: RawBatch) -> Iterator[RawBatch]:
        """Yields a batch; what it says of its files holds once it is asked for the next one."""
        for receipt in batch.receipts:
            self._note(receipt)
        yield batch

    def _note(self, receipt: Receipt) -> None:
        before = self._receipts.get(receipt.item)
        if before is not None and before.state == "done":
            self._done[before.size][before.hash].discard(before.item)
        self._receipts[receipt.item] = receipt
        if receipt.state == "done":
            self._done.setdefault(receipt.size, defaultdict(set))[receipt.hash].add(receipt.item)

    def _read(self, item: Item) -> Iterator[RawBatch]:
        try:
            raw = self._place.open(item)
        except FileNotFoundError:
            receipt = self._receipt(item, self._receipts.get(item.name), "gone")
            yield from self._give(self._batch(item, None, receipts=(receipt,)))
            return
        except OSError as e:
            yield from self._give(self._refused(item, None, f"the file cannot be opened: {e.strerror or e}", "denied"))
            return
        try:
            yield from self._read_raw(raw, item)
        except Unreadable as e:
            yield from self._give(self._refused(item, raw, e.reason, rule=e.rule))
        except Gone as e:
            yield from self._give(self._refused(item, raw, str(e), rule="gone"))
        finally:
            raw.close()

    def _read_raw(self, raw: Raw, item: Item) -> Iterator[RawBatch]:
        before = self._receipts.get(item.name)
        start = self._start(item, before)
        if start.offset == 0 and (twin := self._twin(raw, item)):
            receipt = dataclasses.replace(self._receipt(item, before, "same_content"), hash=twin)
            yield from self._give(self._batch(item, None, receipts=(receipt,)))
            return
        try:
            for chunk in self._reading.chunks(raw, item, start):
                yield from self._give(self._rows(item, chunk))
        except Changed:
            if not self._may_begin_again(before):
                reason = "the file was changed where it had been read already, and the stream has no primary key"
                yield from self._give(self._refused(item, raw, reason, rule="changed"))
                return
            for chunk in self._reading.chunks(raw, item, Start()):
                yield from self._give(self._rows(item, chunk))

    def _start(self, item: Item, before: Receipt | None) -> Start:
        if before is None:
            return Start()
        again = self.config.same_content == "load" and self._was_removed(before) and before.size == item.size
        return Start() if again else start_of(before.details)

    def _was_removed(self, before: Receipt | None) -> bool:
        """Whether a file that was read before is gone by our own doing, so that one of its name is another."""
        return before is not None and before.state == "done" and self.config.after != "keep"

    def _may_begin_again(self, before: Receipt | None) -> bool:
        return bool(self.context.stream.primary_key) or self._was_removed(before)

    def _twin(self, raw: Raw, item: Item) -> str:
        """The hash of this file when another one with the same content was read; '' = none was."""
        if self.config.same_content == "load" or not item.size:
            return ""
        known = self._done.get(item.size)
        if not known:
            return ""
        found = stored_hash(raw, item.size)
        others = known.get(found, set()) - ({item.name} if self.config.after == "keep" else set())
        return found if others else ""

    def _rows(self, item: Item, chunk: Chunk) -> RawBatch:
        state = "done" if chunk.last else "reading"
        receipt = self._receipt(item, self._receipts.get(item.name), state)
        details = {**receipt.details, **dataclasses.asdict(chunk.next), "header": list(chunk.next.header)}
        receipt = dataclasses.replace(
            receipt,
            hash=chunk.hash if chunk.last else "",
            rows_read=receipt.rows_read + chunk.table.num_rows + len(chunk.refusals),
            details=details,
        )
        return self._batch(item, chunk, chunk.refusals, (receipt,))

    def _receipt(self, item: Item, before: Receipt | None, state: str) -> Receipt:
        known = before or Receipt(item.name, state)
        details = {k: v for k, v in known.details.items() if k != "denied"}
        details |= {"mtime_ns": item.mtime_ns, "version": item.version}
        at = datetime.fromtimestamp(item.mtime_ns // 1000 / 1e6, UTC)
        return dataclasses.replace(known, state=state, size=item.size, modified_at=at, details=details)

    def _refused(self, item: Item, raw: Raw | None, reason: str, rule: str = "unreadable_file") -> RawBatch:
        """One refusal for the whole file, or for what is left of it."""
        receipt = self._receipt(item, self._receipts.get(item.name), "unreadable")
        details = {**receipt.details, "reason": reason} | ({"denied": True} if rule == "denied" else {})
        receipt = dataclasses.replace(receipt, rows_read=receipt.rows_read + 1, details=details)
        rule = "unreadable_file" if rule == "denied" else rule
        return self._batch(item, None, (Refusal("", rule, reason, _head(raw)),), (receipt,))

    def _batch(
        self, item: Item, chunk: Chunk | None, refusals: tuple[Refusal, ...] = (), receipts: tuple[Receipt, ...] = ()
    ) -> RawBatch:
        table = chunk.table if chunk else pa.table({})
        lines = chunk.lines if chunk else pa.array([], pa.int64())
        for name in self._added:
            table = _with_column(table, name, self._column(name, item, lines))
        if not table.num_columns:
            table = pa.table({"_line": lines})
        return RawBatch(
            table=table,
            origin=item.name,
            positions=lines,
            cursor={"round": self._round},
            read_at=datetime.now(UTC),
            refusals=refusals,
            receipts=receipts,
            original=chunk.original if chunk else None,
            item=item.name,
        )

    def _column(self, name: str, item: Item, lines: pa.Array) -> pa.Array:
        if name == "_line":
            return lines
        value = item.name if name == "_file" else item.mtime_ns // 1000
        return pa.repeat(pa.scalar(value).cast(ADDED[name]), len(lines))

    # afterwards

    def _after(self, item: Item, receipt: Receipt) -> None:
        """Moves or deletes a file that was read to its end and has not changed since."""
        after = self.config.after
        if after == "keep" or receipt.state not in ("done", "same_content"):
            return
        now = self._place.stat(item)
        if now is None or not _same(receipt, now):
            return
        emit(Step("files.after", self.context.file.name))
        if isinstance(after, MoveConfig):
            self._place.move(item, after.move, receipt.hash[:8])
        else:
            self._place.delete(item)


def _same(receipt: Receipt, item: Item) -> bool:
    """Whether the file is, by its marks, still the one the receipt is about."""
    marks = (receipt.size, receipt.details.get("mtime_ns"), receipt.details.get("version", ""))
    return marks == (item.size, item.mtime_ns, item.version)


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, values)
    return table.append_column(name, values) if table.num_columns else pa.table({name: values})


def _head(raw: Raw | None) -> bytes:
    """The first bytes of a file that cannot be read, as far as they can be had."""
    try:
        return raw.read(0, KEPT) if raw else b""
    except OSError:
        return b""
