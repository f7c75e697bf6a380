"""Which keys of the configuration the outputs of which stage depend on."""

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contract.config import RunConfig
from components.contract.resolve import parse_config
from components.contract.section import Section, StageName, affected_stages, affects, known_keys
from components.contract.stage_digest import changed_options, stage_digest

STAGES: tuple[StageName, ...] = ("prepare", "rollout", "reward", "train", "publish")
BASE = """
run: demo
model: m
data: {train: d, eval: e}
train: {schedule: linear, objective: rapid_clip, lora: 4, guide: 0.2, zero_signal_groups: drop}
loop: {replay: 0.25}
rollout: {guide: 0.5}
"""

# Every key once: another value for it, and the stages whose outputs it changes.
CHANGES: dict[str, tuple[str, str]] = {
    "run.name": ("other", ""),  # another run is another folder
    "run.seed": ("1", "prepare rollout train"),
    "store.uri": ("elsewhere", ""),
    "model.path": ("n", "prepare"),
    "model.revision": ("main", "prepare"),
    "model.dtype": ("float32", "rollout train"),
    "model.max_length": ("4096", "prepare rollout"),
    "data.train": ("dd", ""),  # what counts is the content, an input of the stage
    "data.eval": ("ee", ""),
    "data.options": ("{size: 3}", ""),  # of a generator: an input of the stage, as a file's content is
    "data.eval_prompts": ("3", "prepare"),
    "data.max_bad_share": ("0.5", ""),
    "data.chat": ("never", "prepare"),
    "data.system_prompt": ("Hello", "prepare"),
    "data.replay": ("[another]", "rollout train"),
    "data.today": ("2026-11-29", "prepare"),
    "rollout.group_size": ("4", "rollout"),
    "rollout.max_tokens": ("100", "prepare rollout"),
    "rollout.temperature": ("0.7", "rollout train"),
    "rollout.stop": ("[x]", "rollout"),
    "rollout.include_stop": ("true", "rollout"),
    "rollout.skip_special_tokens": ("false", "rollout"),
    "rollout.oversampling": ("1.5", "rollout"),
    "rollout.shards": ("2", "rollout"),
    "rollout.part_groups": ("7", ""),
    "rollout.engine.max_num_seqs": ("8", ""),
    "rollout.engine.gpu_memory_utilization": ("0.5", ""),
    "rollout.engine.cpu_kv_cache_gib": ("2", ""),
    "rollout.engine.enforce_eager": ("true", ""),
    "rollout.engine.tensor_parallel_size": ("2", ""),
    "reward.graders": ("[exact]", "reward"),
    "reward.time_limit": ("3", "reward"),
    "reward.batch_size": ("3", ""),
    "reward.workers": ("3", ""),
    "reward.max_failed_share": ("0.1", ""),
    "train.objective.name": ("grpo", "train"),
    "train.objective.truncation": ("3", "train"),
    "train.objective.clip": ("0.1", "train"),
    "train.objective.clip_high": ("0.3", "train"),
    "train.objective.ratio": ("sequence", "train"),
    "train.objective.baseline": ("mean", "train"),
    "train.objective.normalisation": ("token", "train"),
    "train.cloning.coefficient": ("0", ""),  # only without dropped groups may it be another
    "train.cloning.threshold": ("0.7", "train"),
    "train.guide.coefficient": ("0.1", "train"),
    "rollout.guide": ("0.25", "rollout"),
    "rollout.guide.share": ("0.25", "rollout"),
    "rollout.guide.part": ("0.5", "rollout"),
    "rollout.guide.iterations": ("3", "rollout"),
    "rollout.guide.column": ("solution", "rollout"),
    "train.guide": ("0.1", "train"),
    "train.guide.model": ("/teacher", "train"),
    "train.guide.revision": ("v1", "train"),
    "train.entropy_coefficient": ("0.1", "train"),
    "train.overlong.handling": ("mask", "train"),
    "train.overlong.penalty": ("0.5", "train"),
    "train.zero_signal_groups": ("keep", "train"),
    "train.updates.most": ("8", "rollout train"),
    "train.updates.until_share": ("0.3", "train"),
    "train.mini_batch_prompts": ("4", "rollout train"),
    "train.learning_rate": ("1e-3", "train"),
    "train.schedule": ("cosine", "train"),
    "train.schedule_steps": ("10", "train"),
    "train.warmup_steps": ("3", "train"),
    "train.min_learning_rate": ("1e-7", "train"),
    "train.betas": ("[0.9, 0.95]", "train"),
    "train.weight_decay": ("0.1", "train"),
    "train.max_grad_norm": ("0.5", "train"),
    "train.max_kl": ("0.5", "train"),
    "train.max_bad_steps": ("5", ""),
    "train.max_bad_group_share": ("0.1", "train"),
    "train.micro_batch_tokens": ("100", ""),
    "train.logprobs": ("chunked", ""),
    "train.compile": ("true", ""),
    "train.lora": ("8", "train"),
    "train.lora.rank": ("8", "train"),
    "train.lora.alpha": ("3", "train"),
    "train.lora.targets": ("[q_proj]", "train"),
    "train.checkpoint_every": ("5", ""),
    "train.keep_policies": ("2", ""),
    "train.processes": ("2", ""),
    "train.nodes": ("2", ""),
    "train.logprob_chunk": ("100", ""),
    "reward.sandbox.mode": ("landlock", ""),
    "reward.sandbox.unsafe": ("true", ""),
    "reward.sandbox.seconds": ("3", "reward"),
    "reward.sandbox.cpu_seconds": ("3", "reward"),
    "reward.sandbox.memory_mib": ("256", "reward"),
    "reward.sandbox.processes": ("4", "reward"),
    "reward.sandbox.file_mib": ("4", "reward"),
    "reward.sandbox.output_kib": ("64", "reward"),
    "train.compute_dtype": ("bfloat16", "train"),
    "train.gradient_checkpointing": ("true", ""),
    "train.max_logprob_gap": ("1", ""),
    "evaluate.every": ("3", "rollout"),
    "evaluate.samples": ("9", "rollout"),
    "evaluate.temperature": ("0.5", "rollout"),
    "evaluate.top_p": ("0.9", "rollout"),
    "evaluate.max_tokens": ("77", "prepare rollout"),
    "evaluate.pass_k": ("[1, 2]", "publish"),
    "evaluate.pass_threshold": ("0.5", "publish"),
    "tracking.enabled": ("false", ""),
    "tracking.uri": ("http://mlflow", ""),
    "tracking.experiment": ("other", ""),
    "tracking.model_name": ("other", ""),
    "tracking.champion_margin": ("1", ""),
    "loop.iterations": ("8", "train"),  # a linear schedule spans them
    "loop.target_reward": ("0.9", ""),
    "loop.staleness": ("1", "rollout"),
    "loop.replay": ("0.5", "rollout train"),
    "loop.replay.share": ("0.5", "rollout train"),
    "loop.replay.iterations": ("2", "train"),
    "loop.replay.choice": ("advantage", "train"),
    "loop.replay.min_weight": ("0.2", "train"),
}

