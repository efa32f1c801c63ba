from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.project.values import duration_text, parse_duration, parse_size, parse_timezone


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0s", timedelta(0)),
        ("250ms", timedelta(milliseconds=250)),
        ("10s", timedelta(seconds=10)),
        ("5m", timedelta(minutes=5)),
        ("1.5h", timedelta(minutes=90)),
        ("2 d", timedelta(days=2)),
        ("0.001ms", timedelta(microseconds=1)),
    ],
)
def test_durations(text: str, value: timedelta) -> None:
    assert parse_duration(text) == value


@pytest.mark.parametrize("value", ["", "10", "s", "-1s", "1w", "1h30m", "1e3s", 10, None, "99999999d", "1,5h", True])
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="should be a duration"):
        parse_duration(value)


@given(st.integers(min_value=0, max_value=10**12))
def test_durations_are_written_as_they_are_read(milliseconds: int) -> None:
    value = timedelta(milliseconds=milliseconds)
    assert parse_duration(duration_text(value)) == value


@pytest.mark.parametrize(
    ("value", "size"), [("10GB", 10**10), ("64KiB", 65536), ("1.5 MB", 1_500_000), (7, 7), ("7", 7), ("7b", 7)]
)
def test_sizes(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["", "GB", "-1GB", "10 XB", -1, 1.5, None, True])
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="should be a size"):
        parse_size(value)


@pytest.mark.parametrize("value", ["CEST", "", "../etc/passwd", "europe/berlin", None, 1])
def test_what_is_no_time_zone(value: object) -> None:
    with pytest.raises(ValueError, match="should be the name of a time zone"):
        parse_timezone(value)
