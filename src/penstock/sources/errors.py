"""What can go wrong while a source is read: PEN200-219 common, PEN220-259 files, PEN260-299 postgres.

Rows and files that cannot be decoded are no errors: they are refusals, kept in quarantine, and the source goes on.
An error here stops the source, or has it tried again when its class says `retryable`.
"""

from __future__ import annotations

from penstock.sources.base import SourceError


class FolderMissing(SourceError):
    """The folder a `files` source reads is not there.

    A share that is not mounted looks exactly like a folder that was never made, so this is an error and not "no
    files": nothing that was read is taken back, and reading goes on by itself once the folder is there again. Make the
    folder, mount the share, or correct `path` in the source's file.
    """

    code = "PEN220"
    title = "folder missing"
    retryable = True


class FolderUnreadable(SourceError):
    """The folder a `files` source reads, or one below it, cannot be listed.

    Penstock's user may not read the folder, or the device under it failed. Files in it would be missed in silence, so
    the source waits instead. Give the user the rights to read and enter the folder, or leave it out with `match`.
    """

    code = "PEN221"
    title = "folder unreadable"
    retryable = True


class BucketUnreachable(SourceError):
    """The object storage of a `files` source does not answer.

    The network, the endpoint or the service is away. It is tried again with growing pauses; check `s3.endpoint` or
    `AWS_ENDPOINT_URL`, the network and the service when it lasts.
    """

    code = "PEN222"
    title = "bucket unreachable"
    retryable = True


class BucketRefused(SourceError):
    """The object storage of a `files` source refuses to list or give objects.

    The bucket does not exist or the credentials do not allow it. Penstock looks for credentials in the source's `s3:`
    keys and then in the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
    `AWS_REGION`, `AWS_ENDPOINT_URL`); reading needs `s3:ListBucket` and `s3:GetObject`, moving and deleting
    `s3:PutObject` and `s3:DeleteObject`.
    """

    code = "PEN223"
    title = "bucket refused"


class AfterFailed(SourceError):
    """A file was read, but could not be moved or deleted as `after` asks.

    Its rows are kept, and it will not be read twice; but it stays where it is. It is tried again with growing pauses.
    Give Penstock's user the right to write in the folder and in the target, or set `after: keep`.
    """

    code = "PEN224"
    title = "file not moved or deleted"
    retryable = True


class PostgresUnreachable(SourceError):
    """The PostgreSQL of a source does not answer: it is down, starting, full, or the network is in between.

    It is tried again with growing pauses. If it lasts, check host, port and sslmode in `connection:`, that the server
    is up (`pg_isready`) and that a firewall lets this machine through.
    """

    code = "PEN260"
    title = "PostgreSQL cannot be reached"
    retryable = True


class PostgresLoginRefused(SourceError):
    """The PostgreSQL of a source refused the login: wrong password, unknown role, or no line for us in pg_hba.conf.

    Nothing is tried again before the project is changed, lest the account be locked. Mend the variable that
    `connection:` refers to, then `penstock source resume`.
    """

    code = "PEN261"
    title = "PostgreSQL refused the login"


class PostgresLost(SourceError):
    """The PostgreSQL of a source broke off while it was read: a restart, a lost connection, a timeout, a deadlock.

    What was committed stays; the source goes on from its cursor once the server answers again.
    """

    code = "PEN262"
    title = "PostgreSQL broke off"
    retryable = True


class PostgresTableMissing(SourceError):
    """The table (or a table of the query) does not exist, or is not on the role's search_path.

    Name the schema (`table: shop.orders`), or mend the name. A dropped table's rows that were read stay in the log.
    """

    code = "PEN263"
    title = "table not found"


class PostgresColumnMissing(SourceError):
    """A column that the source needs (its cursor, or one that `fields:` uses) does not exist, or exists twice.

    Was it dropped or renamed at the source? Mend `query:` and `fields:`, or give it back its name.
    """

    code = "PEN264"
    title = "column not found"


class PostgresNoRights(SourceError):
    """The role may not read something the source needs.

    The owner of the table grants it: `GRANT SELECT ON shop.orders TO reader`, and `GRANT USAGE ON SCHEMA shop`.
    """

    code = "PEN265"
    title = "no right to read"


class PostgresCursorType(SourceError):
    """The column that the cursor runs along has a type whose values do not grow with time.

    `incrementing_column` takes whole numbers, numeric, timestamps and dates (further columns of a list also text and
    uuid); `timestamp_column` takes timestamps. A text, a float, a random uuid or a date without a time of day would
    skip rows.
    """

    code = "PEN266"
    title = "a cursor cannot run along this column"


class PostgresQueryFailed(SourceError):
    """PostgreSQL refused the source's query, or it failed on a row (a division by zero, a broken cast).

    Run it in psql under the same role. It must be one SELECT that only reads.
    """

    code = "PEN267"
    title = "the query failed"


class PostgresRetyped(SourceError):
    """A column that the source uses has changed its type at the source in a way that may change its meaning.

    Say in `query:` or `fields:` how it is to be read: a changed source file counts as consent to the new types. Or
    give the column its old type back.
    """

    code = "PEN268"
    title = "column has another type"


class PostgresNotUnique(SourceError):
    """A stream without a primary key is read along a column that is not unique, so a restart could count rows twice.

    Use a unique column, list several in `incrementing_column: [a, b]` that are unique together, or give the contract
    a primary key.
    """

    code = "PEN269"
    title = "the cursor is not unique"


class PostgresCursorForeign(SourceError):
    """The stored cursor was made by another mode or along other columns than the source file says now.

    `penstock source reset NAME` reads from the start (known keys are duplicates); or put the old mode back.
    """

    code = "PEN270"
    title = "cursor of another mode"


class PostgresBulkCutOff(SourceError):
    """A bulk reading of a stream without a key was cut off and its local copy is gone, so it cannot be continued.

    What was read is in the log; reading all again would count it twice. Retract those rows and reset the source, or
    give the contract a primary key.
    """

    code = "PEN271"
    title = "bulk reading cannot be continued"


class PostgresDatabaseMissing(SourceError):
    """The server answers, but has no such database. Mend `dbname` in `connection:`."""

    code = "PEN272"
    title = "database not found"


class PostgresConnectionInvalid(SourceError):
    """`connection:` is neither a URL nor a connection string that libpq reads, or lacks what it needs."""

    code = "PEN273"
    title = "connection cannot be read"


class PostgresEncoding(SourceError):
    """The database (encoding SQL_ASCII) holds bytes that are not UTF-8, so its texts cannot be read verbatim.

    Name the encoding in the query:
    `convert_from(convert(convert_to(name, 'SQL_ASCII'), 'WIN1252', 'UTF8'), 'SQL_ASCII') AS name`.
    """

    code = "PEN274"
    title = "text is not UTF-8"
