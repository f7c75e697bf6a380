"""The model of `train.guide.model`, which a run keeps beside its base policy."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.contract.errors import InputError
from components.prepare.policy import BasePolicy, inspect_policy, load_tokenizer
from components.prepare.policy_source import PolicySource, find_model
from components.store import Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_KEY = "train.guide.model"
_NAMED = ("model", "revision")


def guide_is_prepared(run: Run) -> bool:
    """Return whether the run holds the guide that its configuration names, or needs none beside the base policy."""
    named = _named(run)
    if not named:
        return True
    manifest = run.guide().manifest()
    return manifest is not None and named == {key: manifest.facts[key] for key in _NAMED if key in manifest.facts}


def find_guide(run: Run, tokenizer: "PreTrainedTokenizerBase", scratch: Path) -> tuple[BasePolicy, PolicySource] | None:
    """Find and check the guide; None where there is nothing to prepare.

    Args:
        tokenizer: the policy's.

    Raises:
        InputError: it cannot be used, or has another vocabulary than the policy.
    """
    if guide_is_prepared(run):
        return None
    named = _named(run)
    path = named["model"]
    source = find_model(run, path, _KEY, scratch, named.get("revision"))
    try:
        guide = inspect_policy(source.directory, run.config.model.max_length)
        its = load_tokenizer(guide.directory).get_vocab()
    except InputError as error:
        raise InputError(f"{_KEY}: {error}") from None
    mine = tokenizer.get_vocab()
    if different := min(mine.items() ^ its.items(), default=None):
        token, _ = different
        raise InputError(
            f"{_KEY}: {path} has another vocabulary than the policy: token {token!r} is {its.get(token, 'not in it')}, "
            f"in the policy's {mine.get(token, 'not in it')}; use a model with the same tokenizer"
        )
    return guide, replace(source, facts={**source.facts, **named})


def _named(run: Run) -> dict[str, str]:
    """Return the facts that name the guide, path and revision; nothing where it is the base policy or there is none."""
    guide = run.config.train.guide
    if guide is None or guide.model is None:
        return {}
    return {key: value for key in _NAMED if (value := getattr(guide, key)) is not None}
