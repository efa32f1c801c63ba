"""What a decoder makes of a block of whole rows, and checks that all text formats share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock.sources.base import Refusal


@dataclass(frozen=True)
class Decoded:
    """Rows of a block: columns, one line number each, and what was refused."""

    table: pa.Table
    lines: pa.Array
    refusals: tuple[Refusal, ...] = ()
    original: Callable[[Sequence[int]], list[bytes]] | None = None
    """Gives the original bytes of rows by index, without their line ends."""


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
