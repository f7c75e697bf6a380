"""Requests to an HTTP server that grades: retries, concurrency, a cache of scores, and a key that stays secret."""

import hashlib
import json
import os
import sqlite3
import urllib.parse
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import urllib3

_RETRIED = (408, 409, 429, 500, 502, 503, 504)
_MAX_SHOWN_CHARACTERS = 200


class RequestFailed(Exception):
    """A request without a usable reply; the message never contains the key."""


class Endpoint:
    """One URL that JSON is posted to. Not thread-safe.

    A request that fails to connect, times out or gets a temporary status (429, 5xx, ...) is retried `retries` times,
    after a growing pause or the one that the server asks for.

    Args:
        key_env: environment variable that holds the key, sent as a bearer token.
        timeout: seconds for one try.
    """

    def __init__(self, url: str, key_env: str | None, timeout: float, retries: int) -> None:
        self._url = url
        self._key = os.environ[key_env] if key_env else ""
        self._timeout, self._retries = timeout, retries
        self._http = urllib3.PoolManager(maxsize=64)

    def post_all(self, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        """Send all requests at once; return their JSON replies in order, RequestFailed where a request failed."""
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
            return RequestFailed(self._without_key(f"{self._url} did not reply with JSON: {_text(reply.data)}"))

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
