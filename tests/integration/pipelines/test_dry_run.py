"""`rapid run CONFIG --dry-run`: what it finds, that it starts and writes nothing."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from components.contract.layout import Round, RunLayout
from components.contract.resolve import load_config
from components.prepare.stage import run_stage as prepare
from components.prepare.stage import with_absolute_paths
from components.runtime.clock import Clock
from components.store import Run, open_store
from pipelines.cli.main import app
from pipelines.demo.arithmetic import tokenizer
from pipelines.plan import Plan, make_plan
from pipelines.preflight.findings import errors_of
from tests.support.arithmetic_run import write_config
from tests.support.fake_run import FakeRun
from tests.support.tiny_policy import tiny_model

PAPER = Path(__file__).parents[3] / "configs" / "paper"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return write_config(tmp_path, tracking={"enabled": False})


def plan(config: Path, *words: str) -> Plan:
    return make_plan(load_config(config, words), config)


def found(plan: Plan, what: str) -> str:
    """The one finding on something, as a line: level, what is found, how to fix it."""
    (finding,) = [finding for finding in plan.findings if finding.subject == what]
    return f"{finding.level} {finding.result} {finding.fix}".strip()


def errors(plan: Plan) -> list[str]:
    lines = [f"{finding.subject}: {finding.result}" for finding in errors_of(plan.findings)]
    assert not any("\n" in line for line in lines)
    assert plan.could_start is not bool(lines)
    return lines


def contents(directory: Path) -> dict[str, tuple[int, int]]:
    """Everything below a directory with its size and time of change; the lock files of other libraries too."""
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(directory.rglob("*"))}


def test_a_run_that_could_start_is_described_and_nothing_is_written(config: Path) -> None:
    before = contents(config.parent)
    done = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["run", str(config), "loop.iterations=3", "--dry-run"])
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    for heading in (
        "Checks",
        "Model",
        "Work",
        "Memory of the rollout engine",
        "Memory of a training process",
        "Storage",
    ):
        assert [line for line in lines if line.startswith(f"{heading} ─")]
    assert "ok prompts 56 to train on, 8 held out; 6 tokens on average, at most 6" in lines
    assert "prompts 24 80 8 of them held out" in lines
    assert "completions 96 320 4 per prompt, 4 per held-out prompt" in lines
    assert "completion tokens, at most 576 1,920 if all reach rollout.max_tokens (6)" in lines
    assert "updates 4 12 of 4 prompts, 16 completions each" in lines
    assert lines[-1].startswith("nothing was started or written; start the run with: ")
    assert lines[-1].endswith(f"run {config} loop.iterations=3")
    assert contents(config.parent) == before


def test_what_keeps_a_run_from_starting_is_said_at_once_with_status_2(config: Path) -> None:
    (config.parent / "store").write_text("a file where a directory must be")
    guide = "train.guide={model: /nowhere/teacher, coefficient: 0.1}"
    words = ["data.train=none.jsonl", "model=/nowhere/model", "reward=no_such_module:grade", guide]
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["run", str(config), *words, "--dry-run"])
    assert done.exit_code == 2
    lines = [" ".join(line.split()) for line in done.output.splitlines() if line.startswith("error")]
    assert lines == [
        "error model.path /nowhere/model is not a directory; give a Hugging Face directory",
        "error train.guide.model /nowhere/teacher is not a directory; give a Hugging Face directory",
        f"error data.train {config.parent}/none.jsonl does not exist; create it, or give another: data.train=PATH",
        "error reward.graders reward.graders cannot be loaded: no_such_module:grade: ModuleNotFoundError: "
        "No module named 'no_such_module'",
        f"error store cannot write {config.parent}/store/runs/small: {config.parent}/store is not a directory",
    ]
    assert "5 errors: the run could not start; nothing was started or written" in done.output


def rows(config: Path, *lines: dict[str, Any] | str) -> str:
    """A prompt file of the given rows after twenty good ones; the word that names it."""
    good = [{"prompt": f"{10 + number}+1=", "answer": str(11 + number)} for number in range(20)]
    path = config.parent / "rows.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in [*good, *lines]]
    path.write_text("\n".join(texts), encoding="utf-8")
    return f"data.train={path}"


def test_malformed_rows_are_counted_and_named(config: Path) -> None:
    word = rows(config, "{not json", {"prompt": ""})
    assert errors(plan(config, word)) == [
        f"data: data.train: 2 of 22 rows of {config.parent}/rows.jsonl are bad (9.1%, data.max_bad_share is 1.0%): "
        "row 21: not JSON (Expecting property name enclosed in double quotes); row 22: prompt is empty"
    ]
    tolerated = plan(config, word, "data.max_bad_share=0.1")
    assert not errors(tolerated)
    assert "22 rows, 2 of them bad and left out: row 21: not JSON" in found(tolerated, "data.train")


def test_prompts_that_are_too_long_are_named(config: Path) -> None:
    word = rows(config, {"prompt": "1+" * 20 + "1=", "answer": "21"})
    reason = "row 21: prompt has 42 tokens, and beside the longest completion model.max_length leaves 26"
    (line,) = errors(plan(config, word))
    assert line.startswith("prompts: data.train: 1 of 21 rows of")
    assert line.endswith(reason)
    tolerated = plan(config, word, "data.max_bad_share=0.1")
    assert not errors(tolerated)
    assert found(tolerated, "prompts").startswith("warning 12 to train on, 8 held out")
    assert found(tolerated, "prompts").endswith(f"left out: {reason}")


def test_without_a_tokenizer_lengths_are_estimated_and_suspected(config: Path) -> None:
    word = rows(config, {"prompt": "1+" * 60 + "1=", "answer": "61"})
    judged = plan(config, word, "model=some/model")
    assert not errors(judged)
    assert found(judged, "prompt lengths") == (
        "warning about 4 tokens on average, at most 41, more than the 26 that model.max_length leaves beside the "
        "longest completion (estimated as characters / 3, without a tokenizer)"
    )
    assert judged.work.iteration.prompt_tokens is not None
    assert errors(plan(config, word, "model=some/model", "data.eval_prompts=22")) == [
        "prompts: data.eval_prompts is 22, but data.train has 21 distinct prompts"
    ]
    assert errors(plan(config, word, "model=some/model", "data.eval_prompts=21")) == ["prompts: all 21 are held out"]


def test_a_hub_model_is_judged_by_its_cached_configuration(config: Path) -> None:
    unknown = plan(config, "model=Qwen/Qwen2.5-0.5B")
    assert not errors(unknown)
    assert found(unknown, "model.path") == "warning Qwen/Qwen2.5-0.5B is taken as a hub name, which prepare downloads"
    assert found(unknown, "model sizes") == (
        "warning config.json of Qwen/Qwen2.5-0.5B is not in the hub's cache, and HF_HUB_OFFLINE is set; memory and "
        "storage are not estimated"
    )
    assert (unknown.shape, unknown.engine, unknown.training, unknown.storage) == (None, None, None, None)
    cache_model(config.parent / "hub", "Qwen/Qwen2.5-0.5B", PAPER / "models" / "Qwen2.5-0.5B")
    known = plan(config, "model=Qwen/Qwen2.5-0.5B")
    assert not errors(known)
    assert known.shape is not None
    assert known.shape.parameters == 494_032_768
    assert errors(plan(config, "model={path: Qwen/Qwen2.5-0.5B, max_length: 40000}")) == [
        "model.max_length: 40000, but Qwen/Qwen2.5-0.5B has 32768 positions"
    ]


def cache_model(cache: Path, name: str, model: Path) -> None:
    """The hub's cache once config.json of a model was asked for."""
    repository, commit = cache / f"models--{name.replace('/', '--')}", "0" * 40
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    shutil.copy(model / "config.json", snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


def test_a_directory_with_a_configuration_alone_is_estimated_but_cannot_start(config: Path) -> None:
    model = PAPER / "models" / "gemma-3-1b-pt"
    judged = plan(config, f"model={model}")
    assert errors(judged) == [
        f"model.path: there are no weights in {model}: neither model.safetensors nor model.safetensors.index.json"
    ]
    assert judged.storage is not None
    assert judged.storage.policy == 4 * 999_885_952


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        ('{"text_config": "large"}', "names no architecture"),
        ('{"model_type": "llama", "architectures": 5}', "names no architecture"),
        ('{"model_type": "llama", "architectures": ["XForCausalLM"], "text_config": [1]}', "is not a JSON object"),
        ("[1, 2]", "is not a JSON object"),
        ("{", "is not JSON"),
    ],
)
def test_a_configuration_that_describes_no_model_is_reported_in_a_line(
    config: Path, described: str, reason: str
) -> None:
    (config.parent / "policy" / "config.json").write_text(described)
    (line,) = errors(plan(config))
    assert line.startswith("model.path: ")
    assert reason in line


