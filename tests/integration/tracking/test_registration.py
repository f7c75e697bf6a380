"""The policies that are registered, and when."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

from components.contract.layout import Round
from components.results import evaluation_of
from components.tracking import read_state
from tests.support.fake_run import START, FakeRun, finished_run, prepared_run
from tests.support.registry import logged_models, policies_of, registered


def test_policies_without_held_out_scores_are_versions_without_score_tags(
    client: Any, model: str, tmp_path: Path
) -> None:
    fake = prepared_run(tmp_path, tracking={"model_name": model}, loop={"iterations": 3}, evaluate={"every": 3})
    for number in (1, 2, 3):
        fake.iteration(number)
    fake.round(Round.evaluation(3))
    assert registered(fake.run).champion
    assert policies_of(client, model) == ["1", "2", "3"]
    scored = ["rapid.pass_at_1" in client.get_model_version(model, number).tags for number in ("1", "2", "3")]
    assert scored == [False, False, True]
    assert [bool(m.metrics) for m in sorted(logged_models(client, fake.run), key=lambda m: m.name)] == scored


def test_without_held_out_prompts_every_policy_is_a_version(client: Any, model: str, tmp_path: Path) -> None:
    run = finished_run(tmp_path, eval_prompts=0, tracking={"model_name": model}).run
    assert not registered(run).champion
    assert policies_of(client, model) == ["1", "2"]


def test_a_policy_that_is_evaluated_after_its_registration_gets_its_scores(
    client: Any, model: str, tmp_path: Path
) -> None:
    fake = prepared_run(tmp_path, tracking={"model_name": model}, loop={"iterations": 2, "staleness": 1})
    for number in (1, 2):
        fake.iteration(number)
    fake.round(Round.evaluation(2))
    registered(fake.run)
    assert "rapid.pass_at_1" not in client.get_model_version(model, "1").tags
    fake.iteration(3)
    fake.round(Round.evaluation(3))
    registered(fake.run)
    assert policies_of(client, model) == ["1", "2", "3"]
    evaluation = evaluation_of(fake.run, 1)
    assert evaluation is not None
    assert client.get_model_version(model, "1").tags["rapid.pass_at_1"] == repr(evaluation.pass_at_k[1])
    first = min(logged_models(client, fake.run), key=lambda m: m.name)
    assert {m.key: m.value for m in first.metrics}["iteration/pass_at_1"] == evaluation.pass_at_k[1]


def test_a_run_made_again_under_its_name_has_versions_of_its_own(client: Any, model: str, tmp_path: Path) -> None:
    old = finished_run(tmp_path, tracking={"model_name": model}).run
    registered(old)
    shutil.rmtree(tmp_path / "runs")
    again = FakeRun(old, now=START + timedelta(hours=1))
    again.prepare(eval_prompts=5)
    for number in (1, 2):
        again.iteration(number)
    again.round(Round.evaluation(2))
    registered(again.run)
    assert policies_of(client, model) == ["1", "2", "1", "2"]
    state = read_state(again.run)
    assert state is not None
    tracked = client.get_run(state.run_id)
    own = {m.model_id for m in logged_models(client, again.run) if m.source_run_id == state.run_id}
    assert {output.model_id for output in tracked.outputs.model_outputs} == own
    assert len(own) == 2
