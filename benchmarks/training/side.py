"""One side of a comparison in its own process, without the memory, threads and warm caches of the other."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.training import flops, ours, peer

REPOSITORY = Path(__file__).parents[2]
PEER_PYTHON = REPOSITORY / ".venv-bench" / "bin" / "python"
"""The interpreter of `make bench-setup`: this project's packages and TRL."""

RATE_SIZE = {"cpu": 2048, "cuda": 8192}
"""The size of the square matrices whose product measures the machine's rate."""


class SideError(Exception):
    """A side's process failed; the message is its last line of output."""


@dataclass(frozen=True)
class Side:
    """A trainer with its settings.

    Attributes:
        program: "ours" or "peer".
        settings: options of our `train` section, or of TRL's GRPOConfig.
        dtype: dtype of matrix products, for the share of the machine's rate.
    """

    program: str
    settings: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"


def measure(side: Side, directory: Path, steps: int, device: str) -> dict[str, Any]:
    """Return the result of the side's `measure`, run in its own process."""
    python = PEER_PYTHON if side.program == "peer" else Path(sys.executable)
    return _child(python, side.program, str(directory), str(steps), device, json.dumps(side.settings))


def matrix_rates(device: str) -> dict[str, float]:
    """Return the FLOP/s of plain matrix products by dtype, measured in their own process."""
    return _child(Path(sys.executable), "rates", device)


def _child(python: Path, *words: str) -> dict[str, Any]:
    command = [str(python), "-m", "benchmarks.training.side", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise SideError(lines[-1])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    program, *words = sys.argv[1:]
    if program == "rates":
        (device,) = words
        dtypes = ("float32", "bfloat16")
        result: dict[str, Any] = {dtype: flops.matrix_rate(dtype, device, RATE_SIZE[device]) for dtype in dtypes}
    else:
        directory, steps, device, settings = words
        measure_here = {"ours": ours.measure, "peer": peer.measure}[program]
        result = measure_here(Path(directory), int(steps), device, json.loads(settings))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
