"""A proxy between the project and an S3 server, which breaks requests as networks and servers do."""

import http.client
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Literal, get_args
from urllib.parse import parse_qs, urlsplit

Fault = Literal["refuse", "drop", "lose", "fail", "conflict", "cut", "corrupt", "damage", "stall", "stale"]
"""A thing that happens to a request.

refuse: answered 503 SlowDown. drop: the connection is closed, unanswered. lose: the server does it, then the connection
is closed. fail: the server does it, the answer is 500. conflict: the same with 409, as to two conditional writes that
overlap. cut: half of the answer's body arrives. corrupt: a byte of the answer's body is another. damage: the body sent
did not match its checksum on arrival (400). stall: nothing for `stall_seconds`, then the connection is closed.
stale: a list as it was at the last such request.
"""

FAULTS: tuple[Fault, ...] = get_args(Fault)
_ERRORS: dict[Fault, tuple[int, str]] = {
    "refuse": (503, "SlowDown"),
    "fail": (500, "InternalError"),
    "conflict": (409, "ConditionalRequestConflict"),
    "damage": (400, "BadDigest"),
}
_UNANSWERED = ("drop", "lose", "stall")
_BEFORE_THE_SERVER = ("refuse", "drop", "damage", "stall")
_NOT_PASSED_ON = ("transfer-encoding", "connection", "date", "server", "content-length")


def applies(fault: Fault, method: str, path: str, conditional: bool) -> bool:
    """Return whether a server could answer such a request with that fault.

    Args:
        conditional: whether the request has an If-None-Match.
    """
    match fault:
        case "conflict":
            return method == "PUT" and conditional
        case "damage":
            return method == "PUT"
        case "stale":
            return method == "GET" and is_list(path)
        case "cut" | "corrupt":
            return method == "GET"
    return True


def is_list(path: str) -> bool:
    return "list-type" in parse_qs(urlsplit(path).query)


class FaultyProxy:
    """Passes requests on to a server.

    Args:
        server: its URL.
        choose: takes method, path and whether the request is conditional; returns its fault, None for none.
        stall_seconds: for how long a stalled request is held.
    """

    def __init__(
        self, server: str, choose: Callable[[str, str, bool], Fault | None], stall_seconds: float = 0.0
    ) -> None:
        proxy = self
        self.seen: list[str] = []
        """The methods of all requests."""
        self.choose, self.host, self.stall_seconds = choose, urlsplit(server).netloc, stall_seconds
        self._lists: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {}

        class Handler(_Handler):
            def handle_any(self) -> None:
                self.serve(proxy)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str], stale: bool) -> "_Answer":
        """Return the server's answer, or the one to the same list before."""
        known = self._lists.get(path)
        if stale and known:
            return known
        connection = http.client.HTTPConnection(self.host)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read()
        kept = [(name, value) for name, value in response.getheaders() if name.lower() not in _NOT_PASSED_ON]
        kept.append(("Content-Length", response.getheader("Content-Length") or str(len(data))))
        answer = response.status, kept, data
        if is_list(path):
            self._lists[path] = answer
        return answer


_Answer = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers and body."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def serve(self, proxy: FaultyProxy) -> None:
        body = self._body()
        proxy.seen.append(self.command)
        fault = proxy.choose(self.command, self.path, "If-None-Match" in self.headers)
        if fault == "stall":
            time.sleep(proxy.stall_seconds)
        if fault not in _BEFORE_THE_SERVER:
            answer = proxy.answer(self.command, self.path, body, dict(self.headers), fault == "stale")
        if fault in _UNANSWERED:
            self.close_connection = True
        elif fault in _ERRORS:
            status, code = _ERRORS[fault]
            text = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            self._send((status, [("Content-Length", str(len(text)))], text))
        else:
            self._send(_broken(answer, fault))
            self.close_connection = fault == "cut"

    def _body(self) -> bytes:
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
            del self.headers["Expect"]
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        del self.headers["Transfer-Encoding"]
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, answer: _Answer) -> None:
        status, headers, data = answer
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None: ...


def _broken(answer: _Answer, fault: Fault | None) -> _Answer:
    status, headers, data = answer
    if fault == "cut":
        data = data[: len(data) // 2]
    elif fault == "corrupt" and data:
        middle = len(data) // 2
        data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    return status, headers, data
