"""Names of training jobs: whoever launches the same training finds the same job."""

import re

from components.contract.digests import bytes_digest, json_digest
from components.train.task import TrainTask
from components.trainjob.job_settings import JobSettings

# JobSet extends it to `<job>-node-0-<index>-<5 letters>`, a DNS label of at most 63 characters.
_RUN_LETTERS = 20


def job_name(run_uri: str, iteration: int) -> str:
    """Return a DNS label of at most 40 characters, the same for the same run in the same store.

    The run's name is for people; the digest distinguishes runs of similar names and of other stores.
    """
    run = run_uri.rpartition("/")[2]
    return f"rapid-{_slug(run)[:_RUN_LETTERS].rstrip('-')}-{iteration:04d}-{bytes_digest(run_uri.encode())[:8]}"


def task_digest(task: TrainTask, settings: JobSettings) -> str:
    """Return the digest of a training and its settings, 16 hexadecimal digits, for a label."""
    train = task.run.config.train
    asked = settings.model_dump(mode="json")
    return json_digest([dict(task.output.inputs), task.output.config_digest, train.nodes, train.processes, asked])[:16]


def label_value(run: str) -> str:
    """Return a run's name as the value of a label, which has to end in a letter or digit."""
    return run.rstrip("._-")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
