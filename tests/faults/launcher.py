"""Runs the command line with an act at a step: `python -m tests.faults.launcher STEP NTH STATEMENT ARGS...`.

The statement is executed once, in the thread that emits the nth observation of the step.
"""

from __future__ import annotations

import itertools
import sys

from penstock.cli.app import main
from penstock.observe import subscribe
from penstock.observe.events import Observation, Step


def launch(step: str, nth: int, statement: str, *args: str) -> None:
    numbers = itertools.count(1)

    def act(observation: Observation) -> None:
        if isinstance(observation, Step) and observation.name == step and next(numbers) == nth:
            exec(statement, {})

    subscribe(act)
    sys.argv = ["penstock", *args]
    main()


if __name__ == "__main__":
    launch(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
