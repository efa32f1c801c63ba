"""The stage that decodes, checks, decides duplicates and corrections, stamps provenance, and appends to the log."""
