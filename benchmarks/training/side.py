"""One side of a comparison in a process of its own, so that neither sees the other's memory, threads or warm caches."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.training import flops, ours, peer

REPOSITORY = Path(__file__).parents[2]
PEER_PYTHON = REPOSITORY / ".venv-bench" / "bin" / "python"
"""The interpreter that `make bench-setup` prepares: this project's packages and TRL."""

RATE_SIZE = {"cpu": 2048, "cuda": 8192}
"""Side of the square matrices by which the hardware's rate is measured."""


class SideError(Exception):
    """A side's process failed; the message is the last thing it wrote."""


@dataclass(frozen=True)
class Side:
    """What is measured.

    Attributes:
        program: "ours" or "peer".
        settings: of our `train` section, or of TRL's GRPOConfig.
        dtype: of matrix products, for the share of the machine's rate.
    """

    program: str
    settings: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"


def measure(side: Side, directory: Path, steps: int, device: str) -> dict[str, Any]:
    """What the side's `measure` answers, from a process of its own."""
    python = PEER_PYTHON if side.program == "peer" else Path(sys.executable)
    return _child(python, side.program, str(directory), str(steps), device, json.dumps(side.settings))


def matrix_rates(device: str) -> dict[str, float]:
    """FLOP/s of plain matrix products by dtype, from a process of their own."""
    return _child(Path(sys.executable), "rates", device)


def _child(python: Path, *words: str) -> dict[str, Any]:
    command = [str(python), "-m", "benchmarks.training.side", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise SideError(lines[-1])
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    program, *words = sys.argv[1:]
    if program == "rates":
        (device,) = words
        dtypes = ("float32", "bfloat16")
        answer: dict[str, Any] = {dtype: flops.matrix_rate(dtype, device, RATE_SIZE[device]) for dtype in dtypes}
    else:
        directory, steps, device, settings = words
        measure_here = {"ours": ours.measure, "peer": peer.measure}[program]
        answer = measure_here(Path(directory), int(steps), device, json.loads(settings))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
