from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from penstock import sqltypes
from penstock.project.columntypes import is_iso, strptime_format
from penstock.project.model import Column, Project, Stream
from penstock.sqltypes import SqlType, decimal
from tests.project.folders import only, read, told

FILE = "contracts/sales.odcs.yaml"
HEAD = "apiVersion: {version}\nkind: DataContract\nid: c\nversion: 1.0.0\nstatus: active\nschema:\n  - name: s\n"


def contract(
    tmp_path: Path, properties: str, *, version: str = "v3.1.0", custom: str = "", more: str = ""
) -> tuple[Stream, Project]:
    """Reads a contract whose `properties:` are the lines given, each one a flow mapping."""
    text = HEAD.format(version=version)
    if custom:
        text += "    customProperties:\n" + "".join(f"      - {line}\n" for line in custom.splitlines())
    text += "    properties:\n" + "".join(f"      - {line}\n" for line in properties.splitlines()) + more
    files = {FILE: text, "sources/drops.yaml": None, "pipelines/top_cities.sql": None, "endpoints/cities.sql": None}
    project = read(tmp_path, files)
    return project.streams.get("s", Stream("s", ())), project


def column(tmp_path: Path, keys: str, version: str = "v3.1.0") -> Column:
    """Reads one property that has no mistakes and is acted on whole."""
    stream, project = contract(tmp_path, f"{{name: c, {keys}}}", version=version)
    assert not project.problems, told(project.problems)
    assert stream.not_acted_on == ()
    return stream.columns[0]


def mistake(tmp_path: Path, keys: str, version: str = "v3.1.0") -> str:
    return only(contract(tmp_path, f"{{name: c, {keys}}}", version=version)[1]).removeprefix(f"{FILE}:")


@pytest.mark.parametrize(
    ("keys", "type_"),
    [
        ("logicalType: string", sqltypes.TEXT),
        ("logicalType: string, physicalType: uuid", sqltypes.UUID),
        ("logicalType: string, physicalType: JSONB", sqltypes.JSON),
        ("logicalType: string, logicalTypeOptions: {format: uuid}", sqltypes.UUID),
        ("logicalType: integer", sqltypes.BIGINT),
        ("logicalType: integer, physicalType: int", sqltypes.INTEGER),
        ("logicalType: integer, physicalType: smallint", sqltypes.SMALLINT),
        ("logicalType: integer, physicalType: BIGINT", sqltypes.BIGINT),
        ("logicalType: integer, physicalType: 'decimal(18)'", decimal(18, 0)),
        ("logicalType: integer, physicalType: 'NUMBER(10,0)'", decimal(10, 0)),
        ("logicalType: integer, physicalType: numeric", sqltypes.BIGINT),
        ("logicalType: number", decimal(38, 9)),
        ("logicalType: number, physicalType: 'decimal(12,2)'", decimal(12, 2)),
        ("logicalType: number, physicalType: 'numeric( 12 , 2 )'", decimal(12, 2)),
        ("logicalType: number, physicalType: numeric", decimal(38, 9)),
        ("logicalType: number, physicalType: number(9)", decimal(9, 0)),
        ("logicalType: number, physicalType: money", decimal(19, 4)),
        ("logicalType: number, physicalType: int", sqltypes.INTEGER),
        ("logicalType: number, physicalType: double", sqltypes.DOUBLE),
        ("logicalType: number, physicalType: double precision", sqltypes.DOUBLE),
        ("logicalType: number, physicalType: real", sqltypes.DOUBLE),
        ("logicalType: number, physicalType: 'float(24)'", sqltypes.DOUBLE),
        ("logicalType: number, logicalTypeOptions: {format: f64}", sqltypes.DOUBLE),
        ("logicalType: boolean", sqltypes.BOOLEAN),
        ("logicalType: boolean, physicalType: bool", sqltypes.BOOLEAN),
        ("logicalType: date", sqltypes.DATE),
        ("logicalType: date, physicalType: date", sqltypes.DATE),
        ("logicalType: timestamp", sqltypes.TIMESTAMP),
        ("logicalType: timestamp, physicalType: timestamptz", sqltypes.TIMESTAMP),
        ("logicalType: timestamp, physicalType: 'timestamp(6) with time zone'", sqltypes.TIMESTAMP),
        ("logicalType: timestamp, physicalType: timestamp_ntz", sqltypes.TIMESTAMP),
        ("logicalType: timestamp, physicalType: timestamp without time zone", sqltypes.TIMESTAMP),
        ("logicalType: time", sqltypes.TIME),
        ("logicalType: object", sqltypes.JSON),
        ("logicalType: array", sqltypes.JSON),
        ("physicalType: 'decimal(10,3)'", decimal(10, 3)),
        ("physicalType: timestamp", sqltypes.TIMESTAMP),
        ("physicalType: text", sqltypes.TEXT),
        ("description: no type at all", sqltypes.TEXT),
    ],
)
def test_types(tmp_path: Path, keys: str, type_: SqlType) -> None:
    assert column(tmp_path, keys).type == type_


