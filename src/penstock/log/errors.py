"""The log's errors: PEN4xx."""

from __future__ import annotations

from penstock.errors import PenstockError


class LogError(PenstockError):
    """Base of the log's errors."""


class SegmentMissing(LogError):
    """A file of the log that the manifest names is not there. Pipelines that need it stop; nothing is left out.

    Bring the file back (from a backup of the state folder or bucket). `log:` or `state:` in penstock.yaml may also name
    another place than the one the log was written to.
    """

    code = "PEN401"
    title = "a segment of the log is missing"


class SegmentDamaged(LogError):
    """A file of the log has other bytes than were written. Pipelines that need it stop; nothing is left out.

    Bring the file back from a backup, and look at the disk.
    """

    code = "PEN402"
    title = "a segment of the log is damaged"


class OtherChain(LogError):
    """A position is not one of this log: what remembers it comes from another history, e.g. as the store was restored
    from an older backup. Local state like that is thrown away and built again."""

    code = "PEN403"
    title = "the position is not of this log"
    retryable = True


class SegmentsAway(LogError):
    """The place where the log's segments are kept cannot be reached, or refuses. Tried again with growing pauses.

    For a bucket: credentials and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    `AWS_ENDPOINT_URL`, `AWS_REGION`).
    """

    code = "PEN404"
    title = "the log's segments cannot be reached"
    retryable = True


class NewerFormat(LogError):
    """A segment was written by a newer Penstock, in a format this one does not know. Use that version."""

    code = "PEN405"
    title = "a segment of the log is of a newer format"


class LogDiskFull(LogError):
    """No space is left for a segment of the log. Nothing was lost: free some space, the batch is tried again."""

    code = "PEN406"
    title = "no space left for the log"
    retryable = True


class ManifestBroken(LogError):
    """The log's manifest in the store has a gap, or batches that do not follow each other. Restore the store."""

    code = "PEN407"
    title = "the log's manifest is broken"
