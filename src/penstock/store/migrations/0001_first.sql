-- Penstock's own tables. Run with search_path set to Penstock's own schema. Later migrations only add.

CREATE TABLE project (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id uuid NOT NULL,
    name text NOT NULL,
    results_schema text NOT NULL,
    log_id uuid NOT NULL,               -- the prefix of the log's segments: another store never touches them
    secret bytea NOT NULL,              -- keys the content hashes
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE writer (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    token uuid NOT NULL,
    pid integer NOT NULL,
    host text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE contract (
    stream text PRIMARY KEY,
    definition jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE batch (
    position bigint PRIMARY KEY CHECK (position > 0),
    id uuid NOT NULL UNIQUE,
    parent_id uuid UNIQUE,              -- NULL at position 1 alone
    stream text NOT NULL,
    source text NOT NULL,
    origin text NOT NULL,
    rows bigint NOT NULL,
    has_negative boolean NOT NULL,
    ingested_at timestamptz NOT NULL,
    watermark timestamptz,
    stream_watermark timestamptz,
    contract_version text NOT NULL,
    event_time_min timestamptz,
    event_time_max timestamptz,
    read bigint NOT NULL,
    accepted bigint NOT NULL,
    quarantined bigint NOT NULL,
    duplicates bigint NOT NULL,
    cursor jsonb NOT NULL,
    inline bytea,                       -- the block itself; NULL when it is in a segment
    segment text,
    segment_offset bigint,              -- where the block begins in the segment
    block_bytes bigint NOT NULL,        -- length of the block
    block_row bigint NOT NULL DEFAULT 0,-- where this batch's rows begin in the block (compacted blocks hold many)
    checksum text NOT NULL,             -- of the block
    CHECK (position = 1 OR parent_id IS NOT NULL),
    CHECK (read = accepted + quarantined + duplicates),
    CHECK ((inline IS NULL) = (segment IS NOT NULL) AND (segment IS NULL) = (segment_offset IS NULL) OR rows = 0)
);
ALTER TABLE batch ALTER inline SET STORAGE EXTERNAL;

CREATE TABLE segment_garbage (
    segment text PRIMARY KEY,
    replaced_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
    since timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE source (
    name text PRIMARY KEY,
    type text NOT NULL,
    stream text NOT NULL,
    cursor jsonb NOT NULL DEFAULT '{}',
    read bigint NOT NULL DEFAULT 0,
    accepted bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    round bigint NOT NULL DEFAULT 0,
    round_open boolean NOT NULL DEFAULT false,
    round_watermark timestamptz,        -- the stream's watermark when the open round began
    round_high timestamptz,             -- highest event time of the open round so far
    first_round boolean NOT NULL DEFAULT true,
    high timestamptz,                   -- highest event time of the completed rounds
    last_success timestamptz,           -- when a round last completed
    last_found timestamptz,             -- when a round last found rows
    state text NOT NULL DEFAULT 'starting',
    error jsonb,
    error_since timestamptz,
    paused boolean NOT NULL DEFAULT false,
    unmapped text[] NOT NULL DEFAULT '{}',
    CHECK (read = accepted + quarantined + duplicates)
);

CREATE TABLE receipt (
    source text NOT NULL,
    item text NOT NULL,
    state text NOT NULL,
    size bigint NOT NULL,
    hash text NOT NULL,
    modified_at timestamptz,
    rows_read bigint NOT NULL,
    accepted bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    details jsonb NOT NULL DEFAULT '{}',
    first_seen timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, item)
);

CREATE TABLE quarantine (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    source text NOT NULL,
    stream text NOT NULL,
    rule text NOT NULL,
    reason text NOT NULL,
    original bytea NOT NULL,
    origin text NOT NULL,
    position text NOT NULL,             -- in the source
    mapped text,                        -- the mapped row as JSON, NULL when it could not be decoded
    contract_version text NOT NULL,
    batch_position bigint NOT NULL,     -- the log's, of the batch it came with
    watermark timestamptz,              -- the stamp of its first arrival
    ingested_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'refused' CHECK (state IN ('refused', 'replayed', 'dropped')),
    changed_at timestamptz
);
CREATE INDEX quarantine_source ON quarantine (source, rule, id);

CREATE TABLE pipeline (
    name text PRIMARY KEY,              -- of a result that is built beside: the name and a generation
    builds text,                        -- the pipeline whose table this result will replace
    table_schema text NOT NULL,
    table_name text NOT NULL,
    generation uuid NOT NULL,           -- of the engine's state
    fingerprint text NOT NULL,
    plan jsonb NOT NULL,
    key text[] NOT NULL,
    window_column text,
    position bigint NOT NULL DEFAULT 0,
    batch_id uuid,                      -- NULL at position 0
    watermark timestamptz,
    as_of timestamptz,
    late_set_aside bigint NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'starting',
    error jsonb,
    error_since timestamptz,
    removed_at timestamptz              -- since when no file keeps it current
);

CREATE TABLE pipeline_window (
    pipeline text NOT NULL REFERENCES pipeline ON DELETE CASCADE ON UPDATE CASCADE,
    window_start text NOT NULL,
    window_end timestamptz NOT NULL,
    restated bigint NOT NULL,
    set_aside bigint NOT NULL,
    PRIMARY KEY (pipeline, window_start)
);

CREATE TABLE request (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    verb text NOT NULL,
    args jsonb NOT NULL DEFAULT '{}',
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'taken', 'done', 'failed')),
    answer jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX request_waiting ON request (id) WHERE state = 'waiting';

-- Every writing transaction calls this first. The row lock lets a new writer's token wait for transactions of the old
-- one that are still open, and refuses those that come after it.
CREATE FUNCTION check_token(mine uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    holder record;
BEGIN
    SELECT token, pid, host, since INTO holder FROM writer FOR SHARE;
    IF holder.token IS DISTINCT FROM mine THEN
        RAISE EXCEPTION 'pid % on % is the writer since %', holder.pid, holder.host, holder.since
            USING ERRCODE = 'PEN16';
    END IF;
END $$;

-- Moves a pipeline from the position its changes build on, or refuses.
CREATE FUNCTION move_pipeline(
    which text, previous bigint, previous_id uuid, next bigint, next_id uuid, mark timestamptz, aside bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    found_position bigint;
    found_id uuid;
BEGIN
    SELECT position, batch_id INTO found_position, found_id FROM pipeline WHERE name = which FOR UPDATE;
    IF found_position IS DISTINCT FROM previous OR found_id IS DISTINCT FROM previous_id THEN
        RAISE EXCEPTION 'it is at % (batch %), the changes build on % (batch %)',
            coalesce(found_position::text, 'no position'), coalesce(found_id::text, 'none'),
            previous, coalesce(previous_id::text, 'none')
            USING ERRCODE = 'PEN17';
    END IF;
    UPDATE pipeline SET position = next, batch_id = next_id, watermark = mark, late_set_aside = aside,
        as_of = clock_timestamp() WHERE name = which;
END $$;
