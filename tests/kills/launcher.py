"""Runs the command line and kills itself with SIGKILL at the Nth observation (argv: N, then the command line).

The kill points are the code's own observations: nothing in the product knows of them. N = 0 never kills.
"""

from __future__ import annotations

import os
import signal
import sys

from penstock.cli.app import main
from penstock.observe import Observation, subscribe


class Killer:
    """Counts observations and dies at the one asked for."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, observation: Observation) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    subscribe(Killer(int(sys.argv[1])))
    sys.argv = ["penstock", *sys.argv[2:]]
    main()