def test_a_guide_takes_memory_before_the_updates_and_storage_once(config: Path) -> None:
    base = plan(config, "train.guide=0.1")
    assert base.storage is not None
    assert (base.guide, base.storage.guide) == (None, 0)
    teacher = config.parent / "policy"
    guided = plan(config, f"train.guide={{coefficient: 0.1, model: {teacher}}}", "train.compute_dtype=bfloat16")
    assert not errors(guided)
    assert guided.shape is not None
    assert guided.storage is not None
    assert guided.guide == 2 * guided.shape.parameters
    files = sum((teacher / name).stat().st_size for name in ("model.safetensors", "config.json"))
    assert files <= guided.storage.guide < 2 * files
    assert guided.storage.total == base.storage.total + guided.storage.guide


def test_a_guide_on_the_hub_is_judged_by_its_cached_configuration(config: Path) -> None:
    words = ("train.guide={coefficient: 0.1, model: Qwen/Qwen2.5-0.5B}",)
    unknown = plan(config, *words)
    assert found(unknown, "guide sizes").endswith("its memory and storage are not estimated")
    assert unknown.storage is not None
    assert (unknown.guide, unknown.storage.guide) == (None, 0)
    cache_model(config.parent / "hub", "Qwen/Qwen2.5-0.5B", PAPER / "models" / "Qwen2.5-0.5B")
    known = plan(config, *words)
    assert known.storage is not None
    assert (known.guide, known.storage.guide) == (4 * 494_032_768, 2 * 494_032_768)


