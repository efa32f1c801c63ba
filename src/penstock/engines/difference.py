"""What differs between two results, by key: in Arrow, so that no engine keeps a copy of the result in its tables."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

_SIDE = "_penstock_side"


def difference(new: pa.Table, old: pa.Table, key: Sequence[str]) -> tuple[pa.Table, pa.Table]:
    """Returns (rows of `new` that `old` does not hold as they are, keys that only `old` has).

    Both tables have the same columns and hold a key once; NULL is equal to NULL. Without a key both have at most one
    row, and the second table's rows, which have no columns, are told by its number of rows alone.
    """
    if not old.num_rows:
        return new, old.select(list(key))
    columns = new.column_names
    both = pa.concat_tables([_marked(new, 1), _marked(old, -1)])
    counted = both.group_by(columns, use_threads=False).aggregate([(_SIDE, "sum")])
    side = counted.column(_SIDE + "_sum")
    upserts = counted.filter(pc.equal(side, 1)).select(columns)
    lost = counted.filter(pc.equal(side, -1))
    if not key:
        gone = old.slice(0, 1 if lost.num_rows and not upserts.num_rows else 0)
        return upserts, gone.select([])
    keys = pa.concat_tables([_marked(upserts.select(key), 1), _marked(lost.select(key), 0)])
    last = keys.group_by(list(key), use_threads=False).aggregate([(_SIDE, "max")])
    return upserts, last.filter(pc.equal(last.column(_SIDE + "_max"), 0)).select(key)


def _marked(table: pa.Table, side: int) -> pa.Table:
    return table.append_column(_SIDE, pa.repeat(pa.scalar(side, pa.int8()), table.num_rows))
