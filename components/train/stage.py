"""Update the policy on one iteration's trajectories."""

import atexit
import os
from collections.abc import Callable

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Manifest
from components.contract.metrics import TrainMetrics
from components.runtime.clock import Clock
from components.runtime.progress import note
from components.store import Run
from components.train.leftovers import clear_checkpoints
from components.train.spawn import spawn
from components.train.work import Work, commit


def run_stage(run_uri: str, iteration: int, elsewhere: Callable[[Work], None] | None = None) -> Manifest:
    """Make policy `iteration` from policy `iteration - 1`, or find that the target is reached and make none.

    That the target is reached stands only as long as it is: with a higher `loop.target_reward`, or none, the
    iteration is trained after all. Where torchrun has started several processes, all of them call this; otherwise
    `train.processes` are started here.

    Args:
        elsewhere: does the training instead of this machine, when there is any to do: returns once it is committed.

    Returns:
        The manifest. Facts: outcome, policy_version, target_reached; of a pass also step (optimizer
        steps since the base policy), updates, skipped, and the policy's digests.

    Raises:
        InputError: an input is not committed, does not fit the policy, or the update is impossible with it.
    """
    clock = Clock()
    work = Work.of(run_uri, iteration)
    done = work.output.committed()
    if done and done.facts["outcome"] == "trained":
        clear_checkpoints(work.run, iteration)  # where a kill has come between the commit and this
        return done
    # Waiting OpenMP threads otherwise spin, and on shared cores keep those they wait for from running.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    with clock.measure("store"):
        reached = _target_reached(work.run, iteration)
    if together:
        from components.train.processes import Processes

        processes = Processes.join()
        atexit.register(processes.leave)
        done, reached = processes.from_first((done, reached))
    if done and reached:
        return done
    if reached:
        metrics = TrainMetrics(iteration=iteration, outcome="target_reached", policy_version=iteration - 1)
        if not together:
            return commit(work, metrics, {}, clock)
        return processes.from_first(commit(work, metrics, {}, clock) if processes.first else None)
    if elsewhere is not None:
        elsewhere(work)
        return work.output.require()
    if work.run.config.train.nodes > 1 and not together:
        raise InputError(
            f"train.nodes = {work.run.config.train.nodes}, but this is one process on one machine; start the stage "
            "with torchrun on each of them, compile the pipeline with a training job, or set train.nodes=1"
        )
    if work.run.config.train.processes > 1 and not together:
        spawn(run_uri, iteration, work.run.config.train.processes)
        return work.output.require()
    with clock.measure("load"):
        from components.train.iteration import train_iteration

    return train_iteration(work, clock, replaces=done is not None)


def _target_reached(run: Run, iteration: int) -> bool:
    target = run.config.loop.target_reward
    if target is None:
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
