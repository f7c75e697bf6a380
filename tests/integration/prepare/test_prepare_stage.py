"""The prepare stage with a real model directory and store."""

import json
import shutil
import subprocess
import sys

import pyarrow as pa
import pytest

from components.contract.digests import file_digest
from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.schemas import validate
from components.prepare.stage import run_stage as prepare
from components.runtime.clock import Clock
from components.store import Run, RunCancelled, open_run
from components.store.cancellation import cancel
from components.store.parquet import decode
from tests.support.fake_run import FakeRun


def prompts_of(run: Run, split: str) -> pa.Table:
    directory = run.directory(run.layout.prompts)
    table = decode(directory.read(f"{split}.parquet"), split)
    validate(table, "prompts", split)
    return table


def test_what_a_prepared_run_holds(config, model, tmp_path):
    result = prepare(config("rollout.shards=3"))
    assert result.shards == ["0", "1", "2"]
    run = open_run(result.run_uri)
    train, held_out = prompts_of(run, "train"), prompts_of(run, "eval")
    assert (train.num_rows, held_out.num_rows) == (36, 4)
    assert set(held_out["split"].to_pylist()) == {"eval"}
    assert set(train["prompt"].to_pylist()).isdisjoint(held_out["prompt"].to_pylist())
    row = next(r for r in (*train.to_pylist(), *held_out.to_pylist()) if r["prompt"] == "12+1=")
    assert row["prompt_id"] == "p000013"
    assert row["answer"] == "13"
    assert row["prompt_token_ids"] == [2 + ord(c) - 32 for c in "12+1="]

    policy = run.policy(0).require()
    assert {o.path: o.sha256 for o in policy.outputs} == {p.name: file_digest(p) for p in model.iterdir()}
    assert policy.stage == "prepare"
    assert {"weights_digest", "tokenizer_digest"} < policy.facts.keys()
    assert (policy.facts["model_type"], policy.facts["vocab_size"], policy.facts["dtype"]) == ("qwen2", 104, "float32")
    prompts = run.directory(run.layout.prompts).require()
    assert prompts.inputs == {
        "data.train": file_digest(tmp_path / "prompts.jsonl"),
        "tokenizer": policy.facts["tokenizer_digest"],
    }
    assert prompts.facts == {
        "train_prompts": 36, "eval_prompts": 4, "bad_rows": 0, "overlapping_rows": 0, "longest_prompt_tokens": 5,
    }  # fmt: skip


def test_prompts_from_files_that_have_moved_are_the_same(config, tmp_path):
    def digest(folder: str) -> str:
        (tmp_path / folder).mkdir()
        shutil.copy(tmp_path / "prompts.jsonl", tmp_path / folder / "a.jsonl")
        run = open_run(prepare(config(f"data.train={tmp_path / folder}/*.jsonl", f"store={tmp_path / folder}")).run_uri)
        manifest = run.directory(run.layout.prompts).require()
        assert "data_files.json" in [output.name for output in manifest.outputs]
        return manifest.digest

    first = digest("here")
    assert digest("there") == first
    with (tmp_path / "prompts.jsonl").open("a") as file:
        file.write('{"prompt": "77+1=", "answer": "78"}\n')
    assert digest("more") != first


def test_the_policy_in_the_run_is_the_model(config, model):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = open_run(prepare(config()).run_uri)
    directory = run.policy(0).fetch(model.parent / "fetched")
    ids = torch.tensor([prompts_of(run, "train")["prompt_token_ids"][0].as_py()])
    ours, theirs = (AutoModelForCausalLM.from_pretrained(d, dtype="auto")(ids).logits for d in (directory, model))
    assert torch.equal(ours, theirs)
    assert AutoTokenizer.from_pretrained(directory).get_vocab() == AutoTokenizer.from_pretrained(model).get_vocab()