def test_an_architecture_without_formulas_can_still_start(config: Path) -> None:
    path = config.parent / "policy" / "config.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "model_type": "novel"}))
    judged = plan(config)
    assert "has model_type 'novel', for which there are no formulas" in found(judged, "model sizes")
    assert judged.shape is None


def test_a_tokenizer_that_does_not_fit_the_model(config: Path) -> None:
    other = config.parent / "other"
    tiny_model(0, vocab_size=8, hidden_size=64, num_attention_heads=2).save_pretrained(other)
    tokenizer().save_pretrained(other)
    (line,) = errors(plan(config, f"model={other}"))
    assert line.startswith("prompts: data.train: 64 of 64 rows of ")
    assert "prompt has the token = (13), and the model has embeddings for 8 only" in line


def test_generated_tasks_and_an_evaluation_alone(config: Path) -> None:
    words = (
        "data={train: 'reasoning_gym:chain_sum', options: {size: 30, min_digits: 1, max_digits: 1}, eval_prompts: 8}",
    )
    judged = plan(config, *words, "loop.iterations=0", "model.max_length=64", "reward=reasoning_gym")
    assert not errors(judged)
    assert found(judged, "data.train") == "ok reasoning_gym:chain_sum: 30 rows, generated by reasoning-gym 0.1.25"
    assert judged.work.run == judged.work.held_out


def test_training_on_several_machines_is_estimated_but_not_for_here(config: Path) -> None:
    (line,) = errors(plan(config, "train.nodes=2"))
    assert line.startswith("train.nodes: train.nodes = 2, but rapid run trains on this machine only")
    spread, alone = (plan(config, f"train.nodes={nodes}").training for nodes in (2, 1))
    assert spread is not None
    assert alone is not None
    assert spread.moments == alone.moments // 2


def test_a_disk_that_is_too_small_is_reported(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    assert "but only 1.0 MiB are free" in found(plan(config, "loop.iterations=40"), "disk")


@pytest.fixture
def prepared(config: Path) -> FakeRun:
    """The run of `config`, with what prepare commits."""
    prepare(load_config(config))
    resolved = with_absolute_paths(load_config(config))
    return FakeRun(Run(open_store(resolved.store.uri), RunLayout(resolved.run.name), resolved))


def test_what_is_committed_is_skipped(config: Path, prepared: FakeRun) -> None:
    assert found(plan(config), "committed") == "ok prompts and base policy; the run continues after that"
    prepared.iteration(1)
    prepared.round(Round.iteration(2))
    judged = plan(config)
    assert found(judged, "committed") == (
        "ok prompts and base policy, 1 of 2 iterations, rollouts of iteration 2, rewards of iteration 2; "
        "the run continues after that"
    )
    assert judged.work.iterations == 1


def test_a_finished_run_is_reported(config: Path, prepared: FakeRun) -> None:
    for number in (1, 2):
        prepared.iteration(number)
    prepared.round(Round.evaluation(2))
    report = prepared.run.output("publish", prepared.run.layout.report, {})
    report.commit(Clock().timings(), {"policy_version": 2})
    assert found(plan(config), "committed").startswith("ok all 2 iterations and the report: nothing is left to run")
    longer = plan(config, "loop.iterations=3")
    assert "2 of 3 iterations" in found(longer, "committed")
    assert longer.work.iterations == 1


def test_lengths_of_what_was_sampled_give_expectations(config: Path, prepared: FakeRun) -> None:
    round_ = Round.iteration(1)
    output = prepared.run.output("rollout", prepared.run.layout.rollout(round_, 0), {}, round_, 0)
    output.commit(Clock().timings(), {"rows": 96, "completion_tokens": 288})
    judged = plan(config)
    assert judged.work.tokens_per_completion == 3.0
    done = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["run", str(config), "--dry-run"])
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert "completion tokens, expected 288 672 at 3.0 per completion, the mean so far" in lines


def test_a_run_of_other_settings_or_data_is_refused(config: Path, prepared: FakeRun) -> None:
    (line,) = errors(plan(config, "data.eval_prompts=4"))
    assert line.startswith("store: run 'small' in")
    assert "data.eval_prompts: 8 -> 4; choose another run.name" in line
    prompts = config.parent / "prompts.jsonl"
    prompts.write_text(prompts.read_text() + '\n{"prompt": "1+1=", "answer": "2"}')
    (line,) = errors(plan(config))
    assert "was committed from other inputs (data.train)" in line
    assert prepared.run.policy_version() == 0


def test_a_bucket_is_asked_and_not_written(config: Path, moto: str) -> None:
    judged = plan(config, f"store={moto}/runs-of-mine")
    assert not errors(judged)
    assert "also tests writing" in found(judged, "store")
    assert open_store(moto).list("") == []
    assert errors(plan(config, "store=s3://rapid-no-such-bucket/x"))[0].startswith(
        "store: there is no bucket 'rapid-no-such-bucket'"
    )
