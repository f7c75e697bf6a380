"""The runs of `data.replay`: which are refused, and that they stay as prepare has found them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.contract.errors import InputError
from components.store import Run
from components.store.earlier_runs import earlier_runs, find_earlier_runs, pin_earlier_runs
from tests.support.fake_run import FakeRun, finished_run, prepared_run

Make = Callable[..., Run]


@pytest.fixture
def before(tmp_path: Path) -> FakeRun:
    """A finished run of two iterations, with its report."""
    fake = finished_run(tmp_path, "before")
    publish(fake, 2)
    return fake


def publish(fake: FakeRun, version: int) -> None:
    report = fake.run.output("publish", fake.run.layout.report, {})
    report.discard()
    report.commit(fake.spend(1.0), {"policy_version": version})


@pytest.fixture
def later(tmp_path: Path, before: FakeRun) -> Make:  # noqa: ARG001
    """`later(reward={...})`: a prepared run that replays that one."""

    def make(names: tuple[str, ...] = ("before",), **sections: Any) -> Run:
        data = {"replay": names, **sections.pop("data", {})}
        return prepared_run(tmp_path, "later", data=data, loop={"replay": 0.5}, **sections).run

    return make


def find(run: Run, tokenizer: str | None = None, date: str | None = None) -> list[str]:
    its = tokenizer or str(run.policy(0).require().facts["tokenizer_digest"])
    return [other.run.layout.run for other in find_earlier_runs(run, its, date)]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"rollout": {"temperature": 0.7}}, r"before has rollout.temperature 1.0, this run 0.7; leave it out"),
        ({"rollout": {"group_size": 3}}, "before has rollout.group_size 4, this run 3"),
        ({"data": {"chat": "never"}}, "before has data.chat auto, this run never"),
        ({"reward": {"graders": ["numeric"]}}, r"rewards by other settings than this run \(reward.graders: .*'math'"),
        ({"reward": {"graders": [{"name": "math", "weight": -1.0}]}}, r"\(reward.graders: .* 1.0.* -> .* -1.0"),
        ({"reward": {"sandbox": {"seconds": 3.0}}}, r"\(reward.sandbox.seconds: 8.0 -> 3.0\); leave it out"),
        ({"names": ("nobody",)}, "^data.replay: there is no run at .*/runs/nobody"),
    ],
)
def test_runs_that_do_not_fit_are_refused(later: Make, sections: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find(later(**sections))


def test_another_tokenizer_or_day_is_refused(later: Make) -> None:
    run = later()
    assert find(run) == ["before"]
    with pytest.raises(InputError, match=r"a tokenizer and template with digest \w+, this run another; leave it out"):
        find(run, tokenizer="another")
    with pytest.raises(InputError, match=r"before has data.today None, this run 2026-11-29"):
        find(run, date="2026-11-29")


def test_a_run_that_is_not_finished_is_refused(later: Make, before: FakeRun) -> None:
    before.run.directory(before.run.layout.report).retract()
    with pytest.raises(InputError, match="run before has no finished training; continue it to its end, or leave it"):
        find(later())


def test_a_run_that_goes_on_is_replayed_as_it_was(later: Make, before: FakeRun) -> None:
    run = later()
    pin_earlier_runs(run, before.spend(1.0))
    digest = before.run.policy(2).require().facts["weights_digest"]
    before.iteration(3)  # there is no report of it yet
    for _ in range(2):
        (other,) = earlier_runs(run)
        assert (other.run.layout.run, other.iterations, other.digest) == ("before", 2, digest)
        pin_earlier_runs(run, before.spend(1.0))
        publish(before, 3)


def test_the_list_may_change_until_something_is_sampled_from_it(later: Make, before: FakeRun, tmp_path: Path) -> None:
    publish(finished_run(tmp_path, "older", iterations=1), 1)
    first = later()
    for names in (("before",), ("older", "before"), ("before", "older"), ()):
        data = first.config.data.model_copy(update={"replay": names})
        run = replace(first, config=first.config.model_copy(update={"data": data}))
        pin_earlier_runs(run, before.spend(1.0))
        assert [other.run.layout.run for other in earlier_runs(run)] == list(names)


def test_another_run_of_the_same_name_is_refused(later: Make, before: FakeRun) -> None:
    run = later()
    pin_earlier_runs(run, before.spend(1.0))
    before.run.policy(2).discard()
    before.weights[2] = b"other weights"
    before.policy(2)
    with pytest.raises(InputError, match="run before is not the one that run later was prepared with; restore it"):
        earlier_runs(run)
