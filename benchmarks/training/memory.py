"""Memory of this process or its CUDA device, in bytes."""

from pathlib import Path

_CLEAR_HIGH_WATER_MARK = "5"


class Meter:
    """The peak memory since the meter was created.

    On the CPU this is the resident memory of the process, imports included; on CUDA the memory allocated by PyTorch.

    Attributes:
        before: bytes in use when the meter was created.
    """

    def __init__(self, device: str) -> None:
        self._cuda = device != "cpu"
        if self._cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text(_CLEAR_HIGH_WATER_MARK, encoding="ascii")
            self.before = _status("VmRSS")

    def peak(self) -> int:
        """Return the largest number of bytes in use since the meter was created."""
        if self._cuda:
            import torch

            return torch.cuda.max_memory_allocated()
        return _status("VmHWM")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")
