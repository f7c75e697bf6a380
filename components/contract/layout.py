"""Keys of a run in object storage; no other module builds them."""

import re
from dataclasses import dataclass
from typing import cast

from components.contract.config import RunSection
from components.contract.errors import InputError
from components.contract.section import StageName

MANIFEST = "manifest.json"
RUNS = "runs"
_KINDS = ("iteration", "evaluation")
_COMMIT = re.compile(
    r"(?:prompts|policy|guide|earlier|(?:iterations|evaluations)/\d+/(rollout|reward|train)(?:/shard-\d+|/policy)?)/"
    + re.escape(MANIFEST)
)
_ATTEMPT = re.compile(r"attempt-(\d{4,})")


@dataclass(frozen=True)
class Round:
    """One rollout and its rewards: an iteration, or the evaluation of the last policy.

    Iterations count from 1: iteration n trains policy n from policy n - 1, which it samples unless iterations are
    pipelined. The number of an evaluation is the version of the policy it evaluates.
    """

    kind: str
    number: int

    def __post_init__(self) -> None:
        assert self.kind in _KINDS

    @classmethod
    def iteration(cls, number: int) -> "Round":
        return cls("iteration", number)

    @classmethod
    def evaluation(cls, policy_version: int) -> "Round":
        return cls("evaluation", policy_version)

    @classmethod
    def parse(cls, text: str) -> "Round":
        """Parse `iteration-0003` or `evaluation-0003`, the form that pipeline tasks pass on.

        Raises:
            InputError: the text is neither.
        """
        kind, _, number = text.partition("-")
        if kind not in _KINDS or not number.isdecimal() or (kind == "iteration" and int(number) == 0):
            raise InputError(f"{text!r} is not a valid round; write iteration-0001, evaluation-0004 or final")
        return cls(kind, int(number))

    def __str__(self) -> str:
        return f"{self.kind}-{self.number:04d}"

    def policy_version(self, staleness: int) -> int:
        """Return the version of the policy that is sampled; 0 is the base policy.

        Args:
            staleness: `loop.staleness`, the number of policies by which sampling lags behind training.
        """
        return max(0, self.number - 1 - staleness) if self.kind == "iteration" else self.number

    @property
    def trains(self) -> bool:
        return self.kind == "iteration"


