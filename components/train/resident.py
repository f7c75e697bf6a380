"""A training process's memory from one iteration to the next: a policy with its optimizer, and files beside it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from components.contract.errors import InputError
from components.contract.manifest import Manifest
from components.runtime.clock import Clock
from components.store import ObjectMissing, Run
from components.train.checkpoint import load_state
from components.train.distributed import Processes
from components.train.memory import keep_freed_memory, release_models
from components.train.policy import copy_companions
from components.train.trainer import Trainer, build_trainer, move_trainer

OPTIMIZER = "optimizer"
ADAPTER = "adapter"


@dataclass(frozen=True)
class _Held:
    """A policy in memory: its version, the digest of its committed weights, and optimizer steps since policy 0."""

    version: int
    digest: str
    step: int


class Resident:
    """The trainer that goes on from iteration to iteration, in this process.

    Args:
        scratch: directory on this machine, of this process alone.
        shares_gpu: whether the GPU's memory is left to others between iterations.

    Raises:
        InputError: several processes are to share GPUs.
    """

    def __init__(self, run: Run, processes: Processes, scratch: Path, shares_gpu: bool = False) -> None:
        keep_freed_memory()
        self.run, self.processes, self.scratch = run, processes, scratch
        self.shares_gpu = shares_gpu and processes.device.type == "cuda"
        if self.shares_gpu and processes.world_size > 1:
            raise InputError(
                "--share-gpu: several training processes do not give their GPUs away between iterations; use "
                "train.processes=1, loop.staleness=1 or another layout"
            )
        self._trainer: Trainer | None = None
        self._on_host = False
        self._held: _Held | None = None
        self._written: dict[int, tuple[str, Path]] = {}
        self._base: Path | None = None
        self._guide: Path | None = None
        self.companions: list[str] = []
        """The files beside the weights, the same for every policy of the run: in the directory of that name."""

    @property
    def companions_directory(self) -> Path:
        return self.scratch / "companions"

    @property
    def base(self) -> Path:
        """The base policy in Hugging Face format."""
        if self._base is None:
            self._base = self.run.fetch_policy(0, self.scratch / "base")
        return self._base

    @property
    def guide(self) -> Path:
        """The guide of `train.guide`, in Hugging Face format."""
        guide = self.run.config.train.guide
        assert guide is not None
        if guide.model is None:
            return self.base
        if self._guide is None:
            self._guide = self.run.guide().fetch(self.scratch / "guide")
        return self._guide

    def load(self, version: int, clock: Clock) -> tuple[Trainer, int]:
        """Return a trainer that holds a committed policy with its optimizer, and the steps since the base policy.

        The one in memory goes on where its weights are those that are committed; anything else is loaded.

        Raises:
            InputError: the policy or its optimizer's state is gone or cannot be loaded.
        """
        held, digest = self._held, _weights_digest(self.run.policy(version).require())
        self._held = None  # until the next `keep`: training that fails leaves neither of two policies
        if self._trainer and held and (held.version, held.digest) == (version, digest):
            if self._on_host:
                with clock.measure("load"):
                    move_trainer(self._trainer, self.processes.device)
                self._on_host = False
            return self._trainer, held.step
        self._trainer, self._on_host = None, False  # its memory is needed
        self._trainer, step = self._from_store(version, clock)
        return self._trainer, step

    def preload(self, version: int) -> None:
        """Load a policy before its trajectories are there, unless its memory is wanted elsewhere until then."""
        if not self.shares_gpu and not self.run.config.train.guide:
            digest = _weights_digest(self.run.policy(version).require())
            _, step = self.load(version, Clock())
            self.keep(version, digest, step)

    def keep(self, version: int, digest: str, step: int) -> None:
        """Note that the trainer now holds a committed policy, with the digest of its weights."""
        self._held = _Held(version, digest, step)

    def leave_gpu(self) -> None:
        """Move the trainer to the host's memory if the GPU is shared."""
        if self.shares_gpu:
            self._to_host()

    def make_room(self) -> None:
        """Give the trainer's memory to another model: it moves to the host, or is loaded again where it cannot."""
        if self.processes.device.type == "cuda" and self.processes.world_size == 1:
            self._to_host()
        else:
            self._trainer = self._held = None
            release_models()

    def _to_host(self) -> None:
        if self._trainer and not self._on_host:
            move_trainer(self._trainer, torch.device("cpu"))
            self._on_host = True

    def written(self, version: int, directory: Path, digest: str) -> None:
        """Keep the files of a policy that was written here as long as it may be the behaviour policy."""
        self._written[version] = (digest, directory)
        staleness = self.run.config.loop.staleness
        wanted = range(version - staleness, version + 1) if staleness else ()
        for other in self._written.keys() - set(wanted):
            shutil.rmtree(self._written.pop(other)[1])

    def policy_files(self, version: int, into: Path) -> Path:
        """Return a committed policy's directory in Hugging Face format: the one written here, or fetched."""
        digest, directory = self._written.get(version, ("", into))
        if digest == _weights_digest(self.run.policy(version).require()):
            return directory
        return self.run.fetch_policy(version, into)

    def _from_store(self, version: int, clock: Clock) -> tuple[Trainer, int]:
        config, incoming = self.run.config, self.scratch / "incoming"
        before = self.run.directory(self.run.layout.train(version))
        base = optimizer = adapter = None
        with clock.measure("store"):
            policy = self.run.fetch_policy(version, incoming / "policy")
            names = [output.name for output in self.run.policy(version).require().outputs]
            self.companions = copy_companions(policy, names, self.companions_directory)
            if config.train.lora:
                base = self.base
            if version > 0:
                try:
                    optimizer = before.fetch(incoming / OPTIMIZER, OPTIMIZER)
                except ObjectMissing:
                    raise InputError(
                        f"{before.uri} has no optimizer state any more: only those of the two newest iterations are "
                        "kept; to train its policy further, start another run from it (model.path)"
                    ) from None
                adapter = before.fetch(incoming / ADAPTER, ADAPTER) if config.train.lora else None
        with clock.measure("load"):
            trainer = build_trainer(config, policy, self.processes, base, adapter)
            step = 0
            if optimizer:
                step = load_state(optimizer, trainer.policy.model, trainer.optimizer, self.processes)
        shutil.rmtree(incoming, ignore_errors=True)
        return trainer, step


def _weights_digest(policy: Manifest) -> str:
    return str(policy.facts["weights_digest"])
