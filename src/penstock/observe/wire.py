"""Observations as JSON lines, so that one process's are handled in another: the API's in the writer and back."""

from __future__ import annotations

import json
from dataclasses import asdict

from penstock.observe.events import Observation


def encode(observation: Observation) -> str:
    """Returns one line without its end."""
    return json.dumps({"event": type(observation).__name__, **asdict(observation)})


def decode(line: str) -> Observation:
    """Returns the observation in a line that `encode` made. Raises KeyError for an event this version does not have."""
    fields = json.loads(line)
    known = {cls.__name__: cls for cls in Observation.__subclasses__()}
    return known[fields.pop("event")](**fields)
