"""Descriptions of how a process ended."""

import signal


def describe_exit(returncode: int) -> str:
    """Return `exit status 1`, or for a negative `returncode` its signal: `SIGKILL`, or `signal 40` without a name."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:  # real-time signals, all but the first and the last
        return f"signal {-returncode}"
