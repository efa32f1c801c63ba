"""JSON lines into columns, exactly: a number's text never goes through a double.

The fast way is Arrow's reader with an explicit schema: decimals, integers and booleans in the type the contract ends
up with, everything else as text (numbers of such columns are put into quotes first). Arrow is lenient where a line is
not one object, and dies of a lone `null`; so lines are looked at before. What Arrow refuses is halved down to a few
lines, which Python's parser reads one by one, every scalar as text; broken ones become refusals.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from penstock.sources._files_decoded import Decoded, exact_in_arrow, line_texts, too_large, valid_utf8
from penstock.sources.base import Refusal

SMALL = 64
"""Records that are no longer halved but read one by one."""
LOOK = 1 << 16
"""Bytes from which is learnt how columns are written."""
PATIENCE = 3
"""Blocks with values that do not fit a column's type, after which it is asked for as text at once."""
_CHANGED = re.compile(
    r"JSON parse error: Column\(/(.*)\) changed from \w+ to (?:string|number|boolean) in row", re.DOTALL
)
_JSON_NUMBER = rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SPACE = b" \t\r"


@dataclass(frozen=True)
class Record:
    """One line that is not blank, or one element of an array."""

    line: int
    data: bytes
    flat: bytes = b""
    """The same on one line, when `data` has line ends."""


class _Literal(str):
    """A number as it stands in the text."""

    __slots__ = ()


class _Pairs(list[tuple[str, object]]):
    """An object with its members in order, repeated names and all."""


@dataclass
class _Asked:
    """How Arrow is asked for the columns of one piece."""

    kinds: dict[str, pa.DataType]
    quoted: set[str]
    """Text columns whose numbers and booleans are put into quotes."""

    def options(self, strict: bool) -> pj.ParseOptions:
        unexpected = "error" if strict else "ignore"
        schema = pa.schema(list(self.kinds.items()))
        return pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected)

    def written(self, data: bytes) -> bytes:
        """The data with quotes around numbers and booleans of `quoted` columns.

        Quotes within a JSON text are escaped, so a name between quotes before a colon can only be a name.
        """
        if not self.quoted:
            return data
        names = b"|".join(re.escape(json.dumps(n, ensure_ascii=False).encode()[1:-1]) for n in sorted(self.quoted))
        pattern = rb'("(?:' + names + rb')"[ \t]*:[ \t]*)(' + _JSON_NUMBER + rb"|true|false)(?=[ \t]*[,}])"
        return re.sub(pattern, rb'\1"\2"', data)

    def misfits(self, error: str) -> list[str]:
        """The columns that an error of Arrow is about; none when asking for them as text would not help."""
        if changed := _CHANGED.match(error):
            name = changed[1]
            return [name] if name in self.kinds and name not in self.quoted else []
        family = next((f for f in ("decimal128", "timestamp", "int") if f in error), "")
        return self.of_family(family) if family else []

    def of_family(self, family: str) -> list[str]:
        return [name for name, kind in self.kinds.items() if str(kind).startswith(family)]

    def as_text(self, name: str) -> None:
        if not pa.types.is_timestamp(self.kinds[name]):
            self.quoted.add(name)
        self.kinds[name] = pa.string()


