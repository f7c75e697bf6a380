"""What a training job is called, so that whoever launches the same training finds the same job."""

import re

from components.contract.digests import bytes_digest, json_digest
from components.train.task import TrainTask
from components.trainjob.settings import JobSettings

# JobSet makes `<job>-node-0-<index>-<5 letters>` of it, which has to be a DNS label of 63 characters.
_RUN_LETTERS = 20


def job_name(run_uri: str, iteration: int) -> str:
    """A DNS label of at most 40 characters, the same for the same run in the same store.

    The run's name is in it for people; the digest tells runs apart whose names begin alike, or lie in other stores.
    """
    run = run_uri.rpartition("/")[2]
    return f"rapid-{_slug(run)[:_RUN_LETTERS].rstrip('-')}-{iteration:04d}-{bytes_digest(run_uri.encode())[:8]}"


def order_of(task: TrainTask, settings: JobSettings) -> str:
    """Digest of what a job is to train, and with what, as the value of a label: 16 hexadecimal digits."""
    train = task.run.config.train
    asked = settings.model_dump(mode="json")
    return json_digest([dict(task.output.inputs), task.output.config_digest, train.nodes, train.processes, asked])[:16]


def label_value(run: str) -> str:
    """A run's name as the value of a label, which has to end in a letter or digit."""
    return run.rstrip("._-")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
