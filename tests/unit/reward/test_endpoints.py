"""The graders `judge` and `classifier` against servers on loopback."""

import threading
import time
from pathlib import Path

import pytest

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.reward_config import GraderSpec
from components.reward.grader_lookup import resolve_graders
from components.reward.grading_pool import GraderPool, GradingTask
from tests.support.json_replies import bodies, reply_with

KEY = "planted-key-0123456789"


def chat(text):
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


def outcomes(name, completions, batch_size=16, time_limit=20.0, **options):
    specs = [GraderSpec(name=name, options={"timeout": 2.0, "retries": 1, **options})]
    with GraderPool(resolve_graders(specs), 1, time_limit, batch_size) as pool:
        found = dict(pool.grade([GradingTask("What is 6 x 7?", text, "42", "{}") for text in completions]))
    return [found[i] for i in range(len(completions))]


def by_content(body):
    content = body["messages"][0]["content"]
    return 200, chat("Right. Score: 3\nno: **Score: 10**" if "forty-two" in content else "Wrong.\nScore: 2.5")


def test_a_judge_scores_every_completion(httpserver):
    url = reply_with(httpserver, by_content, "/v1/chat/completions")
    results = outcomes("judge", ["forty-two", "{answer} or {prompt}"], url=f"{url}/v1", model="m")
    assert [r.reward for r in results] == [1.0, 0.25]
    body = next(b for b in bodies(httpserver) if "forty-two" in b["messages"][0]["content"])
    assert (body["model"], body["temperature"]) == ("m", 0)
    for part in ("What is 6 x 7?", "Reference answer:\n42", "Answer to be graded:\nforty-two"):
        assert part in body["messages"][0]["content"]
    assert any("\n{answer} or {prompt}\n" in b["messages"][0]["content"] for b in bodies(httpserver))


def test_a_judge_sees_what_follows_the_reasoning(httpserver):
    url = reply_with(httpserver, by_content, "/v1/chat/completions")
    texts = ["<think>forty-two</think>\nNo idea.", "<think>forty-two", "(forty-two) DONE so forty-two", "forty-two"]
    found = [r.reward for r in outcomes("judge", texts[:2], url=f"{url}/v1", model="m")]
    found += [r.reward for r in outcomes("judge", texts[2:], url=f"{url}/v1", model="m", reasoning_end="DONE")]
    assert found == [0.25, 0.0, 1.0, 0.0]
    assert len(bodies(httpserver)) == 2
    assert not any("(forty-two)" in b["messages"][0]["content"] for b in bodies(httpserver))


def test_the_requests_of_a_batch_are_open_side_by_side(httpserver):
    meeting = threading.Barrier(8, timeout=10)

    def answer(_):
        meeting.wait()
        return 200, chat("Score: 10")

    url = reply_with(httpserver, answer)
    results = outcomes("judge", [f"text {i}" for i in range(16)], batch_size=8, url=url, model="m")
    assert {r.reward for r in results} == {1.0}


def test_temporary_failures_are_retried_and_others_are_errors(httpserver):
    tries: dict[str, int] = {}

    def answer(body):
        content = body["messages"][0]["content"].split("graded:\n")[1].split("\n")[0]
        tries[content] = tries.get(content, 0) + 1
        match content:
            case "busy" if tries[content] == 1:
                return 429, {"error": "busy"}, {"Retry-After": "1"}
            case "down":
                return 503, {"error": "down"}
            case "refused":
                return 401, {"error": f"wrong key {KEY}"}
            case "garbled":
                return 200, b"<html>"
            case "silent":
                return 200, chat("I cannot say.")
            case "beyond":
                return 200, chat("Score: 11")
            case "other":
                return 200, {"error": "no choices"}
        return 200, chat("Score: 5")

    asked = ["fine", "busy", "down", "refused", "garbled", "silent", "beyond", "other"]
    url = reply_with(httpserver, answer)
    results = outcomes("judge", asked, url=url, model="m")
    assert [r.status for r in results] == ["ok", "ok"] + ["error"] * 6
    assert tries == {**dict.fromkeys(asked, 1), "busy": 2, "down": 2}
    for result, words in zip(
        results[2:],
        (
            "answered 503",
            "answered 401",
            "did not reply with JSON",
            "has no score",
            "11 is not from 0 to 10",
            "not that of a chat model",
        ),
        strict=True,
    ):
        assert words in result.detail


def test_an_unreachable_server_gives_errors_and_does_not_stop_the_stage():
    results = outcomes("judge", ["a", "b"], url="http://127.0.0.1:9", model="m")
    assert {r.status for r in results} == {"error"}
    assert "no reply from http://127.0.0.1:9" in results[0].detail


def test_a_server_that_never_answers_costs_its_timeout(httpserver):
    release = threading.Event()

    def answer(body):
        if "hang" in body["messages"][0]["content"]:
            release.wait(20)
        return 200, chat("Score: 10")

    begin = time.monotonic()
    url = reply_with(httpserver, answer)
    results = outcomes("judge", ["a", "hang", "b"], url=url, model="m", timeout=0.5, retries=0)
    release.set()
    assert [r.status for r in results] == ["ok", "error", "ok"]
    assert time.monotonic() - begin < 8


