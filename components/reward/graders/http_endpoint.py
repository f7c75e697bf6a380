"""An HTTP server that grades: retries, requests side by side, replies kept, and a key that nobody sees."""

import hashlib
import json
import os
import sqlite3
import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import urllib3

_RETRIED = (408, 409, 429, 500, 502, 503, 504)
_SHOWN_CHARACTERS = 200
_MOST_KEPT = 50_000


class RequestFailed(Exception):
    """A request that got no usable reply; the message names no key."""


class Endpoint:
    """One URL that JSON is posted to.

    A request that fails to connect, times out or is answered with a status that may pass (429, 5xx, ...) is sent
    again `retries` times, after a growing pause or the one that the server asks for. Not for several threads.

    Args:
        key_env: environment variable that holds the key, sent as a bearer token.
        timeout: seconds a try may take.
    """

    def __init__(self, url: str, key_env: str | None, timeout: float, retries: int) -> None:
        self._url = url
        self._key = os.environ[key_env] if key_env else ""
        self._timeout, self._retries = timeout, retries
        self._http = urllib3.PoolManager(maxsize=64)

    def post_all(self, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        """Replies as JSON in order, all requests at once; RequestFailed in the place of one that failed."""
        if len(bodies) == 1:
            return [self._post(bodies[0])]
        with ThreadPoolExecutor(len(bodies) or 1) as threads:
            return list(threads.map(self._post, bodies))

    def _post(self, body: dict[str, Any]) -> Any:
        retry = urllib3.Retry(
            self._retries,
            backoff_factor=0.2,
            backoff_max=2.0,
            status_forcelist=_RETRIED,
            allowed_methods=None,
            raise_on_status=False,
            redirect=0,
            retry_after_max=int(self._timeout),
        )
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            reply = self._http.request(
                "POST", self._url, json=body, headers=headers, timeout=self._timeout, retries=retry
            )
        except urllib3.exceptions.HTTPError as error:
            return RequestFailed(self._without_key(f"no reply from {self._url}: {error}"))
        if reply.status >= 300:
            return RequestFailed(self._without_key(f"{self._url} answered {reply.status}: {_text(reply.data)}"))
        try:
            return json.loads(reply.data)
        except ValueError:
            return RequestFailed(self._without_key(f"{self._url} answered no JSON: {_text(reply.data)}"))

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


@lru_cache(maxsize=8)
def endpoint(url: str, key_env: str | None, timeout: float, retries: int) -> Endpoint:
    """The endpoint of these settings, with its open connections."""
    return Endpoint(url, key_env, timeout, retries)


class Scores:
    """Scores that were paid for already: in this process, and in an SQLite file where there is one."""

    def __init__(self, path: str | None) -> None:
        self._known: dict[str, float] = {}
        self._file = sqlite3.connect(path, timeout=30.0, isolation_level=None) if path else None
        if self._file:
            self._file.execute("CREATE TABLE IF NOT EXISTS scores (request TEXT PRIMARY KEY, score REAL NOT NULL)")

    def get(self, request: str) -> float | None:
        if request not in self._known and self._file:
            found = self._file.execute("SELECT score FROM scores WHERE request = ?", (request,)).fetchone()
            if found:
                self._known[request] = found[0]
        return self._known.get(request)

    def put(self, request: str, score: float) -> None:
        if len(self._known) >= _MOST_KEPT:
            self._known.clear()
        self._known[request] = score
        if self._file:
            self._file.execute("INSERT OR REPLACE INTO scores VALUES (?, ?)", (request, score))


@lru_cache(maxsize=8)
def scores(path: str | None) -> Scores:
    return Scores(path)


def request_name(*parts: object) -> str:
    """Digest that tells one request from another."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def check_endpoint(url: str, key_env: str | None, timeout: float, retries: int, time_limit: float) -> None:
    """Raises ValueError where these settings cannot work."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"url is {url!r}; it starts with http:// or https://")
    if key_env and not os.environ.get(key_env):
        raise ValueError(f"the environment variable {key_env}, which key_env names, is not set")
    if timeout * (retries + 1) > time_limit:
        raise ValueError(
            f"{retries + 1} tries of {timeout:g} s do not fit into reward.time_limit, which is {time_limit:g} s; "
            f"raise it to {timeout * (retries + 1) + 5:g}, or lower timeout or retries"
        )


def _text(data: bytes) -> str:
    return " ".join(data[:_SHOWN_CHARACTERS].decode(errors="replace").split())