def test_paths_are_stored_absolute(config, model, data, monkeypatch):
    monkeypatch.chdir(model.parent)
    words = (
        "store=here",
        "model.path=model",
        f"data.train={data.name}",
        f"data.eval=./{data.name}",
        "data.eval_prompts=0",
    )
    run = open_run(prepare(config(*words)).run_uri)
    stored = run.config
    assert stored.store.uri == str(model.parent / "here")
    assert stored.model.path == str(model)
    assert (stored.data.train, stored.data.eval) == (str(data), str(data))


def test_a_prepared_run_is_found_without_transformers(config, tmp_path):
    whole = config()
    prepare(whole)
    (tmp_path / "config.yaml").write_text(whole.model_dump_json())
    code = (
        "import sys; from components.contract.resolve import load_config;"
        "from components.prepare.stage import run_stage;"
        "print(run_stage(load_config(sys.argv[1])).shards,"
        "[m for m in ('transformers', 'torch', 'pyarrow') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "config.yaml")]
    assert subprocess.check_output(command, text=True).strip() == "['0'] []"


def test_a_prepared_run_needs_its_model_no_longer(config, model):
    first = prepare(config())
    model.rename(model.with_name("gone"))
    assert prepare(config()) == first


def test_held_out_prompts_of_a_file_of_their_own(config, tmp_path):
    rows = [{"prompt": f"{i}+1=", "answer": i + 1} for i in (3, 5, 90, 91)]
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = open_run(prepare(config(f"data.eval={tmp_path / 'eval.jsonl'}")).run_uri)
    assert prompts_of(run, "eval")["prompt"].to_pylist() == ["3+1=", "5+1=", "90+1=", "91+1="]
    assert prompts_of(run, "eval")["prompt_id"].to_pylist() == [f"eval-p{i:06d}" for i in (1, 2, 3, 4)]
    assert prompts_of(run, "train").num_rows == 38
    assert run.directory(run.layout.prompts).require().facts["overlapping_rows"] == 2


def test_no_held_out_prompts(config):
    run = open_run(prepare(config("data.eval_prompts=0")).run_uri)
    assert (prompts_of(run, "train").num_rows, prompts_of(run, "eval").num_rows) == (40, 0)


def test_few_bad_rows_are_left_out_and_listed(config, data, capsys):
    with data.open("a") as stream:
        stream.write("{broken\n" + json.dumps({"prompt": "9" * 60}) + "\n")
    run = open_run(prepare(config("data.max_bad_share=0.05")).run_uri)
    directory = run.directory(run.layout.prompts)
    assert directory.require().facts["bad_rows"] == 2
    listed = [json.loads(line) for line in directory.read("bad_rows.jsonl").splitlines()]
    assert [(row["file"], row["row"]) for row in listed] == [("data.train", 41), ("data.train", 42)]
    assert "60 tokens" in listed[1]["reason"]
    assert "2 bad rows left out" in capsys.readouterr().err


def test_a_file_with_too_many_bad_rows(config, data):
    lines = data.read_text().splitlines()
    data.write_text("".join(("{broken" if i % 10 < 3 else line) + "\n" for i, line in enumerate(lines)))
    with pytest.raises(InputError) as caught:
        prepare(config())
    message = str(caught.value)
    assert "12 of 40 rows" in message
    assert "(30.0%, data.max_bad_share is 1.0%): row 1: not JSON" in message
    assert "and 2 more" in message


def test_a_file_without_one_usable_row(config, data):
    data.write_text(json.dumps({"prompt": "9" * 60}) + "\n")
    with pytest.raises(InputError, match=r"1 of 1 rows .* are bad .*prompt has 60 tokens"):
        prepare(config("data.max_bad_share=1"))


def test_other_non_binding_values_are_taken_over(config):
    prepare(config())
    run = open_run(prepare(config("loop.iterations=9", "reward.workers=3")).run_uri)
    assert (run.config.loop.iterations, run.config.reward.workers) == (9, 3)


def test_a_cancelled_run_that_is_started_again_goes_on(config):
    cancelled = open_run(prepare(config()).run_uri)
    cancel(cancelled.store, cancelled.layout)
    with pytest.raises(RunCancelled):
        open_run(cancelled.uri).require_not_cancelled()
    open_run(prepare(config()).run_uri).require_not_cancelled()
    with pytest.raises(RunCancelled):
        cancelled.require_not_cancelled()


def commit(run: Run, key: str, stage: str) -> None:
    """An empty output directory of a later stage."""
    run.output(stage, key, {}).commit(Clock().timings())


def test_a_value_binds_once_something_made_with_it_is_committed(config):
    round_ = Round.iteration(1)
    run = open_run(prepare(config("reward=typo", "evaluate.pass_k=[1]")).run_uri)
    commit(run, run.layout.rollout(round_, 0), "rollout")
    run = open_run(prepare(config("reward=exact", "train.learning_rate=1e-3", "evaluate.pass_k=[1]")).run_uri)
    assert run.config.reward.graders[0].name == "exact"
    with pytest.raises(InputError, match=r"configuration: rollout.group_size: 4 -> 2; choose another run.name"):
        prepare(config("rollout.group_size=2"))
    commit(run, run.layout.reward(round_, 0), "reward")
    assert open_run(prepare(config()).run_uri).config.train.learning_rate == 1e-4
    with pytest.raises(InputError, match=r"configuration: reward.graders: .*; choose another run.name"):
        prepare(config("reward=typo"))
    commit(run, run.layout.train(1), "train")
    with pytest.raises(InputError, match=r"configuration: train.learning_rate: 0.0001 -> 0.001; choose"):
        prepare(config("train.learning_rate=1e-3"))
    commit(run, run.layout.report, "publish")
    assert open_run(prepare(config("evaluate.pass_k=[1, 2]")).run_uri).config.evaluate.pass_k == (1, 2)


def test_a_deleted_policy_is_made_anew(config):
    run = open_run(prepare(config()).run_uri)
    before = run.directory(run.layout.prompts).require()
    for info in run.store.list(run.layout.policy(0)):
        run.store.delete(info.key)
    prepare(config())
    assert run.policy(0).has_policy()
    assert run.directory(run.layout.prompts).require() == before


def test_other_binding_values_are_refused(config):
    run = open_run(prepare(config()).run_uri)
    before = run.config
    commit(run, run.layout.train(1), "train")
    with pytest.raises(InputError) as caught:
        prepare(config("train.learning_rate=1e-3", "run.seed=8", "loop.iterations=9"))
    message = str(caught.value)
    assert "run.seed: 7 -> 8; train.learning_rate: 0.0001 -> 0.001; choose another run.name" in message
    assert open_run(prepare(config()).run_uri).config == before


def test_changed_data_is_refused(config, data):
    prepare(config())
    data.write_text(data.read_text() + '{"prompt": "new"}\n')
    with pytest.raises(InputError, match=r"prompts was committed from other inputs \(data.train\)"):
        prepare(config())


def test_a_mistake_does_not_bind_the_name_of_the_run(config, model):
    with pytest.raises(InputError, match="missing model directory"):
        prepare(config(f"model.path={model}-typo"))
    with pytest.raises(InputError, match=r"data\.eval_prompts is 41"):
        prepare(config("data.eval_prompts=41"))
    assert prepare(config()).shards == ["0"]


def test_files_of_another_model_are_removed(config):
    whole = config()
    leftover = "runs/example/policy/model-00001-of-00002.safetensors"
    open_run(prepare(config("run.name=other")).run_uri).store.write(leftover, b"half")
    run = open_run(prepare(whole).run_uri)
    assert not run.store.exists(leftover)


def test_prepared_through_s3(config, moto, tmp_path):
    run = open_run(prepare(config(f"store={moto}")).run_uri)
    assert prompts_of(run, "train").num_rows == 36
    fetched = run.policy(0).fetch(tmp_path / "fetched")
    assert file_digest(fetched / "model.safetensors") == file_digest(tmp_path / "model" / "model.safetensors")


def spoil_nothing(model, data): ...


def drop_prompt_column(model, data):  # noqa: ARG001
    data.write_text('{"query": "1+1=", "answer": 2}\n')


def outgrow_the_vocabulary(model, data):  # noqa: ARG001
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 31}))


