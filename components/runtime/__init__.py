"""Functions of every running stage: timing, progress, failure in one line."""
