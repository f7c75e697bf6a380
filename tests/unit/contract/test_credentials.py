"""Which options of a grader are credentials."""

import pytest

from components.contract.credentials import credentials_in


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"token": "sk-1"}, ["token"]),
        ({"openai_api_key": "sk-1"}, ["openai_api_key"]),
        ({"apiKey": "sk-1", "Secret": "s"}, ["Secret", "apiKey"]),
        ({"password": 1234}, ["password"]),
        ({"api_keys": ["sk-1"]}, ["api_keys"]),
        ({"headers": {"Authorization": "Bearer sk-1", "Accept": "*/*"}}, ["headers.Authorization"]),
        ({"servers": [{"url": "http://a"}, {"url": "http://b", "bearer": "sk-1"}]}, ["servers.1.bearer"]),
        ({"url": "http://u:p@host/v1"}, ["url"]),
        ({"urls": ["http://host", " http://u:p@host"]}, ["urls.1"]),
        ({"proxy": {"https": "https://u@host"}}, ["proxy.https"]),
        ({"url": "https://host/v1?version=2&api_key=sk-1#top"}, ["url"]),
        ({"url": "https://host/o?X-Amz-Signature=abc"}, ["url"]),
        ({"headers": {"Cookie": "session=1"}}, ["headers.Cookie"]),
    ],
)
def test_credentials_are_named(options: dict, named: list[str]) -> None:
    assert credentials_in(options) == named


@pytest.mark.parametrize(
    "options",
    [
        {"key_env": "JUDGE_KEY", "TOKEN_ENV": "T", "nested": {"password_env": "P"}},
        {"max_tokens": 1024, "max_token": 8, "stop_tokens": ["</s>"], "pad_token": 0},
        {"token": None, "use_key": False},
        {
            "url": "http://host/v1?at=a@b&max_tokens=3",
            "question": "what?key=1",
            "template": "mail me@host",
            "keywords": ["a"],
            "tokenizer": "bert",
        },
    ],
)
def test_what_is_no_credential(options: dict) -> None:
    assert credentials_in(options) == []
