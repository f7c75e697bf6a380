"""What every stage does while it runs: keep time, report progress, fail in one line."""
