"""A run: its store, layout and configuration, opened from one URI."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.layout import RUNS, Round, RunLayout
from components.contract.resolve import stored_config
from components.contract.section import StageName
from components.contract.stage_digest import stage_digest
from components.store.attempts import Attempt
from components.store.base import ObjectExists, ObjectMissing, Store
from components.store.cancellation import next_cancellation, require_not_cancelled
from components.store.commit import OutputDirectory, StageOutput, folder_of
from components.store.schemes import open_store


@dataclass(frozen=True)
class Run:
    """The store, layout and configuration of a run.

    Attributes:
        cancel_mark: key of the object that cancels what this process does in the run; empty where none does.
    """

    store: Store
    layout: RunLayout
    config: RunConfig
    cancel_mark: str = ""

    @property
    def uri(self) -> str:
        return run_uri(self.store, self.layout.run)

    def directory(self, key: str) -> OutputDirectory:
        return OutputDirectory(self.store, key)

    def output(
        self,
        stage: StageName,
        key: str,
        inputs: Mapping[str, str],
        round_: Round | None = None,
        shard: int | None = None,
        attempt: Attempt | None = None,
    ) -> StageOutput:
        """Return the directory `key` for a stage to write, with this run's settings for it.

        Args:
            inputs: name -> digest of everything the output is made from.
            attempt: the start of the stage's worker that writes.
        """
        digest, number = stage_digest(self.config, stage), round_.number if round_ else None
        mark = self.cancel_mark
        return StageOutput(self.store, key, stage, self.layout.run, inputs, digest, number, shard, attempt, mark)

    def claim(self, stage: StageName, shard: int | None = None) -> Attempt:
        """Claim the next attempt of a stage's worker; earlier ones then stop.

        Raises:
            RunCancelled: the run is cancelled.
        """
        self.require_not_cancelled()
        return Attempt.claim(self.store, self.layout.worker(stage, shard))

    def require_not_cancelled(self) -> None:
        """Raise RunCancelled where the run was cancelled, and not started again before this process opened it."""
        require_not_cancelled(self.store, self.cancel_mark)

    def policy(self, version: int) -> OutputDirectory:
        """Return the directory whose manifest commits a policy."""
        return self.directory(self.layout.policy(version))

    def guide(self) -> OutputDirectory:
        """Return the directory whose manifest commits the guide of `train.guide`."""
        guide = self.config.train.guide
        assert guide is not None
        return self.policy(0) if guide.model is None else self.directory(self.layout.guide)

    def policy_location(self, version: int) -> str:
        """Return the URI of a committed policy's directory in Hugging Face format."""
        return self.store.locate(self.policy_files(version))

    def local_policy(self, version: int) -> Path | None:
        """Return the same directory's path on this machine; None in a remote store."""
        return self.store.local_path(self.policy_files(version))

    def policy_files(self, version: int) -> str:
        """Return the key of that directory."""
        policy = self.policy(version)
        return "/".join(filter(None, [policy.key, folder_of(policy.require().outputs)]))

    def fetch_policy(self, version: int, into: Path, *, copy: bool = False) -> Path:
        """Download and verify a policy in Hugging Face format; return its directory as `OutputDirectory.fetch` does.

        Raises:
            InputError: it is not committed, damaged, or was deleted.
        """
        try:
            return self.policy(version).fetch(into, copy=copy)
        except ObjectMissing:
            kept = self.config.train.keep_policies
            if kept is None or version == 0:
                raise
            raise ObjectMissing(
                f"policy {version} of {self.uri} is gone: train.keep_policies keeps the newest {kept}, the base, the "
                "best one on held-out prompts and those that were published"
            ) from None

    def keeps_policy(self, version: int) -> bool:
        """Return whether the files of a committed policy are still there."""
        policy = self.policy(version)
        # The first of them is deleted last.
        return self.store.exists(f"{policy.key}/{policy.require().outputs[0].path}")

    def mark_published(self, version: int) -> None:
        """Note for good that a policy is published, so that it is kept."""
        with suppress(ObjectExists):
            self.store.create(self.layout.published(version), b"")

    def is_published(self, version: int) -> bool:
        return self.store.exists(self.layout.published(version))

    def mark_best(self, version: int) -> None:
        """Note that no older policy has a higher score, so that this one is kept."""
        with suppress(ObjectExists):
            self.store.create(self.layout.best(version), b"")

    def unmark_best(self, version: int) -> None:
        self.store.delete(self.layout.best(version))

    def marked_best(self) -> list[int]:
        """Return the policies of `mark_best`: one, unless a kill came between two notes."""
        return [int(mark.key.rsplit("/", 1)[-1]) for mark in self.store.list(self.layout.best_policies)]

    def policy_version(self) -> int:
        """Return the version of the newest committed policy; 0 is the base policy."""
        return newest_number(lambda version: self.policy(version).has_policy())

    def trained(self) -> int:
        """Return the newest iteration whose training is committed as a whole: policy, metrics and optimizer."""
        return newest_number(lambda iteration: self._outcome(iteration) == "trained")

    def stopped(self) -> bool:
        """Return whether the iteration after the newest policy has ended the run at `loop.target_reward`."""
        return self.policy(self.policy_version() + 1).manifest() is not None

    def _outcome(self, iteration: int) -> str | None:
        manifest = self.directory(self.layout.train(iteration)).manifest()
        return str(manifest.facts["outcome"]) if manifest else None

    def sampled_policy(self, round_: Round) -> int:
        """Return the version of the policy that a round samples."""
        return round_.policy_version(self.config.loop.staleness)

    def iterations_sampling(self, version: int) -> list[Round]:
        """Return the iterations that sample a policy: one, or the first two for policy 0 of a pipelined run."""
        last = Round.iteration(version + 1 + self.config.loop.staleness)
        return [
            round_
            for round_ in map(Round.iteration, range(1, last.number + 1))
            if self.sampled_policy(round_) == version
        ]

    def final_round(self) -> Round:
        """Return the round whose held-out prompts evaluate the newest policy.

        The next iteration serves where it has sampled them from that policy already (it stopped at the target, or the
        run was shortened); otherwise an evaluation round of its own. What was sampled ahead for later iterations does
        not count: whether it exists depends on which process was faster.
        """
        version = self.policy_version()
        ahead = Round.iteration(version + 1)
        shards = range(self.config.rollout.shards)
        if (
            self.sampled_policy(ahead) == version
            and self.evaluates(ahead)
            and all(self.directory(self.layout.rollout(ahead, shard)).manifest() for shard in shards)
        ):
            return ahead
        return Round.evaluation(version)

    def evaluates(self, round_: Round) -> bool:
        """Return whether a round samples held-out prompts."""
        return not round_.trains or self.config.evaluate.in_iteration(round_.number)

    def published(self) -> bool:
        """Return whether every iteration is committed and the report is that of the newest policy."""
        report = self.directory(self.layout.report).manifest()
        version = self.policy_version()
        if report is None or report.facts["policy_version"] != version:
            return False
        return version >= self.config.loop.iterations or self.stopped()

    def label(self, stage: StageName, round_: Round, shard: int) -> str:
        """Return the name of a task for progress lines, such as `iteration 0003 rollout shard 1`."""
        return f"{round_.kind} {round_.number:04d} {stage}" + (
            f" shard {shard}" if self.config.rollout.shards > 1 else ""
        )

    def round(self, text: str) -> Round:
        """Parse a round as pipeline tasks pass it on; `final` stands for `final_round()`."""
        return self.final_round() if text == "final" else Round.parse(text)


