"""What can go wrong while an engine adds up the log (PEN6xx)."""

from __future__ import annotations

from penstock.errors import PenstockError


class EngineError(PenstockError):
    """The base of every engine error."""


class PipelineError(EngineError):
    """A value of the log cannot be carried by the pipeline's SQL: a sum or a cast overflows, a cast or a function
    fails, a division has no result. Nothing was changed by the step, the pipeline stops, the others go on. The
    message names the group (or the row) at which it happens. Widen the type in the SELECT, guard the expression
    (`TRY_CAST`, `nullif`, `CASE`), or have the contract refuse such values.
    """

    code = "PEN601"
    title = "the pipeline's SQL fails on a group"


class EngineResourceError(EngineError):
    """The engine ran out of memory or disk, or its state file could not be read or written while it ran. Free space
    or raise the memory limit; the step is tried again, and nothing of it was kept.
    """

    code = "PEN602"
    title = "the engine has no room to work"
    retryable = True


class StateBusyError(EngineError):
    """The state file of a pipeline is held by another process. Only one process may run a pipeline: stop the other
    run, or point this one at a state folder of its own.
    """

    code = "PEN603"
    title = "the pipeline's state is held by another process"
    retryable = True


class StateDamagedError(EngineError):
    """A pipeline's state file held something else than was written to it. The file was thrown away; the pipeline is
    built again from the log, which holds everything. If it happens again, look after the disk.
    """

    code = "PEN604"
    title = "the pipeline's state was damaged"
    retryable = True
