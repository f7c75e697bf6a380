"""The policy behind a reference to the model registry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.contract.credentials import without_credentials
from components.contract.errors import InputError
from components.contract.model_reference import ModelReference
from components.tracking.errors import reason
from components.tracking.server import connect, wait_for_server
from components.tracking.versions import DELETED, WEIGHTS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class RegisteredPolicy:
    """A model version, and where its policy lies in storage."""

    name: str
    version: str
    uri: str
    tags: Mapping[str, str]

    @property
    def weights_digest(self) -> str | None:
        """Digest of the weights as they were registered; None for versions that another program registered."""
        return self.tags.get("rapid.weights_digest")


def find_policy(text: str, uri: str, key: str) -> RegisteredPolicy:
    """Look `models:/NAME@alias`, `models:/NAME/version` or `models:/NAME/latest` up on a tracking server.

    Args:
        key: names the text in messages.

    Raises:
        InputError: no such model, alias or version, a version that does not say where its policy lies, or no answer.
    """
    reference = ModelReference.parse(text)
    where = f"{key} is {text}, and MLflow at {without_credentials(uri)}"
    try:
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise InputError(f"{where} needs the package mlflow ({error}); install the `tracking` extra") from None
    wait_for_server(uri)
    try:
        client = connect(uri)
        found = _find(client, reference)
    except MlflowException as error:
        # An alias that nobody has set is an invalid parameter to MLflow.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise InputError(f"{where} did not answer: {reason(error)}") from None
        found = None
    except Exception as error:  # MLflow lets the errors of its database driver through
        raise InputError(f"{where} did not answer: {reason(error)}") from None
    if found is None:
        raise InputError(
            f"{where} has no such version; set MLFLOW_TRACKING_URI if another server has it, or run once from a base "
            f"model with tracking.model_name={reference.name}: the first policy that is evaluated becomes champion"
        )
    if found.tags.get(WEIGHTS) == DELETED:
        raise InputError(
            f"{where} keeps version {found.version} without weights: train.keep_policies has deleted them; name "
            f"another version, such as models:/{reference.name}@champion"
        )
    place = found.tags.get("rapid.policy_uri") or found.source or ""
    if not place.startswith(("s3://", "file:///")):
        raise InputError(
            f"{where} keeps version {found.version} at {without_credentials(place) or 'no location'}; only policies in "
            "a store (s3://, file:///) can be fine-tuned further, as this program registers them"
        )
    return RegisteredPolicy(reference.name, str(found.version), place, found.tags)


def _find(client: "MlflowClient", reference: ModelReference) -> "ModelVersion | None":
    """Return the version that a reference means; None where the model has no versions."""
    if reference.alias is not None:
        return client.get_model_version_by_alias(reference.name, reference.alias)
    if reference.version is not None:
        return client.get_model_version(reference.name, reference.version)
    newest = client.search_model_versions(f"name = '{reference.name}'", max_results=1, order_by=["version_number DESC"])
    return newest[0] if newest else None
