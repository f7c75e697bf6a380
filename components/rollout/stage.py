"""Sample one shard of one round."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Facts, Manifest
from components.contract.schemas import SPLITS, TRAJECTORIES, with_metadata
from components.results import read_prompts
from components.rollout.engine import LOGPROBS_MODE, Completion, Engine, GroupRequest, SamplingSpec, engine_version
from components.rollout.groups import Group, held_out_groups, training_groups
from components.runtime.clock import Clock
from components.runtime.progress import StageProgress
from components.store import Run, StageOutput, open_run
from components.store.parts import PartWriter


def run_stage(run_uri: str, round_: Round, shard: int) -> Manifest:
    """Sample the shard's groups and commit them as trajectories.

    Args:
        run_uri: the run that prepare has set up.
        round_: an iteration samples training and held-out prompts, an evaluation only held-out ones.
        shard: from 0 to `rollout.shards` - 1.

    Returns:
        The manifest, whose facts hold the rows, tokens and tokens per second.

    Raises:
        InputError: no such run or shard, the policy of this round is not committed, or something else is
            already committed where the trajectories go.
    """
    clock = Clock()
    run = open_run(run_uri)
    config = run.config
    if not 0 <= shard < config.rollout.shards:
        raise InputError(f"shard {shard} is not below rollout.shards = {config.rollout.shards}")
    version = run.sampled_policy(round_)
    policy = run.policy(version).require()
    inputs = {
        "prompts": run.directory(run.layout.prompts).require().digest,
        "policy": str(policy.facts["weights_digest"]),
        "tokenizer": str(policy.facts["tokenizer_digest"]),
    }
    output = run.output("rollout", run.layout.rollout(round_, shard), inputs, round_, shard)
    if manifest := output.committed():
        return manifest
    output = replace(output, attempt=run.claim("rollout", shard))

    with clock.measure("store"):
        prompts = read_prompts(run)
        tables = {split: prompts.filter(pc.equal(prompts["split"], split)) for split in SPLITS}
    sizes = {split: table.num_rows for split, table in tables.items()}
    groups = _groups(config, round_, shard, sizes, run.evaluates(round_))
    schema = with_metadata(TRAJECTORIES, _facts(run, round_, output))
    writer = PartWriter(output, "trajectories", schema)
    with clock.measure("store"):
        resumed = writer.resume()
    finished = {group_id for table in resumed for group_id in table["group_id"].to_pylist()}
    todo = [group for group in groups if group.group_id not in finished]
    tokens = sum(len(row) for table in resumed for row in table["completion_token_ids"].to_pylist())
    if todo:
        tokens += _sample(run, clock, round_, shard, tables, todo, writer)
    compute = clock.seconds("compute")
    facts: Facts = {
        "round": str(round_),
        "policy_version": version,
        "rows": sum(file.rows or 0 for file in output.files),
        "completion_tokens": tokens,
        "tokens_per_second": tokens / compute if compute and not finished else None,
        "groups_resumed": len(finished),
    }
    return output.commit(clock.timings(), facts)


def _groups(config: RunConfig, round_: Round, shard: int, prompts: dict[str, int], evaluates: bool) -> list[Group]:
    shards, seed = config.rollout.shards, config.run.seed
    groups = held_out_groups(prompts["eval"], round_, shard, shards, seed) if evaluates else []
    if round_.trains:
        groups += training_groups(prompts["train"], config.prompts_per_iteration, round_, shard, shards, seed)
    return groups


def _specs(config: RunConfig) -> dict[str, SamplingSpec]:
    rollout, evaluate = config.rollout, config.evaluate
    return {
        "train": SamplingSpec(rollout.group_size, rollout.temperature, 1.0, rollout.max_tokens, rollout.stop),
        "eval": SamplingSpec(
            evaluate.samples,
            evaluate.temperature,
            evaluate.top_p,
            evaluate.max_tokens or rollout.max_tokens,
            rollout.stop,
        ),
    }


def _sample(
    run: Run,
    clock: Clock,
    round_: Round,
    shard: int,
    tables: dict[str, pa.Table],
    groups: Sequence[Group],
    writer: PartWriter,
) -> int:
    """Load the engine, sample the groups and write parts as they fill; returns the completion tokens drawn."""
    config = run.config
    with tempfile.TemporaryDirectory(prefix="rapid-rollout-") as scratch:
        with clock.measure("store"):
            policy = run.fetch_policy(run.sampled_policy(round_), Path(scratch))
        total = sum(_specs(config)[group.split].samples for group in groups)
        with StageProgress(run.label("rollout", round_, shard), total, "completions") as progress:
            with clock.measure("load"):
                engine = Engine(policy, config.model, config.rollout.engine, config.run.seed)
            requests = _requests(config, tables, groups)
            by_id = {group.group_id: (group, request) for group, request in zip(groups, requests, strict=True)}
            rows: list[dict[str, object]] = []
            done = tokens = pending = 0
            for group_id, completions in _timed(engine.sample(requests), clock):
                group, request = by_id[group_id]
                prompt_id = tables[group.split]["prompt_id"][group.index].as_py()
                rows += _rows(group, prompt_id, request, completions)
                done += len(completions)
                tokens += sum(len(c.token_ids) for c in completions)
                pending += 1
                progress.update(done, f"{tokens / max(clock.seconds('compute'), 1e-9):,.0f} tokens/s")
                if pending == config.rollout.part_groups:
                    with clock.measure("store"):
                        writer.append(_table(rows))
                    rows, pending = [], 0
            if rows:
                with clock.measure("store"):
                    writer.append(_table(rows))
    return tokens


def _timed(groups: Iterator[tuple[str, list[Completion]]], clock: Clock) -> Iterator[tuple[str, list[Completion]]]:
    """Count only the engine's own time as compute, not what is done with its results."""
    while True:
        with clock.measure("compute"):
            item = next(groups, None)
        if item is None:
            return
        yield item


def _requests(config: RunConfig, tables: dict[str, pa.Table], groups: Iterable[Group]) -> list[GroupRequest]:
    specs = _specs(config)
    tokens = {split: table["prompt_token_ids"].to_pylist() for split, table in tables.items()}
    return [
        GroupRequest(group.group_id, tokens[group.split][group.index], specs[group.split], group.seed)
        for group in groups
    ]


def _rows(
    group: Group, prompt_id: str, request: GroupRequest, completions: Sequence[Completion]
) -> list[dict[str, object]]:
    return [
        {
            "prompt_id": prompt_id,
            "group_id": group.group_id,
            "sample_index": index,
            "split": group.split,
            "prompt_token_ids": request.prompt_token_ids,
            "completion_token_ids": completion.token_ids,
            "behaviour_logprobs": completion.logprobs,
            "finish_reason": completion.finish_reason,
            "text": completion.text,
        }
        for index, completion in enumerate(completions)
    ]


def _table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=TRAJECTORIES)


def _facts(run: Run, round_: Round, output: StageOutput) -> dict[str, object]:
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
    }
