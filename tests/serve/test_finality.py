"""When an answer is final, and that the store is asked for each window's end once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from penstock.serve.finality import SEPARATOR, Finality
from penstock.serve.stamp import Stamps

DAY = 86_400_000_000
VERSION = "a 7 batch gen f\nb 9 batch gen f"


class Store:
    """Knows the windows 1 to 9, which end at as many days; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def lookup(self, pipeline: str, starts: Sequence[str], more: int) -> dict[str, int]:
        self.asked.append(sorted(starts))
        return {start: int(start) * DAY for start in starts if start in "123456789"}


def final(store: Store, finality: Finality, starts: str | None, *, marks: str, version: str = VERSION) -> bool:
    stamp = Stamps().of((version.encode(), marks.encode(), None, None))
    return asyncio.run(finality.is_final((("a", starts),), stamp))


def test_a_window_is_final_once_the_watermark_has_reached_its_end() -> None:
    store = Store()
    finality = Finality(store.lookup)
    assert final(store, finality, "3", marks=f"{3 * DAY},")
    assert not final(store, finality, "3", marks=f"{3 * DAY - 1},")
    assert not final(store, finality, "3", marks=",5")
    assert store.asked == [["3"]]


def test_all_windows_must_have_ended() -> None:
    store = Store()
    finality = Finality(store.lookup)
    assert final(store, finality, SEPARATOR.join("121"), marks=f"{2 * DAY},")
    assert not final(store, finality, SEPARATOR.join("125"), marks=f"{2 * DAY},")
    assert store.asked == [["1", "2"], ["5"]]


def test_an_unknown_window_is_not_final_and_asked_for_again() -> None:
    store = Store()
    finality = Finality(store.lookup)
    assert not final(store, finality, "x", marks=f"{9 * DAY},")
    assert not final(store, finality, "x", marks=f"{9 * DAY},")
    assert not final(store, finality, None, marks=f"{9 * DAY},")
    assert store.asked == [["x"], ["x"]]


def test_a_pipeline_with_a_new_meaning_has_other_windows() -> None:
    store = Store()
    finality = Finality(store.lookup)
    assert final(store, finality, "3", marks=f"{3 * DAY},")
    assert final(store, finality, "3", marks=f"{3 * DAY},", version=VERSION.replace("gen f", "gen g"))
    assert store.asked == [["3"], ["3"]]


def test_a_stamp_remembers_what_is_sure() -> None:
    store = Store()
    finality = Finality(store.lookup)
    stamp = Stamps().of((VERSION.encode(), f"{3 * DAY},".encode(), b"2026-01-23 12:00:00.5+00", None))
    for starts, expected in (("3", True), ("4", False), ("x", False)):
        assert asyncio.run(finality.is_final((("a", starts),), stamp)) is expected
    assert stamp.finals == {(("a", "3"),): True, (("a", "4"),): False}
    assert stamp.headers == [("penstock-as-of", "2026-01-23T12:00:00.5Z")]


def test_equal_stamps_are_parsed_once() -> None:
    stamps = Stamps()
    printed = (VERSION.encode(), b"1,2", None, None)
    assert stamps.of(printed) is stamps.of(printed)
    assert stamps.of((None, None, None, None)).version == ""
