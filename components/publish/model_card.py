"""The model card of a policy: what the Hugging Face hub shows of it, and all that an upload lacks."""

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from components import CODE_VERSION
from components.contract.config import RunConfig
from components.contract.printable import printable
from components.results import RoundResult, RunResults
from components.store import Run

CARD = "README.md"
_LICENCE_KEYS = ("license", "license_name", "license_link")
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def write_model_card(run: Run, results: RunResults, version: int) -> None:
    """Write the card of a policy beside its weights. Raises InputError where the store refuses."""
    run.store.write(f"{run.policy_files(version)}/{CARD}", model_card(run, results, version).encode())


def model_card(run: Run, results: RunResults, version: int) -> str:
    """Return the card of a policy that the run has made, as Markdown below metadata in YAML.

    Names of the base model and the data are given without the directories that hold them. The licence is what the base
    model's own card states.
    """
    config, base = run.config, run.policy(0).require().facts
    licence: dict[str, Any] = {key: str(base[key]) for key in _LICENCE_KEYS if key in base}
    evaluation = results.evaluated.get(version)
    data = ModelCardData(
        base_model=_hub_name(config.model.path),
        **licence,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["reinforcement-learning", "rlvr", "rapid"],
        model_name=config.run.name,
        eval_results=list(_eval_results(config, evaluation)) if evaluation else None,
    )
    sections = [_summary(config, version), _scores(results, version), _training(config, results, version), _USE]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(filter(None, sections)) + "\n"


_USE = """## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")  # this directory, or its name on the hub
tokenizer = AutoTokenizer.from_pretrained(".")
```"""


def _summary(config: RunConfig, version: int) -> str:
    base, data = _code(_short(config.model.path)), _code(_short(config.data.train))
    return (
        f"# {config.run.name}\n\n{base} fine-tuned by reinforcement learning on {data}: "
        f"the policy after {version} iteration{'' if version == 1 else 's'} of "
        f"[RAPID](https://arxiv.org/abs/2510.03515), which samples large batches of completions and takes many "
        "importance-weighted updates on each."
    )


def _scores(results: RunResults, version: int) -> str:
    """Return the held-out scores beside those of the base model; empty where there are none."""
    evaluated = [(name, results.evaluated.get(v)) for name, v in (("base model", 0), ("this model", version))]
    columns = [(name, found) for name, found in evaluated if found and found.eval]
    if not columns or columns[-1][0] == "base model":
        return ""
    newest = columns[-1][1]
    assert newest.eval is not None
    rows = [("mean reward", [_number(found.eval_reward) for _, found in columns])]
    rows += [(f"pass@{k}", [_number(found.pass_at_k.get(k)) for _, found in columns]) for k in newest.pass_at_k]
    table = [
        f"| | {' | '.join(name for name, _ in columns)} |",
        f"|---|{'---|' * len(columns)}",
        *(f"| {name} | {' | '.join(values)} |" for name, values in rows),
    ]
    prompts, completions = newest.eval.prompts, newest.eval.completions
    return f"## Scores\n\nOn {prompts:,} held-out prompts, {completions:,} completions.\n\n" + "\n".join(table)


def _training(config: RunConfig, results: RunResults, version: int) -> str:
    train = config.train
    iterations = [i for i in results.iterations if i.number <= version]
    steps = sum(len(i.train.steps) for i in iterations if i.train)
    completions = sum(i.sampled.training_completions for i in iterations)
    graders = ", ".join(_code(grader.component) for grader in config.reward.graders)
    adapters = f"LoRA of rank {train.lora.rank}, merged" if train.lora else "all weights"
    guide = _code(_short(train.guide.model)) if train.guide and train.guide.model else "the base model"
    rows = {
        "objective": _code(train.objective.name),
        "trained": f"{adapters}, {config.model.dtype}",
        **({"kept close to": f"{guide}, coefficient {train.guide.coefficient:g}"} if train.guide else {}),
        **_other_sources(config),
        "optimizer steps": f"{steps:,}, each on {train.mini_batch_prompts} prompts x {config.rollout.group_size} "
        f"completions, learning rate {train.learning_rate:g} ({train.schedule})",
        "completions sampled": f"{completions:,}, at most {config.rollout.max_tokens} tokens, "
        f"temperature {config.rollout.temperature:g}",
        "rewards": graders,
        "code": f"rapid-rl {CODE_VERSION}",
    }
    return "## Training\n\n| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def _other_sources(config: RunConfig) -> dict[str, str]:
    """Return rows for what was learned from beside fresh completions of the training prompts."""
    replay, guide, cloning = config.loop.replay, config.rollout.guide, config.train.cloning
    runs = f" and the runs {', '.join(map(_code, config.data.replay))}" if config.data.replay else ""
    rows = {}
    if replay:
        rows["replayed"] = f"{replay.share:g} of each mini-batch, from earlier iterations{runs}"
    if guide:
        column = f", else from the column {_code(printable(guide.column))}" if guide.column else ""
        rows["guided starts"] = (
            f"{guide.share:g} of the groups in the first {guide.iterations} iterations, from completions that passed "
            f"in earlier iterations{runs}{column}"
        )
    if cloning.coefficient:
        rows["cloning"] = f"completions with a reward above {cloning.threshold:g}, coefficient {cloning.coefficient:g}"
    return rows


def _eval_results(config: RunConfig, evaluation: RoundResult) -> Iterator[EvalResult]:
    source = _short(config.data.eval or config.data.train)
    for k, value in evaluation.pass_at_k.items():
        yield EvalResult(
            task_type="text-generation",
            dataset_type=source,
            dataset_name=f"held-out prompts of {source}",
            metric_type=f"pass@{k}",
            metric_value=round(value, 4),
        )


def _hub_name(path: str) -> str | None:
    """Return `owner/name` of the hub; None for other places, which the hub could not link."""
    return path if _HUB_NAME.fullmatch(path) else None


def _short(path: str) -> str:
    """Return a path without the directories above its last part, which concern nobody else."""
    return printable(_hub_name(path) or PurePath(path).name or path)


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
