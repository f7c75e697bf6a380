"""Sets a run up: a validated prompt table, and the base policy."""
