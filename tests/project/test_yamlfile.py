from __future__ import annotations

from pathlib import Path

import pytest

from penstock.project.yamlfile import MAX_BYTES, Document, Problems, parse_yaml, read_yaml
from tests.project.folders import told


def parse(text: str) -> tuple[Document | None, list[str]]:
    problems = Problems()
    document = parse_yaml(text, "x.yaml", problems)
    return document, told(problems.errors)


def plain(text: str) -> object:
    document, errors = parse(text)
    assert document is not None
    assert not errors
    return document.root.plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("off", "off"),
        ("y", "y"),
        ("yes", "yes"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("+1", 1),
        ("-0", 0),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        (".inf", float("inf")),
        ("12:30:45", "12:30:45"),
        ("2026-01-31", "2026-01-31"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("!!str 1", "1"),
        ("! 1", "1"),
        ("!!int 1", 1),
        ("!!float 1", 1.0),
        ("|\n a\n b\n", "a\nb\n"),
        (">\n a\n b\n", "a b\n"),
        ("<<", "<<"),
        ("=", "="),
        ("1.0.0", "1.0.0"),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    found = plain(f"k: {text}")
    assert found == {"k": value}
    assert isinstance(found, dict)
    assert type(found["k"]) is type(value)


def test_scalars_keep_their_text() -> None:
    document, _ = parse("a: 0.10\nb: 12345678901234567.89")
    assert document is not None
    assert document.root.mapping["a"].text == "0.10"
    assert document.root.mapping["b"].text == "12345678901234567.89"


def test_places_of_keys_and_values() -> None:
    document, _ = parse("a:\n  - b:   1\n    c: {d: 2}\n")
    assert document is not None
    assert str(document.place(("a", 0, "b"))) == "x.yaml:2:10: a[0].b"
    assert str(document.place(("a", 0, "b"), key=True)) == "x.yaml:2:5: a[0].b"
    assert str(document.place(("a", 0, "c", "d"))) == "x.yaml:3:12: a[0].c.d"
    assert str(document.place(("a", 0, "nothing"))) == "x.yaml:2:5: a[0].nothing"


def test_keys_are_texts() -> None:
    assert plain("1: a\ntrue: b\n~: c\n") == {"1": "a", "true": "b", "~": "c"}


def test_duplicate_keys_are_errors_that_name_both_lines() -> None:
    document, errors = parse("a: 1\nb: 2\na: 3\n")
    assert errors == ["x.yaml:3:1 PEN103 key 'a' stands here and in line 1 (remove one)"]
    assert document is not None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: b: c", "x.yaml:1:5 PEN102 mapping values are not allowed here"),
        ("a:\n\tb: 1", "x.yaml:2:1 PEN102 while scanning for the next token found character '\\t'"),
        ("a: [1,", "x.yaml:1:7 PEN102 while parsing a flow node expected the node content, but found '<stream end>'"),
        ('a: "x', "x.yaml:1:6 PEN102 while scanning a quoted scalar found unexpected end of stream"),
        ("a: 1\n b: 2", "x.yaml:2:3 PEN102 mapping values are not allowed here"),
        ("- a\nb: 1", "x.yaml:2:1 PEN102 while parsing a block collection"),
        ("a: \x07", "x.yaml:1:4 PEN102 character U+0007 may not stand in YAML"),
        ("a: 1\n---\nb: 1", "x.yaml:2:1 PEN102 a second document begins here"),
        ("a: *b", "x.yaml:1:4 PEN102 alias *b has no anchor &b before it"),
        ("a: &b [*b]", "x.yaml:1:8 PEN102 alias *b stands inside what it refers to"),
        ("? [a]\n: 1", "x.yaml:1:3 PEN102 a list or mapping stands where a key must be"),
        ("a: !!python/object:x {}", "x.yaml:1:4 PEN102 tag tag:yaml.org,2002:python/object:x is not one of YAML's"),
        ("a: !mine 1", "x.yaml:1:4 PEN102 tag !mine does not fit this value"),
        ("a: !!int x", "x.yaml:1:4 PEN102 tag tag:yaml.org,2002:int does not fit this value"),
        ('a: "\\ud800"', "x.yaml:1:4 PEN102 holds half of a surrogate pair"),
        ('a: "\\UFFFFFFFF"', "x.yaml:1:1 PEN102 cannot be parsed"),
        ("a: " + "9" * 5000, "x.yaml:1:4 PEN102 a number of more than 4000 digits"),
    ],
)
def test_broken_yaml_is_told_with_its_place(text: str, error: str) -> None:
    document, errors = parse(text)
    assert document is None
    assert len(errors) == 1
    assert errors[0].startswith(error)


def test_the_hint_for_a_tab_says_so() -> None:
    assert "indent with blanks, not tabs" in parse("a:\n\tb: 1")[1][0]


def test_aliases_are_unfolded() -> None:
    assert plain("a: &x {n: 1}\nb: *x\n") == {"a": {"n": 1}, "b": {"n": 1}}


def test_a_billion_laughs_is_an_error() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert "PEN102 aliases unfold to more than 200000 values" in parse("\n".join(lines))[1][0]


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "a: " + "[" * 90])
def test_deep_nesting_is_an_error(text: str) -> None:
    assert "PEN102 is nested more than 60 deep" in parse(text)[1][0]


def test_a_file_that_is_not_utf8_is_told_with_the_byte(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes("a: 1\nb: Zürich\n".encode("latin-1"))
    problems = Problems()
    assert read_yaml(tmp_path / "x.yaml", "x.yaml", problems) is None
    assert told(problems.errors) == ["x.yaml:2:5 PEN101 is not UTF-8: byte 0xfc at offset 9 (save the file as UTF-8)"]


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    document = read_yaml(tmp_path / "x.yaml", "x.yaml", Problems())
    assert document is not None
    assert document.root.plain() == {"a": 1}


def test_a_folder_and_a_huge_file_are_unreadable(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "huge.yaml").write_bytes(b" " * (MAX_BYTES + 1))
    problems = Problems()
    assert read_yaml(tmp_path / "folder.yaml", "folder.yaml", problems) is None
    assert read_yaml(tmp_path / "huge.yaml", "huge.yaml", problems) is None
    assert [e.code for e in problems.errors] == ["PEN101", "PEN101"]
    assert "has 4194305 bytes; at most 4194304 are read" in problems.errors[1].found
