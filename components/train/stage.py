"""Update the policy on one iteration's trajectories."""

import os

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Manifest
from components.contract.metrics import TrainMetrics
from components.runtime.clock import Clock
from components.runtime.progress import note
from components.store import Attempt, Run
from components.train.spawn import spawn
from components.train.task import TrainTask


def run_stage(run_uri: str, iteration: int) -> Manifest:
    """Make policy `iteration` from policy `iteration - 1`, unless the target is reached.

    Where torchrun has started several processes, each of them calls this; otherwise `train.processes` are started here.

    Returns:
        The manifest. Facts: outcome, policy_version, target_reached; after training also step (optimizer steps since
        the base policy), updates, skipped, and the policy's digests.

    Raises:
        InputError: an input is not committed, does not fit the policy, or the update is impossible with it.
    """
    # Waiting OpenMP threads otherwise spin, and on shared cores slow down those they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    clock = Clock()
    task = TrainTask.find(run_uri, iteration)
    train = task.run.config.train
    is_distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not is_distributed:
        if manifest := find_finished(task, clock):
            return manifest
        if train.nodes > 1:
            raise InputError(
                f"train.nodes = {train.nodes}, but this is one process on one machine; start the stage with torchrun "
                "on each of them, compile the pipeline with a training job, or set train.nodes=1"
            )
        if train.processes > 1:
            spawn(run_uri, iteration, train.processes)
            return task.output.require()
    with clock.measure("load"):
        from components.train.distributed import Processes
        from components.train.iteration import train_iteration

    processes = Processes.init()
    try:
        if is_distributed:
            # The first process decides for all whether anything is left to train.
            manifest = processes.broadcast(find_finished(task, clock) if processes.is_main else None)
            if manifest:
                return manifest
        number = processes.broadcast(task.run.claim("train").number if processes.is_main else 0)
        attempt = Attempt(task.run.store, task.run.layout.worker("train"), number)
        return train_iteration(task.claimed(attempt), clock, processes)
    finally:
        processes.destroy()


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
