"""The prepare stage: creates a run from a configuration.

Everything is checked before anything is committed, so that a run whose configuration has a mistake can be
started again under the same name once it is fixed. Then the policy is committed, `config.json` is created, and
the prompts are committed; a killed stage resumes after the last of these.

Weights go into the run as they are stored. Where they are stored wider than `model.dtype`, the engine rounds
them when it loads them while the trainer starts from what is stored, so behaviour policy and trainer differ by
that rounding as they differ by the engine's arithmetic: the importance weights correct for it and the provenance
check of the train stage measures it. Manifest facts name the stored type.

What may change later is resolved once: a champion (models:/NAME@champion) when the policy is committed, the files of a
directory or pattern when the prompts are. A run that is started again has both already.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.job import DUE, NO_JOB, Job
from components.contract.layout import MANIFEST, RunLayout
from components.contract.manifest import Facts, Manifest, outputs_digest, policy_digests
from components.contract.resolve import config_json, stored_config
from components.contract.stage_digest import changed_options
from components.prepare.adapters import check_adapters
from components.prepare.guide import find_guide, guide_is_prepared
from components.prepare.policy import BasePolicy, inspect_policy, is_hub_name, load_tokenizer, stated_licence
from components.prepare.policy_source import PolicySource, find_model, is_elsewhere
from components.prepare.sources import DataSource, data_sources, is_generated
from components.runtime.clock import Clock
from components.runtime.progress import note
from components.runtime.scratch import scratch_directory
from components.store import ObjectExists, ObjectMissing, OutputDirectory, Run, StageOutput, open_store
from components.store.cancellation import withdraw_cancellations
from components.store.earlier_runs import find_earlier_runs, pin_earlier_runs
from components.store.files import is_directory

if TYPE_CHECKING:
    from components.prepare.prompt_tables import PromptTables

_BAD_ROWS = "bad_rows.jsonl"
DATA_FILES = "data_files.json"
"""Beside the prompts: the files that a directory or pattern stood for."""


@dataclass(frozen=True)
class PrepareResult:
    """The run and its rollout shards as strings, for the next tasks of the pipeline."""

    run_uri: str
    shards: list[str]


def run_stage(config: RunConfig, job: Job = NO_JOB) -> PrepareResult:
    """Commit prompts, base policy and configuration to the run, unless they are there already.

    Args:
        job: what starts or continues the run in Kubeflow.

    Raises:
        InputError: the store cannot be written, the run was started with another configuration or other data,
            data, model or tokenizer cannot be used, or a copied job has nothing to do.
    """
    clock = Clock()
    config = with_absolute_paths(config)
    store = open_store(config.store.uri)
    run = Run(store, RunLayout(config.run.name), config)
    store.check_writable(run.layout.root)
    refuse_other_config(run)
    if job.id:
        note(what_a_job_does(run, job))
    sources = data_sources(config)
    data = data_digests(run, sources)
    if not is_prepared(run, data) or not guide_is_prepared(run):
        _prepare(run, sources, data, clock)
    pin_earlier_runs(run, clock.timings())
    _store_config(run)
    _withdraw_stop(run)
    store.delete(run.layout.failure)
    withdraw_cancellations(store, run.layout)
    return PrepareResult(run.uri, [str(shard) for shard in range(config.rollout.shards)])


def what_a_job_does(run: Run, job: Job) -> str:
    """Return in words whether a job begins its run or continues it.

    Raises:
        InputError: the run is finished, and the job was not submitted to continue it: a clone, or a firing of a
            schedule whose run has a fixed name. `rapid` gives the jobs that it submits the name of the run.
    """
    name, iterations = run.layout.run, run.config.loop.iterations
    if _stored_config(run) is None:
        return f"run {name} begins"
    if job.name != name and run.published():
        raise InputError(
            f"run {name} is finished, with {run.policy_version()} iterations trained and published, so that this job "
            "would do nothing: for another run leave the parameter run empty or give it a new name (in a schedule "
            f"NAME-{DUE}); to go on with {name} raise the parameter iterations"
        )
    return f"run {name} goes on after {run.trained()} of {iterations} iterations"


def _prepare(run: Run, sources: list[DataSource], data: dict[str, str], clock: Clock) -> None:
    from components.prepare.prompt_tables import build_tables, read_data

    config = run.config
    output = run.output("prepare", run.layout.policy(0), {})
    policy = output.committed()
    with scratch_directory("rapid-prepare-") as scratch:
        with clock.measure("store"):
            model = config.model
            source = None if policy else find_model(run, model.path, "model.path", scratch, model.revision)
        base = inspect_policy(source.directory, config.model.max_length) if source else None
        with clock.measure("compute"):
            sets = read_data(config, sources)
        for key, lines in [*((s.key, s.remarks) for s in sources), *((found.key, found.remarks) for found in sets)]:
            for line in lines:
                note(f"{key}: {line}")
        with clock.measure("load"):
            tokenizer = load_tokenizer(base.directory if base else _fetch_tokenizer(output, scratch))
        if base:
            base.check_tokenizer(tokenizer)
            check_adapters(base, config.train.lora)
        with clock.measure("compute"):
            vocab_size = base.vocab_size if base else int(policy.facts["vocab_size"] or 0) if policy else None
            tables = build_tables(config, sets, tokenizer, vocab_size)
        with clock.measure("store"):
            guide = find_guide(run, tokenizer, scratch / "guide")
            digest = base.tokenizer_digest() if base else str(policy.facts["tokenizer_digest"]) if policy else ""
            find_earlier_runs(run, digest, tables.date)
        if base and source:
            policy = _commit_policy(output, base, source, clock)
        if guide:
            run.guide().discard()
            _commit_policy(run.output("prepare", run.layout.guide, {}), *guide, clock)
    assert policy is not None
    _store_config(run)
    prompts = _prompts_output(run, data, policy)
    # Only the policy was missing where its directory was deleted because a file of it was corrupted.
    if prompts.committed() is None:
        _commit_prompts(prompts, tables, sources, clock)


def _commit_policy(output: StageOutput, base: BasePolicy, source: PolicySource, clock: Clock) -> Manifest:
    with clock.measure("store"), scratch_directory("rapid-prepare-") as scratch:
        for name in base.files:
            link = scratch / name
            link.parent.mkdir(exist_ok=True)
            link.symlink_to((base.directory / name).resolve())
        output.upload(scratch)
        # What a killed start with another model left would be loaded together with this one.
        for info in output.store.list(output.key):
            if info.key.removeprefix(f"{output.key}/") not in {*base.files, MANIFEST}:
                output.store.delete(info.key)
    digests = policy_digests(output.files)
    source.check_weights(digests["weights_digest"])
    facts: Facts = {
        **source.facts,
        **stated_licence(base.directory),
        **digests,
        "model_type": base.model_type,
        "vocab_size": base.vocab_size,
        "parameters": base.parameters,
        "dtype": base.dtype,
    }
    return output.commit(clock.timings(), facts)


def _commit_prompts(output: StageOutput, tables: "PromptTables", sources: list[DataSource], clock: Clock) -> None:
    from components.prepare.rows import describe_bad
    from components.store.parquet import encode

    with clock.measure("store"):
        for name, table in (("train", tables.train), ("eval", tables.held_out)):
            output.write(f"{name}.parquet", encode(table), rows=table.num_rows)
        # The prompts are the same wherever their files lie.
        output.content.append(outputs_digest(output.files))
        if lines := tables.bad_rows_json():
            output.write(_BAD_ROWS, lines)
        if chosen := {source.key: source.listing() for source in sources if source.is_selection}:
            output.write(DATA_FILES, (json.dumps(chosen, indent=2) + "\n").encode())
    for key, files in chosen.items():
        note(f"{key}: {len(files)} files, from {files[0]['file']} to {files[-1]['file']}")
    for line in tables.remarks:
        note(line)
    facts = tables.facts()
    output.commit(clock.timings(), facts)
    for key, bad in tables.bad.items():
        if bad:
            note(f"{key}: {len(bad)} bad rows left out, all in {output.uri}/{_BAD_ROWS}: {describe_bad(bad)}")
    note(f"{facts['train_prompts']} prompts to train on, {facts['eval_prompts']} held out")


def _withdraw_stop(run: Run) -> None:
    """Let a run that has stopped at `loop.target_reward` go on where that option has changed since."""
    stopped = run.policy_version() + 1
    manifest = run.policy(stopped).manifest()
    if manifest and manifest.facts["target_reward"] != run.config.loop.target_reward:
        for key in (run.layout.train(stopped), run.layout.policy(stopped)):
            run.directory(key).retract()


def is_prepared(run: Run, data: dict[str, str]) -> bool:
    """Return whether everything is committed. Raises InputError where the run was made from other data."""
    policy = run.policy(0).manifest()
    if policy is None:
        return False
    return _prompts_output(run, data, policy).committed() is not None


def _prompts_output(run: Run, data: dict[str, str], policy: Manifest) -> StageOutput:
    inputs = {**data, "tokenizer": str(policy.facts["tokenizer_digest"])}
    return run.output("prepare", run.layout.prompts, inputs)


def _fetch_tokenizer(policies: OutputDirectory, into: Path) -> Path:
    """Copy the committed policy without its weights."""
    manifest = policies.require()
    for output in manifest.outputs:
        if not output.path.endswith(".safetensors"):
            path = into / output.path
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(policies.read(output.path, manifest))
    return into


def refuse_other_config(run: Run) -> None:
    """Refuse a configuration with another value of a key that committed outputs depend on. Raises InputError."""
    stored = _stored_config(run)
    if stored is None or stored == run.config:
        return
    listed = run.store.list(run.layout.root)
    stages = {stage for info in listed if (stage := run.layout.committed_stage(info.key))}
    if differences := changed_options(stored, run.config, stages):
        raise InputError(
            f"run {run.layout.run!r} in {run.store.uri} was started with another configuration: "
            f"{'; '.join(differences)}; choose another run.name, or restore these values"
        )


def _store_config(run: Run) -> None:
    """Create `config.json`, or bring its other keys up to date."""
    if _stored_config(run) == run.config:
        return
    data = config_json(run.config).encode()
    try:
        run.store.create(run.layout.config, data)
    except ObjectExists:
        refuse_other_config(run)
        run.store.write(run.layout.config, data)


def _stored_config(run: Run) -> RunConfig | None:
    try:
        text = run.store.read(run.layout.config).decode(errors="replace")
    except ObjectMissing:
        return None
    return stored_config(text, run.store.locate(run.layout.config))


def data_digests(run: Run, sources: list[DataSource]) -> dict[str, str]:
    """Digest of each data source, by its configuration key. Raises InputError where one cannot be read.

    A directory or pattern is looked at once in a run's life: when its prompts are committed. What has come since is
    for the next run.
    """
    prompts = run.directory(run.layout.prompts).manifest()
    before = _stored_config(run) if prompts else None
    chosen = {source.key: source.text for source in data_sources(before)} if before else {}
    return {
        source.key: prompts.inputs[source.key]
        if prompts and source.is_selection and chosen.get(source.key) == source.text
        else source.digest
        for source in sources
    }


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return the configuration with absolute local paths, which stages in other directories can read."""
    data = config.data
    sections: dict[str, object] = {
        "data": data.model_copy(
            update={"train": _absolute(data.train), "eval": None if data.eval is None else _absolute(data.eval)}
        ),
        "model": config.model.model_copy(update={"path": _absolute_model(config.model.path)}),
    }
    if (guide := config.train.guide) and guide.model is not None:
        guide = guide.model_copy(update={"model": _absolute_model(guide.model)})
        sections["train"] = config.train.model_copy(update={"guide": guide})
    if "://" not in config.store.uri:
        sections["store"] = config.store.model_copy(update={"uri": _absolute(config.store.uri)})
    return config.model_copy(update=sections)


def _absolute_model(path: str) -> str:
    on_this_machine = not is_elsewhere(path) and (is_directory(Path(path).expanduser()) or not is_hub_name(path))
    return _absolute(path) if on_this_machine else path


def _absolute(path: str) -> str:
    if is_generated(path) or "://" in path:
        return path
    # The slash at the end says that it is a directory, whether it is there yet or not.
    return str(Path(path).expanduser().absolute()) + ("/" if path.endswith("/") else "")
