"""A pipeline's identity: a hash over our own normalised plan, not over anyone's SQL text.

Layout, comments, table aliases and whether a column was written by name, alias or ordinal leave no trace in the tree,
so they leave none here. Whether a column may be NULL is part of it: it decides which counts are kept. The version below
is hashed too: raise it when the same tree comes to mean another answer or to be kept in other columns, and every
pipeline is built anew.
"""

from __future__ import annotations

import hashlib
import json

from penstock.plan.model import ResultColumn, Window
from penstock.plan.query import Query
from penstock.plan.render import lower
from penstock.plan.tree import Node
from penstock.project.model import PipelineFile

VERSION = 1


def of(query: Query, pipeline: PipelineFile, columns: tuple[ResultColumn, ...], window: Window | None) -> str:
    """Returns the fingerprint as 64 hex digits."""
    meaning = {
        "version": VERSION,
        "stream": query.stream.name,
        "where": sorted(json.dumps(tree(n)) for n in query.where),
        "groups": None if query.groups is None else [tree(n) for n in query.groups],
        "having": sorted(json.dumps(tree(n)) for n in query.having),
        "qualify": sorted(json.dumps(tree(n)) for n in query.qualify),
        "outputs": [[o.name, tree(o.node)] for o in query.outputs],
        "types": [str(c.type) for c in columns],
        "primary_key": list(query.stream.primary_key) if query.groups is None else [],
        "window": [window.column, window.end] if window else None,
        "late": pipeline.late if window else "",
        "timezone": pipeline.timezone,
    }
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def tree(node: Node) -> list[object]:
    """Returns a lowered tree as nested lists, for hashing."""
    return _lists(lower(node))


def _lists(node: Node) -> list[object]:
    return [
        node.op,
        str(node.type),
        node.value,
        [_lists(a) for a in node.args],
        _lists(node.filter) if node.filter else None,
        [_lists(p) for p in node.partition],
        [[_lists(o.node), o.descending, o.nulls_first] for o in node.order],
        node.op == "column" and node.nullable,
    ]
