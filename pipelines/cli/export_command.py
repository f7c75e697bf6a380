"""`rapid export`: a policy as a directory in Hugging Face format, with its model card."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from components.contract.errors import InputError
from components.contract.model_reference import is_model_reference
from components.results import RunResults, best_policy, read_run
from components.store import Run, open_run, open_store
from components.tracking import find_policy, tracking_uri_of
from pipelines.cli.arguments import DEFAULT_STORE, StoreOption, find_stored_run
from pipelines.cli.output import say

_POLICY = "policy"


def export_command(
    policy: Annotated[
        str,
        typer.Argument(
            help="A run (name, location or configuration), for its best policy, or a model version: "
            "models:/NAME@champion, models:/NAME/latest, models:/NAME/3.",
            metavar="RUN",
        ),
    ],
    directory: Annotated[Path, typer.Argument(help="Directory to make; it must not hold anything.", metavar="DIR")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Copy a policy into a directory: weights, tokenizer and a model card, ready for hf upload.

    The directory appears only when everything in it is whole. MLflow is MLFLOW_TRACKING_URI, else the database beside
    the store: set the variable where a configuration names the server by tracking.uri.

    Examples:

        rapid export small small-policy

        rapid export models:/adder@champion adder --store s3://bucket/fine-tunes
    """
    refuse_occupied(directory)
    run, version = _find(policy, store)
    results = read_run(run)
    version = best_policy(run, results) if version is None else version
    export_policy(run, results, version, directory)
    console = Console()
    say(console, f"policy {version} of {run.uri} is in {directory}")
    say(console, f"upload: hf upload OWNER/{run.layout.run} {directory}")


def refuse_occupied(directory: Path) -> None:
    """Raise InputError where something is at a path already, but for an empty directory."""
    try:
        occupied = any(directory.iterdir()) if directory.is_dir() else directory.exists()
    except OSError as error:
        raise InputError(f"cannot read {directory}: {error.strerror}; choose another directory") from None
    if occupied:
        raise InputError(f"{directory} exists and is not an empty directory; choose another, or remove it")


def export_policy(run: Run, results: RunResults, version: int, directory: Path) -> None:
    """Copy a policy into a new directory, with a model card if the run has made it.

    It is made under another name and moved, so that whatever ends the copying leaves nothing behind.

    Raises:
        InputError: the policy's files are gone or damaged, or the directory cannot be written.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as scratch:
            made = Path(scratch) / _POLICY
            run.fetch_policy(version, made, copy=True)
            if version > 0:
                from components.publish.model_card import CARD, model_card

                (made / CARD).write_text(model_card(run, results, version), encoding="utf-8")
            made.replace(directory)
    except OSError as error:
        raise InputError(f"cannot write {directory}: {error.strerror}; choose another directory") from None


def _find(policy: str, store: str) -> tuple[Run, int | None]:
    """Return the run that is meant, and the policy's number in it if that is given."""
    if not is_model_reference(policy):
        return find_stored_run(policy, store), None
    found = find_policy(policy, tracking_uri_of(open_store(store)), "RUN")
    try:
        run, version = open_run(found.tags["rapid.run_uri"]), int(found.tags["rapid.policy_version"])
        digest = found.tags["rapid.weights_digest"]
    except KeyError:
        raise InputError(
            f"version {found.version} of {found.name} was registered by another program; its files are at {found.uri}"
        ) from None
    if run.policy(version).require().facts["weights_digest"] != digest:
        raise InputError(
            f"{run.uri} was made again after version {found.version} of {found.name}, whose policy is gone; name the "
            "run itself to export its best policy of now"
        )
    return run, version