@pytest.mark.parametrize(
    ("version", "keys", "type_"),
    [
        ("v3.0.2", "logicalType: date, physicalType: timestamp", sqltypes.TIMESTAMP),
        ("v3.0.0", "logicalType: date, physicalType: 'TIMESTAMP(3)'", sqltypes.TIMESTAMP),
        ("v3.0.1", "logicalType: date, physicalType: time", sqltypes.TIME),
        ("v3.0.2", "logicalType: date, physicalType: date", sqltypes.DATE),
        ("v3.2.0", "logicalType: map, map: {key: {logicalType: string}, value: {logicalType: string}}", sqltypes.JSON),
        ("v3.2.0", "logicalType: vector, logicalTypeOptions: {dimensions: 3}", sqltypes.JSON),
    ],
)
def test_types_of_other_versions(tmp_path: Path, version: str, keys: str, type_: SqlType) -> None:
    stream, project = contract(tmp_path, f"{{name: c, {keys}}}", version=version)
    assert not project.problems
    assert stream.columns[0].type == type_


def test_a_physical_type_that_does_not_fit_is_named(tmp_path: Path) -> None:
    lines = """{name: a, logicalType: date, physicalType: timestamp}
{name: b, logicalType: integer, physicalType: 'decimal(12,2)'}
{name: c, logicalType: number, physicalType: 'decimal(77,2)'}
{name: d, logicalType: string, physicalType: AccountNumber}
{name: e, physicalType: AccountNumber}"""
    stream, project = contract(tmp_path, lines)
    assert not project.problems
    assert [str(c.type) for c in stream.columns] == ["date", "bigint", "decimal(38,9)", "text", "text"]
    assert stream.not_acted_on == (
        "s.a: physicalType 'timestamp' is not read; the type is date",
        "s.b: physicalType 'decimal(12,2)' is not read; the type is bigint",
        "s.c: physicalType 'decimal(77,2)' is not read; the type is decimal(38,9)",
        "s.d: physicalType 'AccountNumber' is not read; the type is text",
        "s.e: physicalType 'AccountNumber' is not read; the type is text",
    )


