"""Whatever stands in the files of a project: errors with codes, never a traceback, never without end."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError
from penstock.project.model import Project
from penstock.project.parameters import split_parameters
from penstock.project.variables import expand
from penstock.project.yamlfile import Problems, parse_yaml
from tests.project.folders import CONTRACT, ENDPOINT, GOOD, PIPELINE, SOURCE, read

FILES = sorted([*GOOD, ".env"])
KEYS = st.sampled_from(
    [
        "type",
        "stream",
        "path",
        "every",
        "fields",
        "where",
        "name",
        "schema",
        "properties",
        "logicalType",
        "parameters",
        "logicalTypeOptions",
        "customProperties",
        "property",
        "value",
        "environments",
        "store",
        "log",
        "connection",
        "quality",
        "paging",
        "by",
        "late",
        "indexes",
        "apiVersion",
        "kind",
        "id",
        "version",
        "minimum",
        "pattern",
        "enum",
        "default",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            "lake",
            "sales",
            "v3.1.0",
            "v3.0.2",
            "DataContract",
            "string",
            "number",
            "date",
            "10s",
            "${X}",
            "${",
            "file:/x",
            "a desc",
            "embedded",
            "eventTime",
            "changes",
            "upsert",
            "postgresql://a:b@c",
            "integer",
            "s",
            "1.0.0",
            "/x/{id}",
        ]
    ),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=5),
    max_leaves=25,
)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def sound(project: Project) -> None:
    """Every finding is one of ours, can be printed, and has a place."""
    for error in (*project.problems, *project.warnings):
        assert isinstance(error, PenstockError)
        assert error.code.startswith("PEN1")
        assert error.place is not None
        assert str(error)
        assert json.dumps(error.as_json())


def read_with(name: str, content: str | bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sound(read(Path(folder), {name: content}, environ={"X": "1"}))


@pytest.mark.slow
@FEW
@given(st.sampled_from(FILES), st.binary(max_size=200))
def test_any_bytes(name: str, content: bytes) -> None:
    read_with(name, content)


@pytest.mark.slow
@FEW
@given(st.sampled_from(FILES), st.text(max_size=200))
def test_any_text(name: str, content: str) -> None:
    read_with(name, content.encode("utf-8", "replace"))


@pytest.mark.slow
@FEW
@given(st.sampled_from(["penstock.yaml", "contracts/sales.odcs.yaml", "sources/drops.yaml"]), TREES)
def test_any_tree(name: str, tree: object) -> None:
    read_with(name, json.dumps(tree).encode())


@pytest.mark.slow
@FEW
@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_any_keys_over_good_ones(tree: dict[str, object]) -> None:
    good = {"type": "lake", "stream": "sales", "path": "x"}
    read_with("sources/drops.yaml", json.dumps({**good, **tree}).encode())
    read_with("endpoints/cities.sql", f"/* {json.dumps({'path': '/x', **tree}).replace('*/', '')} */ SELECT 1".encode())
    contract = {"apiVersion": "v3.0.2", "kind": "DataContract", "id": "a", "version": "1", "status": "x"}
    entry = {"name": "s", "properties": [{"name": "p", **tree}], **tree}
    read_with("contracts/x.yaml", json.dumps({**contract, "schema": [entry]}).encode())


@pytest.mark.slow
@FEW
@given(st.sampled_from([CONTRACT, SOURCE, PIPELINE, ENDPOINT]), st.data())
def test_good_files_with_a_piece_changed(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(at, min(len(text), at + 10)))
    changed = text[:at] + data.draw(st.text(max_size=5)) + text[end:]
    name = next(k for k, v in GOOD.items() if v == text)
    read_with(name, changed.encode("utf-8", "replace"))


@given(st.text(alphabet=st.sampled_from("ab:{}[],-&*!|>'\"%@`#?\n\t \\0~<=."), max_size=40))
@settings(deadline=None)
def test_any_yaml(text: str) -> None:
    problems = Problems()
    document = parse_yaml(text, "x", problems)
    assert document is not None or problems.errors


@given(st.text(alphabet=st.sampled_from("${}:-?AB "), max_size=30))
def test_any_reference(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(expand(text, lambda name: "x"), str)


@given(st.text(alphabet=st.sampled_from(":ab'\"$/*-\nE\\ []1"), max_size=40))
def test_any_sql_is_put_together_again(sql: str) -> None:
    pieces = split_parameters(sql)
    assert "".join(p if isinstance(p, str) else f":{p.name}" for p in pieces) == sql
