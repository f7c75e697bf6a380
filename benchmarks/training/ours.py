"""Our optimizer step on stored trajectories, the only user of `components.train` among these benchmarks."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.training.memory import Meter
from benchmarks.training.workload import Stored, read, starts


def configuration(stored: Stored, settings: dict[str, Any]) -> Any:
    """Return the configuration of a run with one update over all stored groups and `settings` in its `train` section.

    Its guards are off, because every step trains on the same trajectories, however far the policy has moved.
    """
    from components.contract.config import RunConfig

    longest = int(stored.sequence_lengths.max())
    return RunConfig.model_validate(
        {
            "run": "benchmark",
            "model": {"path": "unused", "max_length": longest + 1},
            "data": "unused",
            "rollout": {"group_size": stored.group_size, "max_tokens": int(stored.lengths.max())},
            "train": {
                "updates": {"most": 1, "until_share": 0.0},
                "mini_batch_prompts": len(stored.prompt_ids),
                "max_logprob_gap": 100.0,
                **settings,
            },
        }
    )


def trajectories(stored: Stored) -> Any:
    """Return the stored trajectories as `components.train` reads them from a run."""
    from components.train.trajectories import Trajectories

    prompts = np.repeat(stored.prompt_ids, stored.group_size, axis=0)
    pieces = [np.concatenate(pair) for pair in zip(prompts, stored.completions(), strict=True)]
    return Trajectories(
        tokens=np.concatenate(pieces),
        starts=starts(stored.sequence_lengths),
        prompt_lengths=np.full(len(stored.lengths), stored.prompt_ids.shape[1]),
        behaviour_logprobs=stored.logprobs,
        behaviour_starts=starts(stored.lengths),
        rewards=stored.rewards,
        truncated=np.zeros(len(stored.lengths), dtype=bool),
        group_size=stored.group_size,
        group_ids=np.arange(len(stored.prompt_ids)).astype(str).astype(object),
    )


def measure(directory: Path, steps: int, device: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Take one warm-up step and `steps` timed ones.

    Returns:
        seconds of every timed step; guide_seconds, of loading the guide and scoring with it, None without one; loss
        and gradient norm of the first step, the warm-up; memory in bytes before the policy was loaded and at its peak.
    """
    import torch

    from components.train.distributed import Processes
    from components.train.memory import keep_freed_memory
    from components.train.scoring import completion_logprobs
    from components.train.trainer import UpdateProgress, build_trainer, load_frozen, update_policy

    stored = read(directory)
    config = configuration(stored, settings)
    data = trajectories(stored)
    keep_freed_memory()  # as the stage does
    alone = Processes(0, 1, torch.device(device))
    meter = Meter(device)
    guide_seconds = None
    if config.train.guide:
        begin = time.perf_counter()
        guide = load_frozen(directory, config, alone)
        logprobs = completion_logprobs(guide, data, config, alone)
        del guide
        guide_seconds = time.perf_counter() - begin
        data = dataclasses.replace(data, guide_logprobs=logprobs)
    trainer = build_trainer(config, directory, alone)
    seconds, first = [], None
    for step in range(steps + 1):
        begin = time.perf_counter()
        result = update_policy(trainer, data, 1, UpdateProgress(step=step))
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
        first = first or result.steps[0]
    return {
        "seconds": seconds[1:],
        "guide_seconds": guide_seconds,
        "warm_up_seconds": seconds[0],
        "loss": first.loss,
        "gradient_norm": first.gradient_norm,
        "completion_tokens": first.tokens,
        "memory_before": meter.before,
        "memory_peak": meter.peak(),
    }
