"""Pages: every row once, in a total order with NULLs, by links that only we can write."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.project.model import Paging
from penstock.serve.paging import key_of, token
from penstock.serve.values import Unusable
from tests.serve.world import PAGED, Client, World, make_project, serving

pytestmark = pytest.mark.slow


def pages(client: Client, first: str) -> Iterator[list[dict[str, object]]]:
    """Follows the links from `first` to the end."""
    at: str | None = first
    while at:
        got = client.get(at)
        assert got.status == 200, got.body
        yield got.json
        link = got.headers.get("link")
        assert link is None or link.endswith('>; rel="next"')
        at = link[1:].split(">")[0] if link else None


def test_links_lead_through_all_rows_once(client: Client) -> None:
    found = list(pages(client, "/api/v1/cities"))
    assert [len(page) for page in found] == [2, 2, 1]
    assert [r["city"] for page in found for r in page] == ["Aachen", 'Bad "Quote", Ort', "Berlin", None, "Köln"]


def test_page_size_is_bounded_and_kept_by_the_link(client: Client) -> None:
    assert [len(page) for page in pages(client, "/api/v1/cities?page_size=3")] == [3, 2]
    assert [len(page) for page in pages(client, "/api/v1/cities?page_size=5")] == [5]
    assert client.get("/api/v1/cities?page_size=6").json["errors"][0]["detail"] == "must be at most 5, is 6"


@pytest.mark.parametrize("orders", list(itertools.product([False, True], repeat=2)))
def test_nulls_are_paged_in_every_direction(world: World, orders: tuple[bool, bool], tmp_path: Path) -> None:
    with world.writing() as conn:
        conn.execute("DELETE FROM top_salesmen")
        keys = list(itertools.product(["2026-01-01", "2026-01-02", None], ["a", "b", None]))
        for date, salesman in keys:
            conn.execute("INSERT INTO top_salesmen (date, salesman_id) VALUES (%s, %s)", (date, salesman))
        by = ", ".join(f"{c}{' DESC' if down else ''}" for c, down in zip(("date", "salesman_id"), orders, strict=True))
        expected = conn.execute(f"SELECT date::text, salesman_id FROM top_salesmen ORDER BY {by}".encode()).fetchall()
    paging = Paging((("date", orders[0]), ("salesman_id", orders[1])), size=1, max=9)
    endpoint = replace(PAGED, sql="SELECT salesman_id, date FROM top_salesmen", paging=paging)
    with serving(make_project(tmp_path, world.url, endpoint), world.url) as client:
        for size in (1, 2, 4):
            found = [r for page in pages(client, f"/api/v1/cities?page_size={size}") for r in page]
            assert [(r["date"], r["salesman_id"]) for r in found] == expected


def test_csv_has_pages_too(client: Client) -> None:
    got = client.get("/api/v1/cities", accept="text/csv")
    assert got.body.count(b"\r\n") == 3
    assert "link" in got.headers


def test_a_changed_token_is_refused(client: Client) -> None:
    link = client.get("/api/v1/cities").headers["link"]
    after = link.split("after=")[1].split(">")[0]
    raw = bytearray(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
    raw[-3] ^= 1
    for wrong in ("", "x", "%C3%A4", base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")):
        got = client.get(f"/api/v1/cities?after={wrong}")
        assert got.status == 400
        assert got.json["errors"][0]["detail"].startswith("is not an `after` of this endpoint")


def test_a_token_is_one_endpoints() -> None:
    other = replace(PAGED, name="other")
    sealed = token(b"secret", PAGED, ["2026-01-01", None])
    assert key_of(b"secret", PAGED, sealed) == ["2026-01-01", None]
    for secret, endpoint in ((b"secret", other), (b"else", PAGED)):
        with pytest.raises(Unusable, match="is not an `after` of this endpoint"):
            key_of(secret, endpoint, sealed)
