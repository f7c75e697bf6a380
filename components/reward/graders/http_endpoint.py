"""Requests to an HTTP server that grades: retries, concurrency, a cache of scores, and a key that stays secret."""

import hashlib
import json
import os
import sqlite3
import time
import urllib.parse
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import urllib3

_RETRIED = (408, 409, 429, 500, 502, 503, 504)
_MAX_SHOWN_CHARACTERS = 200
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0


class RequestFailed(Exception):
    """A request without a usable reply; the message never contains the key."""


class Endpoint:
    """One URL that JSON is posted to. Not thread-safe.

    A request that fails to connect, times out or gets a temporary status (429, 5xx, ...) is retried `retries` times,
    after a growing pause or the one that the server asks for, as long as all of it takes no more than the tries may.

    Args:
        key_env: environment variable that holds the key, sent as a bearer token.
        timeout: seconds for one try.
    """

    def __init__(self, url: str, key_env: str | None, timeout: float, retries: int) -> None:
        self._url = url
        self._key = os.environ[key_env] if key_env else ""
        self._timeout, self._retries = timeout, retries
        self._retry = urllib3.Retry(retry_after_max=int(timeout))
        self._http = urllib3.PoolManager(maxsize=64)

    def post_all(self, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        """Send all requests at once; return their JSON replies in order, RequestFailed where a request failed."""
        if len(bodies) == 1:
            return [self._post(bodies[0])]
        with ThreadPoolExecutor(len(bodies) or 1) as threads:
            return list(threads.map(self._post, bodies))

    def _post(self, body: dict[str, Any]) -> Any:
        deadline = time.monotonic() + self._timeout * (self._retries + 1)
        for retry in range(self._retries + 1):
            reply, pause = self._try(body, min(self._timeout, deadline - time.monotonic()))
            if pause is None:
                break
            pause = max(pause, min(_FIRST_PAUSE * 2**retry, _LONGEST_PAUSE))
            if retry == self._retries or time.monotonic() + pause >= deadline:
                break
            time.sleep(pause)
        return reply

    def _try(self, body: dict[str, Any], seconds: float) -> tuple[Any, float | None]:
        """Return the reply or RequestFailed, and the least pause before another try, None where none is needed."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = urllib3.Timeout(total=seconds)
        try:
            reply = self._http.request("POST", self._url, json=body, headers=headers, timeout=timeout, retries=False)
            pause = self._retry.get_retry_after(reply) or 0.0 if reply.status in _RETRIED else None
        except urllib3.exceptions.HTTPError as error:
            return RequestFailed(self._without_key(f"no reply from {self._url}: {error}")), 0.0
        if reply.status >= 300:
            return RequestFailed(self._without_key(f"{self._url} answered {reply.status}: {_text(reply.data)}")), pause
        try:
            return json.loads(reply.data), None
        except ValueError:
            return RequestFailed(self._without_key(f"{self._url} did not reply with JSON: {_text(reply.data)}")), None

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


@lru_cache(maxsize=8)
def endpoint(url: str, key_env: str | None, timeout: float, retries: int) -> Endpoint:
    """Return the endpoint of these settings, with its open connections."""
    return Endpoint(url, key_env, timeout, retries)


@lru_cache(maxsize=8)
def _score_cache(path: str | None) -> sqlite3.Connection:
    """Open the scores of earlier requests: those in an SQLite file or, without one, those of this process."""
    cache = sqlite3.connect(path or ":memory:", timeout=30.0, isolation_level=None)
    cache.execute("CREATE TABLE IF NOT EXISTS scores (request TEXT PRIMARY KEY, score REAL NOT NULL)")
    return cache


def cached_scores(
    path: str | None, requests: Sequence[str], ask: Callable[[list[int]], list[float | Exception]]
) -> list[float | Exception]:
    """Return a score for every request, and `ask` only for those that are not in the cache at `path`.

    Args:
        requests: digests that tell requests apart.
        ask: gets the indices of requests, returns their scores; exceptions are not cached.
    """
    cache = _score_cache(path)
    found: dict[int, float | Exception] = {}
    for index, request in enumerate(requests):
        if row := cache.execute("SELECT score FROM scores WHERE request = ?", (request,)).fetchone():
            found[index] = row[0]
    if missing := [index for index in range(len(requests)) if index not in found]:
        for index, reply in zip(missing, ask(missing), strict=True):
            found[index] = reply
            if not isinstance(reply, Exception):
                # Ignoring also leaves out NaN, which SQLite takes for NULL.
                cache.execute("INSERT OR IGNORE INTO scores VALUES (?, ?)", (requests[index], reply))
    return [found[index] for index in range(len(requests))]


def request_digest(*parts: object) -> str:
    """Return a digest that tells one request from another."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def check_endpoint(url: str, key_env: str | None, timeout: float, retries: int, time_limit: float) -> None:
    """Check settings of a server. Raises ValueError where they cannot work."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"url must start with http:// or https:// (got {url!r})")
    if key_env and not os.environ.get(key_env):
        raise ValueError(f"the environment variable {key_env}, which key_env names, is not set")
    if timeout * (retries + 1) > time_limit:
        raise ValueError(
            f"{retries + 1} tries of {timeout:g} s do not fit into reward.time_limit (got {time_limit:g}): "
            f"raise it to {timeout * (retries + 1) + 5:g}, or lower timeout or retries"
        )


def _text(data: bytes) -> str:
    return " ".join(data[:_MAX_SHOWN_CHARACTERS].decode(errors="replace").split())
