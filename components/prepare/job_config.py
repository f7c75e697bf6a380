"""The configuration of a run from the parameters of a pipeline."""

from components.contract.config import RunConfig, RunSection
from components.contract.errors import InputError
from components.contract.job import Job
from components.contract.resolve import parameter_overrides, parse_config
from components.store import ObjectMissing, open_store


def job_config(config: str, run: str, model: str, data: str, iterations: int, job: Job) -> RunConfig:
    """Return the configuration that a job works with.

    Args:
        config: YAML or JSON text, or `s3://bucket/my.yaml`.
        run: name of the run, as `Job.run_name` takes it.
        model: replaces `model.path` unless empty.
        data: replaces `data.train` unless empty.
        iterations: replaces `loop.iterations` unless negative.

    Raises:
        InputError: the configuration or a parameter is invalid, or cannot be read.
    """
    text, what = _text(config.strip())
    resolved = parse_config(text, parameter_overrides(model, data, iterations), what)
    named = RunSection.parse({**resolved.run.model_dump(), "name": job.run_name(run, resolved.run.name)}, "run")
    return resolved.model_copy(update={"run": named})


def _text(config: str) -> tuple[str, str]:
    """Return the text of a configuration and what to call it in messages."""
    if not config:
        raise InputError("config is empty: give the text of a configuration, or its place, s3://bucket/my.yaml")
    if not config.startswith("s3://"):
        return config, "pipeline parameters"
    folder, _, name = config.rpartition("/")
    try:
        return open_store(folder).read(name).decode("utf-8"), config
    except ObjectMissing:
        raise InputError(f"config: {config} does not exist") from None
    except UnicodeDecodeError:
        raise InputError(f"config: {config} is not UTF-8 text") from None
