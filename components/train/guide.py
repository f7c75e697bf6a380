"""The guide's log-probabilities of the completions that an iteration trains on.

They are computed once, before the updates and while no trainer is in the device's memory, and stored beside the
trajectories: the updates then cost no more than without a guide, whatever its size.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import torch

from components.contract.errors import InputError
from components.contract.schemas import GUIDE, with_metadata
from components.runtime.clock import Clock
from components.runtime.progress import StageProgress
from components.runtime.scratch import scratch_directory
from components.store import StageOutput
from components.store.parquet import decode, encode
from components.train.policy import vocabulary
from components.train.replay import Replayed
from components.train.resident import Resident
from components.train.scoring import completion_logprobs
from components.train.task import TrainTask
from components.train.trainer import load_frozen
from components.train.trajectories import Trajectories

_FILE = "logprobs.parquet"


def add_guide_logprobs(
    task: TrainTask, resident: Resident, data: Trajectories, replayed: Replayed | None, clock: Clock
) -> tuple[Trajectories, Replayed | None]:
    """Return the iteration's own and replayed completions with the guide's log-probabilities, stored or computed now.

    All processes that train together have to call it.

    Raises:
        InputError: the guide cannot be loaded, or a completion has tokens that it does not know.
    """
    whole = data.followed_by(replayed.data) if replayed else data
    with clock.measure("store"):
        logprobs = _stored(task.guide_output, whole, resident)
    if logprobs is None:
        logprobs = _compute(task, whole, resident, clock)
        with clock.measure("store"):
            if resident.processes.is_main:
                _store(task.guide_output, whole, logprobs, clock)
    own = len(data.behaviour_logprobs)
    if replayed:
        replayed = replace(replayed, data=replace(replayed.data, guide_logprobs=logprobs[own:]))
    return replace(data, guide_logprobs=logprobs[:own]), replayed


def _stored(output: StageOutput, data: Trajectories, resident: Resident) -> np.ndarray | None:
    """Return what a killed attempt has computed of the same completions."""
    manifest = output.manifest()
    # The first process decides for all.
    fits = resident.processes.broadcast(manifest is not None and output.mismatch(manifest) is None)
    if not fits:
        return None
    table = decode(output.read(_FILE), f"{output.uri}/{_FILE}")
    logprobs: np.ndarray = table["guide_logprobs"].combine_chunks().flatten().to_numpy()
    assert len(logprobs) == len(data.behaviour_logprobs)
    return logprobs


@torch.no_grad()
def _compute(task: TrainTask, data: Trajectories, resident: Resident, clock: Clock) -> np.ndarray:
    run, processes = task.run, resident.processes
    size = run.config.train.mini_batch_prompts
    with scratch_directory("rapid-guide-") as scratch:
        with clock.measure("store"):
            files = run.guide().fetch(scratch)
        with clock.measure("load"):
            resident.make_room()
            guide = load_frozen(files, run.config, processes)
    known, largest = vocabulary(guide.model), int(data.tokens.max())
    if largest >= known:
        raise InputError(
            f"train.guide: a completion has the token {largest}, but the guide's vocabulary has {known}; use a guide "
            "with the policy's vocabulary"
        )
    logprobs = np.empty_like(data.behaviour_logprobs)
    label = f"iteration {task.iteration:04d} guide"
    with clock.measure("compute"), StageProgress(label, data.groups, "groups") as bar:
        for start in range(0, data.groups, size):
            groups = range(start, min(start + size, data.groups))
            places, found = completion_logprobs(guide, data, groups, run.config, processes)
            logprobs[places] = found
            bar.update(groups.stop)
    del guide
    if processes.device.type == "cuda":
        torch.cuda.empty_cache()
    return logprobs


def _store(output: StageOutput, data: Trajectories, logprobs: np.ndarray, clock: Clock) -> None:
    output.discard()  # computed of other completions, or by another guide
    rows = len(data.rewards)
    columns = [
        np.repeat(data.group_ids, data.group_size),
        np.tile(np.arange(data.group_size, dtype=np.int32), rows // data.group_size),
        pa.ListArray.from_arrays(pa.array(data.behaviour_starts.astype(np.int32)), pa.array(logprobs)),
    ]
    table = pa.table(columns, schema=with_metadata(GUIDE, {}))
    output.write(_FILE, encode(table), rows=rows)
    output.commit(clock.timings())