@pytest.mark.parametrize(
    ("keys", "rules"),
    [
        ("logicalType: string, required: true, unique: true", {"required": True, "unique": True}),
        ("logicalType: string, primaryKey: true", {"required": True}),
        (
            "logicalType: string, classification: secret, description: d",
            {"classification": "secret", "description": "d"},
        ),
        ("logicalType: string, logicalTypeOptions: {minLength: 1, maxLength: 9}", {"min_length": 1, "max_length": 9}),
        ("logicalType: string, physicalType: varchar(50)", {"max_length": 50}),
        ("logicalType: string, physicalType: 'varchar[50]'", {"max_length": 50}),
        ("logicalType: string, physicalType: varchar(max)", {"max_length": None}),
        ("logicalType: string, physicalType: varchar(50), logicalTypeOptions: {maxLength: 60}", {"max_length": 50}),
        ("logicalType: string, logicalTypeOptions: {pattern: '^[a-z${x}]+$'}", {"pattern": "^[a-z${x}]+$"}),
        (
            "logicalType: integer, logicalTypeOptions: {minimum: 0x10, maximum: 1e3}",
            {"minimum": "16", "maximum": "1000"},
        ),
        ("logicalType: integer, logicalTypeOptions: {minimum: 0.5, maximum: 2.5}", {"minimum": "1", "maximum": "2"}),
        (
            "logicalType: integer, logicalTypeOptions: {exclusiveMinimum: 0.5, exclusiveMaximum: 2.5}",
            {"exclusive_minimum": "0", "exclusive_maximum": "3"},
        ),
        (
            "logicalType: integer, logicalTypeOptions: {minimum: -1e30, maximum: 1e30}",
            {"minimum": None, "maximum": None},
        ),
        ("logicalType: integer, logicalTypeOptions: {multipleOf: 5}", {"multiple_of": "5"}),
        (
            "logicalType: number, physicalType: 'decimal(12,2)', logicalTypeOptions: {minimum: 0.001, maximum: 99.999}",
            {"minimum": "0.01", "maximum": "99.99"},
        ),
        (
            "logicalType: number, physicalType: 'decimal(38,18)', logicalTypeOptions: {maximum: 12345678901234567.89}",
            {"maximum": "12345678901234567.890000000000000000"},
        ),
        ("logicalType: number, logicalTypeOptions: {multipleOf: 0.05}", {"multiple_of": "0.05"}),
        ("logicalType: number, physicalType: double, logicalTypeOptions: {minimum: -1.5}", {"minimum": "-1.5"}),
        ("logicalType: date, logicalTypeOptions: {minimum: '2026-01-01'}", {"minimum": "2026-01-01"}),
        (
            "logicalType: timestamp, logicalTypeOptions: {maximum: '2026-01-01T00:00:00Z'}",
            {"maximum": "2026-01-01 00:00:00+00:00"},
        ),
        ("logicalType: time, logicalTypeOptions: {exclusiveMaximum: '12:00'}", {"exclusive_maximum": "12:00:00"}),
        ("logicalType: date, logicalTypeOptions: {format: dd.MM.yyyy}", {"date_format": "%d.%m.%Y"}),
        ("logicalType: date, logicalTypeOptions: {format: yyyy-MM-dd}", {"date_format": None}),
        (
            "logicalType: integer, logicalTypeOptions: {format: u8}",
            {"type": sqltypes.SMALLINT, "minimum": "0", "maximum": "255"},
        ),
        (
            "logicalType: integer, logicalTypeOptions: {format: u64, minimum: 7}",
            {"type": decimal(20, 0), "minimum": "7", "maximum": "18446744073709551615"},
        ),
        (
            "logicalType: integer, logicalTypeOptions: {format: i32, maximum: 1e30}",
            {"type": sqltypes.INTEGER, "minimum": "-2147483648", "maximum": "2147483647"},
        ),
        ("logicalType: string, customProperties: [{property: enum, value: [shop, drop]}]", {"enum": ("shop", "drop")}),
        ("logicalType: boolean, customProperties: [{property: enum, value: [true]}]", {"enum": ("true",)}),
        ("logicalType: number, customProperties: [{property: enum, value: [0.10, 1e1]}]", {"enum": ("0.10", "10")}),
        ("logicalType: string, customProperties: [{property: color, value: red}]", {"enum": None}),
        (
            "logicalType: string, quality: [{metric: invalidValues, mustBe: 0, arguments: {validValues: [a, null]}}]",
            {"enum": ("a",)},
        ),
        (
            "logicalType: string, quality: [{metric: invalidValues, arguments: {validValues: [a]}, mustBeLessThan: 1}]",
            {"enum": ("a",)},
        ),
        (
            "logicalType: string, customProperties: [{property: enum, value: [a, b]}], "
            "quality: [{metric: invalidValues, arguments: {validValues: [b, c]}, mustBe: 0}]",
            {"enum": ("b",)},
        ),
    ],
)
def test_rules(tmp_path: Path, keys: str, rules: dict[str, object]) -> None:
    found = column(tmp_path, keys)
    assert {key: getattr(found, key) for key in rules} == rules


