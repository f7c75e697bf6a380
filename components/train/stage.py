"""Update the policy on one iteration's trajectories, or on those of every iteration of a run."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Manifest
from components.contract.metrics import TrainMetrics
from components.runtime.clock import Clock
from components.runtime.ending import EndsWithRun
from components.runtime.progress import note
from components.runtime.scratch import scratch_directory
from components.runtime.worker import Worker
from components.store import Attempt, Run, open_run
from components.train.aftermath import Aftermath
from components.train.spawn import spawn
from components.train.task import TrainTask

if TYPE_CHECKING:
    from components.train.resident import Resident

_PASSIVE = ("OMP_WAIT_POLICY", "PASSIVE")
"""Set before PyTorch is imported: waiting OpenMP threads otherwise spin, and on shared cores slow down those they wait
for."""


def run_stage(run_uri: str, iteration: int) -> Manifest:
    """Make policy `iteration` from policy `iteration - 1`, unless the target is reached.

    Where torchrun has started several processes, each of them calls this; otherwise `train.processes` are started here.

    Returns:
        The manifest. Facts: outcome, policy_version, target_reached; after training also step (optimizer steps since
        the base policy), updates, skipped.

    Raises:
        InputError: an input is not committed, does not fit the policy, or the update is impossible with it.
        SystemExit: a process that was started here has failed.
    """
    clock = Clock()
    run = open_run(run_uri)
    with EndsWithRun(run):
        return _run_task(TrainTask.find(run, iteration), clock)


def _run_task(task: TrainTask, clock: Clock) -> Manifest:
    if not _is_one_of_several():
        if manifest := find_finished(task, clock):
            return manifest
        if _done_by_others(task.run, "--iteration", str(task.iteration)):
            return task.output.require()
    with clock.measure("load"):
        os.environ.setdefault(*_PASSIVE)
        from components.train.iteration import train_iteration
    with _resident(task.run) as resident:
        processes = resident.processes
        if processes.world_size > 1:
            # The first process decides for all whether anything is left to train.
            manifest = processes.broadcast(find_finished(task, clock) if processes.is_main else None)
            if manifest:
                return manifest
        number = processes.broadcast(task.run.claim("train").number if processes.is_main else 0)
        return train_iteration(task.claimed(_attempt(task.run, number)), clock, resident)


def follow(run_uri: str, shares_gpu: bool = False) -> None:
    """Train every iteration of a run, each once its rewards are committed; the policy stays loaded.

    Args:
        shares_gpu: leave the GPU's memory to others between iterations.

    Raises:
        InputError: as `run_stage`, or another worker of the run has failed.
        SystemExit: a process that was started here has failed.
    """
    run = open_run(run_uri)
    options = ["--share-gpu"] if shares_gpu else []
    if not _is_one_of_several() and _done_by_others(run, "--follow", *options):
        return
    with ExitStack() as stack:
        stack.enter_context(EndsWithRun(run))
        aftermath = stack.enter_context(Aftermath(run))
        worker = stack.enter_context(Worker(run, "train")) if os.environ.get("RANK", "0") == "0" else None
        resident = stack.enter_context(_resident(run, shares_gpu))
        processes = resident.processes
        number = processes.broadcast(worker.attempt().number if worker else 0)
        if worker is None:  # this process waits by itself, but the first one speaks for all
            worker = stack.enter_context(Worker(run, "train", joins=_attempt(run, number)))
        _follow(worker, resident, aftermath)


def _follow(worker: Worker, resident: "Resident", aftermath: Aftermath) -> None:
    from components.train.iteration import train_iteration

    run, processes = worker.run, resident.processes
    trained = run.trained()
    if trained < run.config.loop.iterations and not run.stopped():
        resident.preload(trained)
    worker.loaded()
    for round_, _ in worker.tasks():
        clock = Clock()
        task = TrainTask.find(run, round_.number).claimed(worker.attempt())
        if not processes.broadcast(find_finished(task, clock) if processes.is_main else None):
            train_iteration(task, clock, resident)
        if processes.is_main:
            aftermath.of(round_.number)


def _is_one_of_several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _done_by_others(run: Run, *options: str) -> bool:
    """Start the processes that a run's training needs and wait for their end; False where this one is enough."""
    train = run.config.train
    if train.nodes > 1:
        raise InputError(
            f"train.nodes = {train.nodes}, but this is one process on one machine; start the stage with torchrun "
            "on each of them, compile the pipeline with a training job, or set train.nodes=1"
        )
    if train.processes > 1:
        spawn([run.uri, *options], train.processes)
    return train.processes > 1


@contextmanager
def _resident(run: Run, shares_gpu: bool = False) -> "Iterator[Resident]":
    """Connect to the other processes, and yield the place of what stays loaded in this one."""
    os.environ.setdefault(*_PASSIVE)
    from components.train.distributed import Processes
    from components.train.resident import Resident

    processes = Processes.init()
    try:
        with scratch_directory("rapid-train-") as scratch:
            yield Resident(run, processes, scratch, shares_gpu)
    finally:
        processes.destroy()


def _attempt(run: Run, number: int) -> Attempt:
    return Attempt(run.store, run.layout.worker("train"), number)


def find_finished(task: TrainTask, clock: Clock) -> Manifest | None:
    """Return the iteration's manifest where nothing is left to train: it is committed, or the target is reached.

    Raises:
        InputError: something else is committed.
    """
    manifest = task.output.committed()
    if manifest:
        task.clear_checkpoints()  # left by a kill after the commit
        return manifest
    with clock.measure("store"):
        if not _target_reached(task.run, task.iteration):
            return None
    if task.output.attempt is None:
        task = task.claimed(task.run.claim("train"))
    task.commit_policy({"outcome": "target_reached", "target_reward": task.run.config.loop.target_reward}, clock)
    metrics = TrainMetrics(iteration=task.iteration, outcome="target_reached", policy_version=task.iteration - 1)
    return task.commit(metrics, {}, clock)


def _target_reached(run: Run, iteration: int) -> bool:
    target = run.config.loop.target_reward
    if target is None or not run.evaluates(Round.iteration(iteration)):
        return False
    from components.results import read_round

    result = read_round(run, Round.iteration(iteration))
    if result is None or result.eval_reward is None:
        raise InputError(
            f"{run.uri}: iteration {iteration} has no rewards of held-out prompts, which loop.target_reward needs"
        )
    if result.eval_reward < target:
        return False
    note(f"iteration {iteration}: held-out reward {result.eval_reward:.3f} reaches loop.target_reward {target}")
    return True
