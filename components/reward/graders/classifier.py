"""Scores from a reward model behind a classification server, a batch in one request."""

from typing import Any, Literal

from components.reward.graders import grader
from components.reward.graders.http_endpoint import cached_scores, check_endpoint, endpoint, request_digest
from components.reward.graders.judge import fill

TEMPLATE = "{prompt}{completion}"


def _check(
    url: str, protocol: str, key_env: str | None, template: str, timeout: float, retries: int, time_limit: float
) -> None:
    # The texts of a batch that is refused are sent again, one by one.
    check_endpoint(url, key_env, timeout, 2 * retries + 1, time_limit)
    if protocol not in ("vllm", "tei"):
        raise ValueError(f"protocol must be vllm or tei (got {protocol!r})")
    if "{completion}" not in template:
        raise ValueError("template must contain {completion}")


@grader(version="1", check=_check)
def classifier(
    prompts: list[str],
    completions: list[str],
    answers: list[str | None],
    *,
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
    """Return the scores that a classification server gives to one class.

    The texts of a batch that is refused are sent again one by one.

    Args:
        url: whole, such as `http://host:8000/classify` of vLLM (`vllm`) or `http://host:8080/predict` of
            text-embeddings-inference (`tei`).
        label: the class: its position with `vllm`, its name with `tei` (0: the first, as reward models have).
        key_env, timeout, retries, cache: as for `judge`.
    """
    texts = [fill(template, *row) for row in zip(prompts, completions, answers, strict=True)]
    server = endpoint(url, key_env, timeout, retries)

    def ask(batches: list[list[int]]) -> dict[int, float | Exception]:
        bodies = [_body(protocol, model, [texts[row] for row in batch]) for batch in batches]
        found: dict[int, float | Exception] = {}
        for batch, reply in zip(batches, server.post_all(bodies), strict=True):
            found.update(zip(batch, _scores(reply, protocol, label, len(batch)), strict=True))
        return found

    def ask_all(rows: list[int]) -> list[float | Exception]:
        found = ask([rows])
        failed = [row for row in rows if isinstance(found[row], Exception)]
        if failed and len(rows) > 1:
            found |= ask([[row] for row in failed])
        return [found[row] for row in rows]

    digests = [request_digest("classifier", url, protocol, model, label, text) for text in texts]
    return cached_scores(cache, digests, ask_all)


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
        return [ValueError(f"the reply has no score of class {label!r}: {str(reply)[:100]}")] * count
    if len(found) != count:
        return [ValueError(f"the server returned {len(found)} scores for {count} texts")] * count
    return list(found)


def _tei_score(classes: list[dict[str, Any]], label: str | int) -> float:
    """Look a class up by its name, or by its position among the sorted names: servers sort classes by score."""
    by_name = {item["label"]: float(item["score"]) for item in classes}
    return by_name[sorted(by_name)[label] if isinstance(label, int) else label]
