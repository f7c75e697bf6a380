"""The text of a completion, as graders see it, from its token ids: one way for all completions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ending:
    """The end of a completion as the engine reports it.

    Attributes:
        finish_reason: `stop`, `length` or `abort`.
        stop_reason: the stop string that was found, the id of an end token, or None for the tokenizer's own end token.
    """

    finish_reason: str
    stop_reason: int | str | None


def decode(
    tokenizer: Any,
    completions: Sequence[Sequence[int]],
    endings: Sequence[Ending],
    *,
    include_stop: bool,
    skip_special_tokens: bool,
) -> list[str]:
    """Return the text of each completion.

    What ended it is left out, be it a stop string or any end token (generation_config.json may name several, of which
    not all are special). `include_stop` keeps it, an end token that is special only without `skip_special_tokens`.
    """
    kept = [
        ids[:-1] if not include_stop and _by_token(ending) else ids
        for ids, ending in zip(completions, endings, strict=True)
    ]
    texts: list[str] = tokenizer.batch_decode([list(ids) for ids in kept], skip_special_tokens=skip_special_tokens)
    return [_cut(text, ending, include_stop) for text, ending in zip(texts, endings, strict=True)]


def _by_token(ending: Ending) -> bool:
    return ending.finish_reason == "stop" and not isinstance(ending.stop_reason, str)


def _cut(text: str, ending: Ending, include_stop: bool) -> str:
    """Cut text at its stop string, which may end in the middle of a token."""
    if ending.finish_reason != "stop" or not isinstance(ending.stop_reason, str):
        return text
    found = text.find(ending.stop_reason)
    return text if found < 0 else text[: found + include_stop * len(ending.stop_reason)]
