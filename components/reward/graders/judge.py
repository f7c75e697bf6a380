"""Scores from a language model behind an OpenAI-compatible server."""

import re
from typing import Any

from components.contract.answers import without_reasoning
from components.reward.graders import grader
from components.reward.graders.http_endpoint import cached_scores, check_endpoint, endpoint, request_digest
from components.reward.graders.text import checked_pattern
from components.reward.score import Score

TEMPLATE = """Question:
{prompt}

Reference answer:
{answer}

Answer to be graded:
{completion}

How good is the answer? Judge whether it comes to the reference answer. End with a line `Score: N`, N from 0 to 10."""
PATTERN = r"[Ss]core:\s*\**\s*(\d+(?:\.\d+)?)"
_PLACEHOLDER = re.compile(r"\{(prompt|completion|answer)\}")


def _check(
    url: str, key_env: str | None, template: str, pattern: str, timeout: float, retries: int, time_limit: float
) -> None:
    check_endpoint(url, key_env, timeout, retries, time_limit)
    if "{completion}" not in template:
        raise ValueError("template must contain {completion}")
    if checked_pattern(pattern).groups < 1:
        raise ValueError(f"pattern must have a group for the score (got {pattern!r})")


@grader(version="2", check=_check)
def judge(
    prompts: list[str],
    completions: list[str],
    answers: list[str | None],
    *,
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
    reasoning_end: str | None = "auto",
) -> list[float | Exception]:
    """Return the scores that a language model gives, divided by `maximum`, from 0 to 1.

    The requests of a batch are open at the same time.

    Args:
        url: of the server, up to `/v1`; `/chat/completions` is added.
        key_env: environment variable that holds the key.
        template: the request to the model, in which {prompt}, {completion} and {answer} are filled in.
        pattern: regular expression whose last match in the reply has the score as its first group.
        timeout: seconds for one try.
        cache: SQLite file that keeps scores for other processes and runs.
        reasoning_end: the mark that ends the reasoning (`components.contract.answers.without_reasoning`); the judge
            sees what follows it, and a completion without it scores 0.
    """
    scores: list[float | Exception] = [0.0] * len(completions)
    bodies = {}
    for row, (prompt, completion, answer) in enumerate(zip(prompts, completions, answers, strict=True)):
        text = without_reasoning(completion, prompt, reasoning_end)
        if text is None:
            scores[row] = Score(0.0, {}, "the reasoning does not end")
            continue
        message = {"role": "user", "content": fill(template, prompt, text, answer)}
        bodies[row] = {"model": model, "messages": [message], "temperature": 0, "max_tokens": max_tokens}
    server = endpoint(f"{url.rstrip('/')}/chat/completions", key_env, timeout, retries)
    asked = list(bodies.values())

    def ask(rows: list[int]) -> list[float | Exception]:
        return [_score(reply, pattern, maximum) for reply in server.post_all([asked[row] for row in rows])]

    found = cached_scores(cache, [request_digest("judge", url, body, pattern, maximum) for body in asked], ask)
    for row, score in zip(bodies, found, strict=True):
        scores[row] = score
    return scores


def fill(template: str, prompt: str, completion: str, answer: str | None) -> str:
    """Fill in a template, once: placeholders in a completion stay as they are."""
    values = {"prompt": prompt, "completion": completion, "answer": answer if answer is not None else "(none)"}
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _score(reply: Any, pattern: str, maximum: float) -> float | Exception:
    if isinstance(reply, Exception):
        return reply
    try:
        text = str(reply["choices"][0]["message"]["content"])
    except (LookupError, TypeError):
        return ValueError(f"the reply is not that of a chat model: {str(reply)[:100]}")
    matches = list(re.finditer(pattern, text))
    if not matches:
        return ValueError(f"the judge's reply has no score: {text[-100:]!r}")
    try:
        score = float(matches[-1][1])
    except ValueError:
        return ValueError(f"the judge's score {matches[-1][1]!r} is not a number")
    if not 0 <= score <= maximum:
        return ValueError(f"the judge's score {score:g} is not from 0 to {maximum:g}")
    return score / maximum
