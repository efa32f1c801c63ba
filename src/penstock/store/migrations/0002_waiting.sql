-- What holds a source's rows back right now, for `status`; '' = nothing.
ALTER TABLE source ADD COLUMN waiting text NOT NULL DEFAULT '';

-- The newest batch of a stream, and how many a pipeline is behind, without reading the whole manifest.
CREATE INDEX batch_stream ON batch (stream, position);
