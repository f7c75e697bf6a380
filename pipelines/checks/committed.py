"""What a run of this name has in the store already, looked at without writing."""

import shutil
from dataclasses import dataclass

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.layout import Round, RunLayout
from components.prepare.sources import data_sources
from components.prepare.stage import data_digests, is_prepared, refuse_other_config
from components.store import Run, Store, open_store
from pipelines.checks.findings import Finding, Level


@dataclass(frozen=True)
class Committed:
    """Attributes:
    iterations: that have a policy.
    tokens_per_completion: mean of what was sampled; None where nothing was.
    free: bytes left on the disk of a local store; None elsewhere.
    """

    findings: list[Finding]
    iterations: int = 0
    tokens_per_completion: float | None = None
    free: int | None = None


def inspect_store(config: RunConfig) -> Committed:
    """Whether the store can be reached, what of this run it holds, and whether this configuration may go on with it.

    Args:
        config: with absolute paths, as prepare stores it.
    """
    try:
        store = open_store(config.store.uri)
        store.check_reachable(RunLayout(config.run.name).root)
        run = Run(store, RunLayout(config.run.name), config)
        free = _free(store)
        reached = _reached(store, free)
        refuse_other_config(run)
        prepared = _is_there(run) and is_prepared(run, data_digests(run, data_sources(config)))
    except InputError as error:
        return Committed([Finding(Level.wrong, "store", str(error))])
    if not prepared:
        return Committed([reached, Finding(Level.ok, "committed", "nothing yet: a new run")], free=free)
    version = run.policy_version()
    return Committed([reached, _progress(run, version)], version, _tokens_per_completion(run, version), free)


def _is_there(run: Run) -> bool:
    return run.directory(run.layout.prompts).manifest() is not None


def _reached(store: Store, free: int | None) -> Finding:
    if free is None:
        found = f"{store.uri} answers; whether it takes writes shows when the run starts (rapid doctor tries one)"
        return Finding(Level.ok, "store", found)
    return Finding(Level.ok, "store", f"{store.uri} is writable, {free / 2**30:,.0f} GiB free")


def _free(store: Store) -> int | None:
    path = store.local_path("")
    if path is None:
        return None
    return shutil.disk_usage(next(folder for folder in (path, *path.parents) if folder.is_dir())).free


def _progress(run: Run, version: int) -> Finding:
    planned = run.config.loop.iterations
    if run.published():
        found = f"all of it: {version} iterations and the report; a start would do nothing"
        return Finding(Level.ok, "committed", found, "raise loop.iterations to go on")
    done = ["prompts and base policy"]
    if version:
        done.append(f"{version} of {planned} iterations")
    round_ = Round.iteration(version + 1)
    shards = range(run.config.rollout.shards)
    for stage, key in (("rollouts", run.layout.rollout), ("rewards", run.layout.reward)):
        if there := sum(run.directory(key(round_, shard)).manifest() is not None for shard in shards):
            done.append(
                f"{stage} of iteration {version + 1}" + (f" ({there} of {len(shards)})" if there < len(shards) else "")
            )
    return Finding(Level.ok, "committed", f"{', '.join(done)}: skipped; the run goes on after that")


def _tokens_per_completion(run: Run, version: int) -> float | None:
    """Of the newest iteration that is sampled."""
    for number in range(version + 1, 0, -1):
        manifests = [
            run.directory(run.layout.rollout(Round.iteration(number), shard)).manifest()
            for shard in range(run.config.rollout.shards)
        ]
        there = [manifest for manifest in manifests if manifest]
        if rows := sum(int(manifest.facts["rows"] or 0) for manifest in there if "rows" in manifest.facts):
            return sum(int(manifest.facts["completion_tokens"] or 0) for manifest in there) / rows
    return None
