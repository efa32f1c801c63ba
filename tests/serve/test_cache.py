"""The cache is bounded, keeps what is in use, and refuses what is too large."""

from __future__ import annotations

from penstock.serve.answers import Answer
from penstock.serve.cache import Cache
from penstock.serve.catalogue import Served
from tests.serve.world import BY_CITY

SERVED = Served(BY_CITY, "penstock", {})


def answer(size: int) -> Answer:
    return Answer(SERVED, "v", '"e"', [], b"x" * size)


def test_it_stays_within_its_bytes_and_keeps_what_is_asked_for() -> None:
    cache = Cache(1_000_000)
    cache.put(("/hot", "", None), answer(9_000))
    for n in range(1_000):
        cache.put(("/cold", str(n), None), answer(9_000))
        assert cache.get(("/hot", "", None)) is not None
    assert len(cache) <= 100
    assert cache.get(("/cold", "0", None)) is None
    assert cache.get(("/cold", "999", None)) is not None


def test_the_representation_is_part_of_the_key() -> None:
    cache = Cache()
    cache.put(("/a", "", "text/csv"), answer(1))
    assert cache.get(("/a", "", None)) is None


def test_what_is_too_large_is_not_kept() -> None:
    cache = Cache(1_000_000)
    cache.put(("/a", "", None), answer(200_000))
    assert len(cache) == 0
    Cache(0).put(("/a", "", None), answer(1))


def test_an_answer_put_again_counts_once() -> None:
    cache = Cache(1_000_000)
    for _ in range(1_000):
        cache.put(("/a", "", None), answer(9_000))
    cache.put(("/b", "", None), answer(9_000))
    assert cache.get(("/a", "", None)) is not None
    assert len(cache) == 2


def test_clear() -> None:
    cache = Cache()
    cache.put(("/a", "", None), answer(1))
    cache.clear()
    assert len(cache) == 0