def newest_number(exists: Callable[[int], bool]) -> int:
    """Return the largest number for which `exists` holds, 0 if none; it holds for all below. Few calls for many."""
    known, step = 0, 1
    while exists(known + step):
        known, step = known + step, 2 * step
    while step > 1:
        step //= 2
        if exists(known + step):
            known += step
    return known


def run_uri(store: Store, run: str) -> str:
    """Return the URI of a run, which pipeline tasks pass on."""
    return store.locate(f"{RUNS}/{run}")


def split_run_uri(uri: str, patient: bool = True) -> tuple[Store, RunLayout]:
    """Return the store, opened as `open_store` does, and layout of a run.

    Raises:
        InputError: the URI does not end in `runs/<name>`.
    """
    head, _, run = uri.rstrip("/").rpartition("/")
    root, _, folder = head.rpartition("/")
    if folder != RUNS or not run:
        raise InputError(f"{uri!r} is not a run; write <store>/{RUNS}/<name>")
    return open_store(root, patient), RunLayout(run)


def open_run(uri: str) -> Run:
    """Open a run that prepare has set up.

    Raises:
        InputError: no such run.
    """
    store, layout = split_run_uri(uri)
    try:
        text = store.read(layout.config).decode(errors="replace")
    except ObjectMissing:
        raise ObjectMissing(f"there is no run at {uri}: {store.locate(layout.config)} does not exist") from None
    config = stored_config(text, store.locate(layout.config))
    return Run(store, layout, config, next_cancellation(store, layout))
