"""How this process gets and keeps the memory it computes in."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Have glibc keep what is freed instead of giving it back to the system.

    It maps and unmaps every tensor of some megabytes, and touching fresh pages costs more than the operations on
    them: a fifth of a training step on the CPU (`benchmarks/LOG.md`). Where libc is another one, nothing changes.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _BYTES)
