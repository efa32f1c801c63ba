from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, Field
from tools.docs import DOCS, pages

from penstock.errors import PenstockError, catalogue
from penstock.project.endpoint import EndpointHeader
from penstock.project.errors import ProjectError
from penstock.project.jsonschema import schemas
from penstock.project.pipeline import PipelineHeader
from penstock.project.reference import configuration_page, errors_page, rows, source_page
from penstock.project.settings import SettingsFile
from penstock.project.source import SourceKeys
from penstock.project.yamlfile import Problems, parse_yaml
from tests.project.folders import CONNECTORS, CONTRACT, SOURCE
from tests.project.test_settings import ENVIRONMENTS


@pytest.mark.slow
def test_the_generated_pages_are_up_to_date() -> None:
    stale = [
        name
        for name, text in pages().items()
        if not (DOCS / name).is_file() or (DOCS / name).read_text(encoding="utf-8") != text
    ]
    assert not stale, f"run `make docs`; stale: {stale}"


def test_every_project_error_has_a_code_of_its_own_and_a_test_that_matches_its_text() -> None:
    texts = "".join(p.read_text(encoding="utf-8") for p in Path(__file__).parent.glob("test_*.py"))
    classes = list(catalogue(ProjectError))
    codes = [c.code for c in classes]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"PEN1\d\d", code) for code in codes)
    assert [c for c in codes if not re.search(rf"{c} \S", texts)] == []
    assert [c.__name__ for c in classes if not c.title or not c.__doc__] == []


def values(text: str) -> Any:
    document = parse_yaml(text, "x", Problems())
    assert document is not None
    return document.root.plain()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("settings", "name: sales"),
        ("settings", ENVIRONMENTS),
        ("settings", "name: sales\nserve: {port: '${PORT}'}\nlogging: {level: '${LEVEL:-info}'}\nstore: '${URL}'"),
        ("contract", CONTRACT),
        ("source", SOURCE),
        ("source", SOURCE + "every: 5s\nwait: ${WAIT}\npieces: ${N}\nconnection: {host: db}\nfields: {sale_id: id}"),
        ("source", "type: heap\nstream: sales"),
        ("pipeline", "late: set_aside\nindexes: [[a, b desc], [c]]"),
        ("endpoint", "path: /x\nparameters: {a: {type: integer, minimum: 1, default: 2}}\npaging: {by: [a]}"),
    ],
)
def test_good_files_keep_to_the_published_schemas(kind: str, text: str) -> None:
    schema = schemas(CONNECTORS)[kind]
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    assert [e.message for e in validator(schema).iter_errors(values(text))] == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("settings", "timezone: UTC"),
        ("settings", "name: a\nnam: b"),
        ("settings", "name: a\nserve: {port: x}"),
        ("source", "type: lak\nstream: sales"),
        ("source", "type: heap\nstream: sales\npath: x"),
        ("source", "type: lake\nstream: sales"),
        ("source", SOURCE + "evry: 5s"),
        ("source", SOURCE + "every: 5 weeks"),
        ("source", SOURCE + "connection: {hst: x}"),
        ("pipeline", "late: never"),
        ("endpoint", "summary: x"),
    ],
)
def test_mistakes_break_the_published_schemas(kind: str, text: str) -> None:
    schema = schemas(CONNECTORS)[kind]
    assert not jsonschema.Draft202012Validator(schema).is_valid(values(text))


def test_the_configuration_page_names_every_key() -> None:
    page = configuration_page(CONNECTORS)
    for key in (
        "`name`",
        "`store.schema`",
        "`eventTime`",
        "`allowed_lateness`",
        "`connection.password`",
        "`paging.by`",
    ):
        assert key in page
    assert "| `path` | text | required | `drops` | The folder |" in page
    assert "| `wait` | duration |  |  | How long to wait |" in page
    assert "| `format` | `csv`, `json` | `csv` |  | The format |" in page
    assert "| `connection.password` | text |  |  | Password. Only as a reference, never literally. |" in page
    assert "| `parameters.NAME.maxLength` | whole number |  | `50` | The greatest length |" in page


@pytest.mark.parametrize("model", [SettingsFile, SourceKeys, PipelineHeader, EndpointHeader])
def test_every_key_is_described(model: type[BaseModel]) -> None:
    assert [r.key for r in rows(model) if not r.meaning] == []


def test_a_source_page() -> None:
    class Config(BaseModel):
        size: int = Field(default=3, description="How | big", examples=[4])

    page = source_page("lake", "Reads lakes.\n\nMore.", Config)
    assert "# type: lake\n\nReads lakes.\n\nMore.\n" in page
    assert "| `size` | whole number | `3` | `4` | How \\| big |" in page


def test_the_error_page() -> None:
    class One(PenstockError):
        """What it is."""

        code = "PEN199"
        title = "one"
        retryable = True

    page = errors_page([One])
    assert "## Project folder\n" in page
    assert "### PEN199 one\n\nWhat it is.\n\nPenstock tries again by itself" in page

    class Two(PenstockError):
        """Another."""

        code = "PEN199"
        title = "two"

    with pytest.raises(ValueError, match="PEN199 is both Two and One"):
        errors_page([One, Two])
    del One.code, Two.code
