"""The MLflow run of a fine-tune: found or created."""

import getpass
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from components import CODE_VERSION
from components.contract.credentials import without_credentials
from components.contract.digests import bytes_digest
from components.contract.resolve import config_json
from components.results import run_started
from components.runtime.progress import note
from components.store import ObjectExists, Run
from components.tracking.datasets import dataset_inputs
from components.tracking.errors import reason, way_out
from components.tracking.points import Point, milliseconds
from components.tracking.server import artifact_location, connect, tracking_uri
from components.tracking.state import TrackingState, read_state, state_json, write_state

_CHUNK = 500
_PARAMETERS = 100
_KIND, _MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"
"""The tag of an experiment that decides which pages MLflow opens: runs and charts instead of traces."""

_PARAMETER_CHARACTERS = 500


def remembered(run: Run) -> TrackingState | None:
    """Return what was sent to the server in use, None if another server was used before."""
    state = read_state(run)
    injected = os.environ.get("MLFLOW_RUN_ID")
    if state is None or state.uri != without_credentials(tracking_uri(run)):
        return None
    return state if not injected or state.run_id == injected else None


class Session:
    """A client, and the run it writes to. `state` is what has been sent; every `save` is remembered."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.uri = tracking_uri(run)
        self.client = connect(self.uri)
        self.started, _ = run_started(run)
        state = remembered(run)
        self.state = state if state and self._exists(state.run_id) else self._begin()
        self._describe()

    def save(self, **changes: object) -> None:
        self.state = write_state(self.run, self.state.model_copy(update=changes))

    def log(self, points: Iterable[Point], **of: Any) -> None:
        """Log points of the run, and with `model_id`, `dataset_name` and `dataset_digest` of a logged model too."""
        from mlflow.entities import Metric

        metrics = [Metric(*point, **of) for point in points]
        for begin in range(0, len(metrics), _CHUNK):
            self.client.log_batch(self.state.run_id, metrics=metrics[begin : begin + _CHUNK])

    def _exists(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _begin(self) -> TrackingState:
        """Find the run on the server, or create it. Of several processes that create one at once, one wins."""
        uri = without_credentials(self.uri)
        if injected := os.environ.get("MLFLOW_RUN_ID"):
            return write_state(self.run, TrackingState(uri=uri, run_id=injected, injected=True))
        experiment = self._experiment()
        if found := self._find(experiment):
            return write_state(self.run, TrackingState(uri=uri, run_id=found))
        tags = {**self._tags(), **self._origin()}
        made = self.client.create_run(
            experiment, start_time=milliseconds(self.started), tags=tags, run_name=self.run.layout.run
        ).info.run_id
        state = TrackingState(uri=uri, run_id=made)
        try:
            self.run.store.create(self.run.layout.tracking, state_json(state))
        except ObjectExists:
            other = remembered(self.run)
            if other and other.run_id != made and self._exists(other.run_id):
                self.client.delete_run(made)
                return other
            write_state(self.run, state)
        return state

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name = self.run.config.tracking.experiment
        if found := self.client.get_experiment_by_name(name):
            if _KIND not in found.tags:
                self.client.set_experiment_tag(found.experiment_id, _KIND, _MODEL_TRAINING)
            return str(found.experiment_id)
        try:
            location = artifact_location(self.uri)
            return str(self.client.create_experiment(name, location, tags={_KIND: _MODEL_TRAINING}))
        except MlflowException as error:
            # Another run made it meanwhile.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = self.client.get_experiment_by_name(name)
            assert found is not None
            return str(found.experiment_id)

    def _find(self, experiment: str) -> str | None:
        tags = self._tags()
        found = self.client.search_runs(
            [experiment],
            " and ".join(f"tags.`{key}` = '{tags[key]}'" for key in ("rapid.run_uri", "rapid.started")),
            max_results=1,
            order_by=["attributes.start_time ASC"],
        )
        return str(found[0].info.run_id) if found else None

    def _tags(self) -> dict[str, str]:
        run = self.run
        return {
            "rapid.run_uri": run.uri,
            # A run that was deleted and started anew under the same name is another run.
            "rapid.started": self.started.isoformat(),
            "rapid.dataset_digest": run.directory(run.layout.prompts).require().digest,
            "rapid.base_policy_digest": str(run.policy(0).require().facts["weights_digest"]),
            "rapid.code_version": CODE_VERSION,
        }

    def _origin(self) -> dict[str, str]:
        """Return who started the run, with what, and a description. They are set once: people may change them."""
        config, in_pod = self.run.config, "KUBERNETES_SERVICE_HOST" in os.environ
        tags = {
            "mlflow.source.name": f"rapid-rl {CODE_VERSION}",
            "mlflow.source.type": "JOB" if in_pod else "LOCAL",
            "mlflow.note.content": f"Reinforcement learning (`{config.train.objective.name}`) of `{config.model.path}` "
            f"on `{config.data.train}`.\n\nEverything is in `{self.run.uri}`: "
            f"`rapid status {self.run.uri.removeprefix('file://')}`",
        }
        if not in_pod:  # whose user is nobody in particular
            with suppress(KeyError, OSError):  # a user without a name
                tags["mlflow.user"] = getpass.getuser()
        return tags

    def _describe(self) -> None:
        """Tags, parameters, data sets and the configuration; again when the configuration has changed.

        A parameter cannot be changed in MLflow: it keeps its first value, `config.json` has the newest.
        """
        from mlflow.entities import RunTag

        text = config_json(self.run.config)
        digest = bytes_digest(text.encode())
        if self.state.config_digest == digest:
            return
        run_id = self.state.run_id
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in self._tags().items()])
        self._log_parameters(dict(_flatten(json.loads(text))))
        self.client.log_inputs(run_id, dataset_inputs(self.run))
        self.client.log_text(run_id, text, "config.json")
        self.save(config_digest=digest)

    def _log_parameters(self, parameters: dict[str, str]) -> None:
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        missing = self._without_known(parameters)
        for begin in range(0, len(missing), _PARAMETERS):
            chunk = dict(missing[begin : begin + _PARAMETERS])
            try:
                self.client.log_batch(self.state.run_id, params=[Param(*pair) for pair in chunk.items()])
            except MlflowException:
                # Another process that describes the run at the same time may have been faster.
                if self._without_known(chunk):
                    raise

    def _without_known(self, parameters: dict[str, str]) -> list[tuple[str, str]]:
        known = self.client.get_run(self.state.run_id).data.params
        return [(key, value) for key, value in parameters.items() if key not in known]


@contextmanager
def report_failure(run: Run, what: str) -> Iterator[None]:
    """Turn every error of the tracking server into a note, so that training never fails because of it."""
    try:
        yield
    except ImportError as error:
        note(f"tracking: {reason(error)}; install the `tracking` extra, or set tracking.enabled=false")
    except Exception as error:
        where = without_credentials(tracking_uri(run))
        note(f"tracking: {what} not sent to {where} ({reason(error)}); {way_out(error, where)}")


def _flatten(tree: dict[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            yield prefix + key, text[:_PARAMETER_CHARACTERS]
