"""A stream's watermark as its sources' rounds go by."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from penstock.intake.watermark import SourceTime, idle, risen, watermark

NOON = datetime(2026, 1, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SOURCE = SourceTime(False, NOON - HOUR, NOON, NOON, False, timedelta(minutes=10), timedelta(minutes=5))


def test_a_source_stands_at_its_highest_event_less_the_lateness() -> None:
    assert watermark(SOURCE) == NOON - HOUR - timedelta(minutes=10)
    assert watermark(replace(SOURCE, high=None)) is None


def test_no_source_is_ahead_of_its_reading() -> None:
    assert watermark(replace(SOURCE, high=NOON + 20 * HOUR)) == NOON


def test_the_first_event_of_the_calendar_does_not_overflow() -> None:
    first = datetime.min.replace(tzinfo=UTC)
    assert watermark(replace(SOURCE, high=first)) == first


def test_a_stream_stands_at_its_least_source() -> None:
    behind = replace(SOURCE, high=NOON - 3 * HOUR)
    assert risen(None, [SOURCE, behind], NOON) == watermark(behind)


def test_a_source_in_its_first_round_does_not_count() -> None:
    first = replace(SOURCE, first_round=True, high=None)
    assert risen(None, [SOURCE, first], NOON) == watermark(SOURCE)
    assert risen(None, [first], NOON) is None


def test_a_failed_source_holds_back_however_long_it_found_nothing() -> None:
    failed = replace(SOURCE, high=NOON - 3 * HOUR, held=True)
    assert risen(None, [SOURCE, failed], NOON + 9 * HOUR) == watermark(failed)


def test_an_idle_source_does_not_hold_back() -> None:
    quiet = replace(SOURCE, high=NOON - 3 * HOUR, last_found=NOON - HOUR)
    assert idle(quiet, NOON)
    assert risen(None, [SOURCE, quiet], NOON) == watermark(SOURCE)
    assert risen(watermark(SOURCE), [quiet], NOON) is None


def test_when_all_are_idle_the_furthest_counts() -> None:
    quiet = replace(SOURCE, high=NOON - 3 * HOUR)
    assert risen(None, [SOURCE, quiet], NOON + HOUR) == watermark(SOURCE)


def test_a_source_that_never_found_a_row_holds_back_until_it_is_idle() -> None:
    empty = replace(SOURCE, high=None, last_found=None, last_success=NOON + HOUR, first_success=NOON)
    assert risen(None, [SOURCE, empty], NOON + timedelta(minutes=4)) is None
    assert risen(None, [SOURCE, empty], NOON + timedelta(minutes=5)) == watermark(SOURCE)


def test_a_clock_set_back_makes_it_stand() -> None:
    before = risen(None, [SOURCE], NOON)
    back = replace(SOURCE, high=NOON, last_success=NOON - 5 * HOUR, last_found=NOON - 5 * HOUR)
    assert risen(before, [back], NOON - 5 * HOUR) is None
    assert not idle(replace(SOURCE, last_found=NOON), NOON - 5 * HOUR)


MINUTES = st.integers(-600, 600).map(lambda m: NOON + timedelta(minutes=m))
SOURCES = st.builds(
    SourceTime, st.booleans(), st.none() | MINUTES, MINUTES, st.none() | MINUTES, st.booleans(),
    st.just(HOUR), st.just(HOUR),
)  # fmt: skip


@given(st.none() | MINUTES, st.lists(SOURCES, max_size=4), MINUTES)
def test_it_only_rises_and_never_past_a_source_that_counts(
    before: datetime | None, sources: list[SourceTime], now: datetime
) -> None:
    found = risen(before, sources, now)
    if found is None:
        return
    assert before is None or found > before
    for source in sources:
        if not source.first_round and not idle(source, now):
            mark = watermark(source)
            assert mark is not None
            assert found <= mark
