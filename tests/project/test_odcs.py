"""Contracts of every version of the standard: what its own schema accepts is accepted here."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from penstock.project.odcs import published_schema
from penstock.project.yamlfile import Problems, parse_yaml
from tests.project.folders import read, told

V3_0 = """
apiVersion: v3.0.2
kind: DataContract
id: 53581432-6c55-4ba2-a65f-72344a91553a
version: 1.0.0
status: active
tenant: us
dataProduct: p
tags: [a]
description: {purpose: x, anything: {may: stand here}}
team: [{username: u, role: r, dateIn: "2022-10-01"}]
price: {priceAmount: 9.95, priceCurrency: USD, priceUnit: mb, note: x}
support: [{channel: c, url: "https://example.org"}]
servers:
  - {server: s, type: duckdb, database: d, schema: 5}
  - {server: t, type: custom, whatever: 1}
slaDefaultElement: tab1.x
slaProperties: [{property: latency, value: 4, unit: d, element: tab1.x, more: 1}]
roles: [{role: r, access: read, more: 1}]
customProperties: [{property: x}, {value: 1}]
schema:
  - name: tbl
    physicalName: tbl_1
    logicalType: object
    quality: [{type: library, rule: rowCount, mustBeGreaterThan: 1, mustBeLessThan: 5}, {type: text, description: x}]
    properties:
      - {name: a, logicalType: date, physicalType: timestamp, logicalTypeOptions: {exclusiveMaximum: true, maximum: x}}
      - {name: b, tags: [x], businessName: y}
      - name: c
        logicalType: integer
        logicalTypeOptions: {minimum: 1, exclusiveMinimum: true}
        quality:
          - {rule: nullCheck, mustBe: 0, validValues: [1]}
          - {type: custom, engine: soda, implementation: "type: x"}
          - {type: sql, query: 'SELECT COUNT(*) FROM ${object}', mustBe: 0}
      - {name: d, logicalType: array, items: {logicalType: object, properties: [{name: x, logicalType: string}]}}
"""
V3_1 = """
apiVersion: v3.1.0
kind: DataContract
id: x
version: 1.0.0
status: draft
team: {name: n, members: [{username: u}]}
schema:
  - id: tbl_obj
    name: tbl
    relationships: [{from: tbl.a, to: other.b}]
    quality: [{metric: rowCount, mustBeBetween: [1, 5], unit: rows}]
    properties:
      - {id: a_1, name: a, logicalType: timestamp, logicalTypeOptions: {timezone: true, defaultTimezone: Etc/UTC}}
      - {name: b, description: has no logicalType, logicalTypeOptions: {}}
      - {name: c, logicalType: time, relationships: [{to: other.c}]}
      - {name: d, quality: [{metric: invalidValues, arguments: {validValues: [x, null, ""]}, mustBeLessThan: 5}]}
"""
V3_2 = """
apiVersion: v3.2.0
kind: DataContract
id: x
version: 1.0.0
context: {instructions: x, verifiedStatements: [{question: q, answer: a}]}
schema:
  - name: tbl
    deprecated: true
    synonyms: [{synonym: t}]
    context: more words
    properties:
      - {name: a, logicalType: string, enum: [{value: x, label: X}], semanticType: dimension}
      - {name: b, logicalType: map, map: {key: {logicalType: string}, value: {logicalType: number}}}
      - {name: c, logicalType: vector, logicalTypeOptions: {dimensions: 3, elementType: float32}}
      - {name: d, customProperties: [{property: x, value: [1], vendor: us}]}
"""


def accepted(tmp_path: Path, text: str) -> list[str]:
    """Returns the errors that are about the standard."""
    return [e for e in told(read(tmp_path, {"contracts/more.yaml": text}).problems) if " PEN117 " not in e]


def plain(text: str) -> Any:
    document = parse_yaml(text, "x", Problems())
    assert document is not None
    return document.root.plain()


@pytest.mark.parametrize("text", [V3_0, V3_0.replace("v3.0.2", "v3.0.0"), V3_0.replace("v3.0.2", "v3.0.1"), V3_1, V3_2])
def test_every_version_is_accepted(tmp_path: Path, text: str) -> None:
    assert accepted(tmp_path, text) == []


@pytest.mark.shared
@pytest.mark.parametrize(("text", "name"), [(V3_0, "v3.0.2"), (V3_1, "v3.1.0")])
def test_these_contracts_are_valid_by_the_official_schemas(shared: Path, text: str, name: str) -> None:
    schema = json.loads((shared / "spec" / "odcs" / f"odcs-json-schema-{name}.json").read_text())
    assert [e.message for e in jsonschema.Draft201909Validator(schema).iter_errors(plain(text))] == []


def test_the_newest_is_valid_by_the_packages_schema_but_for_its_known_flaw() -> None:
    errors = list(jsonschema.Draft201909Validator(published_schema()).iter_errors(plain(V3_2)))
    # its condition on maps also matches properties without a logicalType
    assert {tuple(e.absolute_path)[:4] for e in errors} == {("schema", 0, "properties", 3)}


@pytest.mark.parametrize("version", ["v3.1.0", "v3.2.0"])
def test_newer_versions_refuse_what_3_0_lets_stand(tmp_path: Path, version: str) -> None:
    found = accepted(tmp_path, V3_0.replace("v3.0.2", version))
    assert any(" PEN104 'more' " in e for e in found)
    assert any(" PEN105 'metric' is required " in e for e in found)


def test_unknown_keys_of_properties_are_errors_in_3_0_too(tmp_path: Path) -> None:
    found = accepted(tmp_path, V3_0.replace("tags: [x], businessName", "requird: true, businessName"))
    assert [e.split(" ", 1)[1] for e in found] == ["PEN104 'requird' (did you mean 'required'?)"]


def test_deeply_nested_properties_take_linear_time(tmp_path: Path) -> None:
    inner = "{name: x, logicalType: string}"
    for _ in range(20):
        inner = f"{{name: x, logicalType: object, properties: [{inner}]}}"
    inner = inner.replace("{name: x, logicalType: string}", "{name: x, logicalTyp: string}")
    text = (
        f"apiVersion: v3.1.0\nkind: DataContract\nid: x\nversion: 1.0.0\nschema: [{{name: t, properties: [{inner}]}}]"
    )
    began = time.process_time()
    (found,) = accepted(tmp_path, text)
    assert "PEN104 'logicalTyp' (did you mean 'logicalType'?)" in found
    assert time.process_time() - began < 60  # the schema's own recursion would take years