@pytest.mark.parametrize(
    "tolerance", ["mustBeLessThan: 1, unit: percent", "mustBeLessThan: 5", "mustNotBe: 0", "mustBe: 1"]
)
def test_valid_values_that_tolerate_others_are_no_rule_of_a_row(tmp_path: Path, tolerance: str) -> None:
    rule = f"{{metric: invalidValues, arguments: {{validValues: [a]}}, {tolerance}}}"
    stream, project = contract(tmp_path, f"{{name: c, quality: [{rule}]}}")
    assert not project.problems
    assert stream.columns[0].enum is None
    assert stream.not_acted_on == ("s.c: the quality rule invalidValues is over the whole set and is not checked",)


def test_valid_values_by_version(tmp_path: Path) -> None:
    old = "logicalType: string, quality: [{type: library, rule: validValues, validValues: [a, b], mustBe: 0}]"
    assert column(tmp_path / "a", old, "v3.0.2").enum == ("a", "b")
    new = "logicalType: string, enum: [{value: a, label: A}, {value: b}]"
    assert column(tmp_path / "b", new, "v3.2.0").enum == ("a", "b")
    # in 3.0 `enum` means nothing yet
    assert column(tmp_path / "c", "logicalType: string, enum: [a, b]", "v3.0.2").enum is None


def test_exclusive_bounds_of_3_0_are_booleans(tmp_path: Path) -> None:
    options = "logicalTypeOptions: {minimum: 1, exclusiveMinimum: true, maximum: 9, exclusiveMaximum: false}"
    found = column(tmp_path, f"logicalType: integer, {options}", "v3.0.2")
    assert (found.minimum, found.exclusive_minimum) == (None, "1")
    assert (found.maximum, found.exclusive_maximum) == ("9", None)


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ("logicalType: text", "9:32 PEN116 'text' is not one of the standard's words (known: array, boolean"),
        ("logicalType: strin", "9:32 PEN116 'strin' is not one of the standard's words (did you mean 'string'?)"),
        ("logicaltype: string", "9:19 PEN104 'logicaltype' (did you mean 'logicalType'?)"),
        ("logicalType: string, required: yes", "9:50 PEN116 'yes' is not of the type boolean"),
        (
            "logicalType: string, logicalTypeOptions: {minimum: 1}",
            "9:61 PEN104 'minimum' (known: format, maxLength, minLength, pattern)",
        ),
        ("logicalType: string, logicalTypeOptions: {maxLength: x}", "9:72 PEN116 'x' is not of the type integer"),
        (
            "logicalType: string, logicalTypeOptions: {pattern: '('}",
            "9:70 PEN117 s.c: pattern '(' cannot be run: missing )",
        ),
        (
            "logicalType: string, logicalTypeOptions: {pattern: '(?=a)'}",
            "9:70 PEN117 s.c: pattern '(?=a)' cannot be run: inv",
        ),
        (
            "logicalType: string, logicalTypeOptions: {minLength: 5, maxLength: 4}",
            "9:72 PEN117 s.c: no text is 5 to 4 characters",
        ),
        (
            "logicalType: integer, logicalTypeOptions: {minimum: 5, maximum: 4}",
            "9:71 PEN117 s.c: no value lies between 5 and 4",
        ),
        (
            "logicalType: integer, logicalTypeOptions: {minimum: 5, exclusiveMaximum: 5}",
            "9:71 PEN117 s.c: no value lies between",
        ),
        (
            "logicalType: integer, logicalTypeOptions: {minimum: 1e30}",
            "9:71 PEN117 s.c: minimum '1e30' leaves no value of bigint",
        ),
        ("logicalType: number, logicalTypeOptions: {minimum: .nan}", "9:70 PEN117 s.c: minimum '.nan' is not a number"),
        (
            "logicalType: number, logicalTypeOptions: {maximum: -1e30}",
            "9:70 PEN117 s.c: maximum '-1e30' leaves no value of deci",
        ),
        (
            "logicalType: date, logicalTypeOptions: {minimum: 01.02.2026}",
            "9:68 PEN117 s.c: minimum '01.02.2026' is not a date l",
        ),
        (
            "logicalType: timestamp, logicalTypeOptions: {maximum: noon}",
            "9:73 PEN117 s.c: maximum 'noon' is not a time like",
        ),
        (
            "logicalType: string, customProperties: [{property: enum, value: a}]",
            "9:83 PEN117 enum is not a list of values",
        ),
        (
            "logicalType: integer, customProperties: [{property: enum, value: [a]}]",
            "9:9 PEN117 s.c: the allowed value 'a' is not",
        ),
        (
            "logicalType: string, quality: [{metric: invalidValue, mustBe: 0}]",
            "9:59 PEN116 'invalidValue' is not one of the stand",
        ),
        (
            "logicalType: string, quality: [{metric: nullValues}]",
            "9:50 PEN116 exactly one is needed of mustBe, mustNotBe",
        ),
    ],
)
def test_mistakes_in_properties(tmp_path: Path, keys: str, error: str) -> None:
    assert mistake(tmp_path, keys).startswith(error)