class JsonDecoder:
    """Decodes the blocks of one file. Learns how columns are written; that changes speed, never rows."""

    def __init__(self, columns: Iterable[str] | None, hints: Mapping[str, pa.DataType]) -> None:
        self._open = columns is None
        self._hints = {name: t for name, t in hints.items() if _takes(t)}
        self._kinds: dict[str, pa.DataType] = {}
        self._quoted: set[str] = set()
        self._misfits: Counter[str] = Counter()
        self._learnt = False
        for name in sorted(columns or ()):
            self._know(name)

    def decode(self, data: bytes, line: int) -> Decoded:
        """Decodes whole lines, the first of which has the number `line`."""
        plain = data.replace(b"\r\n", b"\n") if b"\r" in data else data
        if not self._learnt:
            self._learn_from(records(plain[:LOOK], 1)[:SMALL])
        if count := regular(plain):
            table = self._fast(plain, count)
            if table is not None:
                numbers = pa.array(np.arange(line, line + count))
                return Decoded(table, numbers, original=lambda rows: line_texts(data, rows))
        return self._mixed(records(data, line))

    def decode_records(self, found: Sequence[Record]) -> Decoded:
        """Decodes single values: lines, or the elements of an array."""
        return self._mixed(found)

    def _know(self, name: str) -> None:
        self._kinds[name] = self._hints.get(name, pa.string())

    def _fast(self, data: bytes, count: int) -> pa.Table | None:
        """The rows of `count` well-shaped lines, or None when they need a closer look.

        A column whose values do not fit its type here is asked for as text, and after some blocks for good.
        """
        if not self._kinds or not valid_utf8(data):
            return None
        asked = _Asked(dict(self._kinds), set(self._quoted))
        while True:
            try:
                table = _read(asked.written(data), asked.options(self._open))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as e:
                misfits = asked.misfits(str(e))
            else:
                misfits = asked.of_family("decimal128") if too_large(table) else []
                if not misfits:
                    return table if table.num_rows == count else None
            if not misfits:
                return None
            for name in misfits:
                self._misfits[name] += 1
                asked.as_text(name)
                if self._misfits[name] > PATIENCE:
                    self._kinds[name] = pa.string()
                    self._quoted |= asked.quoted & {name}

    def _mixed(self, found: Sequence[Record]) -> Decoded:
        shaped = [r for r in found if r.data[:1] == b"{" and r.data[-1:] == b"}"]
        refusals = [_refused(r) for r in found if not (r.data[:1] == b"{" and r.data[-1:] == b"}")]
        if not self._learnt:
            self._learn_from(shaped[:SMALL])
        tables: list[pa.Table] = []
        lines: list[pa.Array] = []
        for part in self._parts(shaped):
            tables.append(part.table)
            lines.append(part.lines)
            refusals.extend(part.refusals)
        refusals.sort(key=lambda r: int(r.position))
        numbers = pa.concat_arrays(lines) if lines else pa.array([], pa.int64())
        texts = {r.line: r.data for r in shaped}
        places = numbers.to_pylist()
        return Decoded(self._united(tables), numbers, tuple(refusals), lambda rows: [texts[places[i]] for i in rows])

    def _parts(self, found: Sequence[Record]) -> Iterable[Decoded]:
        if not found:
            return
        table = self._fast(b"\n".join(r.flat or r.data for r in found), len(found)) if len(found) > 1 else None
        if table is not None:
            yield Decoded(table, pa.array([r.line for r in found], pa.int64()))
        elif len(found) <= SMALL:
            yield self._slow(found)
        else:
            step = max(SMALL, -(-len(found) // 8))
            for i in range(0, len(found), step):
                yield from self._parts(found[i : i + step])

    def _slow(self, found: Sequence[Record]) -> Decoded:
        parsed = [(r, self._row(r)) for r in found]
        refusals = tuple(p for _, p in parsed if isinstance(p, Refusal))
        rows = [(r, p) for r, p in parsed if not isinstance(p, Refusal)]
        self._learn([p for _, p in rows])
        objects = [dict(p) for _, p in rows]
        columns = {name: pa.array([_text(o.get(name)) for o in objects], pa.string()) for name in self._kinds}
        table = pa.table(columns) if columns else pa.table({"": pa.nulls(len(rows))}).select([])
        return Decoded(table, pa.array([r.line for r, _ in rows], pa.int64()), refusals)

    def _row(self, record: Record) -> _Pairs | Refusal:
        found = _parse(record.data)
        if isinstance(found, _Pairs):
            if self._open:
                for name, _ in found:
                    if name not in self._kinds:
                        self._know(name)
            problem = self._problem(found)
            if not problem:
                return found
            return Refusal(str(record.line), problem[0], problem[1], record.data)
        return Refusal(str(record.line), found[0], found[1], record.data)

    def _problem(self, pairs: _Pairs) -> tuple[str, str] | None:
        seen: set[str] = set()
        for name, value in pairs:
            if name not in self._kinds:
                continue
            if name in seen:
                return "json", f"the name {name!r} stands twice in the object"
            seen.add(name)
            if isinstance(value, str) and not _is_text(value):
                return "json", f"{name} holds half of a surrogate pair"
        return None

    def _learn_from(self, found: Sequence[Record]) -> None:
        self._learn([p for r in found if isinstance(p := _parse(r.data), _Pairs)])
        self._learnt = bool(found)

    def _learn(self, rows: Sequence[_Pairs]) -> None:
        """Changes how a column is asked of Arrow when most of these rows do not fit how it is asked now."""
        if self._open:
            for pairs in rows:
                for name, _ in pairs:
                    if name not in self._kinds:
                        self._know(name)
        for name, kind in self._kinds.items():
            values = [v for pairs in rows for n, v in pairs if n == name and v is not None]
            misfits = sum(not _fits(v, kind, name in self._quoted) for v in values)
            if misfits * 2 > len(values):
                self._kinds[name] = pa.string()
                if any(isinstance(v, _Literal | bool) for v in values):
                    self._quoted.add(name)

    def _united(self, tables: Sequence[pa.Table]) -> pa.Table:
        """One table of pieces whose columns came as text here and in the contract's type there."""
        if len(tables) == 1 and set(tables[0].column_names) == set(self._kinds):
            return tables[0]
        rows = [t.num_rows for t in tables]
        columns = {}
        for name in self._kinds:
            given = [
                t.column(name) if name in t.column_names else pa.nulls(n) for t, n in zip(tables, rows, strict=True)
            ]
            columns[name] = _one_type(given, self._hints.get(name, pa.string()))
        return pa.table(columns)


def _one_type(pieces: Sequence[pa.Array | pa.ChunkedArray], hint: pa.DataType) -> pa.ChunkedArray:
    typed: list[pa.Array] = []
    for piece in pieces:
        # A long piece came as text because some of its values did not fit.
        exact = piece if piece.type == hint else as_type(piece, hint) if len(piece) <= SMALL else None
        if exact is None:
            return _chunked([p.cast(pa.string()) for p in pieces], pa.string())
        typed.append(exact)
    return _chunked(typed, hint)


def _chunked(pieces: Sequence[pa.Array | pa.ChunkedArray], kind: pa.DataType) -> pa.ChunkedArray:
    chunks = [c for p in pieces for c in (p.chunks if isinstance(p, pa.ChunkedArray) else [p])]
    return pa.chunked_array(chunks, kind)


def as_type(texts: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | None:
    """The texts as exact values of `kind`; None when one of them is none."""
    if texts.type == pa.null():
        return texts.cast(kind)
    if pa.types.is_string(kind):
        return texts.cast(kind)
    values = texts.to_pylist()
    try:
        if pa.types.is_timestamp(kind):
            return _as_times(values, kind)
        if pa.types.is_boolean(kind):
            return pa.array([v if v is None else {"true": True, "false": False}[v] for v in values], kind)
        if not all(v is None or _NUMBER.fullmatch(v) for v in values):
            return None
        whole = pa.types.is_integer(kind)
        return pa.array([v if v is None else int(v) if whole else Decimal(v) for v in values], kind)
    except (KeyError, ValueError, InvalidOperation, OverflowError, pa.ArrowInvalid):
        return None


def _as_times(values: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    """As the fast way reads them. Raises ArrowInvalid."""
    data = b"\n".join(json.dumps({"t": value}).encode() for value in values)
    schema = pa.schema([("t", kind)])
    return _read(data, pj.ParseOptions(explicit_schema=schema)).column(0).combine_chunks()


def _takes(kind: pa.DataType) -> bool:
    """Types in which Arrow's reader is exact and refuses what does not fit."""
    return exact_in_arrow(kind) or bool(pa.types.is_boolean(kind) or pa.types.is_signed_integer(kind))


def _fits(value: object, kind: pa.DataType, quoted: bool) -> bool:
    if isinstance(value, _Literal):
        return quoted or bool(pa.types.is_decimal(kind) or pa.types.is_integer(kind))
    if isinstance(value, bool):
        return quoted or pa.types.is_boolean(kind)
    if isinstance(value, str):
        return not (pa.types.is_integer(kind) or pa.types.is_boolean(kind))
    return True


def _read(data: bytes, options: pj.ParseOptions) -> pa.Table:
    try:
        return pj.read_json(pa.BufferReader(data), pj.ReadOptions(block_size=2 << 20), options)
    except pa.ArrowInvalid as e:
        if "straddling" not in str(e):
            raise
    return pj.read_json(pa.BufferReader(data), pj.ReadOptions(block_size=len(data) + 1), options)


def regular(data: bytes) -> int:
    """The number of lines when each is exactly `{...}`, else 0. Such lines hold one object each, or are broken."""
    if data[:1] != b"{" or not data.endswith((b"}\n", b"}")):
        return 0
    everything, lines = np.frombuffer(data, np.uint8), 1
    for start in range(0, len(data) - 2, 1 << 18):
        part = everything[start : start + (1 << 18) + 2]
        ends = part[1:-1] == 10
        found = int(np.count_nonzero(ends))
        if found != int(np.count_nonzero(ends & (part[:-2] == 125) & (part[2:] == 123))):
            return 0
        lines += found
    return lines


def records(data: bytes, line: int) -> list[Record]:
    """The lines that are not blank, without the space around them."""
    lines = (Record(line + i, text.strip(_SPACE)) for i, text in enumerate(data.split(b"\n")))
    return [r for r in lines if r.data]


def _refused(record: Record) -> Refusal:
    found = _parse(record.data)
    rule, reason = ("json", "the line is no JSON object") if isinstance(found, _Pairs) else found
    return Refusal(str(record.line), rule, reason, record.data)


def _parse(data: bytes) -> _Pairs | tuple[str, str]:
    """The object, or rule and reason of its refusal."""
    try:
        found = json.loads(
            data.decode(), parse_float=_Literal, parse_int=_Literal, parse_constant=_Literal, object_pairs_hook=_Pairs
        )
    except UnicodeDecodeError as e:
        return "encoding", f"byte {e.start + 1} of the line, {data[e.start]:#04x}, is no UTF-8"
    except RecursionError:
        return "json", "the line is nested too deeply"
    except ValueError as e:
        return "nul" if b"\0" in data else "json", f"the line is no JSON: {e}"
    return found if isinstance(found, _Pairs) else ("json", "the line is no JSON object")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: object) -> str | None:
    """A scalar's text; an object or array as compact JSON with its numbers as they stood."""
    if value is None or (isinstance(value, str) and not isinstance(value, _Literal)):
        return value
    return _compact(value)


def _compact(value: object) -> str:
    if isinstance(value, _Literal):
        return str(value)
    if isinstance(value, _Pairs):
        return "{" + ",".join(f"{json.dumps(n)}:{_compact(v)}" for n, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_compact(v) for v in value) + "]"
    return json.dumps(value)