@dataclass(frozen=True)
class RunLayout:
    """Keys below the store's root, as `/`-separated strings without a leading slash.

    Raises:
        InputError: `run` is not a valid `run.name`.
    """

    run: str

    def __post_init__(self) -> None:
        RunSection.parse({"name": self.run}, "run")

    @property
    def root(self) -> str:
        return f"{RUNS}/{self.run}"

    @property
    def config(self) -> str:
        return f"{self.root}/config.json"

    @property
    def prompts(self) -> str:
        return f"{self.root}/prompts"

    def policy(self, version: int) -> str:
        """Return the directory whose manifest commits a policy; `Run.policy_location` is where its files are."""
        return f"{self.root}/policy" if version == 0 else f"{self.train(version)}/policy"

    @property
    def guide(self) -> str:
        """Return the directory of `train.guide.model`."""
        return f"{self.root}/guide"

    @property
    def earlier(self) -> str:
        """Return the directory whose manifest pins the runs of `data.replay`."""
        return f"{self.root}/earlier"

    def _round(self, round_: Round, below: str = "") -> str:
        folder = "iterations" if round_.kind == "iteration" else "evaluations"
        return f"{self.root}/{below}{folder}/{round_.number:04d}"

    def rollout(self, round_: Round, shard: int) -> str:
        return f"{self._round(round_)}/rollout/shard-{shard:03d}"

    def reward(self, round_: Round, shard: int) -> str:
        return f"{self._round(round_)}/reward/shard-{shard:03d}"

    def rescored_root(self, name: str) -> str:
        """Return the directory of a re-scoring, whose rewards no stage reads."""
        return f"{self.root}/rescored/{name}"

    def rescored(self, name: str, round_: Round, shard: int) -> str:
        """Return the directory of rewards by other graders than the run's own, which no stage reads."""
        return f"{self._round(round_, f'rescored/{name}/')}/shard-{shard:03d}"

    def train(self, iteration: int) -> str:
        """Return the directory of an iteration's metrics and optimizer, committed after its policy."""
        return f"{self._round(Round.iteration(iteration))}/train"

    def guide_logprobs(self, iteration: int) -> str:
        """Return the directory of the guide's log-probabilities of the completions that an iteration trains on."""
        return f"{self._round(Round.iteration(iteration))}/guide"

    def checkpoints(self, iteration: int) -> str:
        """Return the directory of the checkpoints inside an iteration."""
        return f"{self.train(iteration)}/checkpoints"

    def checkpoint(self, iteration: int, mini_batches: int) -> str:
        """Return the directory of the checkpoint after so many mini-batches."""
        return f"{self.checkpoints(iteration)}/{mini_batches:06d}"

    def worker(self, stage: StageName, shard: int | None = None) -> str:
        """Return the directory of a worker's attempts and heartbeat."""
        return f"{self.workers}/{stage}" + ("" if shard is None else f"-{shard:03d}")

    @property
    def workers(self) -> str:
        """Return the directory of all workers' directories."""
        return f"{self.root}/workers"

    def log(self, stage: StageName, shard: int | None = None) -> str:
        """Return the directory of what each start of a stage has written, a folder for each."""
        return f"{self.worker(stage, shard)}/log"

    @property
    def launcher(self) -> str:
        """Directory of the attempts and heartbeat of the launcher of training jobs on several nodes."""
        return f"{self.root}/workers/train-job"

    @property
    def failure(self) -> str:
        """Reason of the worker that failed for good, which ends the others."""
        return f"{self.workers}/failure.json"

    @property
    def cancellations(self) -> str:
        """Directory of the marks that cancel the run, and of those that are withdrawn."""
        return f"{self.root}/cancelled"

    def cancellation(self, number: int) -> str:
        """Return the mark number `number`, from 1, that cancels the run."""
        return f"{self.cancellations}/{number:04d}"

    def withdrawn_cancellation(self, number: int) -> str:
        """Return the mark of a start of the run that goes on after so many cancellations."""
        return f"{self.cancellation(number)}-withdrawn"

    def published(self, version: int) -> str:
        """Return the mark of a policy that was published, which is never deleted."""
        return f"{self.root}/published/{version:04d}"

    @property
    def best_policies(self) -> str:
        """Return the directory of the marks of `best`."""
        return f"{self.root}/best"

    def best(self, version: int) -> str:
        """Return the mark of a policy that had the best score when older ones were deleted."""
        return f"{self.best_policies}/{version:04d}"

    @property
    def report(self) -> str:
        return f"{self.root}/report"

    def committed_stage(self, key: str) -> StageName | None:
        """Return the stage whose outputs an object commits; None for other objects and the report's manifest.

        The report is rewritten whenever it is outdated, so its manifest does not bind the configuration.
        """
        match = _COMMIT.fullmatch(key.removeprefix(f"{self.root}/"))
        return cast(StageName, match[1] or "prepare") if match else None

    @property
    def tracking(self) -> str:
        """Record of what was sent to the tracking server."""
        return f"{self.root}/tracking.json"


def attempt_name(number: int) -> str:
    """Return the folder of what an attempt writes before it commits."""
    return f"attempt-{number:04d}"


def attempt_number(name: str) -> int | None:
    """Return the number of an attempt's folder or claim; None for other names."""
    match = _ATTEMPT.fullmatch(name)
    return int(match[1]) if match else None


def split_attempt(path: str) -> tuple[str, str]:
    """Return the attempt's folder, empty where there is none, and the rest of a path in a stage's output."""
    folder, _, rest = path.partition("/")
    return (folder, rest) if attempt_number(folder) is not None else ("", path)


def part_name(index: int) -> str:
    return f"part-{index:05d}.parquet"


def part_index(name: str) -> int | None:
    """Return the number in a part's file name; None for other files."""
    match = re.fullmatch(r"part-(\d{5,})\.parquet", name)
    return int(match[1]) if match else None


def manifest_key(directory: str) -> str:
    return f"{directory}/{MANIFEST}"
