"""The memory of a training process."""

import ctypes
import gc

import torch


def release_models() -> None:
    """Give up the memory of models that nothing refers to any more; sharded ones refer to themselves."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def keep_freed_memory() -> None:
    """Make glibc keep freed memory instead of returning it to the system.

    It maps and unmaps every tensor of some megabytes, and touching fresh pages costs more than the operations on
    them: a fifth of a training step on the CPU (`benchmarks/LOG.md`). With another libc nothing changes.
    """
    trim_threshold, mmap_threshold, limit = -1, -3, 1 << 30
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_threshold, limit)
        libc.mallopt(trim_threshold, limit)
