"""Which rounds a worker does, in which order, and when it ends."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.section import StageName
from components.runtime import heartbeat, worker
from components.runtime.failure import RunFailed, read_failure, report_failure
from components.runtime.heartbeat import Beat, Heartbeat, read_beat
from components.runtime.processes import PARENT_VARIABLE
from components.runtime.worker import Worker
from components.store import Attempt, Run, Superseded
from tests.support.fake_run import FakeRun, prepared_run

Steps = list[Callable[[], object]]


class World:
    """A run of which one worker is real: whenever it waits, time goes on and the next step is taken."""

    def __init__(self, fake: FakeRun) -> None:
        self.fake, self.run = fake, fake.run
        self.steps: Steps = []
        self.moment = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.moment += seconds
        assert self.moment < 10_000, "the worker waits for ever"
        if self.steps:
            self.steps.pop(0)()

    def commit(self, stage: StageName, round_: Round, shard: int = 0) -> None:
        layout = self.run.layout
        key = layout.rollout(round_, shard) if stage == "rollout" else layout.reward(round_, shard)
        self.run.output(stage, key, {}, round_, shard).commit(self.fake.spend(1.0))

    def sampled(self, number: int) -> Callable[[], None]:
        return lambda: self.commit("rollout", Round.iteration(number))

    def trained(self, number: int) -> Callable[[], None]:
        return lambda: self.fake.train(number)

    def stops(self, number: int) -> Callable[[], None]:
        return lambda: self.fake.train(number, outcome="target_reached")

    def serve(self, stage: StageName, shards: list[int] | None = None) -> Iterator[str]:
        """Run a worker that commits at once what it is given; yield the names of its tasks."""
        if stage != "train":
            shards = shards or list(range(self.run.config.rollout.shards))
        with Worker(self.run, stage, shards) as served:
            for round_, shard in served.tasks():
                yield f"{round_}" if shard in (None, 0) else f"{round_} shard {shard}"
                if stage == "train":
                    self.fake.train(round_.number)
                elif not self.run.directory(getattr(self.run.layout, stage)(round_, shard)).manifest():
                    self.commit(stage, round_, shard or 0)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """`world(iterations=3, staleness=0, shards=1)`: a prepared run."""

    def make(iterations: int = 3, staleness: int = 0, shards: int = 1, **loop: Any) -> World:
        sections = {"loop": {"iterations": iterations, "staleness": staleness, **loop}, "rollout": {"shards": shards}}
        made = World(prepared_run(tmp_path, **sections))
        clock = SimpleNamespace(monotonic=made.monotonic, sleep=made.sleep)
        monkeypatch.setattr(worker, "time", clock)
        monkeypatch.setattr(heartbeat, "time", clock)
        return made

    return make


ALL = ["iteration-0001", "iteration-0002", "iteration-0003", "evaluation-0003"]


def test_each_iteration_is_sampled_once_its_policy_is_there(world):
    w = world()
    w.steps = [w.trained(1), lambda: None, w.trained(2), w.trained(3)]
    assert list(w.serve("rollout")) == ALL
    assert len(w.pauses) == 4


def test_with_staleness_the_next_iteration_is_sampled_while_the_newest_trains(world):
    w = world(staleness=1)
    done, order = w.serve("rollout"), []
    w.steps = [lambda n=n: (order.append(f"trained {n}"), w.fake.train(n)) for n in (1, 2, 3)]
    for name in done:
        order.append(name)
    assert order == [
        "iteration-0001", "iteration-0002", "trained 1", "iteration-0003", "trained 2", "trained 3", "evaluation-0003",
    ]  # fmt: skip


def test_rewards_follow_trajectories_and_training_follows_rewards(world):
    w = world(iterations=2, shards=2)
    w.steps = [
        lambda: w.commit("rollout", Round.iteration(1), 1),
        w.sampled(1),
        w.trained(1),
        w.sampled(2),
        lambda: w.commit("rollout", Round.iteration(2), 1),
        lambda: (w.fake.train(2), w.commit("rollout", Round.evaluation(2), 0)),
        lambda: w.commit("rollout", Round.evaluation(2), 1),
    ]
    assert list(w.serve("reward", [0, 1])) == [
        f"{round_}{shard}" for round_ in ("iteration-0001", "iteration-0002", "evaluation-0002")
        for shard in ("", " shard 1")
    ]  # fmt: skip


def test_training_waits_for_every_shard_and_ends_after_the_last_iteration(world):
    w = world(iterations=2, shards=2)
    steps = [lambda r=r, s=s: w.commit("reward", Round.iteration(r), s) for r in (1, 2) for s in (1, 0)]
    w.steps = list(steps)
    assert list(w.serve("train")) == ["iteration-0001", "iteration-0002"]
    assert not w.steps


@pytest.mark.parametrize("staleness", [0, 1])
def test_a_run_that_reaches_its_target_ends_without_what_was_sampled_ahead(world, staleness):
    w = world(iterations=5, staleness=staleness, target_reward=0.9)
    w.steps = [w.trained(1), w.stops(2)]
    served = list(w.serve("rollout"))
    if staleness == 0:
        # Iteration 2 has sampled policy 1, the newest, before it stopped.
        assert served == ["iteration-0001", "iteration-0002"]
    else:
        # So has iteration 3, ahead of the end; whether it had come so far does not count.
        assert served == ["iteration-0001", "iteration-0002", "iteration-0003", "evaluation-0001"]


def test_the_trainer_ends_where_it_stopped_the_run(world):
    w = world(iterations=5, target_reward=0.9)
    w.commit("reward", Round.iteration(1))
    with Worker(w.run, "train") as trainer:
        tasks = trainer.tasks()
        assert str(next(tasks)[0]) == "iteration-0001"
        w.fake.train(1, outcome="target_reached")
        assert list(tasks) == []


def test_a_run_without_iterations_is_evaluated(world):
    w = world(iterations=0)
    assert list(w.serve("rollout")) == ["evaluation-0000"]
    assert list(w.serve("reward")) == ["evaluation-0000"]
    assert list(w.serve("train")) == []
    assert not w.pauses


def test_a_worker_that_starts_again_goes_on_where_training_is(world):
    w = world()
    for number in (1, 2):
        w.commit("rollout", Round.iteration(number))
        w.fake.train(number)
    w.steps = [w.trained(3)]
    assert list(w.serve("rollout")) == ALL[2:]


def test_a_shortened_run_is_evaluated_by_the_iteration_that_was_sampled_already(world):
    w = world(iterations=1)
    w.fake.train(1)
    w.commit("rollout", Round.iteration(2))
    assert list(w.serve("rollout")) == ["iteration-0002"]
    assert list(w.serve("reward")) == ["iteration-0002"]


def test_a_task_comes_again_while_its_output_is_not_committed(world):
    w = world(iterations=0)
    with Worker(w.run, "rollout", [0]) as served:
        tasks = served.tasks()
        first = next(tasks)
        assert next(tasks) == first
        w.commit("rollout", first[0])
        assert list(tasks) == []


def test_what_the_trainer_discards_is_done_again(world):
    """It was killed after its policy was committed, and made another one then."""
    w = world(iterations=2)
    w.fake.policy(1)

    def discard() -> None:
        w.run.output("rollout", w.run.layout.rollout(Round.iteration(2), 0), {}).discard()

    w.steps = [discard, *[lambda: None] * 20, w.trained(2)]
    assert list(w.serve("rollout")) == ["iteration-0001", "iteration-0002", "iteration-0002", "evaluation-0002"]


def test_the_last_evaluation_is_done_again_too(world):
    w = world(iterations=1)
    w.steps = [lambda: w.fake.policy(1)]
    served = w.serve("reward")
    w.commit("rollout", Round.iteration(1))
    assert next(served) == "iteration-0001"
    w.commit("rollout", Round.evaluation(1))
    assert next(served) == "evaluation-0001"

    def again() -> None:
        w.run.output("reward", w.run.layout.reward(Round.evaluation(1), 0), {}).discard()

    output = w.run.output("train", w.run.layout.train(1), {}, Round.iteration(1))
    w.steps = [again, *[lambda: None] * 20, lambda: output.commit(w.fake.spend(1.0), {"outcome": "trained"})]
    assert list(served) == ["evaluation-0001"]


def test_it_looks_often_first_and_then_more_rarely(world):
    w = world(iterations=1)
    w.steps = [lambda: None] * 100 + [w.trained(1)]
    assert list(w.serve("rollout")) == ["iteration-0001", "evaluation-0001"]
    assert set(w.pauses[:40]) == {0.25}
    assert w.pauses[60:] == [2.0] * (len(w.pauses) - 60)


def test_one_key_is_looked_at_while_waiting(world, monkeypatch):
    w = world(iterations=40)
    for number in range(1, 4):
        w.fake.policy(number)
    asked: list[str] = []
    exists = type(w.run.store).exists
    monkeypatch.setattr(type(w.run.store), "exists", lambda store, key: asked.append(key) or exists(store, key))
    served = w.serve("rollout")
    assert [next(served) for _ in range(4)][-1] == "iteration-0004"
    w.steps = [asked.clear, lambda: None, lambda: None, lambda: w.fake.policy(4)]
    assert next(served) == "iteration-0005"
    # The policy itself, and whether the run has stopped, which is the same object here.
    assert set(asked[:4]) == {f"{w.run.layout.policy(4)}/manifest.json"}


def test_the_failure_of_another_worker_ends_it_with_the_same_message(world):
    w = world()
    w.steps = [lambda: report_failure(w.run, "train", "logits are not finite")]
    with pytest.raises(RunFailed, match=r"^train: logits are not finite$"):
        list(w.serve("rollout"))
    failure = read_failure(w.run)
    assert failure is not None
    assert (failure.stage, failure.message) == ("train", "logits are not finite")


def test_its_own_bad_input_ends_the_others(world):
    w = world()
    with pytest.raises(InputError), Worker(w.run, "reward", [0]):
        raise InputError("reward.graders: 'maths' is not\n a valid grader")
    failure = read_failure(w.run)
    assert failure is not None
    assert failure.message == "reward.graders: 'maths' is not a valid grader"


def test_a_crash_is_no_failure_and_no_end(world):
    w = world()
    with pytest.raises(ZeroDivisionError), Worker(w.run, "reward", [0]):
        raise ZeroDivisionError
    assert read_failure(w.run) is None
    beat = read_beat(w.run.store, w.run.layout.worker("reward", 0))
    assert beat is None or beat.state != "ended"


def beats(w: World, count: int) -> Callable[[], None]:
    words = Beat(attempt=1, count=count, state="working", detail="iteration 0001 train", started=w.fake.now)
    key = f"{w.run.layout.worker('train')}/heartbeat.json"
    return lambda: w.run.store.write(key, words.model_dump_json().encode())


def test_a_silent_worker_ends_the_run_after_the_limit(world, monkeypatch):
    monkeypatch.setenv(worker.SILENCE_VARIABLE, "5")
    w = world()
    w.steps = [beats(w, 7)]
    with pytest.raises(RunFailed, match=r"^worker train has not been heard of for 5 min; its last words: working iter"):
        list(w.serve("rollout"))
    assert 300 < w.moment < 310
    failure = read_failure(w.run)
    assert failure is not None
    assert "worker train has not been heard of" in failure.message


def test_one_that_never_started_is_named_too(world, monkeypatch):
    monkeypatch.setenv(worker.SILENCE_VARIABLE, "1")
    with pytest.raises(RunFailed, match="worker train has not been heard of for 1 min, and never was"):
        list(world().serve("rollout"))


def test_one_that_beats_is_waited_for(world, monkeypatch):
    monkeypatch.setenv(worker.SILENCE_VARIABLE, "1")
    w = world(iterations=1)
    w.steps = [beats(w, count) for count in range(200)] + [w.trained(1)]
    assert list(w.serve("rollout")) == ["iteration-0001", "evaluation-0001"]
    assert w.moment > 120


def test_a_later_start_of_the_same_worker_takes_over(world):
    w = world()
    later: list[Attempt] = []
    w.steps = [lambda: later.append(w.run.claim("rollout", 0))]
    with pytest.raises(Superseded, match="attempt 1 of worker rollout-000 stops: attempt 2 has taken over"):
        list(w.serve("rollout"))
    assert later[0].number == 2
    assert read_failure(w.run) is None


def test_each_shard_has_its_own_attempts(world):
    w = world(shards=2)
    w.run.claim("reward", 1)
    with Worker(w.run, "reward", [0, 1]) as served:
        assert [served.attempt(shard).number for shard in (0, 1)] == [1, 2]
        assert served.attempt(1).directory == w.run.layout.worker("reward", 1)


def test_its_parent_process_learns_what_it_does(world, monkeypatch):
    w = world(iterations=1)
    ours, its = os.pipe()
    monkeypatch.setenv(PARENT_VARIABLE, str(its))
    w.steps = [w.trained(1)]
    list(w.serve("rollout"))
    os.close(its)
    with os.fdopen(ours) as reports:
        assert reports.read().split() == ["working", "committed", "waiting", "working", "committed", "working"]


def test_its_heartbeat_says_what_it_waits_for_and_that_it_ended(world, monkeypatch):
    monkeypatch.setattr(heartbeat, "_PAUSE_SECONDS", 0.0)
    w = world(iterations=1)
    key = w.run.layout.worker("rollout", 0)
    with Worker(w.run, "rollout", [0]) as served:
        tasks = served.tasks()
        next(tasks)
        served.loaded()
        assert _wait_for(w.run, key, "working").detail == "iteration 0001 rollout"
        w.commit("rollout", Round.iteration(1))
        seen: list[Beat] = []
        w.steps = [lambda: (seen.append(_wait_for(w.run, key, "waiting")), w.fake.train(1))]
        round_, _ = next(tasks)
        w.commit("rollout", round_)
        assert list(tasks) == []
    assert seen[0].detail == "for policy 1"
    last = read_beat(w.run.store, key)
    assert last is not None
    assert (last.state, last.attempt) == ("ended", 1)
    assert last.loaded is not None
    assert last.count > seen[0].count


def _wait_for(run: Run, key: str, state: str) -> Beat:
    import time

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if (beat := read_beat(run.store, key)) and beat.state == state:
            return beat
        time.sleep(0.01)
    raise AssertionError(f"no beat says {state}")


def test_a_store_that_is_away_fails_no_heartbeat(world, monkeypatch):
    w = world()

    def refuse(*_: object) -> None:
        raise InputError("cannot reach the store")

    monkeypatch.setattr(type(w.run.store), "write", refuse)
    with Heartbeat([w.run.claim("rollout", 0)]) as beat:
        beat.say("working")


def test_a_damaged_heartbeat_counts_as_none(world):
    w = world()
    key = w.run.layout.worker("train")
    w.run.store.write(f"{key}/heartbeat.json", json.dumps({"attempt": 1}).encode())
    assert read_beat(w.run.store, key) is None