@pytest.mark.parametrize("name", ["_batch", "_x", "''", "' '"])
def test_names_that_properties_cannot_have(tmp_path: Path, name: str) -> None:
    found = only(contract(tmp_path, f"{{name: {name}, logicalType: string}}")[1])
    assert "PEN115" in found
    assert "cannot be a property's name" in found


def test_names_that_streams_cannot_have(tmp_path: Path) -> None:
    text = (HEAD.format(version="v3.1.0") + "    properties: [{name: a}]\n").replace("name: s", "name: _s")
    found = only(
        read(
            tmp_path,
            {FILE: text, "sources/drops.yaml": None, "pipelines/top_cities.sql": None, "endpoints/cities.sql": None},
        )
    )
    assert found.startswith(f"{FILE}:7:11 PEN115 '_s' cannot be a stream's name")


KEY = "{name: id, logicalType: string, primaryKey: true}\n{name: at, logicalType: timestamp, required: true}"


def test_what_a_stream_says(tmp_path: Path) -> None:
    custom = """{property: eventTime, value: at}
{property: allowedLateness, value: 90m}
{property: idleAfter, value: 30s}
{property: maxAhead, value: 2h}
{property: duplicatesWithin, value: 30d}
{property: owner, value: us}"""
    stream, project = contract(tmp_path, KEY, custom=custom)
    assert not project.problems
    assert not project.warnings
    assert (stream.event_time, stream.changes, stream.primary_key) == ("at", "append", ("id",))
    assert stream.allowed_lateness == timedelta(minutes=90)
    assert stream.idle_after == timedelta(seconds=30)
    assert stream.max_ahead == timedelta(hours=2)
    assert stream.duplicates_within == timedelta(days=30)
    assert (stream.contract_id, stream.contract_version) == ("c", "1.0.0")


def test_defaults_of_a_stream(tmp_path: Path) -> None:
    stream, _ = contract(tmp_path, KEY)
    assert (stream.event_time, stream.version, stream.duplicates_within) == (None, None, None)
    assert (stream.allowed_lateness, stream.idle_after) == (timedelta(0), timedelta(minutes=5))
    assert stream.max_ahead == timedelta(days=1)


def test_upsert_streams(tmp_path: Path) -> None:
    stream, project = contract(
        tmp_path, KEY, custom="{property: changes, value: upsert}\n{property: version, value: at}"
    )
    assert not project.problems
    assert (stream.changes, stream.version) == ("upsert", "at")


def test_the_order_of_a_composite_key(tmp_path: Path) -> None:
    lines = """{name: a, primaryKey: true, primaryKeyPosition: 2}
{name: b, primaryKey: true}
{name: c, primaryKey: true, primaryKeyPosition: 1}
{name: d, primaryKey: true, primaryKeyPosition: -1}"""
    assert contract(tmp_path, lines)[0].primary_key == ("c", "a", "b", "d")


