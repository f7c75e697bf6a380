"""Whether the paths and services that a configuration names are there."""

from collections.abc import Iterable
from pathlib import Path

from pipelines.checks.findings import Finding, Level
from pipelines.checks.machine import package_version

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.layout import RUNS, RunLayout
from components.contract.objective_config import CustomOptions
from components.contract.resolve import load_config
from components.contract.reward_config import RewardSection
from components.prepare.policy import is_hub_name
from components.prepare.policy_source import is_elsewhere
from components.prepare.sources import is_generated, is_selection, read_files
from components.reward.grader_lookup import resolve_graders, sandbox_facts
from components.reward.grading_pool import GraderPool
from components.store import Run, open_store
from components.store.files import is_directory
from components.tracking.server import tracking_uri, without_credentials
from components.train.build_objective import load_custom


def check_config(path: str, overrides: Iterable[str]) -> list[Finding]:
    """Whether a configuration can be read, and its paths and services are there; tries to write to the store."""
    try:
        config = load_config(path, overrides)
    except InputError as error:
        return [Finding(Level.wrong, "configuration", str(error))]
    return [
        Finding(Level.ok, "configuration", f"{path}: run {config.run.name}"),
        *_data(config),
        check_model_path(config),
        check_graders(config),
        *check_objective(config),
        _writable_store(config),
        check_tracking(config),
    ]


def loaded_graders(reward: RewardSection) -> list[str]:
    """Load the graders with their options in one grading process; a line on each, with its version.

    Raises:
        InputError: one of them cannot be loaded or does not take its options, or programs have no sandbox here.
    """
    graders = resolve_graders(reward.graders, reward.sandbox, reward.time_limit)
    with GraderPool(graders, 1, reward.time_limit, reward.batch_size) as pool:
        found = [f"{grader.name} {version}" for grader, version in zip(graders, pool.versions, strict=True)]
    return found + [f"programs in mode {mode}" for mode in sandbox_facts(graders).values()]


def refuse_nodes(config: RunConfig) -> None:
    """Raises InputError where training is to be spread over machines, which a run on this one cannot do."""
    if config.train.nodes > 1:
        raise InputError(
            f"train.nodes = {config.train.nodes}, but rapid run trains on this machine alone: set train.nodes=1 "
            "(train.processes uses several of its GPUs), or submit the run to a cluster"
        )


def check_nodes(config: RunConfig) -> list[Finding]:
    """Nothing, unless training is to be spread over machines."""
    try:
        refuse_nodes(config)
    except InputError as error:
        return [Finding(Level.wrong, "train.nodes", str(error))]
    return []


def check_graders(config: RunConfig) -> Finding:
    """Whether the graders load, those on servers answer, and programs have a sandbox."""
    try:
        found = loaded_graders(config.reward)
    except InputError as error:
        return Finding(Level.wrong, "reward.graders", str(error))
    return Finding(Level.ok, "reward.graders", ", ".join(found))


def check_objective(config: RunConfig) -> list[Finding]:
    """Build an objective of your own; no finding for those built in."""
    objective = config.train.objective
    if not isinstance(objective, CustomOptions):
        return []
    try:
        load_custom(objective)
    except InputError as error:
        return [Finding(Level.wrong, "train.objective", str(error))]
    return [Finding(Level.ok, "train.objective", objective.name)]


def check_model_path(config: RunConfig) -> Finding:
    """Whether `model.path` is a directory, or can be a name on the hub, in a store or in the registry."""
    if is_elsewhere(config.model.path):
        return Finding(Level.ok, "model.path", f"{config.model.path}, looked up by prepare")
    model = Path(config.model.path).expanduser()
    try:
        there = is_directory(model)
    except InputError as error:
        return Finding(Level.wrong, "model.path", str(error))
    if there:
        return Finding(Level.ok, "model.path", str(model.absolute()))
    if not is_hub_name(config.model.path):
        return Finding(
            Level.wrong, "model.path", f"{model.absolute()} is no directory", "give a Hugging Face directory"
        )
    return Finding(
        Level.warning, "model.path", f"{config.model.path} is taken as a hub name", "it is downloaded by prepare"
    )


def check_tracking(config: RunConfig) -> Finding:
    """Where MLflow is looked for; it is not asked, as a run does not need it."""
    if not config.tracking.enabled:
        return Finding(Level.ok, "tracking.uri", "switched off")
    run = Run(open_store(config.store.uri), RunLayout(config.run.name), config)
    return Finding(Level.ok, "tracking.uri", f"MLflow at {without_credentials(tracking_uri(run))}")


def _data(config: RunConfig) -> list[Finding]:
    sources = {"data.train": config.data.train, "data.eval": config.data.eval}
    return [
        _generator(key, source) if is_generated(source) else _files(key, source)
        for key, source in sources.items()
        if source is not None
    ]


def _files(key: str, source: str) -> Finding:
    place = source if "://" in source else str(Path(source).expanduser().absolute())
    try:
        files = read_files(source if "://" in source else str(Path(source).expanduser()), key)
    except InputError as error:
        return Finding(Level.wrong, key, str(error), "check the path; relative paths start at the working directory")
    if is_selection(source):
        return Finding(Level.ok, key, f"{place}: {len(files)} files now, chosen anew by every run")
    return Finding(Level.ok, key, place)


def _generator(key: str, source: str) -> Finding:
    if number := package_version("reasoning-gym"):
        return Finding(Level.ok, key, f"{source}, generated by reasoning-gym {number}")
    return Finding(Level.wrong, key, f"{source}: reasoning-gym missing", "pip install 'rapid-rl[reasoning-gym]'")


def _writable_store(config: RunConfig) -> Finding:
    try:
        store = open_store(config.store.uri)
        store.check_writable(f"{RUNS}/{config.run.name}")
    except InputError as error:
        return Finding(Level.wrong, "store", str(error))
    return Finding(Level.ok, "store", f"{store.uri} is writable")