# All that stage_digest covers, so that a digest keeps its meaning.
AFFECTING: dict[StageName, str] = {
    "prepare": "run.seed model.path model.revision model.max_length data.eval_prompts data.chat data.system_prompt "
    "data.today rollout.max_tokens evaluate.max_tokens",
    "rollout": "run.seed model.dtype model.max_length rollout.group_size rollout.max_tokens rollout.temperature "
    "rollout.stop rollout.include_stop rollout.skip_special_tokens rollout.guide data.replay "
    "rollout.shards rollout.oversampling loop.staleness loop.replay.share train.updates.most "
    "train.mini_batch_prompts "
    "evaluate.every evaluate.samples evaluate.temperature evaluate.top_p evaluate.max_tokens",
    "reward": "reward.graders reward.time_limit reward.sandbox.seconds reward.sandbox.cpu_seconds "
    "reward.sandbox.memory_mib reward.sandbox.processes reward.sandbox.file_mib reward.sandbox.output_kib",
    "train": "run.seed model.dtype rollout.temperature train.objective train.cloning train.guide "
    "train.entropy_coefficient train.overlong train.zero_signal_groups train.updates.most train.updates.until_share "
    "train.mini_batch_prompts "
    "train.learning_rate train.schedule train.schedule_steps train.warmup_steps train.min_learning_rate train.betas "
    "train.weight_decay train.max_grad_norm train.compute_dtype train.max_kl "
    "train.max_bad_group_share train.lora loop.replay.share loop.replay.iterations loop.replay.choice "
    "loop.replay.min_weight data.replay",
    "publish": "evaluate.pass_k evaluate.pass_threshold",
}


class _Limits(Section):
    seconds: float = 1.0


def touched(before: RunConfig, after: RunConfig) -> set[str]:
    return {stage for stage in STAGES if stage_digest(before, stage) != stage_digest(after, stage)}


@pytest.mark.parametrize("key", CHANGES)
def test_a_key_changes_the_digests_of_the_stages_it_matters_to(key: str) -> None:
    value, stages = CHANGES[key]
    before, after = parse_config(BASE), parse_config(BASE, [f"{key}={value}"])
    assert touched(before, after) == set(stages.split())
    differences = changed_options(before, after, STAGES)
    assert bool(differences) == bool(stages)
    assert {stage for stage in STAGES if changed_options(before, after, [stage])} == set(stages.split())
    if stages and key != "loop.iterations":
        assert any(difference.startswith((f"{key}: ", f"{key}.")) for difference in differences)


def test_no_key_is_forgotten() -> None:
    # Options of a grader, and of an objective of your own, which no other objective has.
    elsewhere = ("reward.graders.", "train.objective.options")
    leaves = {key for key in known_keys(RunConfig) if not key.startswith(elsewhere)}
    assert leaves == CHANGES.keys()