@pytest.mark.parametrize(
    ("custom", "errors"),
    [
        (
            "{property: eventTime, value: att}",
            ["PEN119 s: eventTime names 'att', which is no property (did you mean 'at'?)"],
        ),
        (
            "{property: eventTime, value: id}",
            ["PEN117 s: eventTime names 'id', which is text (the event time is a timest"],
        ),
        ("{property: allowedLateness, value: 1w}", ["PEN117 s: allowedLateness '1w' should be a duration"]),
        ("{property: allowedLateness, value: 60}", ["PEN117 s: allowedLateness '60' should be a duration"]),
        ("{property: changes, value: upserts}", ["PEN117 s: changes is 'upserts' (did you mean 'upsert'?)"]),
        ("{property: version, value: at}", ["PEN117 s: `version` is for upsert streams (remove it"]),
        (
            "{property: version, value: x}\n{property: changes, value: upsert}",
            ["PEN119 s: version names 'x', which is no prop"],
        ),
        ("{property: duplicatesWithin, value: 1d}", ["PEN117 s: duplicatesWithin needs an event time"]),
        (
            "{property: changes, value: upsert}\n{property: eventTime, value: at}\n"
            "{property: duplicatesWithin, value: 1d}",
            ["PEN117 s: duplicatesWithin is for append streams with a primary key"],
        ),
    ],
)
def test_mistakes_in_custom_properties(tmp_path: Path, custom: str, errors: list[str]) -> None:
    found = told(contract(tmp_path, KEY, custom=custom)[1].problems)
    assert len(found) == len(errors), found
    assert all(e in f for e, f in zip(errors, found, strict=True)), found
    assert all(f.startswith(f"{FILE}:") for f in found)


def test_more_mistakes_of_a_stream(tmp_path: Path) -> None:
    custom = "{property: eventTime, value: at}"
    found = only(contract(tmp_path / "a", "{name: at, logicalType: timestamp}", custom=custom)[1])
    assert found == (f"{FILE}:9:38 PEN117 s: eventTime names 'at', which may be missing (add `required: true` to at)")
    found = only(contract(tmp_path / "b", "{name: x}", custom="{property: changes, value: upsert}")[1])
    assert "s: an upsert stream needs a primary key and has none" in found
    found = only(contract(tmp_path / "c", "{name: x}\n{name: X}")[1])
    assert found.startswith(f"{FILE}:10:16 PEN114 s has 'x' and 'X', which SQL takes for the same")
    twice = "{name: x, primaryKey: true, primaryKeyPosition: 1}\n{name: y, primaryKey: true, primaryKeyPosition: 1}"
    assert "two properties of s have the primaryKeyPosition 1" in only(contract(tmp_path / "d", twice)[1])


def test_close_names_of_custom_properties_are_warned_of(tmp_path: Path) -> None:
    project = contract(tmp_path, KEY, custom="{property: eventtime, value: at}\n{property: owner, value: x}")[1]
    assert not project.problems
    assert told(project.warnings) == [
        f"{FILE}:9:20 PEN124 nothing acts on the custom property 'eventtime' (did you mean 'eventTime'?)"
    ]


def test_variables_in_custom_properties(tmp_path: Path) -> None:
    stream, project = contract(tmp_path, KEY, custom="{property: allowedLateness, value: '${LATE:-2h}'}")
    assert not project.problems
    assert stream.allowed_lateness == timedelta(hours=2)
    stream, project = contract(tmp_path / "b", KEY, custom="{property: eventTime, value: '${AT}'}")
    assert not project.problems
    assert [w.code for w in project.warnings] == ["PEN107"]