@pytest.mark.parametrize(
    ("spoil", "words", "message"),
    [
        (drop_prompt_column, (), "no column 'prompt'; its columns are answer, query"),
        (outgrow_the_vocabulary, (), "prompt has the token = (31), and the model has embeddings for 31 only"),
        (spoil_nothing, ("data.train=absent.jsonl",), "absent.jsonl does not exist"),
        (spoil_nothing, ("store=prompts.jsonl",), "prompts.jsonl"),
        (spoil_nothing, ("rollout.temprature=1",), "rollout.temprature is not an option"),
    ],
)
def test_bad_input_is_one_line_and_status_2(config, model, data, tmp_path, spoil, words, message):
    spoil(model, data)
    (tmp_path / "config.yaml").write_text(config().model_dump_json())
    command = [sys.executable, "-m", "components.prepare", "config.yaml", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "store" / "runs" / "example" / "config.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rollout.guide=0.5", "train.updates=4"], True),  # 5 x 4 x 1 of 36 prompts
        (["rollout.guide=0.5", "train.updates=8"], False),
        (["rollout.guide={share: 0.5, column: answer}", "train.updates=4"], False),
    ],
)
def test_guides_that_guide_nothing_are_named(config, capsys, words, said):
    prepare(config("train.mini_batch_prompts=1", "loop.iterations=9", *words))
    remark = "rollout.guide guides nothing: while it gives a part, 20 of the 36 prompts are drawn, none of them twice"
    assert (remark in capsys.readouterr().err) == said