def test_an_option_names_the_stages_it_affects() -> None:
    class Complete(Section):
        share: Annotated[float, affects("train")] = 0.0
        limits: Annotated[_Limits, affects("reward")] = _Limits()

    class Incomplete(Section):
        limits: _Limits = _Limits()

    assert affected_stages(Complete) == {"share": ("train",), "limits": ("reward",)}
    with pytest.raises(TypeError, match=r"^limits.seconds has no affects\(...\): name the stages"):
        affected_stages(Incomplete)


@pytest.mark.parametrize("stage", STAGES)
def test_the_options_that_affect_a_stage(stage: StageName) -> None:
    declared = {key for key, stages in affected_stages(RunConfig).items() if stage in stages}
    assert declared == set(AFFECTING[stage].split())


def test_a_run_with_a_constant_rate_may_be_prolonged() -> None:
    before = parse_config(BASE, ["train.schedule=constant"])
    for word in ("loop.iterations=8", "train.schedule_steps=3", "train.min_learning_rate=1e-9"):
        after = parse_config(BASE, ["train.schedule=constant", word])
        assert touched(before, after) == set()
        assert changed_options(before, after, STAGES) == []


def test_a_scheduled_run_may_be_prolonged_where_the_span_is_given() -> None:
    before = parse_config(BASE, ["train.schedule_steps=64"])
    assert touched(before, parse_config(BASE, ["train.schedule_steps=64", "loop.iterations=8"])) == set()
    assert changed_options(parse_config(BASE), parse_config(BASE, ["loop.iterations=8"]), STAGES) == [
        "loop.iterations changes the span of the linear schedule; set train.schedule_steps=64 to keep it"
    ]
    prolonged = parse_config(BASE, ["loop.iterations=8", "train.schedule_steps=64"])
    assert changed_options(parse_config(BASE), prolonged, STAGES) == []


@pytest.mark.parametrize(
    ("words", "differences"),
    [
        (["train.updates=8"], ["train.updates.most: 16 -> 8"]),
        (["train.schedule_steps=70"], ["train.schedule_steps: 64 -> 70"]),
        (["train.updates=8", "loop.iterations=8"], ["train.updates.most: 16 -> 8"]),
    ],
)
def test_a_schedule_span_names_what_changed_it(words: list[str], differences: list[str]) -> None:
    assert changed_options(parse_config(BASE), parse_config(BASE, words), ["train"]) == differences


def test_only_keys_of_the_given_stages_bind() -> None:
    before, after = parse_config(BASE), parse_config(BASE, ["reward=exact", "train.learning_rate=1", "run.seed=1"])
    assert changed_options(before, after, []) == []
    assert changed_options(before, after, ["prepare", "rollout"]) == ["run.seed: 0 -> 1"]
    named = [line.split(":")[0] for line in changed_options(before, after, {"reward", "train"})]
    assert named == ["reward.graders", "run.seed", "train.learning_rate"]


@pytest.mark.parametrize(
    "words",
    [
        ["train.schedule_steps=64"],  # 4 iterations x 16 updates, the default
        ["evaluate.max_tokens=512"],  # as in training, the default
        ["train.learning_rate=0.000001"],
        ["reward=math"],
    ],
)
def test_spelling_out_a_default_changes_nothing(words: list[str]) -> None:
    assert touched(parse_config(BASE), parse_config(BASE, words)) == set()
    assert changed_options(parse_config(BASE), parse_config(BASE, words), STAGES) == []


def test_differences_are_named_with_both_values() -> None:
    before = parse_config(BASE)
    after = parse_config(BASE, ["train.learning_rate=0.5", "run.seed=3", "reward.workers=2", "reward=exact"])
    assert changed_options(before, after, STAGES)[-1] == "train.learning_rate: 1e-06 -> 0.5"
    assert [line.split(":")[0] for line in changed_options(before, after, STAGES)] == [
        "reward.graders",
        "run.seed",
        "train.learning_rate",
    ]
    assert changed_options(before, before, STAGES) == []


# Without two keys that do not go with every value of others: options differ by objective, and oversampling needs drop.
@given(
    st.lists(
        st.sampled_from(sorted(CHANGES.keys() - {"train.objective.name", "train.zero_signal_groups"})),
        unique=True,
    )
)
def test_differences_are_empty_exactly_when_no_digest_changes(keys: list[str]) -> None:
    before = parse_config(BASE)
    after = parse_config(BASE, [f"{key}={CHANGES[key][0]}" for key in keys])
    assert bool(changed_options(before, after, STAGES)) == bool(touched(before, after))


def test_options_of_an_objective_of_your_own_change_what_is_trained() -> None:
    before, after = (
        parse_config(BASE, [f"train.objective={{name: 'mine:objective', options: {{x: {x}}}}}"]) for x in (1, 2)
    )
    assert touched(before, after) == {"train"}
    assert changed_options(before, after, STAGES) == ["train.objective.options.x: 1 -> 2"]


def test_a_label_counts_where_it_says_more_than_the_name() -> None:
    plain, same, other = (
        parse_config(BASE, [f"reward.graders=[{{name: exact{label}}}]"])
        for label in ("", ", label: exact", ", label: other")
    )
    assert stage_digest(plain, "reward") == stage_digest(same, "reward") != stage_digest(other, "reward")
    assert changed_options(plain, same, ["reward"]) == []
