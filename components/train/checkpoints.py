"""Checkpoints inside a pass, kept in the run until the pass is committed."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from components.contract.manifest import Output
from components.runtime.clock import Clock
from components.runtime.progress import note
from components.store import OutputDirectory, Run
from components.train.checkpoint import load_state, save_state
from components.train.leftovers import checkpoints, clear_checkpoints
from components.train.processes import Processes
from components.train.update import Pass

_PASS = "pass.json"
_STATE = "state"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one iteration's pass.

    Attributes:
        inputs, digest: what the pass depends on; checkpoints of anything else are passed over.
    """

    run: Run
    iteration: int
    inputs: dict[str, str]
    digest: str
    processes: Processes

    def saver(self, model: nn.Module, optimizer: torch.optim.AdamW) -> Callable[[Pass], None]:
        """What writes a checkpoint of a pass that has come so far."""

        def save(reached: Pass) -> None:
            directory = self._directory(reached.done)
            with tempfile.TemporaryDirectory(prefix="rapid-checkpoint-") as scratch:
                save_state(Path(scratch), model, optimizer, reached.step, True, self.processes)
                outputs = upload_all(directory, Path(scratch), _STATE, self.processes)
            if self.processes.first:
                outputs.append(directory.write(_PASS, reached.model_dump_json().encode()))
                directory.commit(
                    "train", self.run.layout.run, outputs, self.inputs, self.digest, Clock().timings(), self.iteration
                )
                clear_checkpoints(self.run, self.iteration, all_but=reached.done)

        return save

    def resume(self, model: nn.Module, optimizer: torch.optim.AdamW) -> Pass | None:
        """Load the newest checkpoint that fits, in place, and remove all others; None where there is none."""
        done = self.processes.from_first(self._keep_newest() if self.processes.first else None)
        if not done:
            return None
        directory = self._directory(done)
        with tempfile.TemporaryDirectory(prefix="rapid-checkpoint-") as scratch:
            state = directory.fetch(Path(scratch) / _STATE, _STATE)
            load_state(state, model, optimizer, self.processes)
        reached = Pass.model_validate_json(directory.read(_PASS))
        if self.processes.first:
            note(f"iteration {self.iteration}: the pass goes on after mini-batch {reached.done}")
        return reached

    def _keep_newest(self) -> int:
        """The newest that fits, by the mini-batches it has behind it, or 0."""
        manifests = {done: self._directory(done).manifest() for done in checkpoints(self.run, self.iteration)}
        fit = (done for done, found in manifests.items() if found and not found.mismatch(self.inputs, self.digest))
        newest = max(fit, default=0)
        clear_checkpoints(self.run, self.iteration, all_but=newest)
        return newest

    def _directory(self, done: int) -> OutputDirectory:
        return self.run.directory(self.run.layout.checkpoint(self.iteration, done))


def upload_all(directory: OutputDirectory, made: Path, below: str, processes: Processes) -> list[Output]:
    """Upload what every process has made; all outputs, for every process."""
    gathered = processes.gather(directory.upload(made, below))
    return [output for outputs in gathered for output in outputs]
