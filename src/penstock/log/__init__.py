"""The log: ordered, durable, replayable batches of accepted rows; manifest in the store, rows inline or in segments."""
