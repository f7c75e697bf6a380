"""Checks of the graders, the objective, the tracking server and the run's layout."""

from typing import TYPE_CHECKING

from components.contract.config import RunConfig
from components.contract.credentials import without_credentials
from components.contract.errors import InputError
from components.contract.layout import RunLayout
from components.contract.objective_config import CustomOptions
from components.reward.grader_calls import describe, load_grader
from components.reward.grader_lookup import built_in_graders, grader_location, resolve_graders, sandbox_facts
from components.reward.grading_pool import GraderPool
from components.store import Run, open_store
from components.tracking.server import tracking_uri
from components.train.build_objective import load_custom
from pipelines.preflight.findings import Finding
from pipelines.preflight.machine_check import packages_missing

if TYPE_CHECKING:
    from pipelines.cluster.cluster_config import ClusterConfig


def check_graders(config: RunConfig, cluster: "ClusterConfig | None") -> list[Finding]:
    """Check that the graders load, that those on servers answer, and that programs have a sandbox.

    For a cluster only names and options are checked: the graders are in the image of the reward stage.
    """
    if cluster is not None:
        return _check_options(config)
    if missing := packages_missing("reward"):
        return [Finding.warning("reward.graders", f"not checked, because {missing}", "pip install '.[reward]'")]
    reward = config.reward
    try:
        graders = resolve_graders(reward.graders, reward.sandbox, reward.time_limit)
        with GraderPool(graders, 1, reward.time_limit, reward.batch_size) as pool:
            loaded = [f"{grader.name} {version}" for grader, version in zip(graders, pool.versions, strict=True)]
        loaded += [f"programs in mode {mode}" for mode in sandbox_facts(graders).values()]
    except InputError as error:
        return [Finding.error("reward.graders", str(error))]
    return [Finding.ok("reward.graders", ", ".join(loaded))]


def _check_options(config: RunConfig) -> list[Finding]:
    """Check all names, and the options of built-in graders that ask no server and whose packages are here."""
    errors = []
    for spec in config.reward.graders:
        try:
            location, built_in = grader_location(spec.name), built_in_graders().get(spec.name)
            if built_in and "url" not in built_in.options:
                sandbox: dict[str, object] | None = {} if built_in.runs_programs else None
                load_grader(spec.component, location, spec.weight, spec.options, sandbox, config.reward.time_limit)
        except ImportError:
            continue
        except InputError as error:
            errors.append(str(error))
        except Exception as error:
            errors.append(f"{spec.component}: {describe(error)}")
    return [Finding.error("reward.graders", "; ".join(errors))] if errors else []


def check_objective(config: RunConfig, cluster: "ClusterConfig | None") -> list[Finding]:
    """Build the user's own objective, if the run has one.

    For a cluster nothing is checked: the objective is in the image of the train stage.
    """
    objective = config.train.objective
    if cluster is not None or not isinstance(objective, CustomOptions):
        return []
    if missing := packages_missing("train"):
        return [Finding.warning("train.objective", f"not checked, because {missing}", "pip install '.[train]'")]
    try:
        load_custom(config.train)
    except InputError as error:
        return [Finding.error("train.objective", str(error))]
    return [Finding.ok("train.objective", objective.name)]


def check_layout(config: RunConfig, cluster: "ClusterConfig | None") -> list[Finding]:
    """Check that this machine, or the pipeline compiled for the cluster, can run the configured iterations."""
    if cluster is None:
        if config.train.nodes == 1:
            return []
        result = f"train.nodes = {config.train.nodes}, but rapid run trains on this machine only"
        fix = "set train.nodes=1 (train.processes uses several GPUs of one machine), or submit the run to a cluster"
        return [Finding.error("train.nodes", result, fix)]
    if cluster.layout == "tasks":
        return _check_tasks(config, cluster)
    if cluster.layout == "pod" and config.train.nodes > 1:
        result = f"train.nodes = {config.train.nodes}, but layout pod trains in its one pod"
        return [Finding.error("train.nodes", result, "use layout workers or tasks")]
    return []


def _check_tasks(config: RunConfig, cluster: "ClusterConfig") -> list[Finding]:
    """Check what only the layout tasks cannot do: many iterations, and sampling ahead."""
    from pipelines.cluster.workflow_size import iterations_that_fit

    others = "use layout workers or pod, which have no limit"
    findings = []
    if config.loop.iterations > cluster.max_iterations:
        most = cluster.max_iterations
        result = f"loop.iterations = {config.loop.iterations}, but the pipeline is compiled for {most}"
        fix = f"raise max_iterations in the file given with --cluster, or {others}"
        findings.append(Finding.error("loop.iterations", result, fix))
    elif config.loop.iterations > (most := iterations_that_fit(cluster, config)):
        shards = f"{config.rollout.shards} shard{'' if config.rollout.shards == 1 else 's'}"
        result = (
            f"loop.iterations = {config.loop.iterations}, but Argo's limit of 1 MiB holds {most} iterations of "
            f"{shards} in layout tasks, compiled for {cluster.max_iterations}"
        )
        findings.append(Finding.error("loop.iterations", result, others))
    if config.loop.staleness:
        result = f"loop.staleness = {config.loop.staleness}, but in layout tasks an iteration is sampled after the last"
        findings.append(Finding.error("loop.staleness", result, "use layout workers or pod"))
    return findings


def check_tracking(config: RunConfig, cluster: "ClusterConfig | None") -> Finding:
    """Name the MLflow server, which is not contacted: a run does not depend on it."""
    key, uri = "tracking.uri", config.tracking.uri
    if not config.tracking.enabled:
        return Finding.ok(key, "tracking is disabled")
    if cluster is None:
        run = Run(open_store(config.store.uri), RunLayout(config.run.name), config)
        return Finding.ok(key, f"MLflow at {without_credentials(tracking_uri(run))}")
    if uri is None:
        return Finding.ok(key, f"MLFLOW_TRACKING_URI in the config map {cluster.environment}")
    if uri.startswith(("sqlite:", "file:")) or "://" not in uri:
        fix = "give the URL of a server, or leave it out and set MLFLOW_TRACKING_URI in the cluster"
        return Finding.error(key, f"{uri} would be a separate file in each pod", fix)
    return Finding.ok(key, f"MLflow at {without_credentials(uri)}")
