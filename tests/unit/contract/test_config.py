"""Configuration: read, overridden, validated."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.resolve import config_json, load_config, parse_config, stored_config
from components.contract.reward_config import GraderSpec
from components.contract.section import known_keys

MINIMAL = "run: demo\nmodel: /models/tiny\ndata: prompts.jsonl\n"


def test_three_lines_are_enough() -> None:
    config = parse_config(MINIMAL)
    assert config.run.name == "demo"
    assert config.model.path == "/models/tiny"
    assert config.data.train == "prompts.jsonl"
    assert config.store.uri == "rapid-store"
    assert config.rollout.group_size == 8
    assert config.rollout.temperature == 1.0
    assert config.reward.graders == (GraderSpec(name="math"),)
    assert config.train.objective.name == "rapid"
    assert config.train.objective.truncation == 2.0
    assert config.prompts_per_iteration == 16 * 8
    assert parse_config(MINIMAL, ["loop.replay=0.25"]).prompts_per_iteration == 16 * 6
    assert config.total_steps == 4 * 16


def test_a_section_left_empty_has_its_defaults() -> None:
    assert parse_config(MINIMAL + "train:\n  # learning_rate: 1\nreward:\n") == parse_config(MINIMAL)
    assert parse_config(MINIMAL + "train:\n", ["train.updates=3"]).train.updates.most == 3


@pytest.mark.parametrize(
    ("word", "path", "value"),
    [
        ("store=s3://b/p", "store.uri", "s3://b/p"),
        ("train.objective=grpo", "train.objective.name", "grpo"),
        ("tracking=http://mlflow:5000", "tracking.uri", "http://mlflow:5000"),
        ("run=other", "run.name", "other"),
        ("run=2026-01-05", "run.name", "2026-01-05"),
        ("run=007", "run.name", "007"),
        ("train.learning_rate=1e-4", "train.learning_rate", 1e-4),
        ("train.learning_rate=2E-5", "train.learning_rate", 2e-5),
        ("train.learning_rate=.5", "train.learning_rate", 0.5),
        ("train.learning_rate=1", "train.learning_rate", 1.0),
        ("train.updates=32", "train.updates.most", 32),
        ("train.betas=[0.9, 0.95]", "train.betas", (0.9, 0.95)),
        ("evaluate.pass_k=[1,2,4]", "evaluate.pass_k", (1, 2, 4)),
        ("train.objective.truncation=null", "train.objective.truncation", 2.0),
        ("train.objective.truncation=off", "train.objective.truncation", "off"),
        ("train.objective.truncation=3", "train.objective.truncation", 3.0),
        ("train.lora=8", "train.lora.rank", 8),
        ("train.lora.rank=8", "train.lora.targets", "all-linear"),
        ("train.lora=null", "train.lora", None),
        ("train.guide=0.1", "train.guide.coefficient", 0.1),
        ("rollout.guide=0.25", "rollout.guide.share", 0.25),
        ("train.overlong=mask", "train.overlong.handling", "mask"),
        ("train.cloning=0.1", "train.cloning.coefficient", 0.1),
        ("tracking.enabled=false", "tracking.enabled", False),
        ("tracking.enabled=off", "tracking.enabled", False),
        ("rollout.stop=['\\n', ' no']", "rollout.stop", ("\\n", " no")),
        ('rollout.stop=["\\n"]', "rollout.stop", ("\n",)),
        ("data.system_prompt=Answer: yes or no", "data.system_prompt", "Answer: yes or no"),
        ("data.system_prompt=- Be brief. # 1", "data.system_prompt", "- Be brief. # 1"),
        ("data.system_prompt='# 1'", "data.system_prompt", "# 1"),
        ("data.system_prompt=two\n\nlines", "data.system_prompt", "two\n\nlines"),
        ("data.system_prompt=a=b", "data.system_prompt", "a=b"),
        ("data.system_prompt=no", "data.system_prompt", "no"),
        ("data.system_prompt={x", "data.system_prompt", "{x"),
        ("data.system_prompt=null", "data.system_prompt", None),
        ("model.revision='123'", "model.revision", "123"),
        ("loop.target_reward=9e-1", "loop.target_reward", 0.9),
        ("rollout.engine.max_num_seqs=64", "rollout.engine.max_num_seqs", 64),
    ],
)
def test_overrides(word: str, path: str, value: object) -> None:
    found: Any = parse_config(MINIMAL, [word])
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_overrides_of_graders() -> None:
    def graders(text: str, *words: str) -> tuple[GraderSpec, ...]:
        return parse_config(MINIMAL + text, words).reward.graders

    exact, numeric = GraderSpec(name="exact"), GraderSpec(name="numeric", weight=0.5, options={"tolerance": 1e-3})
    written = "[exact, {name: numeric, weight: 0.5, options: {tolerance: 1e-3}}]"
    assert graders("", "reward=exact") == (exact,)
    assert graders("reward: exact") == (exact,)
    assert graders("reward: [exact]") == (exact,)
    assert graders("", "reward.graders=exact") == (exact,)
    assert graders("reward:\n  graders: {name: exact}") == (exact,)
    assert graders("", f"reward.graders={written}") == (exact, numeric)
    assert graders(f"reward: {{graders: {written}}}") == (exact, numeric)
    assert isinstance(graders("", f"reward.graders={written}")[1].options["tolerance"], float)


def test_a_label_tells_two_of_one_grader_apart() -> None:
    graders = parse_config(MINIMAL, ["reward.graders=[exact, {name: exact, label: again}]"]).reward.graders
    assert [grader.component for grader in graders] == ["exact", "again"]


def test_a_short_form_and_other_keys_of_the_section_go_together() -> None:
    for text, words in [
        ("reward: exact", ["reward.time_limit=3"]),
        ("reward: {time_limit: 3}", ["reward=exact"]),
        ("", ["reward=exact", "reward.time_limit=3"]),
        ("", ["reward.time_limit=3", "reward=exact"]),
    ]:
        reward = parse_config(MINIMAL + text, words).reward
        assert (reward.graders[0].name, reward.time_limit) == ("exact", 3.0)
    objective = parse_config(MINIMAL, ["train.objective.clip=0.1", "train.objective=grpo"]).train.objective
    assert (objective.name, objective.clip) == ("grpo", 0.1)
    assert parse_config(MINIMAL, ["model.dtype=float32"]).model.path == "/models/tiny"


def test_an_objective_has_its_own_values_unless_others_are_given() -> None:
    def objective(*words: str) -> Any:
        return parse_config(MINIMAL, list(words)).train.objective

    assert objective("train.objective=dapo", "train.objective.clip=0.2").clip_high == 0.2
    assert (objective("train.objective=dapo").clip, objective("train.objective=dapo").clip_high) == (0.2, 0.28)
    assert objective("train.objective=pg").model_dump() == {"name": "pg", "normalisation": "sum"}
    # A clip of one's own is symmetric unless the other side is given as well.
    assert objective("train.objective=dapo", "train.objective.clip=0.1").clip_high == 0.1
    assert objective("train.objective={name: gspo, clip: 0.1, clip_high: 0.3}").clip_high == 0.3
    assert objective("train.objective.truncation=off").truncation == "off"
    assert objective().truncation == 2.0


def test_an_objective_of_your_own_has_a_path_and_options() -> None:
    words = ["train.objective=my.objectives:ranked", "train.objective.options={clip: 0.1}"]
    config = parse_config(MINIMAL, words)
    assert config.train.objective.model_dump() == {"name": "my.objectives:ranked", "options": {"clip": 0.1}}
    assert parse_config(config_json(config)) == config


@pytest.mark.parametrize("words", [["train.objective=sft"], ["train.cloning=0.1"]])
def test_cloning_does_not_drop_what_it_learns_from(words: list[str]) -> None:
    with pytest.raises(InputError, match="zero_signal_groups=drop would drop groups in which every completion is"):
        parse_config(MINIMAL, [*words, "train.zero_signal_groups=drop"])


def test_cloning_is_not_added_to_itself() -> None:
    with pytest.raises(InputError, match=r"train: cloning.coefficient adds cloning to an objective; sft is"):
        parse_config(MINIMAL, ["train.objective=sft", "train.cloning=0.1"])


def test_later_words_win() -> None:
    assert parse_config(MINIMAL, ["train.updates=2", "train.updates=4"]).train.updates.most == 4


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.learning_rte=1", r"train.learning_rte is not an option; did you mean train.learning_rate\?$"),
        ("train.lr=1", r"train.lr is not an option; did you mean train.learning_rate\?$"),
        ("train.rate=1", r"train.rate is not an option$"),
        ("train.lora_rank=1", r"train.lora_rank is not an option; did you mean train.lora.rank\?$"),
        ("trian.updates=1", r"trian is not an option; did you mean train\?$"),
        ("learning_rate=1", r" learning_rate is not an option; did you mean train.learning_rate\?$"),
        ("train.max_tokens=1", r"train.max_tokens is not an option; did you mean rollout.max_tokens\?$"),
        (
            "reward.graders=[{name: exact, wieght: 1}]",
            r"reward.graders.0.wieght is not an option; did you mean reward.graders.weight\?$",
        ),
        ("train.updates=0", r"train.updates.most must be at least 1 \(got 0\)$"),
        ("train.updates=x", r"train.updates.most must be an integer \(got 'x'\)$"),
        ("train.updates=1.5", r"train.updates.most must be an integer \(got 1.5\)$"),
        ("train.learning_rate=-1e-4", r"train.learning_rate must be greater than 0 \(got -0.0001\)$"),
        ("train.learning_rate=.nan", r"train.learning_rate must be finite \(got nan\)$"),
        ("train.learning_rate=.inf", r"train.learning_rate must be finite \(got inf\)$"),
        ("train.betas=[0.9]", r"train.betas.1 is required$"),
        ("train.betas=[0.9,1.0]", r"train.betas.1 must be less than 1 \(got 1.0\)$"),
        (
            "rollout.oversampling=1.5",
            "rollout.oversampling replaces dropped zero-signal groups, and train.zero_signal_groups=keep drops none",
        ),
        (
            "train.objective=ppo",
            "train.objective.name is not a valid objective; use one of rapid, rapid_clip, pg, rloo, grpo, ",
        ),
        (
            "train.objective.clip=0.1",
            "train.objective: objective rapid has no option clip; its options are normalisation, truncation, ratio",
        ),
        (
            "train.objective={name: 'm:o', clip: 0.2}",
            "train.objective: options of a custom objective go under train.objective.options$",
        ),
        ("train.objective.truncation=on", r"train.objective.truncation must be a number or 'off' \(got 'on'\)$"),
        ("train.lora.alpha=8", "train.lora.rank is required$"),
        ("train.guide.model=/teacher", "train.guide.coefficient is required$"),
        ("train.guide=0", "train.guide.coefficient must be"),
        ("rollout.guide=1", "rollout.guide.share must be"),
        (
            "rollout.top_p=0.9",
            "rollout: top_p is not an option: truncated sampling renormalises the behaviour distribution",
        ),
        (
            "rollout.top_k=40",
            "rollout: top_k is not an option: truncated sampling renormalises the behaviour distribution",
        ),
        ("rollout.group_size=1", r"rollout.group_size must be at least 2 \(got 1\)$"),
        ("rollout.stop=['']", "rollout.stop.0 must not be empty"),
        ("rollout.max_tokens=2048", r"rollout.max_tokens \(2048\) must leave room .* model.max_length \(2048\)"),
        ("evaluate.max_tokens=4096", r"evaluate.max_tokens \(4096\) must leave room"),
        ("rollout.shards=129", r"rollout.shards \(129\) exceeds the prompts of an iteration \(128 = "),
        ("evaluate.samples=4", r"evaluate: pass_k=8 needs at least as many samples \(got samples=4\)"),
        (
            "reward.graders=[exact, exact]",
            r"reward.graders: two graders have the same name \(exact, exact\); give",
        ),
        (
            "reward.graders=[exact, {name: math, label: exact}]",
            r"two graders have the same name \(exact, exact\); give",
        ),
        ("reward.graders=[]", "reward.graders must not be empty$"),
        ("reward.graders=3", r"reward.graders must be a list \(got 3\)$"),
        ("evaluate.pass_k=[0]", r"evaluate.pass_k.0 must be at least 1 \(got 0\)$"),
        ("reward.graders=[{weight: 1}]", "^configuration: reward.graders.0.name is required$"),
        ("reward.max_failed_share=1.1", r"reward.max_failed_share must be at most 1 \(got 1.1\)$"),
        ("loop.iterations=-1", r"loop.iterations must be at least 0 \(got -1\)$"),
        ("run=a/b", r"run.name must match .*\(got 'a/b'\)$"),
        ("run=2024", r"run.name must be text \(got 2024\); quote it, on a command line as \"'2024'\"$"),
        ("run.seed=-1", r"run.seed must be at least 0 \(got -1\)$"),
        ("run.seed=4294967296", r"run.seed must be less than 2147483648 \(got 4294967296\)$"),
        ("tracking.enabled=maybe", r"tracking.enabled must be true or false \(got 'maybe'\)$"),
        ("updates", "'updates' is not key=value; write for example train.learning_rate=2e-4"),
        ("=3", "'=3' is not key=value"),
        ("run.=3", "'run.=3' is not key=value"),
        ("reward.graders.0.weight=2", "reward.graders.0.weight is not an option: reward.graders is not a section"),
        ("model.path.more=1", "model.path.more is not an option: model.path is not a section"),
        ("tracking=[1]", "tracking.uri must be text$"),
        ("data.today=29.11.2026", "data.today must be a day such as 2026-11-29"),
        ("data.today=2026-02-30", "data.today must be a day such as 2026-11-29"),
        ("train=5", r"train must be a mapping \(got 5\)$"),
        ("store=", "store= has no value: is a variable not set"),
        ("data.replay=[a]", "data.replay names runs that loop.replay or rollout.guide draws from; set one of the two"),
        (
            "rollout.guide=0.003",
            r"rollout.guide.share \(0.003\) of the prompts of an iteration \(128\) must round to at least one group",
        ),
        ("data.replay=[a, a]", "data.replay names a run twice; name it once"),
        ("loop.replay=1", r"loop.replay.share must be less than 1 \(got 1\)$"),
        (
            "loop.replay=0.05",
            r"loop.replay.share \(0.05\) of train.mini_batch_prompts \(8\) must round to at least one",
        ),
        ("train.updates=true", r"train.updates.most must be a number \(got true\)$"),
        ("train.learning_rate=false", r"train.learning_rate must be a number \(got false\)$"),
        ('model.path="a\\0b"', "model.path must not contain a NUL character"),
        ('rollout.stop=["x", "a\\0b"]', "rollout.stop must not contain a NUL character"),
        ("evaluate.pass_k=[true, 4]", "evaluate.pass_k must be a number"),
        ("train.betas=[0.9, false]", "train.betas must be a number"),
        ('store="  "', "store.uri must not be empty"),
        ("rollout.oversampling=1.0e+308", "rollout.oversampling must be at most 1000"),
        ("train.mini_batch_prompts=100000000000000000000", r"an iteration would sample 1.6e\+21 prompts"),
        ("loop.iterations=10000000000000", "loop.iterations must be at most 1000000"),
        ("rollout.group_size=20000", "rollout.group_size must be at most 16384"),
        ("train.updates=100000000", "train.updates.most must be at most 1000000"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key_and_the_reason(word: str, message: str) -> None:
    text = MINIMAL + "train: {updates: 16}\nreward: {graders: [math]}\n"
    with pytest.raises(InputError, match=message) as refused:
        parse_config(text, [word])
    assert "\n" not in str(refused.value)


def test_every_wrong_key_is_named_at_once() -> None:
    with pytest.raises(
        InputError, match=r"^my.yaml: data is required; train.updates.most must be .*; nope is not an option$"
    ):
        parse_config("run: x\nmodel: m\ntrain: {updates: 0}\nnope: 1", what="my.yaml")


def test_target_reward_needs_held_out_prompts() -> None:
    with pytest.raises(InputError, match=r"loop.target_reward needs held-out prompts; raise data.eval_prompts above 0"):
        parse_config(MINIMAL, ["loop.target_reward=1", "data.eval_prompts=0"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a mapping with sections"),
        ("- a\n- b", "must be a mapping with sections"),
        ("just words", "must be a mapping with sections"),
        ("run: [", ", line 1: not valid YAML: "),
        ("run: a\nrun: b\n" + MINIMAL, ', line 2: not valid YAML: found duplicate key "run"$'),
        ("train:\n  updates: 1\n  updates: 2\n", ', line 3: not valid YAML: found duplicate key "updates"$'),
        ("run: !!python/object/apply:os.system [true]", ", line 1: not valid YAML: could not determine a constructor"),
        ("run: \x00", "not valid YAML: unacceptable character"),
        ("a: !!bool x", "not valid YAML: a value does not match its tag"),
        ("a: " + "[" * 1000, "nested too deeply"),
        ("--- a\n--- b", ", line 2: not valid YAML: expected a single document"),
        ("1: 2\n" + MINIMAL, "1 is not a valid key: keys must be text$"),
        ("version: 1\n" + MINIMAL, r"was written by another version of RAPID \(format 1, this one reads 3\); start a"),
    ],
)
def test_texts_that_are_no_configuration(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        parse_config(text, what="my.yaml")
    assert re.match("my.yaml[ :,]", str(refused.value))
    assert "\n" not in str(refused.value)


def test_a_run_of_an_older_version_is_refused_in_one_line() -> None:
    config = parse_config(MINIMAL)
    assert stored_config(config_json(config), "s3://b/config.json") == config
    older = json.loads(config_json(config))
    del older["version"]
    older["rollout"]["top_p"] = 1.0
    with pytest.raises(InputError) as refused:
        stored_config(json.dumps(older), "s3://b/config.json")
    assert str(refused.value) == (
        "s3://b/config.json was written by another version of RAPID (format 1, this one reads 3); "
        "start a new run under another run.name"
    )


def test_a_long_value_is_not_repeated_in_full() -> None:
    with pytest.raises(InputError) as refused:
        parse_config(MINIMAL, ["train.updates=" + "x" * 10_000])
    assert len(str(refused.value)) < 300


def test_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"configuration {tmp_path}/none.yaml does not exist"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"cannot read the configuration .*Is a directory"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"run: \xe9")
    with pytest.raises(InputError, match=r"cannot read the configuration .*utf-8"):
        load_config(tmp_path / "latin.yaml")
    (tmp_path / "good.yaml").write_text(MINIMAL)
    assert load_config(tmp_path / "good.yaml", ["run=x"]).run.name == "x"


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(
    stop=st.lists(TEXT.filter(bool), max_size=3),
    prompt=st.none() | TEXT,
    rate=st.floats(min_value=1e-12, max_value=1e3, exclude_min=True),
    options=st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=3),
)
def test_what_is_stored_reads_back_the_same(
    stop: list[str], prompt: str | None, rate: float, options: dict[str, Any]
) -> None:
    config = RunConfig.model_validate(
        {
            "run": "demo",
            "model": "m",
            "data": {"train": "d", "system_prompt": prompt},
            "rollout": {"stop": stop},
            "train": {"learning_rate": rate},
            "reward": {"graders": [{"name": "exact", "options": options}]},
        }
    )
    assert parse_config(config_json(config)) == config


@given(st.text(max_size=40))
def test_no_word_ends_in_a_traceback(word: str) -> None:
    with suppress(InputError):
        parse_config(MINIMAL, [word, f"train.updates={word}", f"{word}=1", f"reward.graders={word}"])


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=60))
def test_no_text_ends_in_a_traceback(text: str) -> None:
    with pytest.raises(InputError):
        parse_config(text)


def test_known_keys_name_every_leaf() -> None:
    keys = known_keys(RunConfig)
    assert {"run.name", "rollout.engine.max_num_seqs", "train.objective.clip", "reward.graders.weight"} <= set(keys)
    assert len(keys) == len(set(keys))
    tree = yaml.safe_load(config_json(parse_config(MINIMAL)))
    for key in keys:
        if not key.startswith(
            ("reward.graders.", "train.lora.", "train.guide.", "rollout.guide.", "loop.replay.", "train.objective.")
        ):
            node = tree
            for name in key.split("."):
                node = node[name]


@pytest.mark.parametrize("name", ["it's", "a/b", "a:b", 'a"b', "a`b", "a@b", "50%", "a\\b", " a", "a\n", "", "\x1b[2J"])
def test_a_name_that_the_registry_cannot_take_is_refused_at_once(name: str) -> None:
    with pytest.raises(InputError, match=r"tracking\.model_name must consist of letters, digits"):
        parse_config(MINIMAL, [f"tracking.model_name={json.dumps(name)}"])


@pytest.mark.parametrize("name", ["adder", "Qwen2.5-0.5B math", "a_b+c", "größe", "7"])
def test_ordinary_names_of_models(name: str) -> None:
    assert parse_config(MINIMAL, [f"tracking.model_name={json.dumps(name)}"]).tracking.model_name == name
