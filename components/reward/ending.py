"""How a process ended, in words."""

import signal


def how_it_ended(returncode: int) -> str:
    """`exit status 1`, or the signal that a negative number stands for: `SIGKILL`, `signal 40` where it has no name."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:  # real-time signals, all but the first and the last
        return f"signal {-returncode}"
