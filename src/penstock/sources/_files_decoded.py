"""What a decoder makes of a block of whole rows, and checks that all text formats share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.sources.base import Refusal


@dataclass(frozen=True)
class Decoded:
    """Rows of a block: columns, one line number each, and what was refused."""

    table: pa.Table
    lines: pa.Array
    refusals: tuple[Refusal, ...] = ()
    original: Callable[[Sequence[int]], list[bytes]] | None = None
    """Gives the original bytes of rows by index, without their line ends."""


def exact_in_arrow(kind: pa.DataType) -> bool:
    """Whether Arrow's text readers are exact in this type and refuse what does not fit; but see `too_large`."""
    return bool(pa.types.is_decimal128(kind) or kind == pa.timestamp("us", tz="UTC"))


def too_large(table: pa.Table) -> bool:
    """Whether a decimal has more digits than its type: Arrow's readers check that before they scale the value."""
    for column in table.columns:
        if pa.types.is_decimal128(column.type) and len(column):
            ends = pc.min_max(column).as_py()
            limit = Decimal(10) ** (column.type.precision - column.type.scale)
            if any(end is not None and abs(end) >= limit for end in ends.values()):
                return True
    return False


def valid_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    offsets = pa.py_buffer(np.array([0, len(data)], np.int32))
    try:
        pa.StringArray.from_buffers(1, offsets, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def line_texts(data: bytes, lines: Sequence[int]) -> list[bytes]:
    """The lines of `data` with these indexes, without their line ends."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
    starts = np.concatenate([[0], ends + 1]).tolist()
    stops = [*ends.tolist(), len(data)]
    return [data[starts[i] : stops[i]].rstrip(b"\r") for i in lines]
