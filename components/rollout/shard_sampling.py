"""Sampling of one shard of one round into parts of trajectories."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from components.contract.config import RunConfig
from components.contract.layout import Round
from components.contract.manifest import Facts
from components.contract.schemas import TRAJECTORIES, with_metadata
from components.rollout.engine import LOGPROBS_MODE, Completion, Engine, GroupRequest, SamplingSpec, engine_version
from components.rollout.groups import Group, held_out_groups, training_groups
from components.rollout.guided_starts import guide_groups
from components.runtime.clock import Clock
from components.runtime.progress import StageProgress
from components.store import Run, StageOutput
from components.store.parts import PartWriter


def sample_shard(
    run: Run,
    round_: Round,
    shard: int,
    output: StageOutput,
    prompts: Mapping[str, pa.Table],
    engine: Callable[[], Engine],
    clock: Clock,
) -> Facts:
    """Sample what earlier starts have not, part by part; return the facts of the shard's manifest.

    Args:
        prompts: the prompts of each split.
        engine: returns the engine with the policy of this round; not called where nothing is left to sample.
    """
    config = run.config
    writer = PartWriter(output, "trajectories", with_metadata(TRAJECTORIES, _metadata(run, round_, output)))
    with clock.measure("store"):
        resumed = writer.resume()
    finished = {group_id for table in resumed for group_id in table["group_id"].to_pylist()}
    sizes = {split: table.num_rows for split, table in prompts.items()}
    groups = _groups(config, round_, shard, sizes, run.evaluates(round_))
    groups = guide_groups(run, round_, groups, prompts["train"], lambda text: engine().tokenize(text))
    todo = [group for group in groups if group.group_id not in finished]
    tokens = sum(len(row) for table in resumed for row in table["completion_token_ids"].to_pylist())
    if todo:
        label = run.label("rollout", round_, shard)
        tokens += _sample(label, _prompts(config, prompts, todo), engine, writer, config.rollout.part_groups, clock)
    compute = clock.seconds("compute")
    return {
        "round": str(round_),
        "policy_version": run.sampled_policy(round_),
        "rows": sum(file.rows or 0 for file in output.files),
        "completion_tokens": tokens,
        "tokens_per_second": tokens / compute if compute and not finished else None,
        "groups_resumed": len(finished),
        **({"guided_groups": sum(bool(group.start) for group in groups)} if config.rollout.guide else {}),
    }


def _groups(config: RunConfig, round_: Round, shard: int, prompts: dict[str, int], evaluates: bool) -> list[Group]:
    shards, seed = config.rollout.shards, config.run.seed
    groups = held_out_groups(prompts["eval"], round_, shard, shards, seed) if evaluates else []
    if round_.trains:
        groups += training_groups(prompts["train"], config.prompts_per_iteration, round_, shard, shards, seed)
    return groups


def _specs(config: RunConfig) -> dict[str, SamplingSpec]:
    rollout, evaluate = config.rollout, config.evaluate
    text = rollout.stop, rollout.include_stop, rollout.skip_special_tokens
    longest = evaluate.max_tokens or rollout.max_tokens
    return {
        "train": SamplingSpec(rollout.group_size, rollout.temperature, 1.0, rollout.max_tokens, *text),
        "eval": SamplingSpec(evaluate.samples, evaluate.temperature, evaluate.top_p, longest, *text),
    }


@dataclass(frozen=True)
class _Prompt:
    """A prompt to sample."""

    group: Group
    prompt_id: str
    request: GroupRequest


def _prompts(config: RunConfig, tables: Mapping[str, pa.Table], groups: Sequence[Group]) -> list[_Prompt]:
    specs = _specs(config)
    prompts = []
    for split, table in tables.items():
        ours = [group for group in groups if group.split == split]
        places = pa.array([group.index for group in ours], pa.int64())
        rows = table.select(["prompt_id", "prompt_token_ids"]).take(places).to_pylist()
        for group, row in zip(ours, rows, strict=True):
            spec = replace(specs[split], max_tokens=specs[split].max_tokens - len(group.start))
            request = GroupRequest(group.group_id, row["prompt_token_ids"], spec, group.seed, group.start)
            prompts.append(_Prompt(group, row["prompt_id"], request))
    # The engine takes them in this order, on which log-probabilities depend in their last bits.
    order = {group.group_id: place for place, group in enumerate(groups)}
    return sorted(prompts, key=lambda prompt: order[prompt.group.group_id])


def _sample(
    label: str,
    prompts: Sequence[_Prompt],
    engine: Callable[[], Engine],
    writer: PartWriter,
    part_groups: int,
    clock: Clock,
) -> int:
    """Sample the groups and write parts as they fill; return the completion tokens drawn."""
    by_id = {prompt.group.group_id: prompt for prompt in prompts}
    requests = [prompt.request for prompt in prompts]
    rows: list[dict[str, object]] = []
    done = tokens = pending = 0
    with StageProgress(label, sum(request.spec.samples for request in requests), "completions") as progress:
        for group_id, completions in _timed(engine().sample(requests), clock):
            rows += _rows(by_id[group_id], completions)
            done += len(completions)
            tokens += sum(len(c.token_ids) for c in completions)
            pending += 1
            progress.update(done, f"{tokens / max(clock.seconds('compute'), 1e-9):,.0f} tokens/s")
            if pending == part_groups:
                _append(writer, rows, clock)
                rows, pending = [], 0
        if rows:
            _append(writer, rows, clock)
    return tokens


def _append(writer: PartWriter, rows: list[dict[str, object]], clock: Clock) -> None:
    with clock.measure("store"):
        writer.append(pa.Table.from_pylist(rows, schema=TRAJECTORIES))


def _timed(groups: Iterator[tuple[str, list[Completion]]], clock: Clock) -> Iterator[tuple[str, list[Completion]]]:
    """Count only the engine's own time as compute, not what is done with its results."""
    while True:
        with clock.measure("compute"):
            item = next(groups, None)
        if item is None:
            return
        yield item


def _rows(prompt: _Prompt, completions: Sequence[Completion]) -> list[dict[str, object]]:
    return [
        {
            "prompt_id": prompt.prompt_id,
            "group_id": prompt.group.group_id,
            "sample_index": index,
            "split": prompt.group.split,
            "prompt_token_ids": prompt.request.token_ids,
            "completion_token_ids": completion.token_ids,
            "behaviour_logprobs": completion.logprobs,
            "finish_reason": completion.finish_reason,
            "text": completion.text,
        }
        for index, completion in enumerate(completions)
    ]


def _metadata(run: Run, round_: Round, output: StageOutput) -> dict[str, object]:
    config, inputs = run.config, output.inputs
    return {
        "run": run.layout.run,
        "round": str(round_),
        "shard": output.shard,
        "policy_version": run.sampled_policy(round_),
        "prompts_digest": inputs["prompts"],
        "weights_digest": inputs["policy"],
        "tokenizer_digest": inputs["tokenizer"],
        "engine": "vllm",
        "engine_version": engine_version(),
        "dtype": config.model.dtype,
        "temperature": config.rollout.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "eval_temperature": config.evaluate.temperature,
        "eval_top_p": config.evaluate.top_p,
        "seed": config.run.seed,
        "logprob_mode": LOGPROBS_MODE,
        "config_digest": output.config_digest,
        # Parts with other starts are not continued.
        **{name: digest for name, digest in inputs.items() if name.startswith("starts")},
    }
