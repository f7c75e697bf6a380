"""The check of the store and of what the run has committed there."""

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.layout import Round, RunLayout
from components.prepare.sources import data_sources
from components.prepare.stage import data_digests, is_prepared, refuse_other_config
from components.store import Run, Store, open_store
from components.store.earlier_runs import are_pinned, earlier_runs, finished_run
from components.store.schemes import bucket_and_prefix
from pipelines.preflight.findings import Finding
from pipelines.text import size

if TYPE_CHECKING:
    from pipelines.cluster.cluster_config import ClusterConfig

_KEY = "store"


@dataclass(frozen=True)
class StoreCheck:
    """Findings on the store, and what the run has committed there.

    Attributes:
        iterations: committed iterations.
        tokens_per_completion: mean of the newest sampled iteration; None if nothing is sampled.
        free: free bytes on the disk of a local store; None for other stores.
    """

    findings: list[Finding]
    iterations: int = 0
    tokens_per_completion: float | None = None
    free: int | None = None


def check_store(config: RunConfig, cluster: "ClusterConfig | None", *, try_writing: bool) -> StoreCheck:
    """Check that the store can be reached and that this configuration may continue what the run has committed.

    For a cluster, only whether pods can reach the store is checked.

    Args:
        config: with absolute paths, as prepare stores it.
        try_writing: write a probe and remove it.
    """
    uri = config.store.uri
    try:
        if cluster is not None:
            return StoreCheck([_check_for_pods(uri)])
        store = open_store(uri)
        run = Run(store, RunLayout(config.run.name), config)
        if try_writing:
            store.check_writable(run.layout.root)
        else:
            store.check_reachable(run.layout.root)
        free = _free_bytes(store)
        reachable = _describe_store(store, free, written=try_writing)
        refuse_other_config(run)
        has_prompts = run.directory(run.layout.prompts).manifest() is not None
        prepared = has_prompts and is_prepared(run, data_digests(run, data_sources(config)))
    except InputError as error:
        return StoreCheck([Finding.error(_KEY, str(error))])
    earlier = _check_earlier_runs(run)
    if not prepared:
        return StoreCheck([reachable, Finding.ok("committed", "nothing: this is a new run"), *earlier], free=free)
    version = run.policy_version()
    findings = [reachable, _describe_committed(run, version), *earlier]
    return StoreCheck(findings, version, _tokens_per_completion(run, version), free)


def _check_earlier_runs(run: Run) -> list[Finding]:
    """Look for the runs of `data.replay`; prepare compares them with this run."""
    names = run.config.data.replay
    try:
        found = earlier_runs(run) if are_pinned(run) else [finished_run(run, name) for name in names]
    except InputError as error:
        return [Finding.error("data.replay", str(error))]
    described = ", ".join(f"{other.iterations} iterations of {other.run.layout.run}" for other in found)
    return [Finding.ok("data.replay", described)] if found else []


def _check_for_pods(uri: str) -> Finding:
    if not uri.startswith("s3://"):
        return Finding.error(_KEY, f"{uri} is on this machine", "pods need s3://bucket/prefix")
    bucket_and_prefix(uri)
    return Finding.ok(_KEY, f"{uri}, read and written by the pods")


def _describe_store(store: Store, free: int | None, *, written: bool) -> Finding:
    if free is not None:
        return Finding.ok(_KEY, f"{store.uri} is writable, {size(free)} free")
    if written:
        return Finding.ok(_KEY, f"{store.uri} is writable")
    return Finding.ok(_KEY, f"{store.uri} can be reached; rapid doctor CONFIG also tests writing")


def _free_bytes(store: Store) -> int | None:
    path = store.local_path("")
    if path is None:
        return None
    return shutil.disk_usage(next(folder for folder in (path, *path.parents) if folder.is_dir())).free


def _describe_committed(run: Run, version: int) -> Finding:
    """Name what a start would skip."""
    planned = run.config.loop.iterations
    if run.published():
        result = f"all {version} iterations and the report: nothing is left to run; raise loop.iterations to continue"
        return Finding.ok("committed", result)
    committed = ["prompts and base policy"]
    if version:
        committed.append(f"{version} of {planned} iterations")
    round_ = Round.iteration(version + 1)
    shards = range(run.config.rollout.shards)
    for stage, key in (("rollouts", run.layout.rollout), ("rewards", run.layout.reward)):
        if count := sum(run.directory(key(round_, shard)).manifest() is not None for shard in shards):
            part = f" ({count} of {len(shards)} shards)" if count < len(shards) else ""
            committed.append(f"{stage} of iteration {version + 1}{part}")
    return Finding.ok("committed", f"{', '.join(committed)}; the run continues after that")


def _tokens_per_completion(run: Run, version: int) -> float | None:
    """Return the mean length of the completions of the newest sampled iteration."""
    for number in range(version + 1, 0, -1):
        manifests = [
            run.directory(run.layout.rollout(Round.iteration(number), shard)).manifest()
            for shard in range(run.config.rollout.shards)
        ]
        facts = [manifest.facts for manifest in manifests if manifest and "rows" in manifest.facts]
        if rows := sum(int(fact["rows"] or 0) for fact in facts):
            return sum(int(fact["completion_tokens"] or 0) for fact in facts) / rows
    return None
