"""A worker that grades every round of a run with the same processes."""

from typing import Any

import pytest

from components.contract.layout import Round
from components.contract.manifest import policy_digests
from components.results import read_round
from components.reward import shard_grading, stage
from components.reward.stage import Grading, follow
from components.runtime.clock import Clock
from components.runtime.failure import read_failure
from components.runtime.heartbeat import read_beat
from components.runtime.replaced import InputsReplaced
from components.store import Run
from components.store.base import StoreUnavailable
from tests.support.fake_run import FakeRun, prepared_run


@pytest.fixture
def fake(tmp_path) -> FakeRun:
    """A prepared run whose completions say `policy <version>`."""
    reward = {"graders": [{"name": "regex", "options": {"pattern": "policy"}}], "workers": 1}
    return prepared_run(tmp_path, reward=reward, rollout={"shards": 1}, loop={"iterations": 2})


def sample(fake: FakeRun, round_: Round) -> None:
    """Commit the trajectories of a round without its rewards."""
    fake.round(round_)
    fake.run.output("reward", fake.run.layout.reward(round_, 0), {}).discard()


def discard(run: Run, round_: Round) -> None:
    run.output("rollout", run.layout.rollout(round_, 0), {}).discard()


def test_it_grades_every_round_with_the_same_processes(fake, monkeypatch):
    run, processes = fake.run, []
    sample(fake, Round.iteration(1))
    grade = Grading.grade

    def graded(grading: Grading, round_: Round, *rest: Any) -> Any:
        """Go on with the other stages once a round is graded."""
        manifest = grade(grading, round_, *rest)
        processes.append([process._process.pid for process in grading._pool._processes])
        if round_.trains:
            fake.train(round_.number)
            last = round_.number == 2
            sample(fake, Round.evaluation(2) if last else Round.iteration(round_.number + 1))
        return manifest

    monkeypatch.setattr(Grading, "grade", graded)
    follow(run.uri)
    assert len(processes) == 3
    assert processes[0] == processes[1] == processes[2]
    for round_ in (Round.iteration(1), Round.iteration(2), Round.evaluation(2)):
        result = read_round(run, round_)
        assert result is not None
        assert result.eval_reward == 1.0
    beat = read_beat(run.store, run.layout.worker("reward", 0))
    assert beat is not None
    assert beat.state == "ended"
    assert beat.loaded is not None


def test_prompts_are_read_once(fake, monkeypatch):
    with Grading(fake.run) as grading:
        sample(fake, Round.iteration(1))
        grading.grade(Round.iteration(1), 0)
        monkeypatch.setattr(stage, "read_prompts", None)
        sample(fake, Round.iteration(2))
        assert grading.grade(Round.iteration(2), 0).facts["ok"] == 6 * 4 + 5 * 4


@pytest.mark.parametrize("again", [False, True], ids=["gone", "replaced"])
def test_rewards_of_trajectories_that_are_discarded_meanwhile_do_not_count(fake, monkeypatch, again):
    run, round_ = fake.run, Round.iteration(2)
    sample(fake, round_)
    rewards_table = shard_grading.rewards_table

    def discarded(*arguments: Any) -> Any:
        monkeypatch.undo()
        discard(run, round_)
        if again:
            sample(fake, round_)
        return rewards_table(*arguments)

    monkeypatch.setattr(shard_grading, "rewards_table", discarded)
    with Grading(run) as grading:
        with pytest.raises(InputsReplaced, match="is discarded: what it was made from has been replaced"):
            grading.grade(round_, 0)
        assert list(run.store.list(run.layout.reward(round_, 0))) == []
        if not again:
            sample(fake, round_)
        assert grading.grade(round_, 0).facts["rows"] == 6 * 4 + 5 * 4
    assert read_round(run, round_) is not None


def test_the_worker_grades_again_what_was_sampled_again(fake, monkeypatch):
    """The trainer was killed after its policy, made another one, and discarded what was sampled from the first."""
    run, seen = fake.run, []
    sample(fake, Round.iteration(1))
    fake.train(1)
    sample(fake, Round.iteration(2))
    grade = Grading.grade

    def graded(grading: Grading, round_: Round, *rest: Any) -> Any:
        seen.append(str(round_))
        if seen == ["iteration-0002"]:
            discard(run, round_)
            sample(fake, round_)
            raise InputsReplaced("replaced")
        manifest = grade(grading, round_, *rest)
        if round_.trains:
            output = run.output("train", run.layout.policy(2), {}, round_)
            output.write("model.safetensors", b"another")
            output.commit(Clock().timings(), policy_digests(output.files))
            sample(fake, Round.evaluation(2))
            run.output("train", run.layout.train(2), {}, round_).commit(Clock().timings(), {"outcome": "trained"})
        return manifest

    monkeypatch.setattr(Grading, "grade", graded)
    follow(run.uri)
    assert seen == ["iteration-0002", "iteration-0002", "evaluation-0002"]
    assert read_failure(run) is None


def test_trajectories_that_go_between_waiting_and_grading_are_waited_for_again(fake, monkeypatch):
    run, seen = fake.run, []
    sample(fake, Round.iteration(1))
    inputs = stage.shard_inputs

    def gone(*where: Any) -> dict[str, str]:
        seen.append(str(where[1]))
        if len(seen) == 1:
            discard(run, Round.iteration(1))
            try:
                return inputs(*where)
            finally:
                sample(fake, Round.iteration(1))
                fake.train(1, outcome="target_reached")
        return inputs(*where)

    monkeypatch.setattr(stage, "shard_inputs", gone)
    follow(run.uri)
    assert read_failure(run) is None


def test_a_store_that_is_away_discards_nothing(fake, monkeypatch):
    run, round_ = fake.run, Round.iteration(1)
    sample(fake, round_)

    def away(*_: Any) -> Any:
        raise StoreUnavailable("cannot reach the store")

    monkeypatch.setattr(stage, "grade_shard", away)
    with Grading(run) as grading, pytest.raises(StoreUnavailable):
        grading.grade(round_, 0)
    assert run.directory(run.layout.rollout(round_, 0)).manifest() is not None
