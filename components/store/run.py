"""A run: its store, layout and configuration, opened from one URI."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.layout import RUNS, Round, RunLayout
from components.contract.resolve import stored_config
from components.contract.section import StageName
from components.contract.stage_digest import stage_digest
from components.store.base import ObjectMissing, Store
from components.store.commit import OutputDirectory, StageOutput
from components.store.schemes import open_store


@dataclass(frozen=True)
class Run:
    """The store, layout and configuration of a run."""

    store: Store
    layout: RunLayout
    config: RunConfig

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
    ) -> StageOutput:
        """Return the directory `key` for a stage to write, with this run's settings for it.

        Args:
            inputs: name -> digest of everything the output is made from.
        """
        digest, number = stage_digest(self.config, stage), round_.number if round_ else None
        return StageOutput(self.store, key, stage, self.layout.run, inputs, digest, number, shard)

    def fetch_policy(self, version: int, into: Path) -> Path:
        """Download and verify a policy in Hugging Face format; return its directory as `OutputDirectory.fetch` does."""
        return self.directory(self.layout.policy_commit(version)).fetch(into, "policy" if version else "")

    def policy_version(self) -> int:
        """Return the version of the newest committed policy; 0 is the base policy."""
        version = 0
        while self.directory(self.layout.policy_commit(version + 1)).has_policy():
            version += 1
        return version

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

        An iteration that has sampled that policy already (it stopped at the target, or the run was shortened)
        serves; otherwise an evaluation round of its own.
        """
        version = self.policy_version()
        shards = range(self.config.rollout.shards)
        for sampled in self.iterations_sampling(version):
            if all(self.directory(self.layout.rollout(sampled, shard)).manifest() for shard in shards):
                return sampled
        return Round.evaluation(version)

    def published(self) -> bool:
        """Return whether every iteration is committed and the report is that of the newest policy."""
        report = self.directory(self.layout.report).manifest()
        version = self.policy_version()
        if report is None or report.facts["policy_version"] != version:
            return False
        stopped = self.directory(self.layout.train(version + 1)).manifest() is not None
        return version >= self.config.loop.iterations or stopped

    def label(self, stage: StageName, round_: Round, shard: int) -> str:
        """Return the name of a task for progress lines, such as `iteration 0003 rollout shard 1`."""
        return f"{round_.kind} {round_.number:04d} {stage}" + (
            f" shard {shard}" if self.config.rollout.shards > 1 else ""
        )

    def round(self, text: str) -> Round:
        """Parse a round as pipeline tasks pass it on; `final` stands for `final_round()`."""
        return self.final_round() if text == "final" else Round.parse(text)


def run_uri(store: Store, run: str) -> str:
    """Return the URI of a run, which pipeline tasks pass on."""
    return store.locate(f"{RUNS}/{run}")


def split_run_uri(uri: str) -> tuple[Store, RunLayout]:
    """Return the store and layout of a run. Raises InputError where the URI does not end in `runs/<name>`."""
    head, _, run = uri.rstrip("/").rpartition("/")
    root, _, folder = head.rpartition("/")
    if folder != RUNS or not run:
        raise InputError(f"{uri!r} is not a run; write <store>/{RUNS}/<name>")
    return open_store(root), RunLayout(run)


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
    return Run(store, layout, stored_config(text, store.locate(layout.config)))
