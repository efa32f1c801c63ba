"""The writer and what it runs: sources, intake, pipelines, requests."""
