"""Tasks of reasoning-gym as metadata of a prompt, with everything their verifier needs."""

from typing import Any

KIND = "reasoning_gym"
_TUPLE = "__tuple__"


def pack_task(kind: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Return a task as metadata; tuples are marked, because JSON has none and verifiers distinguish them from lists."""
    return {KIND: kind, "question": entry["question"], "task": _marked(entry["metadata"])}


def unpack_task(metadata: dict[str, Any], answer: str | None) -> tuple[str, dict[str, Any]]:
    """Return the kind and the entry of a task from its prompt's metadata and answer.

    Raises:
        ValueError: the prompt is not a task of reasoning-gym.
    """
    if not {KIND, "question", "task"} <= metadata.keys():
        raise ValueError("this grader needs tasks of reasoning-gym (data.train: reasoning_gym:<name>)")
    return metadata[KIND], {
        "question": metadata["question"],
        "answer": answer,
        "metadata": _unmarked(metadata["task"]),
    }


def _marked(value: Any) -> Any:
    match value:
        case tuple():
            return {_TUPLE: [_marked(item) for item in value]}
        case list():
            return [_marked(item) for item in value]
        case dict():
            return {key: _marked(item) for key, item in value.items()}
    return value


def _unmarked(value: Any) -> Any:
    match value:
        case {"__tuple__": list(items)} if len(value) == 1:
            return tuple(_unmarked(item) for item in items)
        case list():
            return [_unmarked(item) for item in value]
        case dict():
            return {key: _unmarked(item) for key, item in value.items()}
    return value
