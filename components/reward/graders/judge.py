"""Reward models behind an OpenAI-compatible server: a language model asked for a score."""

import re
from typing import Any

from components.reward.graders.http_endpoint import check_endpoint, endpoint, request_name, scores

TEMPLATE = """Question:
{prompt}

Reference answer:
{answer}

Answer to be graded:
{completion}

How good is the answer? Judge whether it comes to the reference answer. End with a line `Score: N`, N from 0 to 10."""
PATTERN = r"[Ss]core:\s*\**\s*(\d+(?:\.\d+)?)"
_PLACE = re.compile(r"\{(prompt|completion|answer)\}")


def judge(
    *,
    prompts: list[str],
    completions: list[str],
    answers: list[str | None],
    metadata: list[dict[str, Any]],  # noqa: ARG001
    url: str,
    model: str,
    key_env: str | None = None,
    template: str = TEMPLATE,
    pattern: str = PATTERN,
    maximum: float = 10.0,
    max_tokens: int = 512,
    timeout: float = 30.0,
    retries: int = 2,
    cache: str | None = None,
) -> list[float | Exception]:
    """Scores that a model gives, divided by `maximum`, so from 0 to 1; all completions of a batch at once.

    Args:
        url: of the server, up to `/v1`; `/chat/completions` is added.
        key_env: environment variable that holds the key.
        template: what the model is asked; {prompt}, {completion} and {answer} are filled in.
        pattern: whose last match in the reply holds the score as its first group.
        cache: SQLite file in which scores are kept for other processes and runs.
    """
    kept = scores(cache)
    found: dict[int, float | Exception] = {}
    bodies = []
    for prompt, completion, answer in zip(prompts, completions, answers, strict=True):
        text = filled(template, prompt, completion, answer)
        message = {"role": "user", "content": text}
        bodies.append({"model": model, "messages": [message], "temperature": 0, "max_tokens": max_tokens})
    names = [request_name("judge", url, body, pattern, maximum) for body in bodies]
    for row, name in enumerate(names):
        if (score := kept.get(name)) is not None:
            found[row] = score
    asked = [row for row in range(len(bodies)) if row not in found]
    server = endpoint(f"{url.rstrip('/')}/chat/completions", key_env, timeout, retries)
    for row, reply in zip(asked, server.post_all([bodies[row] for row in asked]), strict=True):
        found[row] = _score(reply, pattern, maximum)
        if not isinstance(found[row], Exception):
            kept.put(names[row], found[row])  # type: ignore[arg-type]
    return [found[row] for row in range(len(bodies))]


def grader_version(
    *, time_limit: float, url: str, key_env: str | None = None, template: str = TEMPLATE, pattern: str = PATTERN,
    timeout: float = 30.0, retries: int = 2, **_: Any,
) -> str:  # fmt: skip
    check_endpoint(url, key_env, timeout, retries, time_limit)
    if "{completion}" not in template:
        raise ValueError("template has no {completion}, so every completion would be asked about alike")
    if re.compile(pattern).groups < 1:
        raise ValueError(f"pattern {pattern!r} has no group that holds the score")
    return "1"


def filled(template: str, prompt: str, completion: str, answer: str | None) -> str:
    """In one pass, so that placeholders in a completion stay what they are."""
    values = {"prompt": prompt, "completion": completion, "answer": answer if answer is not None else "(none)"}
    return _PLACE.sub(lambda match: values[match[1]], template)


def _score(reply: Any, pattern: str, maximum: float) -> float | Exception:
    if isinstance(reply, Exception):
        return reply
    try:
        text = str(reply["choices"][0]["message"]["content"])
    except (LookupError, TypeError):
        return ValueError(f"the server's reply is none of a chat model: {str(reply)[:100]}")
    matches = list(re.finditer(pattern, text))
    if not matches:
        return ValueError(f"the judge's reply holds no score: {text[-100:]!r}")
    try:
        score = float(matches[-1][1])
    except ValueError:
        return ValueError(f"the judge's score {matches[-1][1]!r} is no number")
    if not 0 <= score <= maximum:
        return ValueError(f"the judge's score {score:g} is not from 0 to {maximum:g}")
    return score / maximum
