"""The errors of intake: mappings and contracts that cannot work, and local memory that cannot be used.

A row that breaks a rule is no error here: it goes to quarantine with its reason, and the source goes on.
"""

from __future__ import annotations

from typing import ClassVar

from penstock.errors import PenstockError


class IntakeError(PenstockError):
    """Base of intake's errors (codes PEN3xx)."""


class BadExpression(IntakeError):
    """An expression of a source file (`fields`, `where`, `operation`) cannot be evaluated on any row.

    Cause: a syntax error, an unknown function, types that do not go together, an aggregate or a window function.
    Remedy: mend the expression in the source file; it is DuckDB's SQL over one row of the source's columns.
    """

    code: ClassVar[str] = "PEN301"
    title: ClassVar[str] = "expression cannot be evaluated"


class BadRule(IntakeError):
    """A rule of the contract cannot be applied to its column.

    Cause: a bound, step or allowed value that is no value of the column's type, or a pattern that is no RE2 pattern.
    Remedy: mend the rule in the contract. RE2 has no look-around and no back-references.
    """

    code: ClassVar[str] = "PEN302"
    title: ClassVar[str] = "contract rule cannot be applied"


class BatchTooLarge(IntakeError):
    """A batch has more rows than a place in the log can name (16,777,215).

    Cause: a source that yields one batch for everything. Remedy: report it; sources must keep to their `batch_rows`.
    """

    code: ClassVar[str] = "PEN303"
    title: ClassVar[str] = "batch too large"


class MemoryUnusable(IntakeError):
    """The folder of intake's key memory cannot be written or read.

    Cause: no rights, a full disk, or a failing device below the state folder.
    Remedy: make room or mend the rights. The memory is rebuilt from the log, so its files may be deleted at any time.
    """

    code: ClassVar[str] = "PEN304"
    title: ClassVar[str] = "key memory cannot be kept"
    retryable: ClassVar[bool] = True


class AmbiguousColumn(IntakeError):
    """A name that the mapping uses fits several columns of the source.

    Cause: two columns of one name, or of names that differ only in upper and lower case, which SQL takes for one.
    Remedy: name the columns apart, e.g. by `columns:` of a CSV source or by aliases in a `query:`.
    """

    code: ClassVar[str] = "PEN305"
    title: ClassVar[str] = "ambiguous column"
