"""Reward models behind a classification server, a batch in one request."""

from typing import Any, Literal

from components.reward.graders.http_endpoint import check_endpoint, endpoint, request_name, scores
from components.reward.graders.judge import filled

TEMPLATE = "{prompt}{completion}"


def classifier(
    *,
    prompts: list[str],
    completions: list[str],
    answers: list[str | None],
    metadata: list[dict[str, Any]],  # noqa: ARG001
    url: str,
    protocol: Literal["vllm", "tei"] = "vllm",
    model: str | None = None,
    label: str | int = 0,
    key_env: str | None = None,
    template: str = TEMPLATE,
    timeout: float = 30.0,
    retries: int = 2,
    cache: str | None = None,
) -> list[float | Exception]:
    """Score of one class.

    Where a batch is refused, its texts are sent one by one.

    Args:
        url: whole, such as `http://host:8000/classify` of vLLM (`vllm`) or `http://host:8080/predict` of
            text-embeddings-inference (`tei`).
        label: the class: its position with `vllm`, its name with `tei` (0: the first, as reward models have).
        key_env, timeout, retries, cache: as for `judge`.
    """
    kept = scores(cache)
    texts = [filled(template, *row) for row in zip(prompts, completions, answers, strict=True)]
    names = [request_name("classifier", url, protocol, model, label, text) for text in texts]
    found: dict[int, float | Exception] = {
        row: score for row, name in enumerate(names) if (score := kept.get(name)) is not None
    }
    asked = [row for row in range(len(texts)) if row not in found]
    server = endpoint(url, key_env, timeout, retries)

    def ask(rows: list[list[int]]) -> None:
        bodies = [_body(protocol, model, [texts[row] for row in batch]) for batch in rows]
        for batch, reply in zip(rows, server.post_all(bodies), strict=True):
            found.update(zip(batch, _scores(reply, protocol, label, len(batch)), strict=True))

    if asked:
        ask([asked])
        failed = [row for row in asked if isinstance(found[row], Exception)]
        if failed and len(asked) > 1:
            ask([[row] for row in failed])
    for row in asked:
        if not isinstance(found[row], Exception):
            kept.put(names[row], found[row])  # type: ignore[arg-type]
    return [found[row] for row in range(len(texts))]


def grader_version(
    *, time_limit: float, url: str, protocol: str = "vllm", key_env: str | None = None, template: str = TEMPLATE,
    timeout: float = 30.0, retries: int = 2, **_: Any,
) -> str:  # fmt: skip
    # A batch that is refused is sent again, text by text.
    check_endpoint(url, key_env, timeout, 2 * retries + 1, time_limit)
    if protocol not in ("vllm", "tei"):
        raise ValueError(f"protocol is {protocol!r}; it is vllm or tei")
    if "{completion}" not in template:
        raise ValueError("template has no {completion}, so every completion would be scored alike")
    return "1"


def _body(protocol: str, model: str | None, texts: list[str]) -> dict[str, Any]:
    if protocol == "tei":
        return {"inputs": [[text] for text in texts], "truncate": True, "raw_scores": True}
    return {"input": texts, **({"model": model} if model else {})}


def _scores(reply: Any, protocol: str, label: str | int, count: int) -> list[float | Exception]:
    if isinstance(reply, Exception):
        return [reply] * count
    try:
        if protocol == "tei":
            found = [_tei_score(classes, label) for classes in reply]
        else:
            ordered = sorted(reply["data"], key=lambda item: item["index"])
            found = [float(item["probs"][int(label)]) for item in ordered]
    except (LookupError, TypeError, ValueError, AttributeError):
        return [ValueError(f"the server's reply has no score of class {label!r}: {str(reply)[:100]}")] * count
    if len(found) != count:
        return [ValueError(f"the server returned {len(found)} scores for {count} texts")] * count
    return list(found)


def _tei_score(classes: list[dict[str, Any]], label: str | int) -> float:
    """By name, or by position among the names: servers give the classes in the order of their scores."""
    by_name = {item["label"]: float(item["score"]) for item in classes}
    return by_name[sorted(by_name)[label] if isinstance(label, int) else label]
