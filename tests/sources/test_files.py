"""Folders of files: which are read, in which order, once each; how they grow, change, vanish and are put away."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from penstock.sources._files_store import Pattern
from penstock.sources.errors import AfterFailed, FolderMissing, FolderUnreadable
from penstock.sources.files import Files
from tests.sources.files_help import Drops, own, refusals


@pytest.fixture
def drops(tmp_path: Path) -> Iterator[Drops]:
    made = Drops(tmp_path)
    made.folder.mkdir()
    yield made
    made.close()


def values(rows: list[dict[str, Any]]) -> list[str]:
    return [row["a"] for row in rows]


def origins(drops: Drops) -> list[str]:
    return [b.origin for b in drops.batches if b.item]


# ---- which files ------------------------------------------------------------------------------------------------


def test_files_are_read_once_in_the_order_of_their_names(drops: Drops) -> None:
    for n, name in enumerate(["b.csv", "a/z.csv", "ä.csv", "B.csv", "a.csv"]):
        drops.put(name, f"a\n{n}\n")
    assert values(drops.rows()) == ["3", "4", "1", "0", "2"]
    assert origins(drops) == ["B.csv", "a.csv", "a/z.csv", "b.csv", "ä.csv"]
    assert drops.rows() == []
    drops.put("0.csv", "a\nnew\n")
    assert values(drops.rows()) == ["new"]


def test_only_known_endings_and_no_hidden_files(drops: Drops) -> None:
    for name in ("a.csv", "b.txt", ".c.csv", ".d/e.csv", "f.csv.part", "g.tsv", "h.ndjson"):
        drops.put(name, '{"a": 1}\n' if name.endswith("json") else "a\n1\n")
    drops.read()
    assert origins(drops) == ["a.csv", "g.tsv", "h.ndjson"]


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("*.csv", ["a.csv"]),
        ("**/*.csv", ["a.csv", "x/b.csv", "x/y/c.csv"]),
        ("x/**/*.csv", ["x/b.csv", "x/y/c.csv"]),
        ("*/?.csv", ["x/b.csv"]),
        ("[!b-z].csv", ["a.csv"]),
        ("**", ["a.csv", "d.CSV", "x/b.csv", "x/y/c.csv"]),
        ("**/*[", []),
    ],
)
def test_match(glob: str, names: list[str]) -> None:
    every = ["a.csv", "x/b.csv", "x/y/c.csv", "d.CSV"]
    assert sorted(n for n in every if Pattern(glob).matches(n)) == names


def test_a_format_can_be_said_for_any_ending_and_is_asked_for_where_it_is_not(drops: Drops) -> None:
    drops.config = {"match": "*", "format": "csv"}
    drops.put("data", "a\n1\n")
    assert values(drops.rows()) == ["1"]
    other = Drops(drops.root, {"match": "data"})
    assert [r.reason for r in refusals(other.read())] == ["the ending of 'data' says no format; set `format`"]


def test_odd_names_are_kept_and_names_that_are_no_text_are_escaped(drops: Drops) -> None:
    names = ["line\nend.csv", "back\\slash.csv", "quo'te\".csv", "%20 +.csv", "[x].csv", "😀.csv"]
    for name in names:
        drops.put(name, f"a\n{name.encode().hex()}\n")
    (drops.folder / os.fsdecode(b"\xff.csv")).write_bytes(b"a\nff\n")
    assert len(drops.rows()) == 7
    assert sorted(drops.receipts) == sorted([*names, "\\xff.csv"])
    drops.start()
    assert drops.rows() == []


def test_links_are_followed_and_loops_are_not(drops: Drops) -> None:
    drops.put("x/a.csv", "a\n1\n")
    (drops.folder / "x/loop").symlink_to(drops.folder)
    (drops.folder / "dangling.csv").symlink_to(drops.folder / "nothing.csv")
    (drops.folder / "self.csv").symlink_to(drops.folder / "self.csv")
    outside = drops.root / "outside.csv"
    outside.write_text("a\n2\n")
    (drops.folder / "b.csv").symlink_to(outside)
    os.mkfifo(drops.folder / "pipe.csv")
    assert sorted(values(drops.rows())) == ["1", "2"]
    assert sorted(drops.receipts) == ["b.csv", "x/a.csv"]


# ---- folders ------------------------------------------------------------------------------------------------------


def test_a_missing_folder_is_an_error_and_not_no_files(drops: Drops) -> None:
    drops.put("a.csv", "a\n1\n")
    drops.read()
    shutil.rmtree(drops.folder)
    with pytest.raises(FolderMissing) as error:
        drops.read()
    assert str(error.value).startswith(f"PEN220 folder missing: the folder {drops.folder} does not exist\n  hint: make")
    assert error.value.retryable
    with pytest.raises(FolderMissing):
        drops.start()
    drops.put("b.csv", "a\n2\n")
    assert values(drops.rows()) == ["2"]
    drops.folder.joinpath("file").touch()
    drops.config = {"path": "drops/file"}
    with pytest.raises(FolderMissing, match="is not a folder"):
        drops.start()


class NoRoot:
    """Runs as a user for whom permissions count, when the tests run as root."""

    def __enter__(self) -> None:
        if os.getuid() == 0:
            os.seteuid(65534)

    def __exit__(self, *_: object) -> None:
        if os.getuid() == 0:
            os.seteuid(0)


@pytest.fixture
def open_to_all(drops: Drops) -> Drops:
    for folder in (drops.root, *drops.root.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    return drops


def test_a_folder_without_rights_is_an_error(open_to_all: Drops) -> None:
    drops = open_to_all
    drops.put("x/a.csv", "a\n1\n")
    for mode, found in ((0o000, "cannot be listed: Permission denied"), (0o444, "can be listed but not entered")):
        (drops.folder / "x").chmod(mode)
        with NoRoot(), pytest.raises(FolderUnreadable) as error:
            drops.read()
        assert f"PEN221 folder unreadable: the folder {drops.folder}/x {found}" in str(error.value)
    (drops.folder / "x").chmod(0o755)


def test_a_file_without_rights_is_refused_once_and_read_when_it_may_be(open_to_all: Drops) -> None:
    drops = open_to_all
    path = drops.put("a.csv", "a\n1\n")
    drops.put("b.csv", "a\n2\n")
    path.chmod(0)
    with NoRoot():
        batches = drops.read()
        assert [r.reason for r in refusals(batches)] == ["the file cannot be opened: Permission denied"]
        assert values([r for b in batches for r in own(b)]) == ["2"]
        assert drops.read() == []
    path.chmod(0o644)
    with NoRoot():
        assert values(drops.rows()) == ["1"]
    assert drops.receipts["a.csv"].rows_read == 2


# ---- complete or still being written -----------------------------------------------------------------------------


def test_a_fresh_file_is_waited_for_until_it_stands_still(drops: Drops) -> None:
    drops.config = {"ready": {"stable_for": "300ms"}}
    path = drops.put("a.csv", "a\n1\n")
    old = drops.put("z.csv", "a\nold\n")
    os.utime(old, (1, 1))
    began = time.time()
    assert values(drops.rows()) == ["old", "1"]
    assert time.time() - path.stat().st_mtime >= 0.3
    assert time.time() - began < 30


def test_a_file_that_goes_on_being_written_is_left_to_the_next_round(drops: Drops) -> None:
    drops.config = {"ready": {"stable_for": "400ms"}}
    path = drops.put("a.csv", "a\n1\n")
    timer = threading.Timer(0.2, path.write_text, ["a\n1\n2\n"])
    timer.start()
    assert drops.rows() == []
    timer.join()
    assert drops.source is not None
    assert drops.source.waiting() == "a.csv is still being written"
    assert values(drops.rows()) == ["1", "2"]
    assert drops.source.waiting() == ""


def test_a_file_from_the_future_is_read_once_it_stood_still(drops: Drops) -> None:
    drops.config = {"ready": {"stable_for": "100ms"}}
    path = drops.put("a.csv", "a\n1\n")
    os.utime(path, (time.time() + 9999, time.time() + 9999))
    assert values(drops.rows()) == ["1"]


@pytest.mark.parametrize("marker", ["a.csv.done", ".done"])
def test_a_marker_says_that_a_file_is_complete(drops: Drops, marker: str) -> None:
    drops.config = {"ready": {"marker": ".done"}, "match": "**/*"}
    drops.put("x/a.csv", "a\n1\n")
    assert drops.rows() == []
    assert drops.source is not None
    assert drops.source.waiting() == "x/a.csv has no marker yet"
    drops.put(f"x/{marker}", "")
    assert values(drops.rows()) == ["1"]
    assert list(drops.receipts) == ["x/a.csv"]


# ---- once each ----------------------------------------------------------------------------------------------------


def test_the_same_content_under_a_new_name_is_recognised(drops: Drops) -> None:
    drops.put("a.csv", "a\n1\n")
    drops.read()
    drops.put("b.csv", "a\n1\n")
    drops.put("c.csv", "a\n2\n")
    assert values(drops.rows()) == ["2"]
    assert drops.states() == {"a.csv": "done", "b.csv": "same_content", "c.csv": "done"}
    drops.start()
    assert drops.rows() == []


def test_the_same_content_can_be_loaded_again(drops: Drops) -> None:
    drops.config = {"same_content": "load"}
    drops.put("a.csv", "a\n1\n")
    drops.put("b.csv", "a\n1\n")
    assert values(drops.rows()) == ["1", "1"]


def test_a_touched_file_is_not_read_again(drops: Drops) -> None:
    path = drops.put("a.csv", "a\n1\n")
    drops.read()
    os.utime(path, (1, 1))
    assert drops.rows() == []
    before = len(drops.batches)
    assert drops.read() == []
    assert len(drops.batches) == before


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize("anew", [False, True])
def test_a_file_that_grew_is_read_from_its_old_end(drops: Drops, name: str, anew: bool) -> None:
    rows = ["a\n1\n", "2\n", "3\n"] if name == "a.csv" else ['{"a": 1}\n', '{"a": 2}\n', '{"a": 3}\n']
    for n in range(3):
        drops.put(name, "".join(rows[: n + 1]))
        if anew:
            drops.start()
        assert values(drops.rows()) == [str(n + 1)]
    positions = [p for b in drops.batches for p in b.positions.to_pylist()]
    assert positions == ([2, 3, 4] if name == "a.csv" else [1, 2, 3])
    assert drops.receipts[name].rows_read == 3


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_last_line_without_end_may_get_one_later(drops: Drops, end: str) -> None:
    drops.put("a.csv", f"a{end}1")
    assert values(drops.rows()) == ["1"]
    drops.put("a.csv", f"a{end}1{end}2{end}")
    assert values(drops.rows()) == ["2"]
    assert drops.batches[-1].positions.to_pylist() == [3]


def test_a_last_line_that_went_on_is_a_changed_file(drops: Drops) -> None:
    drops.put("a.csv", "a\n1")
    drops.read()
    drops.put("a.csv", "a\n12\n")
    assert [r.rule for r in refusals(drops.read())] == ["changed"]


def test_a_changed_file_is_a_new_one_where_the_stream_has_a_key(drops: Drops) -> None:
    drops.keyed = True
    drops.put("a.csv", "a\n1\n2\n")
    drops.read()
    drops.put("a.csv", "a\n1\nx\n3\n")
    assert values(drops.rows()) == ["1", "x", "3"]
    assert drops.receipts["a.csv"].rows_read == 5
    drops.put("a.csv", "a\n7\n")
    assert values(drops.rows()) == ["7"]


def test_a_changed_file_is_refused_whole_where_it_has_none(drops: Drops) -> None:
    drops.put("a.csv", "a\n1\n2\n")
    drops.read()
    drops.put("a.csv", "a\nx\n2\n3\n")
    (refusal,) = refusals(drops.read())
    assert (refusal.rule, refusal.position, refusal.original) == ("changed", "", b"a\nx\n2\n3\n")
    assert refusal.reason == "the file was changed where it had been read already, and the stream has no primary key"
    assert drops.read() == []
    drops.put("a.csv", "a\n1\n2\n3\n")
    assert values(drops.rows()) == ["3"]


# ---- crashes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyed", [False, True])
def test_a_reading_that_is_killed_after_every_batch_loses_and_doubles_nothing(drops: Drops, keyed: bool) -> None:
    drops.keyed, drops.batch_rows = keyed, 3
    drops.put("a.csv", "a\n" + "".join(f"{i}\n" for i in range(10)))
    drops.put("b.jsonl", "".join(f'{{"a": {i}}}\n' for i in range(10, 17)))
    drops.put("c.json", "[" + ",".join(f'{{"a": {i}}}' for i in range(17, 25)) + "]")
    seen: list[str] = []
    while part := drops.read(die_after=1):
        seen += values([r for b in part for r in own(b)])
    assert seen == [str(i) for i in range(25)]
    assert {r.state for r in drops.receipts.values()} == {"done"}
    assert sum(r.rows_read for r in drops.receipts.values()) == 25


def test_a_round_that_was_cut_off_ends_where_it_would_have(drops: Drops) -> None:
    drops.batch_rows = 2
    drops.put("a.csv", "a\n1\n2\n3\n")
    drops.put("b.csv", "a\n4\n")
    drops.read(die_after=2)
    drops.put("0.csv", "a\nlater\n")
    drops.put("b.csv", "a\n4\n5\n")
    assert values(drops.rows()) == ["2", "3", "4"]
    assert values(drops.rows()) == ["later", "5"]


def test_a_file_that_changed_in_the_middle_of_its_reading(drops: Drops) -> None:
    drops.batch_rows = 2
    drops.put("a.csv", "a\n1\n2\n3\n4\n")
    drops.read(die_after=1)
    drops.put("a.csv", "a\n9\n2\n3\n4\n")
    assert [r.rule for r in refusals(drops.read())] == ["changed"]


def test_a_file_deleted_before_and_while_it_is_read(drops: Drops) -> None:
    drops.batch_rows = 2
    drops.put("a.csv", "a\n1\n")
    path = drops.put("b.csv", "a\n1\n2\n3\n")
    drops.read(die_after=1)
    path.unlink()
    drops.put("c.csv", "a\nc\n")
    assert values(drops.rows()) == ["1"]
    assert drops.states() == {"a.csv": "done", "b.csv": "gone"}
    assert values(drops.rows()) == ["c"]
    drops.put("b.csv", "a\n1\n2\n3\n")
    assert values(drops.rows()) == ["1", "2", "3"]


def test_a_file_that_shrinks_while_it_is_read_is_refused_from_there(drops: Drops) -> None:
    drops.batch_rows = 100_000
    rows = "".join(f"{i:0>99}\n" for i in range(500_000))
    path = drops.put("a.csv", "a\n" + rows)
    batches = drops.start().round()
    assert next(batches).table.num_rows > 90_000
    os.truncate(path, 40_000_000)
    rest = list(batches)
    assert [r.rule for r in refusals(rest)] == ["gone"]
    assert refusals(rest)[0].reason.startswith("the file ended at byte 40000000 while it was read")


# ---- afterwards ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [{"move": "done"}, {"move": "drops/done"}, "delete"])
@pytest.mark.parametrize("crash", [False, True])
def test_read_files_are_put_away_also_after_a_crash(drops: Drops, after: Any, crash: bool) -> None:
    drops.config = {"after": after}
    drops.put("x/a.csv", "a\n1\n")
    drops.put("bad.csv", b"a,a\xff\n1\n")
    for _ in range(3):
        drops.read(die_after=1 if crash else None, before_effects=crash)
    assert (drops.folder / "x/a.csv").exists() == crash
    drops.read()
    assert drops.states() == {"bad.csv": "unreadable", "x/a.csv": "done"}
    assert not (drops.folder / "x/a.csv").exists()
    assert (drops.folder / "bad.csv").exists(), "what could not be read stays"
    if isinstance(after, dict):
        assert (drops.root / after["move"] / "x/a.csv").read_text() == "a\n1\n"
    assert drops.read() == []


def test_a_name_used_again_is_another_file_and_overwrites_nothing(drops: Drops) -> None:
    drops.config = {"after": {"move": "done"}}
    for n in range(3):
        drops.put("a.csv", f"a\n{n}\n")
        drops.start()
        assert values(drops.rows()) == [str(n)]
    kept = sorted(p.read_text() for p in (drops.root / "done").iterdir())
    assert kept == ["a\n0\n", "a\n1\n", "a\n2\n"]


def test_the_same_content_dropped_again_is_put_away_unread_or_loaded(drops: Drops) -> None:
    for same, expected in (("skip", [["1"], []]), ("load", [["1"], ["1"]])):
        again = Drops(drops.root / same, {"after": "delete", "same_content": same})
        found = []
        for _ in range(2):
            again.put("a.csv", "a\n1\n")
            found.append(values(again.rows()))
        assert found == expected
        assert list(again.folder.iterdir()) == []


def test_a_file_that_grew_after_it_was_read_is_not_put_away(drops: Drops) -> None:
    drops.config = {"after": "delete"}
    path = drops.put("a.csv", "a\n1\n")
    drops.read(die_after=1, before_effects=True)
    path.write_text("a\n1\n2\n")
    assert values(drops.rows()) == ["2"]
    assert not path.exists()


def test_a_file_that_grows_before_it_is_put_away_stays(drops: Drops) -> None:
    drops.config = {"after": "delete"}
    path = drops.put("a.csv", "a\n1\n")
    source = drops.start()
    (batch,) = source.round()
    path.write_text("a\n1\n2\n")
    source.committed(batch)
    assert path.exists()


def test_a_file_that_cannot_be_put_away_is_an_error_that_says_so(open_to_all: Drops) -> None:
    drops = open_to_all
    drops.put("a.csv", "a\n1\n")
    drops.folder.chmod(0o755)
    for after, found in (({"move": "done"}, "cannot be moved to"), ("delete", "cannot be deleted: Permission denied")):
        drops.config = {"after": after}
        drops.start()
        with NoRoot(), pytest.raises(AfterFailed) as error:
            drops.read()
        assert str(error.value).startswith("PEN224 file not moved or deleted: a.csv was read but ")
        assert found in str(error.value)


# ---- bounds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "row"), [("a.jsonl", b'{"a": "%s"}\n'), ("a.csv", b"%s\n")])
@pytest.mark.slow
def test_a_line_of_100_mb_is_refused_and_read_over(drops: Drops, name: str, row: bytes) -> None:
    head = b"a\n" if name == "a.csv" else b""
    drops.put(name, head + row % b"before" + row % (b"x" * 100_000_000) + row % b"after")
    batches = drops.read()
    assert values([r for b in batches for r in own(b)]) == ["before", "after"]
    (refusal,) = refusals(batches)
    size = 100_000_000 + len(row) - 2
    assert refusal.reason == f"the line has {size} bytes; a row may have 16777216 (max_line_size)"
    assert len(refusal.original) == 64 << 10
    lines = [p for b in batches for p in b.positions.to_pylist()]
    assert [int(refusal.position) - lines[0], lines[1] - lines[0]] == [1, 2]


def test_a_line_that_is_too_long_is_found_within_a_block(drops: Drops) -> None:
    drops.put("a.jsonl", '{"a": 1}\n' * 9 + '{"a": "' + "x" * 20_000_000 + '"}\n{"a": 2}\n')
    batches = drops.read()
    assert values([r for b in batches for r in own(b)]) == ["1"] * 9 + ["2"]
    assert [r.position for r in refusals(batches)] == ["10"]


@pytest.mark.parametrize("size", [101, 102, 103])
def test_the_limit_of_a_line_is_exact(drops: Drops, size: int) -> None:
    drops.config = {"max_line_size": 101}
    line = '{"a": "' + "x" * (size - 10) + '"}\n'
    drops.put("a.jsonl", line * 5)
    batches = drops.read()
    read, refused = len([r for b in batches for r in own(b)]), len(refusals(batches))
    assert (read, refused) == ((5, 0) if size <= 102 else (0, 5))


def test_batches_have_no_more_rows_than_asked(drops: Drops) -> None:
    drops.batch_rows = 7
    drops.put("a.csv", "a\n" + "".join(f'"{i}\n"\n' for i in range(50)))
    drops.put("b.jsonl", "".join(f'{{"a": {i}}}\n' for i in range(50)))
    drops.read()
    assert max(b.table.num_rows for b in drops.batches) <= 7
    assert sum(b.table.num_rows for b in drops.batches) == 100


def test_an_empty_file_has_no_rows_and_may_grow(drops: Drops) -> None:
    for name in ("a.csv", "b.jsonl", "c.csv.gz"):
        drops.put(name, "")
    assert drops.rows() == []
    assert set(drops.states().values()) == {"done"}
    drops.put("a.csv", "a\n1\n")
    assert values(drops.rows()) == ["1"]


def test_a_stop_ends_the_round_between_files(drops: Drops) -> None:
    drops.put("a.csv", "a\n1\n")
    drops.put("b.csv", "a\n2\n")
    source = drops.start()
    batches = source.round()
    next(batches)
    source.stop_requested = lambda: True
    assert list(batches) == []


def test_a_change_in_the_folder_wakes(drops: Drops) -> None:
    source = drops.start()
    assert source.wait_for_change(0.2) is False
    timer = threading.Timer(0.3, drops.put, ["a.csv", "a\n1\n"])
    timer.start()
    assert source.wait_for_change(30) is True
    timer.join()
    shutil.rmtree(drops.folder)
    assert source.wait_for_change(0.1) is False


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"after": "burn"}, "after"),
        ({"ready": {"stable_for": "soon"}}, "should be a duration"),
        ({"max_file_size": "big"}, "should be a size"),
        ({"same_content": "maybe"}, "'skip' or 'load'"),
        ({"format": "xml"}, "'csv', 'jsonl', 'json' or 'parquet'"),
        ({"macth": "*"}, "macth"),
        ({"after": {"move": "s3://b/x"}}, "within their bucket"),
        ({"path": "s3://a/x", "after": {"move": "s3://b/x"}}, "within their bucket"),
    ],
)
def test_wrong_settings_are_told(config: dict[str, Any], found: str) -> None:
    with pytest.raises(ValidationError) as error:
        Files.Config.model_validate({"path": "x", **config})
    assert found in str(error.value)
