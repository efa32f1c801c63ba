"""The conformance suite of sources: what every connector must do. It finds them by the registry; none can skip it.

Each check is a function of a run (`kit.py`). To register a new connector, add `tests/sources/kit_<type>.py`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from penstock.errors import PenstockError
from penstock.sources.base import Source
from penstock.sources.registry import sources
from tests.conformance.kit import Row, Run, SourceKit, rows_of, some


def kit_of(type_: str) -> type[SourceKit]:
    """The kit of a connector. Fails with what is missing."""
    try:
        kit: type[SourceKit] = importlib.import_module(f"tests.sources.kit_{type_}").Kit
    except ModuleNotFoundError:
        pytest.fail(f"source type {type_!r} has no conformance kit: write class Kit in tests/sources/kit_{type_}.py")
    return kit


def _is_slow(type_: str) -> bool:
    try:
        return kit_of(type_).slow
    except pytest.fail.Exception:
        return False


TYPES = [pytest.param(t, marks=[pytest.mark.slow] if _is_slow(t) else [], id=t) for t in sources()]


def reads_everything_once(run: Run) -> None:
    run.kit.add(some(1, 50))
    assert run.rows() == some(1, 50)
    assert run.rows() == []


def reads_only_what_is_new(run: Run) -> None:
    run.kit.add(some(1, 5))
    run.rows()
    run.kit.add(some(6, 8))
    assert run.rows() == some(6, 8)
    run.start()
    run.kit.add(some(9, 9))
    assert run.rows() == some(9, 9)


def goes_on_after_a_kill_at_every_batch(run: Run) -> None:
    run.batch_rows = 7
    run.kit.add(some(1, 40))
    run.kit.add(some(41, 60))
    seen = []
    for _ in range(100):
        part = run.round(batches=1)
        seen += part
        if not part:
            break
    assert rows_of(seen) == some(1, 60)


def yields_again_what_was_not_committed(run: Run) -> None:
    run.batch_rows = 7
    run.kit.add(some(1, 30))
    run.kit.add(some(31, 40))
    for committed in range(4):
        run.cursor, run.receipts, kept = {}, {}, []
        reading = run.start().round()
        for _ in range(committed):
            kept.append(next(reading))
            run.commit(kept[-1])
        next(reading)
        run.close()
        assert rows_of(kept + run.round()) == some(1, 40)


def an_empty_place_has_no_rows(run: Run) -> None:
    assert run.rows() == []
    run.kit.add(some(1, 1))
    assert run.rows() == some(1, 1)


def extremes_come_through(run: Run) -> None:
    texts = [
        "",
        " ",
        "Zoë 😀",
        'it\'s "quoted", with; delimiters|\tand tabs',
        "two\nlines\r\nand\rthree",
        "\\N",
        "NULL",
        "%s {}",
    ]
    numbers = ["0.00", "-0.01", "9999999999.99", "-9999999999.99", "0.10"]
    rows: list[Row] = [{"id": str(i + 1), "name": t, "amount": numbers[i % len(numbers)]} for i, t in enumerate(texts)]
    rows.append({"id": "9007199254740993", "name": None, "amount": None})
    run.kit.add(rows)
    assert run.rows() == rows


def new_columns_lose_no_rows(run: Run) -> None:
    run.kit.add(some(1, 3))
    run.rows()
    run.kit.add([{**row, "extra": "x"} for row in some(4, 6)])
    run.start()
    assert run.rows() == some(4, 6)


def batches_are_well_formed(run: Run) -> None:
    run.batch_rows = 7
    run.kit.add(some(1, 30))
    batches = run.round()
    assert any(b.table.num_rows for b in batches)
    for batch in batches:
        assert batch.table.num_rows <= 7
        assert len(batch.positions) == batch.table.num_rows
        assert batch.positions.type in (pa.int64(), pa.string())
        assert batch.positions.null_count == 0
        assert batch.read_at.utcoffset() == timedelta(0)
        assert json.loads(json.dumps(batch.cursor)) == batch.cursor
        assert batch.origin or not batch.table.num_rows
        for receipt in batch.receipts:
            assert json.loads(json.dumps(dict(receipt.details))) == dict(receipt.details)
        if batch.original is not None and batch.table.num_rows:
            assert all(batch.original(list(range(batch.table.num_rows))))
    positions = [(b.origin, p) for b in batches for p in b.positions.to_pylist()]
    assert len(set(positions)) == len(positions)


def an_outage_is_an_error_with_code_and_hint_and_passes(run: Run) -> None:
    run.kit.add(some(1, 3))
    run.rows()
    run.kit.add(some(4, 6))
    run.kit.vanish()
    for attempt in (run.start, run.rows):
        with pytest.raises(PenstockError) as error:
            attempt()
        assert error.value.code.startswith("PEN2")
        assert error.value.hint
        assert error.value.retryable
        assert "Traceback" not in str(error.value)
    run.kit.come_back()
    run.start()
    assert run.rows() == some(4, 6)


def closing_is_always_allowed(run: Run) -> None:
    run.kit.add(some(1, 3))
    source = run.make()
    source.close()
    source.close()
    source = run.start()
    reading = source.round()
    next(reading)
    source.close()
    source.close()
    run.kit.vanish()
    failing = run.make()
    with pytest.raises(PenstockError):
        failing.open({}, {})
    failing.close()
    run.kit.come_back()


def committed_may_be_told_twice(run: Run) -> None:
    run.kit.add(some(1, 3))
    source = run.start()
    for batch in source.round():
        run.commit(batch)
        source.committed(batch)
    run.kit.add(some(4, 5))
    assert run.rows() == some(4, 5)


def a_round_ends_though_rows_keep_coming(run: Run) -> None:
    run.batch_rows = 5
    run.kit.add(some(1, 20))
    seen, following = [], 21
    for batch in run.start().round():
        run.commit(batch)
        seen.append(batch)
        run.kit.add(some(following, following + 9))
        following += 10
        assert len(seen) < 50, "the round must end at what stood when it began"
    rest = run.rows()
    while more := run.rows():
        rest += more
    assert sorted(rows_of(seen) + rest, key=lambda row: int(row["id"] or 0)) == some(1, following - 1)


CHECKS: list[Callable[[Run], None]] = [
    reads_everything_once,
    reads_only_what_is_new,
    goes_on_after_a_kill_at_every_batch,
    yields_again_what_was_not_committed,
    an_empty_place_has_no_rows,
    extremes_come_through,
    new_columns_lose_no_rows,
    batches_are_well_formed,
    an_outage_is_an_error_with_code_and_hint_and_passes,
    closing_is_always_allowed,
    committed_may_be_told_twice,
    a_round_ends_though_rows_keep_coming,
]


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("check", CHECKS, ids=[c.__name__ for c in CHECKS])
def test_conforms(check: Callable[[Run], None], type_: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    kit = kit_of(type_)
    excuse = kit.excuses.get(check.__name__)
    run = Run(kit(request, tmp_path), type_)
    try:
        if excuse is None:
            check(run)
            return
        with pytest.raises((AssertionError, PenstockError)):
            check(run)
    finally:
        run.close()


@pytest.mark.parametrize("type_", sorted(sources()))
def test_excuses_name_checks_and_give_reasons(type_: str) -> None:
    names = {check.__name__ for check in CHECKS}
    for name, reason in kit_of(type_).excuses.items():
        assert name in names
        assert len(reason) > 10


@pytest.mark.parametrize("cls", [pytest.param(cls, id=name) for name, cls in sources().items()])
def test_names_and_settings_are_declared(cls: type[Source]) -> None:
    assert cls.__module__ == f"penstock.sources.{cls.type}", "the type's word is the module's name"
    assert cls.__doc__
    assert cls.Config.model_fields
    for name, described in cls.Config.model_fields.items():
        assert described.description, f"{name} has no description"
        assert name == name.lower()
