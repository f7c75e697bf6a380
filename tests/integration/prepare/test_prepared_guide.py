"""The guide of `train.guide.model`, which prepare commits to the run."""

import json
import shutil

import pytest

from components.contract.errors import InputError
from components.prepare.stage import run_stage as prepare
from components.store import open_run


@pytest.fixture
def teacher(model, tmp_path):
    directory = tmp_path / "teacher"
    shutil.copytree(model, directory)
    return directory


def test_a_guide_is_copied_into_the_run(config, teacher, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = open_run(prepare(config("train.guide={model: teacher, coefficient: 0.1}")).run_uri)
    assert run.config.train.guide.model == str(teacher)
    manifest = run.guide().require()
    assert manifest.facts["weights_digest"] == run.policy(0).require().facts["weights_digest"]
    assert manifest.facts["model"] == str(teacher)
    shutil.rmtree(teacher)
    prepare(config(f"train.guide={{model: {teacher}, coefficient: 0.2}}"))
    assert open_run(run.uri).config.train.guide.coefficient == 0.2


def test_the_base_policy_is_not_copied(config):
    run = open_run(prepare(config("train.guide=0.1")).run_uri)
    assert run.guide().key == run.policy(0).key
    assert not run.store.list(run.layout.guide)


def test_until_training_begins_another_guide_may_be_named(config, model, teacher):
    prepare(config(f"train.guide={{model: {teacher}, coefficient: 0.1}}"))
    run = open_run(prepare(config(f"train.guide={{model: {model}, coefficient: 0.1}}")).run_uri)
    assert run.guide().require().facts["model"] == str(model)


def test_another_revision_is_another_guide(config, teacher):
    for revision in ("v1", "v2"):
        words = f"train.guide={{model: {teacher}, coefficient: 0.1, revision: {revision}}}"
        run = open_run(prepare(config(words)).run_uri)
        assert run.guide().require().facts["revision"] == revision


def test_a_guide_in_a_bucket(config, teacher, moto):
    from components.store import open_store

    bucket = open_store(f"{moto}/teachers/one")
    for path in teacher.iterdir():
        bucket.upload(path, path.name)
    run = open_run(prepare(config(f"train.guide={{model: {moto}/teachers/one, coefficient: 0.1}}")).run_uri)
    assert run.guide().require().holds_policy


def other_vocabulary(teacher):
    tokenizer = json.loads((teacher / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["3"], vocabulary["4"] = vocabulary["4"], vocabulary["3"]
    (teacher / "tokenizer.json").write_text(json.dumps(tokenizer))


def too_short(teacher):
    settings = json.loads((teacher / "config.json").read_text())
    (teacher / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 8}))


def no_weights(teacher):
    (teacher / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_vocabulary, "has another vocabulary than the policy: token '3' is 22, in the policy's 21; use a model"),
        (too_short, "model.max_length is"),
        (no_weights, "there are no weights in"),
        (shutil.rmtree, "missing model directory: .* does not exist; train.guide.model takes a Hugging Face directory"),
    ],
)
def test_a_guide_that_does_not_fit_is_refused_before_anything_is_committed(config, teacher, spoil, message):
    spoil(teacher)
    words = f"train.guide={{model: {teacher}, coefficient: 0.1}}"
    with pytest.raises(InputError, match=message) as caught:
        prepare(config(words))
    assert "train.guide.model" in str(caught.value)
    assert prepare(config()).shards == ["0"], "the name of the run is not bound"