def test_nights_with_a_dated_template_hold_out_the_same_prompts(config, model, data, capsys):
    (model / "chat_template.jinja").write_text("{{ strftime_now('%d %b %Y') }}: {{ messages[-1].content }}")
    data.write_text(data.read_text() + json.dumps({"prompt": "1+x=", "answer": "x+1"}) + "\n")
    runs = []
    for day in ("2026-11-29", "2026-11-30"):
        words = (f"run.name=night-{day}", f"data.today={day}", "reward=numeric")
        runs.append(open_run(prepare(config(*words)).run_uri))
        said = capsys.readouterr().err
        assert f"the chat template writes the date into every prompt: {day}" in said
        assert "data.train: the grader numeric cannot grade 1 of 41 prompts" in said
        assert "(first row 41: 'x+1'); use the grader math" in said
    first, second = (prompts_of(run, "eval") for run in runs)
    assert first["prompt_id"] == second["prompt_id"]
    assert {text.split(":")[0] for text in first["prompt"].to_pylist()} == {"29 Nov 2026"}
    facts = [run.directory(run.layout.prompts).require().facts for run in runs]
    assert [fact["date"] for fact in facts] == ["2026-11-29", "2026-11-30"]
    assert facts[0]["held_out_digest"] == facts[1]["held_out_digest"]


def test_adapters_that_cannot_be_trained_are_refused_before_anything_is_sampled(config):
    with pytest.raises(InputError, match=r"train\.lora\.targets: lm_head is an embedding or the output layer"):
        prepare(config("train.lora={rank: 2, targets: [lm_head]}"))


def test_an_earlier_run_that_does_not_fit_is_refused_before_anything_is_committed(config):
    before = open_run(prepare(config("run.name=before", "loop.iterations=1")).run_uri)
    FakeRun(before).train(1)
    before.output("publish", before.layout.report, {}).commit(Clock().timings(), {"policy_version": 1})
    words = ("loop.replay=0.5", "data.replay=[before]")
    with pytest.raises(InputError, match=r"run before has data.chat auto, this run never; leave it out"):
        prepare(config(*words, "data.chat=never"))
    run = open_run(prepare(config(*words)).run_uri)
    pinned = run.directory(run.layout.earlier).require()
    assert pinned.inputs == {"before": before.policy(1).require().facts["weights_digest"]}
    assert pinned.facts == {"before": 1}
