"""Observations between processes: every event there is survives the way."""

from __future__ import annotations

import dataclasses

import pytest

from penstock.observe.events import Observation
from penstock.observe.wire import decode, encode

VALUES = {"str": "text", "int": 3, "float": 0.5, "bool": True, "float | None": None}


@pytest.mark.parametrize("kind", Observation.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_observation_survives(kind: type[Observation]) -> None:
    observation = kind(**{f.name: VALUES[str(f.type)] for f in dataclasses.fields(kind)})
    line = encode(observation)
    assert "\n" not in line
    assert decode(line) == observation


def test_an_event_of_another_version_is_an_error() -> None:
    with pytest.raises(KeyError):
        decode('{"event": "FromTheFuture"}')
