"""The folder read with the connectors that exist: their keys, their warnings, and what they say of themselves."""

from __future__ import annotations

from pathlib import Path

from penstock.operate.folder import check_folder
from penstock.project.read import read_project
from penstock.sources.registry import sources
from tests.project.folders import GOOD, only, told, write
from tests.project.test_source import UPSERT

CONFIGS = {word: cls.Config for word, cls in sources().items()}
FILES = "type: files\nstream: sales\npath: drops\nformat: csv\n"
DATABASE = "type: postgres\nstream: sales\nconnection: ${DB}\ntable: orders\n"


def test_good_sources(tmp_path: Path) -> None:
    good = {
        "sources/drops.yaml": FILES
        + "csv: {delimiter: ';', decimal: ','}\nready: {stable_for: 2s}\nafter: {move: done}\n"
    }
    good["sources/shop.yaml"] = DATABASE + "mode: incrementing\nincrementing_column: id\n"
    project = read_project(write(tmp_path, {**GOOD, **good}), None, CONFIGS, {"DB": "postgresql://u:p@h/d"})
    assert not project.problems, told(project.problems)
    assert not project.warnings


def test_mistakes_in_the_keys_of_real_connectors(tmp_path: Path) -> None:
    bad = {
        "sources/drops.yaml": FILES + "csv: {delimeter: ';', header: false}\nafter: {mov: done}\nmax_file_size: big\n"
    }
    bad["sources/shop.yaml"] = (
        "type: postgres\nstream: sales\nconnection: {host: h, dbname: d}\nmode: incremental\nquery: x\n"
    )
    found = told(read_project(write(tmp_path, {**GOOD, **bad}), None, CONFIGS, {}).problems)
    assert [f.split(" (")[0] for f in found] == [
        "sources/drops.yaml:5:7 PEN104 'delimeter'",
        "sources/drops.yaml:6:8 PEN105 'move' is required",
        "sources/drops.yaml:6:9 PEN104 'mov'",
        "sources/drops.yaml:7:16 PEN106 'big' should be a size: a number and B, KB, MB, GB, TB",
        "sources/shop.yaml:3:13 PEN105 'user' is required",
        "sources/shop.yaml:4:7 PEN106 'incremental' is not one of incrementing, timestamp, timestamp"
        "+incrementing, bulk",
    ]


def test_what_a_type_of_source_doubts_is_a_warning(tmp_path: Path) -> None:
    source = DATABASE + "mode: timestamp\ntimestamp_column: updated_at\n"
    write(tmp_path, {**GOOD, "sources/drops.yaml": None, "sources/shop.yaml": source})
    folder = check_folder(tmp_path, None, CONFIGS, {"DB": "postgresql://h/d"})
    assert told(folder.warnings) == [
        "sources/shop.yaml:1:1 PEN125 mode timestamp on the append stream sales: a row that is updated becomes a "
        "conflict in quarantine"
    ]


def test_files_do_not_tell_the_newer_row(tmp_path: Path) -> None:
    write(tmp_path, {**GOOD, "contracts/sales.odcs.yaml": UPSERT, "sources/drops.yaml": FILES})
    assert "the upsert stream 'sales' is read from files and no version says" in only(
        read_project(tmp_path, None, CONFIGS, {})
    )


def test_what_a_contract_says_in_vain_is_a_warning_with_its_place(tmp_path: Path) -> None:
    contract = GOOD["contracts/sales.odcs.yaml"] + "    quality: [{metric: rowCount, mustBe: 1}]\nservers: []\n"
    write(tmp_path, {**GOOD, "contracts/sales.odcs.yaml": contract, "sources/drops.yaml": FILES})
    project = read_project(tmp_path, None, CONFIGS, {})
    assert told(project.warnings) == [
        "contracts/sales.odcs.yaml:17:15 PEN124 sales: the quality rule rowCount is over the whole set "
        "and is not checked",
        "contracts/sales.odcs.yaml:18:1 PEN124 servers are not connected to; sources/ says where rows come from",
    ]
