"""The guide's log-probabilities of the completions that an iteration trains on.

They are computed once, before the updates and while no trainer is in the device's memory, and stored beside the
trajectories: the updates then cost no more than without a guide, whatever its size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
import pyarrow as pa
import torch

from components.contract.errors import InputError
from components.contract.schemas import GUIDE, with_metadata
from components.runtime.clock import Clock
from components.runtime.progress import StageProgress
from components.store import OutputDirectory, StageOutput
from components.store.parquet import decode, encode
from components.train.memory import release_models
from components.train.order import order_mini_batches, shape_rewards
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
    """Return the iteration's own and replayed completions with the guide's log-probabilities.

    What is stored is read: by a killed attempt, or by the iterations that replayed groups come from. The rest is
    computed now, and that of the iteration's own groups is stored. Groups that no mini-batch uses have none (NaN). All
    processes that train together have to call it.

    Raises:
        InputError: the guide cannot be loaded, or a sequence has tokens that it does not know.
    """
    run, is_main = task.run, resident.processes.is_main
    with clock.measure("store"):
        # The first process decides for all.
        ages = {source.age for source in replayed.sources if source.age} if replayed else set()
        fits = {age: _fits(task, age) for age in (0, *ages)} if is_main else None
        stored = {
            age: run.directory(run.layout.guide_logprobs(task.iteration - age))
            for age, fit in (resident.processes.broadcast(fits) or {}).items()
            if fit
        }
        data = _with_stored(data, stored.get(0))
        if replayed:
            replayed = replace(replayed, data=_replayed_with_stored(replayed, stored))
    used = order_mini_batches(shape_rewards(data, run.config.train.overlong), run.config, task.iteration).mini_batches
    parts = [(data, _missing(data, np.sort(np.concatenate(used)) if used else []))]
    if replayed:
        replayed = replayed.first(len(used) * run.config.replayed_groups)
        parts.append((replayed.data, _missing(replayed.data, range(replayed.data.groups))))
    if any(missing for _, missing in parts):
        _compute(task, parts, resident, clock)
    if is_main and parts[0][1]:
        with clock.measure("store"):
            _store(task.guide_output, data, clock)
    return data, replayed


def _fits(task: TrainTask, age: int) -> bool:
    """Return whether log-probabilities of this guide are stored for an iteration so long ago."""
    if age == 0:
        manifest = task.guide_output.manifest()
        return manifest is not None and task.guide_output.mismatch(manifest) is None
    manifest = task.run.directory(task.run.layout.guide_logprobs(task.iteration - age)).manifest()
    return manifest is not None and manifest.inputs["guide"] == task.output.inputs["guide"]


def _with_stored(data: Trajectories, directory: OutputDirectory | None) -> Trajectories:
    """Return trajectories with the log-probabilities that a directory holds of them."""
    logprobs = np.full_like(data.behaviour_logprobs, np.nan)
    places = {group_id: place for place, group_id in enumerate(data.group_ids)}
    if directory:
        table = decode(directory.read(_FILE), f"{directory.uri}/{_FILE}")
        columns = (table[name].to_pylist() for name in ("group_id", "sample_index", "guide_logprobs"))
        for group_id, sample, values in zip(*columns, strict=True):
            if group_id in places:
                row = places[group_id] * data.group_size + sample
                logprobs[slice(*data.behaviour_starts[row : row + 2])] = values
    return replace(data, guide_logprobs=logprobs)


def _replayed_with_stored(replayed: Replayed, stored: Mapping[int, OutputDirectory]) -> Trajectories:
    """Return replayed groups with the log-probabilities that the iterations they come from have stored."""
    parts, places = [], []
    for place, source in enumerate(replayed.sources):
        groups = np.flatnonzero(replayed.source == place)
        if len(groups):
            parts.append(_with_stored(replayed.data.take(groups), stored.get(source.age) if source.age else None))
            places.append(groups)
    return reduce(Trajectories.followed_by, parts).take(np.argsort(np.concatenate(places)))


def _missing(data: Trajectories, groups: Sequence[int] | range | np.ndarray) -> list[int]:
    """Return those of the groups that have no log-probabilities."""
    scored = _scored(data)
    return [int(group) for group in groups if not scored[group]]


def _scored(data: Trajectories) -> np.ndarray:
    """Return which groups have log-probabilities, bool [groups]."""
    assert data.guide_logprobs is not None
    scored: np.ndarray = ~np.isnan(data.guide_logprobs[data.behaviour_starts[: -1 : data.group_size]])
    return scored


@torch.no_grad()
def _compute(
    task: TrainTask, parts: Sequence[tuple[Trajectories, list[int]]], resident: Resident, clock: Clock
) -> None:
    """Compute the log-probabilities of the named groups of each part, in place."""
    run, processes = task.run, resident.processes
    train = run.config.train
    assert train.guide is not None
    with clock.measure("store"):
        files = resident.guide
    with clock.measure("load"):
        resident.make_room()
        # The base policy as the trainer computes it: before the first update nothing then pulls at the policy.
        dtype = getattr(torch, train.compute_dtype) if train.guide.model else None
        guide = load_frozen(files, run.config, processes, dtype)
    known, total, done = vocabulary(guide.model), sum(len(groups) for _, groups in parts), 0
    with clock.measure("compute"), StageProgress(f"iteration {task.iteration:04d} guide", total, "groups") as bar:
        for data, groups in parts:
            assert data.guide_logprobs is not None
            for start in range(0, len(groups), train.mini_batch_prompts):
                these = np.array(groups[start : start + train.mini_batch_prompts])
                some = data.take(these)
                if (largest := int(some.tokens.max())) >= known:
                    raise InputError(
                        f"train.guide: a sequence has the token {largest}, but the guide's vocabulary has {known}; "
                        "use a guide with the policy's vocabulary"
                    )
                places = data.completion_places(data.rows_of(these))
                data.guide_logprobs[places] = completion_logprobs(guide, some, run.config, processes)
                done += some.groups
                bar.update(done)
    del guide
    release_models()


def _store(output: StageOutput, data: Trajectories, clock: Clock) -> None:
    assert output.attempt is not None
    output.attempt.require_newest()
    output.retract()  # computed of other completions, by another guide, or not of all groups
    some = data.take(np.flatnonzero(_scored(data)))
    columns = [
        np.repeat(some.group_ids, some.group_size),
        np.tile(np.arange(some.group_size, dtype=np.int32), some.groups),
        pa.ListArray.from_arrays(pa.array(some.behaviour_starts.astype(np.int32)), pa.array(some.guide_logprobs)),
    ]
    table = pa.table(columns, schema=with_metadata(GUIDE, {}))
    output.write(_FILE, encode(table), rows=table.num_rows)
    output.commit(clock.timings())
