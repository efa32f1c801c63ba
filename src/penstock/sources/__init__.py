"""Places rows come from: one file per `type:`, found by the registry; knows nothing of contracts' rules."""
