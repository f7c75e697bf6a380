"""The source of a run's base policy: this machine, the hub, a store, or the model registry."""

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from components.contract.errors import InputError
from components.contract.model_reference import is_model_reference
from components.prepare.policy import CARD, POLICY_FILES, locate_policy
from components.runtime.progress import note
from components.store import Run, open_store


@dataclass(frozen=True)
class PolicySource:
    """A policy's directory on this machine, with the facts about its source that the manifest keeps."""

    directory: Path
    facts: dict[str, str]
    """`model_version` (NAME/3) and `policy_uri` of a registered policy."""
    weights_digest: str | None = None
    """Digest of its weights in the registry."""

    def check_weights(self, digest: str) -> None:
        """Refuse weights that are not those that were registered. Raises InputError."""
        if self.weights_digest not in (None, digest):
            raise InputError(
                f"the weights at {self.facts['policy_uri']} are not those that were registered as "
                f"{self.facts['model_version']}: restore them, or move the alias to a version whose policy is whole"
            )


def is_elsewhere(path: str) -> bool:
    """Return whether a `model.path` names a policy in a store or in the registry."""
    return "://" in path or is_model_reference(path)


def find_model(run: Run, path: str, key: str, scratch: Path, revision: str | None = None) -> PolicySource:
    """Find the model at `path`, and download it into `scratch` if it is in a bucket.

    A reference to the registry (models:/NAME@champion) is resolved once in a run's life: when the model is committed.

    Args:
        key: the option that names the path, for messages.
        revision: of a name on the hub.

    Raises:
        InputError: it does not exist, or cannot be read.
    """
    if is_model_reference(path):
        from components.tracking import find_policy, tracking_uri

        found = find_policy(path, tracking_uri(run), key)
        note(f"{path} is version {found.version}, at {found.uri}")
        facts = {"model_version": f"{found.name}/{found.version}", "policy_uri": found.uri}
        return PolicySource(_fetch(found.uri, scratch), facts, found.weights_digest)
    if "://" in path:
        return PolicySource(_fetch(path, scratch), {})
    return PolicySource(locate_policy(path, key, revision), {})


def _fetch(uri: str, into: Path) -> Path:
    store = open_store(uri)
    local = store.local_path("")
    if local is not None:
        if not local.is_dir():
            raise InputError(f"missing model directory: {local} does not exist")
        return local
    names = [i.key for i in store.list("") if any(fnmatch(i.key, pattern) for pattern in POLICY_FILES)]
    if not names:
        raise InputError(f"there is no model at {uri}: it holds no files of a Hugging Face model")
    if store.exists(CARD):
        names.append(CARD)
    for name in names:
        store.download(name, into / name)
    return into
