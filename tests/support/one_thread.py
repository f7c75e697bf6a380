"""A fixture for tests that compare numbers of PyTorch."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Other processes on the machine then cost time, not results.

    An engine of vLLM on the CPU replaces `torch.set_num_threads` by a function that does nothing, for as long as the
    process lives; PyTorch's own stays where it was.
    """
    threads = torch.get_num_threads()
    torch._C.set_num_threads(1)
    yield
    torch._C.set_num_threads(threads)
