from __future__ import annotations

from pathlib import Path

import pytest

from penstock.project.read import read_project
from tests.project.folders import CONNECTORS, GOOD, only, read, told


def test_a_good_folder_has_no_problems(tmp_path: Path) -> None:
    project = read(tmp_path, {})
    assert not project.problems
    assert not project.warnings
    assert [*project.streams, *project.sources, *project.pipelines, *project.endpoints] == [
        "sales",
        "drops",
        "top_cities",
        "cities",
    ]


def test_an_empty_folder_and_none_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert only(read_project(tmp_path / "empty", None, CONNECTORS, {})).startswith("penstock.yaml:0:0 PEN111")
    assert only(read_project(tmp_path / "none", None, CONNECTORS, {})).startswith("penstock.yaml:0:0 PEN111")


def test_all_files_are_told_of_in_the_order_of_their_places(tmp_path: Path) -> None:
    files = {
        "penstock.yaml": "name: a\nport: 1\nfoo: 2\n",
        "contracts/sales.odcs.yaml": GOOD["contracts/sales.odcs.yaml"].replace(
            "logicalType: string", "logicalType: strin"
        ),
        "sources/drops.yaml": "type: lak\n",
        "pipelines/top_cities.sql": "",
        "endpoints/cities.sql": "/*\npth: x\n*/\nSELECT 1",
    }
    found = [f.split(" ")[:2] for f in told(read(tmp_path, files).problems)]
    assert found == [
        ["penstock.yaml:2:1", "PEN104"],
        ["penstock.yaml:3:1", "PEN104"],
        ["contracts/sales.odcs.yaml:13:38", "PEN116"],
        ["contracts/sales.odcs.yaml:16:35", "PEN116"],
        ["endpoints/cities.sql:2:1", "PEN105"],
        ["endpoints/cities.sql:2:1", "PEN104"],
        ["pipelines/top_cities.sql:1:1", "PEN121"],
        ["sources/drops.yaml:1:1", "PEN105"],
        ["sources/drops.yaml:1:7", "PEN106"],
    ]


def test_two_files_of_one_name(tmp_path: Path) -> None:
    project = read(tmp_path, {"sources/drops.yml": "type: lake\nstream: sales\npath: x\n"})
    assert only(project) == (
        "sources/drops.yml:0:0 PEN114 'drops' is also declared in sources/drops.yaml "
        "(rename or remove one of the two files)"
    )
    upper = read(tmp_path / "b", {"sources/Drops.yaml": "type: lake\nstream: sales\npath: x\n"})
    assert "is also declared in" in only(upper)


@pytest.mark.parametrize("name", ["_x", "1x", "a b", "a.b", "é"])
def test_names_that_cannot_be_sources(tmp_path: Path, name: str) -> None:
    found = only(read(tmp_path, {f"sources/{name}.yaml": "type: lake"}))
    assert found.startswith(f"sources/{name}.yaml:0:0 PEN115 '{name}' cannot be a name here")


def test_what_is_not_read_is_warned_of(tmp_path: Path) -> None:
    files = {
        "sources/notes.txt": "",
        "sources/README.md": "",
        "sources/.hidden.yaml": ":",
        "sources/drops.yaml~": ":",
        "sources/deep/x.yaml": "",
        "pipeline/x.sql": "",
        "data/x.csv": "",
    }
    project = read(tmp_path, files)
    assert not project.problems
    assert told(project.warnings) == [
        "pipeline:0:0 PEN124 no folder of this name is read (did you mean 'pipelines'?)",
        "sources/deep:0:0 PEN124 is not read (files here end in .yaml or .yml and stand directly in the folder)",
        "sources/notes.txt:0:0 PEN124 is not read (files here end in .yaml or .yml and stand directly in the folder)",
    ]


def test_unreadable_files_are_told_of_and_the_others_read(tmp_path: Path) -> None:
    files = {"sources/latin.yaml": "type: é".encode("latin-1"), "pipelines/latin.sql": b"SELECT '\xe9'"}
    project = read(tmp_path, files)
    assert told(project.problems) == [
        "pipelines/latin.sql:1:9 PEN101 is not UTF-8: byte 0xe9 at offset 8 (save the file as UTF-8)",
        "sources/latin.yaml:1:7 PEN101 is not UTF-8: byte 0xe9 at offset 6 (save the file as UTF-8)",
    ]
    assert list(project.sources) == ["drops"]


def test_a_broken_contract_leaves_its_stream_out_but_the_rest_is_checked(tmp_path: Path) -> None:
    files = {"contracts/sales.odcs.yaml": "a: [", "sources/drops.yaml": "type: lake\nstream: sales\npath: 1\n"}
    assert [e.split(" ")[1] for e in told(read(tmp_path, files).problems)] == ["PEN102", "PEN118", "PEN106"]