def test_pauses_that_a_slow_server_asks_for_fit_into_the_time_limit(httpserver):
    tries = []

    def answer(_):
        tries.append(1)
        time.sleep(0.8)
        return 429, {"error": "busy"}, {"Retry-After": "1"}

    url = reply_with(httpserver, answer)
    (result,) = outcomes("judge", ["a"], url=url, model="m", timeout=1.0, retries=2, time_limit=3.0)
    assert (result.status, "answered 429" in result.detail) == ("error", True)
    assert len(tries) == 2


def test_the_key_goes_to_the_server_and_nowhere_else(httpserver, monkeypatch):
    monkeypatch.setenv("TRIAL_KEY", KEY)

    def answer(_):
        return 401, {"error": f"invalid key {KEY}"}

    url = reply_with(httpserver, answer)
    (result,) = outcomes("judge", ["a"], url=url, model="m", key_env="TRIAL_KEY")
    request, _ = httpserver.log[-1]
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in str(request.json)
    assert "invalid key ***" in result.detail
    assert KEY not in str(result)


def test_scores_are_kept_for_other_processes(httpserver, tmp_path: Path):
    url = reply_with(httpserver, by_content, "/v1/chat/completions")
    options = {"url": f"{url}/v1", "model": "m", "cache": str(tmp_path / "scores.sqlite")}
    first = outcomes("judge", ["forty-two", "41"], **options)
    assert [r.reward for r in outcomes("judge", ["forty-two", "41"], **options)] == [r.reward for r in first]
    assert len(httpserver.log) == 2
    outcomes("judge", ["forty-two"], **{**options, "model": "other"})
    assert len(httpserver.log) == 3
    assert KEY.encode() not in (tmp_path / "scores.sqlite").read_bytes()


def vllm(body):
    if any("too long" in text for text in body["input"]):
        return 400, {"error": "too long"}
    data = [{"index": i, "label": "good", "probs": [len(text) / 100, 0.5]} for i, text in enumerate(body["input"])]
    return 200, {"data": data[::-1]}


def test_a_classifier_takes_a_batch_in_one_request(httpserver):
    url = reply_with(httpserver, vllm)
    results = outcomes("classifier", ["a" * i for i in range(4)], batch_size=4, url=url, template="{completion}")
    assert [r.reward for r in results] == [0.0, 0.01, 0.02, 0.03]
    second = outcomes("classifier", ["abc"], url=url, template="{prompt}|{completion}", label=1)
    assert second[0].reward == 0.5
    assert bodies(httpserver)[-1] == {"input": ["What is 6 x 7?|abc"]}
    assert sum(len(body["input"]) for body in bodies(httpserver)) == 5


def test_a_refused_text_fails_alone(httpserver):
    url = reply_with(httpserver, vllm)
    results = outcomes("classifier", ["aa", "too long", "aaa", "a"], url=url, template="{completion}")
    assert [r.status for r in results] == ["ok", "error", "ok", "ok"]
    assert "answered 400" in results[1].detail


def test_the_protocol_of_text_embeddings_inference(httpserver):
    def tei(body):
        return 200, [
            [{"label": "bad", "score": 1 - len(text) / 10}, {"label": "good", "score": len(text) / 10}]
            for (text,) in body["inputs"]
        ]

    url = reply_with(httpserver, tei)
    options = {"url": url, "protocol": "tei", "template": "{completion}"}
    assert [r.reward for r in outcomes("classifier", ["a", "bbbb"], label="good", **options)] == [0.1, 0.4]
    (wrong,) = outcomes("classifier", ["a"], label="fair", **options)
    assert (wrong.status, "no score of class 'fair'" in wrong.detail) == ("error", True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("judge", {"url": "127.0.0.1:80", "model": "m"}, "must start with http:// or https://"),
        (
            "judge",
            {"url": "http://x", "model": "m", "key_env": "NOT_SET_ANYWHERE"},
            "NOT_SET_ANYWHERE, which key_env names",
        ),
        (
            "judge",
            {"url": "http://x", "model": "m", "timeout": 30},
            "2 tries of 30 s do not fit into reward.time_limit",
        ),
        ("judge", {"url": "http://x", "model": "m", "template": "?"}, "template must contain {completion}"),
        ("judge", {"url": "http://x", "model": "m", "pattern": "Score"}, "must have a group for the score"),
        ("judge", {"url": "http://x"}, "missing a required argument: 'model'"),
        ("classifier", {"url": "http://x", "protocol": "grpc"}, "protocol must be vllm or tei (got 'grpc')"),
    ],
)
def test_invalid_settings_are_refused_before_any_request(name, options, message):
    with pytest.raises(InputError) as caught:
        outcomes(name, ["a"], **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"api_key": KEY}, {"url": f"https://user:{KEY}@host/v1"}, {"headers": {"Authorization": KEY}}]
)
def test_a_credential_in_the_configuration_is_refused_and_not_repeated(options):
    graders = [{"name": "judge", "options": options}]
    with pytest.raises(InputError) as caught:
        RunConfig.parse({"run": "r", "model": "m", "data": "d", "reward": graders}, "configuration")
    assert "must not contain a credential" in str(caught.value)
    assert KEY not in str(caught.value)
