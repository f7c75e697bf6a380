"""Checkpoints inside a pass, kept in the run until the pass is committed."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from components.contract.layout import Round
from components.runtime.clock import Clock
from components.runtime.progress import note
from components.store import Run, StageOutput
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
        inputs: what the pass depends on; checkpoints of anything else are passed over.
    """

    run: Run
    iteration: int
    inputs: Mapping[str, str]
    processes: Processes

    def saver(self, model: nn.Module, optimizer: torch.optim.AdamW) -> Callable[[Pass], None]:
        """What writes a checkpoint of a pass that has come so far."""

        def save(reached: Pass) -> None:
            output = self._output(reached.done)
            with tempfile.TemporaryDirectory(prefix="rapid-checkpoint-") as scratch:
                save_state(Path(scratch), model, optimizer, reached.step, True, self.processes)
                upload_all(output, Path(scratch), _STATE, self.processes)
            if self.processes.first:
                output.write(_PASS, reached.model_dump_json().encode())
                output.commit(Clock().timings())
                clear_checkpoints(self.run, self.iteration, all_but=reached.done)

        return save

    def resume(self, model: nn.Module, optimizer: torch.optim.AdamW) -> Pass | None:
        """Load the newest checkpoint that fits, in place, and remove all others; None where there is none."""
        done = self.processes.from_first(self._keep_newest() if self.processes.first else None)
        if not done:
            return None
        directory = self._output(done)
        with tempfile.TemporaryDirectory(prefix="rapid-checkpoint-") as scratch:
            state = directory.fetch(Path(scratch) / _STATE, _STATE)
            load_state(state, model, optimizer, self.processes)
        reached = Pass.model_validate_json(directory.read(_PASS))
        if self.processes.first:
            note(f"iteration {self.iteration}: the pass goes on after mini-batch {reached.done}")
        return reached

    def _keep_newest(self) -> int:
        """The newest that fits, by the mini-batches it has behind it, or 0."""
        stored = [(done, self._output(done)) for done in checkpoints(self.run, self.iteration)]
        manifests = [(done, output, output.manifest()) for done, output in stored]
        newest = max((done for done, output, found in manifests if found and not output.mismatch(found)), default=0)
        clear_checkpoints(self.run, self.iteration, all_but=newest)
        return newest

    def _output(self, done: int) -> StageOutput:
        key = self.run.layout.checkpoint(self.iteration, done)
        return self.run.output("train", key, self.inputs, Round.iteration(self.iteration))


def upload_all(output: StageOutput, made: Path, below: str, processes: Processes) -> None:
    """Upload what every process has made; afterwards every process knows all files."""
    output.upload(made, below)
    gathered = processes.gather(output.files)
    output.files[:] = [file for files in gathered for file in files]