def test_what_is_not_acted_on_is_named(tmp_path: Path) -> None:
    lines = """{name: a, logicalType: string, encryptedName: x, partitioned: true, logicalTypeOptions: {format: email}}
{name: b, logicalType: object, properties: [{name: c, logicalType: string}]}
{name: d, logicalType: array, items: {logicalType: string}, logicalTypeOptions: {minItems: 1}}
{name: e, logicalType: timestamp, logicalTypeOptions: {timezone: true, format: QQ}}
{name: f, quality: [{type: sql, query: 'SELECT ${x}', mustBe: 0}, {metric: nullValues, mustBe: 0, name: n}]}"""
    more = "    quality: [{metric: rowCount, mustBeGreaterThan: 5}]\nslaProperties: [{property: latency, value: 4}]\n"
    stream, project = contract(tmp_path, lines, more=more)
    assert not project.problems, told(project.problems)
    assert stream.not_acted_on == (
        "s.a: format 'email' is not checked",
        "s.a: encryptedName is not acted on",
        "s.a: partitioned is not acted on",
        "s.b: the properties inside it are not checked",
        "s.d: logicalTypeOptions.minItems is not acted on",
        "s.d: the items are not checked",
        "s.e: format 'QQ' is not read; ISO 8601 is expected, or a format that the source names",
        "s.e: logicalTypeOptions.timezone is not acted on",
        "s.f: the quality rule sql is over the whole set and is not checked",
        "s.f: the quality rule nullValues 'n' is over the whole set and is not checked",
        "s: the quality rule rowCount is over the whole set and is not checked",
        "s: service levels (slaProperties) are not measured",
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "1:1 PEN116 a contract is keys and values (begin with `apiVersion: v3.1.0`"),
        ("[]", "1:1 PEN116 a contract is keys and values"),
        (
            "kind: DataContract\nid: x\nversion: 1.0.0\nstatus: active",
            "1:1 PEN105 'apiVersion' is required (Version of",
        ),
        (
            "apiVersion: v2.2.2\nkind: DataContract",
            "1:13 PEN116 apiVersion v2.2.2 is not read; Penstock reads version 3",
        ),
        (
            "apiVersion: v3.9.0\nkind: DataContract\nid: x\nversion: 1.0.0",
            "1:13 PEN116 'v3.9.0' is not one of the standard's",
        ),
        (
            "apiVersion: v3.1.0\nkind: DataContrakt\nid: x\nversion: 1.0.0",
            "2:7 PEN116 'DataContrakt' is not one of the stand",
        ),
        (
            "apiVersion: v3.1.0\nkind: DataContract\nid: x\nversion: 1.0.0\nshema: []",
            "5:1 PEN104 'shema' (did you mean 'schema'?)",
        ),
        ("apiVersion: v3.1.0\nkind: DataContract\nid: x\nversion: 1", "4:10 PEN116 '1' is not of the type string"),
        (
            "apiVersion: v3.1.0\nkind: DataContract\nid: x\nversion: 1.0.0\nschema: {a: 1}",
            "5:9 PEN116 a mapping is not of the type arr",
        ),
        (
            "apiVersion: v3.1.0\nkind: DataContract\nid: x\nversion: 1.0.0\nschema: [{physicalName: x}]",
            "5:10 PEN105 'name' is requ",
        ),
    ],
)
def test_mistakes_of_a_file(tmp_path: Path, text: str, error: str) -> None:
    files = {FILE: text, "sources/drops.yaml": None, "pipelines/top_cities.sql": None, "endpoints/cities.sql": None}
    assert only(read(tmp_path, files)).startswith(f"{FILE}:{error}")


def test_several_streams_and_several_files(tmp_path: Path) -> None:
    two = HEAD.format(version="v3.1.0") + "    properties: [{name: a}]\n  - name: t\n    properties: [{name: b}]\n"
    project = read(tmp_path, {"contracts/two.yaml": two})
    assert list(project.streams) == ["sales", "s", "t"]
    project = read(tmp_path, {"contracts/two.yaml": two.replace("name: t", "name: Sales")})
    assert only(project) == (
        "contracts/two.yaml:9:11 PEN114 the stream 'Sales' is also described in "
        f"{FILE}:7:11: schema[0].name (rename or remove one)"
    )


def test_a_contract_without_streams_is_warned_of(tmp_path: Path) -> None:
    bare = "apiVersion: v3.2.0\nkind: DataContract\nid: x\nversion: 1.0.0\n"
    project = read(tmp_path, {"contracts/bare.odcs.yml": bare})
    assert not project.problems
    assert told(project.warnings) == [
        "contracts/bare.odcs.yml:1:1 PEN124 the contract describes no stream (add `schema:` with one entry per stream)"
    ]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("yyyy-MM-dd", "%Y-%m-%d"),
        ("dd/MM/yy", "%d/%m/%y"),
        ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "%Y-%m-%dT%H:%M:%S.%f%z"),
        ("d MMM yyyy 'at' h:mm a", "%d %b %Y at %I:%M %p"),
        ("HH 'o''clock' %", "%H o'clock %%"),
        ("yyyyQQ", None),
        ("'open", None),
        ("", None),
    ],
)
def test_formats_of_the_standard(pattern: str, words: str | None) -> None:
    assert strptime_format(pattern) == words


def test_iso_formats() -> None:
    assert is_iso("%Y-%m-%d")
    assert is_iso("%Y-%m-%dT%H:%M:%S.%f%z")
    assert not is_iso("%d.%m.%Y")
