"""A run with engine, grader and trainer in one process: the computation of the stages and nothing else.

The parts are those of the stages: prompts and seeds of `components.rollout.groups`, the engine of
`components.rollout.engine`, the grading processes of `components.reward.grading_pool`, the updates of
`components.train.trainer`. Nothing is stored and no process starts between iterations, so on-policy methods with
hundreds of iterations can be measured too. `tests/integration/benchmarks/test_resident.py` compares a run with the
pipeline's.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from benchmarks.learning.engine import ResidentEngine
from benchmarks.learning.tasks import Problem, Task
from components.contract.config import RunConfig
from components.contract.layout import Round
from components.contract.metrics import StepMetrics
from components.results.pass_at_k import pass_at_k
from components.reward.grader_lookup import resolve_graders
from components.reward.grading_pool import GraderPool, GradingTask
from components.rollout.engine import Completion, GroupRequest, SamplingSpec
from components.rollout.groups import Group, held_out_groups, training_groups
from components.train.distributed import Processes
from components.train.trainer import UpdateProgress, build_trainer, keep_freed_memory, update_policy
from components.train.trajectories import Trajectories


@dataclass
class Seconds:
    """Wall-clock seconds of a run, by activity."""

    sampling: float = 0.0
    updating: float = 0.0
    grading: float = 0.0
    hand_over: float = 0.0


@dataclass(frozen=True)
class Point:
    """The results of the policy after `step` optimizer steps on the held-out prompts."""

    step: int
    iteration: int
    completions: int
    tokens: int
    pass_at_1: float
    pass_at_8: float
    seconds: dict[str, float]


@dataclass
class Course:
    """The results of a run so far.

    Attributes:
        points: the evaluated policies; the first is the base policy.
        steps: metrics of every optimizer step.
        updates: number of optimizer steps of every iteration.
        ended_early: iterations that a guard ended early, with the reason.
    """

    points: list[Point] = field(default_factory=list)
    steps: list[StepMetrics] = field(default_factory=list)
    updates: list[int] = field(default_factory=list)
    ended_early: list[str] = field(default_factory=list)


class Bench:
    """Engine and grading process of a task, which its runs share. A context manager.

    Args:
        config: configuration of any run on the task; model, rollout and reward are the same for all.
    """

    def __init__(self, config: RunConfig, task: Task, policy: Path) -> None:
        keep_freed_memory()
        self.task, self.policy = task, policy
        self.engine = ResidentEngine(policy, config.model, config.rollout.engine, config.run.seed)
        self.prompts = {
            split: [self.engine.encode(problem.prompt) for problem in problems]
            for split, problems in (("train", task.train), ("eval", task.held_out))
        }
        reward = config.reward
        graders = resolve_graders(reward.graders, reward.sandbox, reward.time_limit)
        self._pool = GraderPool(graders, 1, reward.time_limit, reward.batch_size)

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def sample(self, groups: Sequence[Group], spec: SamplingSpec, split: str) -> list[list[Completion]]:
        """Sample the completions of every group, in the order of the groups."""
        requests = [GroupRequest(g.group_id, self.prompts[split][g.index], spec, g.seed) for g in groups]
        by_id = dict(self.engine.sample(requests))
        return [by_id[group.group_id] for group in groups]

    def grade(
        self, groups: Sequence[Group], problems: Sequence[Problem], sampled: Sequence[Sequence[Completion]]
    ) -> np.ndarray:
        """Return the rewards, float32 [groups, completions of each]."""
        tasks = [
            GradingTask(problem.prompt, completion.text, problem.answer, _metadata(problem, completion))
            for problem, completions in zip((problems[g.index] for g in groups), sampled, strict=True)
            for completion in completions
        ]
        rewards = np.zeros(len(tasks), dtype=np.float32)
        for index, outcome in self._pool.grade(tasks):
            assert outcome.status == "ok", outcome
            rewards[index] = outcome.reward
        return rewards.reshape(-1, len(sampled[0]))


class Resident:
    """One run on a bench: its policy, optimizer and clocks."""

    def __init__(self, config: RunConfig, bench: Bench) -> None:
        self._config, self._bench, self._task = config, bench, bench.task
        self._trainer = build_trainer(config, bench.policy, Processes.init())
        self._seconds = Seconds()
        self._completions = self._sampled_tokens = 0

    def run(self, steps: int, evaluate_every: int) -> Iterator[Course]:
        """Train for `steps` optimizer steps; yield the course after every evaluation.

        Policies are evaluated at the end of the first iteration that reaches each multiple of `evaluate_every`.
        """
        course, step, iteration, due = Course(), 0, 0, 0
        while True:
            with self._clocked("hand_over"):
                self._bench.engine.take(self._trainer.policy.model)
            if step >= due or step >= steps:
                course.points.append(self._evaluate(step, iteration))
                due = step - step % evaluate_every + evaluate_every
                yield course
            if step >= steps:
                return
            iteration += 1
            data = self._rollout(iteration)
            with self._clocked("updating"):
                result = update_policy(self._trainer, data, iteration, UpdateProgress(step=step))
            course.steps += result.steps
            course.updates.append(len(result.steps))
            if result.ended_early:
                course.ended_early.append(f"iteration {iteration}: {result.ended_early}")
            # A skipped mini-batch or an iteration that ended early has used its samples all the same.
            step += self._config.train.updates

    @contextmanager
    def _clocked(self, what: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        setattr(self._seconds, what, getattr(self._seconds, what) + time.perf_counter() - begin)

    def _rollout(self, iteration: int) -> Trajectories:
        config, round_ = self._config, Round.iteration(iteration)
        groups = training_groups(len(self._task.train), config.prompts_per_iteration, round_, 0, 1, config.run.seed)
        spec = SamplingSpec(config.rollout.group_size, config.rollout.temperature, 1.0, config.rollout.max_tokens, ())
        with self._clocked("sampling"):
            sampled = self._bench.sample(groups, spec, "train")
        with self._clocked("grading"):
            rewards = self._bench.grade(groups, self._task.train, sampled)
        self._completions += rewards.size
        self._sampled_tokens += sum(len(c.token_ids) for completions in sampled for c in completions)
        return trajectories([self._bench.prompts["train"][group.index] for group in groups], sampled, rewards)

    def _evaluate(self, step: int, iteration: int) -> Point:
        config = self._config
        groups = held_out_groups(len(self._task.held_out), Round.evaluation(step), 0, 1, config.run.seed)
        spec = SamplingSpec(config.evaluate.samples, config.evaluate.temperature, 1.0, config.rollout.max_tokens, ())
        rewards = self._bench.grade(groups, self._task.held_out, self._bench.sample(groups, spec, "eval"))
        passed = (rewards >= config.evaluate.pass_threshold).sum(axis=1)
        samples = np.full(len(passed), rewards.shape[1])
        return Point(
            step=step,
            iteration=iteration,
            completions=self._completions,
            tokens=self._sampled_tokens,
            pass_at_1=float(pass_at_k(samples, passed, 1).mean()),
            pass_at_8=float(pass_at_k(samples, passed, 8).mean()),
            seconds=vars(self._seconds).copy(),
        )


def trajectories(
    prompts: Sequence[Sequence[int]], sampled: Sequence[Sequence[Completion]], rewards: np.ndarray
) -> Trajectories:
    """Return sampled groups as the train stage reads them.

    Args:
        rewards: float32 [groups, completions of each].
    """
    rows = [(prompt, c) for prompt, completions in zip(prompts, sampled, strict=True) for c in completions]
    prompt_lengths = np.array([len(prompt) for prompt, _ in rows])
    completion_lengths = np.array([len(completion.token_ids) for _, completion in rows])
    return Trajectories(
        tokens=np.concatenate([[*prompt, *completion.token_ids] for prompt, completion in rows]).astype(np.int64),
        starts=_starts(prompt_lengths + completion_lengths),
        prompt_lengths=prompt_lengths,
        behaviour_logprobs=np.concatenate([c.logprobs for _, c in rows]).astype(np.float32),
        behaviour_starts=_starts(completion_lengths),
        rewards=rewards.ravel(),
        truncated=np.array([completion.finish_reason == "length" for _, completion in rows]),
        group_size=rewards.shape[1],
    )


def _metadata(problem: Problem, completion: Completion) -> str:
    return json.dumps({**json.loads(problem.metadata), "completion_tokens": len(completion.token_ids)})


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])
